/**
 * Reads a changelog as the log holds it and asserts that each of its partitions had one writer at a time: the transactional
 * id of a partition has one producer id, an epoch that has been overtaken writes nothing any more, and the checkpoints that
 * were committed rise one by one. It decodes no other record.
 */
import assert from 'node:assert/strict';
import { CHECKPOINT_KEY, decodeCheckpointRecord } from '../../src/changelog/checkpoint-record.js';
import { readBatchHeader } from '../../src/codec/record-batch-header.js';
import type { LogFactory } from '../../src/index.js';
import type { RawRecord } from './oracle-model.js';

const PAGE_BYTES = 1024 * 1024;

export async function expectOneWriter(log: LogFactory, topic: string): Promise<void> {
  const client = await log.connect({ clientId: 'one-writer' });
  try {
    const [description] = await client.topics.describe([topic]);
    assert.ok(description, `${topic} does not exist`);
    const all = Array.from({ length: description.partitions }, (_, partition) => ({ topic, partition }));
    const bounds = await client.topics.bounds(all);
    for (const [partition, { start }] of bounds.entries()) {
      let from = start;
      let producer: number | undefined;
      let epoch = -1;
      for (;;) {
        const page = await client.read({
          topic,
          partition,
          from,
          maxBytes: PAGE_BYTES,
          isolation: 'read_uncommitted',
        });
        const bytes = Buffer.from(page.bytes);
        for (let at = 0; ;) {
          const header = readBatchHeader(bytes, at);
          if (header === undefined) break;
          at = header.end;
          const where = `${topic}-${partition} at ${header.baseOffset}`;
          producer ??= header.producerId;
          assert.equal(header.producerId, producer, `${where} is of another producer`);
          assert.ok(
            header.producerEpoch >= epoch,
            `${where} is of epoch ${header.producerEpoch} after ${epoch}`,
          );
          epoch = header.producerEpoch;
        }
        if (page.next === from) break;
        from = page.next;
      }
    }
  } finally {
    await client.close();
  }
}

/**
 * Of the committed records of a changelog, in their order: each checkpoint follows the one before, and no position goes
 * back. Not for a changelog that was compacted, or whose state was reset.
 */
export function expectPositionsRise(records: readonly RawRecord[]): void {
  const last = new Map<number, { readonly number: number; readonly positions: Map<string, number> }>();
  for (const { partition, offset, key, value } of records) {
    if (key === null || value === null || Buffer.compare(key, CHECKPOINT_KEY) !== 0) continue;
    const where = `partition ${partition} at ${offset}`;
    const { number, positions } = decodeCheckpointRecord(value, where);
    const before = last.get(partition);
    if (before !== undefined) assert.equal(number, before.number + 1, `the checkpoint of ${where}`);
    for (const [topic, { offset: now }] of Object.entries(positions)) {
      const earlier = before?.positions.get(topic) ?? 0;
      assert.ok(now >= earlier, `${where} goes back from ${earlier} to ${now} of ${topic}`);
    }
    const offsets = Object.entries(positions).map(([topic, { offset }]) => [topic, offset] as const);
    last.set(partition, { number, positions: new Map(offsets) });
  }
  assert.ok(last.size > 0, 'there is no checkpoint at all');
}
