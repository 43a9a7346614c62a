/**
 * What must hold after every step, read from the log alone by an observer that no fault touches: each commit holds state,
 * positions and outputs of the same records, checkpoints follow each other one by one, nothing committed is missing, doubled
 * or beyond what the plain loop gives; and the commands that were answered are in it as they were answered.
 */
import assert from 'node:assert/strict';
import {
  CHECKPOINT_KEY,
  commitMetadata,
  decodeCheckpointRecord,
  type CheckpointRecord,
} from '../../src/changelog/checkpoint-record.js';
import type { EmbeddedLog } from '../../src/index.js';
import type { LogClient } from '../../src/log/log-client.js';
import type { SimulatedDump, SimulatedEvent } from '../fixtures/simulated.js';
import { Model, outputOf, type ModelRecord } from './model.js';

export const PARTITIONS = 2;
export const GROUP = 'simulation';
const CHANGELOG = `changelog__${GROUP}--simulated`;

export type CommandAnswer = 'applied' | 'notApplied' | 'unknown';

/** One partition as the log has it. */
class Watched {
  readonly inputs: ModelRecord[] = [];
  /** After so many records as are committed. */
  readonly model = new Model();
  readonly outputs: { readonly totals: string[]; readonly closed: string[] } = { totals: [], closed: [] };
  readonly offsets = { events: 0, totals: 0, closed: 0, adjusted: 0, changelog: 0 };
  checkpoint: CheckpointRecord | undefined;
  committed = 0;
}

export class Invariants {
  checks = 0;
  /** That were produced. */
  records = 0;
  readonly answers = new Map<string, CommandAnswer>();
  readonly #log: EmbeddedLog;
  readonly #partitions = Array.from({ length: PARTITIONS }, () => new Watched());
  readonly #adjusted = new Set<string>();
  #observer: LogClient | undefined;
  #seen = '';

  constructor(log: EmbeddedLog) {
    this.#log = log;
  }

  /** Everything is committed. */
  get isDone(): boolean {
    return this.#partitions.reduce((sum, { committed }) => sum + committed, 0) === this.records;
  }

  async look(): Promise<void> {
    this.checks++;
    this.#observer ??= await this.#log.connect({ clientId: 'observer' });
    const topics = ['events', 'totals', 'closed', 'adjusted'];
    if ((await this.#log.describeTopic(CHANGELOG)) !== undefined) topics.push(CHANGELOG);
    const bounds = await Promise.all(topics.map((topic) => this.#log.bounds(topic)));
    const committed = await this.#observer.committed(
      GROUP,
      this.#partitions.map((_, partition) => ({ topic: 'events', partition })),
    );
    // Most steps commit nothing.
    const seen = JSON.stringify([bounds.map((each) => each.map(({ lastStable }) => lastStable)), committed]);
    if (seen === this.#seen) return;
    this.#seen = seen;
    for (const [partition, watched] of this.#partitions.entries()) {
      await this.#read(partition, watched, topics.includes(CHANGELOG));
      this.#compare(partition, watched, committed[partition]);
    }
  }

  /** What a query saw in one scan must be the state after some number of records. */
  dump(partition: number, dump: SimulatedDump): void {
    this.checks++;
    const { inputs } = this.#partitions[partition]!;
    const counted = dump.totals.reduce((sum, [, { count }]) => sum + count, 0);
    const model = new Model();
    let at = 0;
    while (at < inputs.length && countOf(model) < counted) model.process(inputs[at++]!);
    assert.deepEqual(sorted(dump.totals), sorted([...model.totals]), `a query of partition ${partition} saw no prefix`);
  }

  /** At the end, from a query or another restore. */
  final(dumps: ReadonlyMap<number, SimulatedDump>): void {
    assert.equal(dumps.size, PARTITIONS, 'a partition is unserved');
    for (const [partition, dump] of dumps) {
      const { model } = this.#partitions[partition]!;
      assert.deepEqual(sorted(dump.totals), sorted([...model.totals]), `totals of partition ${partition}`);
      assert.deepEqual(sorted(dump.recent), sorted(model.recent), `recent counts of partition ${partition}`);
    }
    const applied = new Map([...dumps.values()].flatMap(({ adjustments }) => adjustments));
    for (const [key, answer] of this.answers) {
      const times = applied.get(key) ?? 0;
      if (answer === 'unknown') assert.ok(times <= 1, `${key} was applied ${times} times`);
      else assert.equal(times, answer === 'applied' ? 1 : 0, `${key}, whose answer was ${answer}`);
    }
    assert.deepEqual([...applied.keys()].sort(), [...this.#adjusted].sort(), 'commands and their outputs');
  }

  async #read(partition: number, watched: Watched, hasChangelog: boolean): Promise<void> {
    const { offsets } = watched;
    for await (const { offset, key, value, timestamp } of this.#log.read('events', { partition, from: offsets.events })) {
      offsets.events = offset + 1;
      watched.inputs.push({ key: text(key), value: JSON.parse(text(value)) as SimulatedEvent, timestamp });
    }
    for (const topic of ['totals', 'closed'] as const)
      for await (const { offset, key, value } of this.#log.read(topic, { partition, from: offsets[topic] })) {
        offsets[topic] = offset + 1;
        watched.outputs[topic].push(outputOf(text(key), JSON.parse(text(value))));
      }
    for await (const { offset, key } of this.#log.read('adjusted', { partition, from: offsets.adjusted })) {
      offsets.adjusted = offset + 1;
      assert.ok(!this.#adjusted.has(text(key)), `${text(key)} was applied twice`);
      this.#adjusted.add(text(key));
    }
    if (!hasChangelog) return;
    for await (const { offset, key, value } of this.#log.read(CHANGELOG, { partition, from: offsets.changelog })) {
      offsets.changelog = offset + 1;
      if (key === null || value === null || Buffer.compare(key, CHECKPOINT_KEY) !== 0) continue;
      const record = decodeCheckpointRecord(value, `partition ${partition}`);
      const before = watched.checkpoint;
      // Compaction may have taken those between away.
      assert.ok(before === undefined || record.number > before.number, 'a checkpoint does not follow the one before');
      watched.checkpoint = record;
    }
  }

  #compare(
    partition: number,
    watched: Watched,
    committed: { readonly offset: number; readonly metadata: string } | undefined,
  ): void {
    const { model, inputs, outputs, checkpoint } = watched;
    if (committed === undefined) {
      assert.equal(outputs.totals.length, 0, `outputs of partition ${partition} without positions`);
      return;
    }
    assert.ok(committed.offset >= watched.committed, `the position of partition ${partition} went back`);
    assert.ok(checkpoint !== undefined, `positions of partition ${partition} without state`);
    assert.equal(committed.metadata, commitMetadata(checkpoint), `positions and state of partition ${partition}`);
    assert.equal(checkpoint.positions['events']?.offset, committed.offset, `positions of partition ${partition}`);
    for (; watched.committed < committed.offset; watched.committed++) model.process(inputs[watched.committed]!);
    for (const topic of ['totals', 'closed'] as const)
      assert.deepEqual(
        outputs[topic].slice(-20),
        model.outputs[topic].slice(-20),
        `outputs ${topic} of partition ${partition} up to ${committed.offset}`,
      );
    for (const topic of ['totals', 'closed'] as const)
      assert.equal(outputs[topic].length, model.outputs[topic].length, `number of ${topic} of ${partition}`);
  }
}

function countOf(model: Model): number {
  return [...model.totals.values()].reduce((sum, { count }) => sum + count, 0);
}

function text(bytes: Uint8Array | null): string {
  return Buffer.from(bytes!).toString();
}

function sorted<V>(entries: readonly (readonly [string, V])[]): (readonly [string, V])[] {
  return [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
}
