/**
 * A manager over the deadly processor and the plain loop that it must agree with: one partition per deed, every record in
 * its order, those that kill left out. Keys name their partition, so that a test says where what happens.
 */
import assert from 'node:assert/strict';
import { partitionForKey } from '../../src/codec/murmur2.js';
import { isPartitaError, processorAt, type StateManager } from '../../src/index.js';
import type { Deed, DeadlyEvent } from '../fixtures/deadly.js';
import type deadly from '../fixtures/deadly-fail.js';
import { fixtureOf } from '../fixtures/oracle.js';
import type { TopicsLog } from './topics-log.js';

export type DeadlyManager = StateManager<ReturnType<typeof deadlyStream>>;

export type DeadlyPolicy = 'fail' | 'skip' | 'dead-letter' | 'decide';

/** @param of what stands before the names of its topics */
export function deadlyStream(policy: DeadlyPolicy, of = '') {
  return { deadly: processorAt<typeof deadly>(fixtureOf(`deadly-${policy}`, of)) };
}

/** The n-th key of a partition. */
export function keyOf(partition: number, partitions: number, n = 0): string {
  for (let i = 0, found = 0; ; i++) {
    const key = `key-${i}`;
    if (partitionForKey(Buffer.from(key), partitions) === partition && found++ === n) return key;
  }
}

interface SentRecord {
  readonly partition: number;
  readonly key: string;
  readonly event: DeadlyEvent;
}

export class DeadlyTopics {
  readonly partitions: number;
  readonly #log: TopicsLog;
  readonly #sent: SentRecord[] = [];
  readonly #added = new Map<string, number>();

  private constructor(log: TopicsLog, partitions: number) {
    this.#log = log;
    this.partitions = partitions;
  }

  static async create(log: TopicsLog, partitions: number): Promise<DeadlyTopics> {
    for (const topic of ['events', 'totals', 'dead']) await log.createTopic({ topic, partitions });
    return new DeadlyTopics(log, partitions);
  }

  /** So many harmless records in each of these partitions, over a few keys. */
  async fill(records: number, ...partitions: readonly number[]): Promise<void> {
    const where = partitions.length === 0 ? Array.from({ length: this.partitions }, (_, i) => i) : partitions;
    for (let n = 0; n < records; n++)
      await this.#send(where.map((partition) => this.#record(partition, { n: n + 1 }, n % 3)));
  }

  async send(partition: number, event: DeadlyEvent, key = 0): Promise<void> {
    await this.#send([this.#record(partition, event, key)]);
  }

  async deed(partition: number, deed: Deed): Promise<void> {
    await this.send(partition, { n: 1_000_000, deed });
  }

  async #send(records: readonly SentRecord[]): Promise<void> {
    this.#sent.push(...records);
    await this.#log.produce(
      'events',
      records.map(({ key, event }) => ({ key, value: JSON.stringify(event) })),
    );
  }

  #record(partition: number, event: DeadlyEvent, key: number): SentRecord {
    return { partition, key: keyOf(partition, this.partitions, key), event };
  }

  /** A command has added to a key that no record has. */
  added(key: string, n: number): void {
    this.#added.set(key, (this.#added.get(key) ?? 0) + n);
  }

  /** What the plain loop comes to: totals by key, and the outputs of each partition in order. */
  expected(partitions?: readonly number[]) {
    const totals = new Map<string, number>();
    const outputs = Array.from({ length: this.partitions }, (): [string, number][] => []);
    for (const { partition, key, event } of this.#sent) {
      if (event.deed !== undefined && event.deed !== 'slow' && event.deed !== 'late') continue;
      if (partitions?.includes(partition) === false) continue;
      const total = (totals.get(key) ?? 0) + event.n;
      totals.set(key, total);
      outputs[partition]!.push([key, total]);
    }
    for (const [key, n] of this.#added) {
      const partition = partitionForKey(Buffer.from(key), this.partitions);
      if (partitions?.includes(partition) !== false) totals.set(key, n);
    }
    return { totals: [...totals].sort(byKey), outputs };
  }

  /** Whether state and outputs of these partitions are the plain loop's by now. */
  async settled(partitions?: readonly number[]): Promise<boolean> {
    const { outputs } = this.expected(partitions);
    const found = await this.outputs();
    return outputs.every(
      (expected, i) => partitions?.includes(i) === false || found[i]!.length >= expected.length,
    );
  }

  /** State and outputs are the plain loop's, once and in order. */
  async assertEqual(manager: DeadlyManager): Promise<void> {
    await this.assertState(manager);
    assert.deepEqual(await this.outputs(), this.expected().outputs);
  }

  /** The state of these partitions, or of all, is the plain loop's. */
  async assertState(manager: DeadlyManager, partitions?: readonly number[]): Promise<void> {
    const { deadly } = manager.streams;
    const state =
      partitions === undefined
        ? [...(await deadly.queryAll('all', {})).values()]
        : await Promise.all(partitions.map((partition) => deadly.query('all', { partition })));
    const totals = state.flat().map(([key, total]) => [key, total] as const);
    assert.deepEqual(totals.sort(byKey), this.expected(partitions).totals);
  }

  async outputs(): Promise<[string, number][][]> {
    const found = Array.from({ length: this.partitions }, (): [string, number][] => []);
    for await (const { partition, key, value } of this.#log.read('totals'))
      found[partition]!.push([text(key), JSON.parse(text(value)) as number]);
    return found;
  }

  /** Offset and error code of each dead letter. */
  async deadLetters(
    topic = 'dead',
  ): Promise<
    { readonly partition: number; readonly code: string | undefined; readonly event: DeadlyEvent }[]
  > {
    const found: { partition: number; code: string | undefined; event: DeadlyEvent }[] = [];
    for await (const { partition, value, headers } of this.#log.read(topic)) {
      const code = headers.find(([name]) => name === 'partita.error.code')?.[1];
      found.push({
        partition,
        code: code === undefined ? undefined : text(code),
        event: JSON.parse(text(value)) as DeadlyEvent,
      });
    }
    return found;
  }
}

/** The codes along an error's chain of causes. */
export function codesOf(error: unknown): string[] {
  const codes: string[] = [];
  for (let e = error; e instanceof Error; e = e.cause) codes.push(isPartitaError(e) ? e.code : e.name);
  return codes;
}

function byKey(a: readonly [string, number], b: readonly [string, number]): number {
  return a[0] < b[0] ? -1 : 1;
}

function text(bytes: Uint8Array | null): string {
  return Buffer.from(bytes ?? []).toString();
}
