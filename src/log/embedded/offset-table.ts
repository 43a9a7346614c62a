/** Committed offsets of all groups. It holds what has been made durable, and nothing of members or generations. */
import { keyOf } from '../by-topic.js';
import type { CommittedOffset, TopicPartition } from '../../core/log-types.js';
import type { OffsetRow } from './log-storage.js';

export class OffsetTable {
  readonly #groups = new Map<string, Map<string, OffsetRow>>();

  get groups(): readonly string[] {
    return [...this.#groups.keys()];
  }

  get(group: string, partition: TopicPartition): CommittedOffset | undefined {
    const row = this.#groups.get(group)?.get(keyOf(partition));
    return row && { offset: row.offset, metadata: row.metadata };
  }

  set(row: OffsetRow): void {
    let offsets = this.#groups.get(row.group);
    if (offsets === undefined) this.#groups.set(row.group, (offsets = new Map<string, OffsetRow>()));
    offsets.set(keyOf(row), row);
  }

  delete(row: OffsetRow): void {
    const offsets = this.#groups.get(row.group);
    offsets?.delete(keyOf(row));
    if (offsets?.size === 0) this.#groups.delete(row.group);
  }

  ofGroup(group: string): readonly OffsetRow[] {
    return [...(this.#groups.get(group)?.values() ?? [])];
  }

  ofTopic(topic: string): readonly OffsetRow[] {
    return [...this.#groups.values()].flatMap((offsets) =>
      [...offsets.values()].filter((row) => row.topic === topic),
    );
  }
}
