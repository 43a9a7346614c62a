/**
 * What must hold after every step of a simulated world, looked up in the log itself: numbers of checkpoints rise by one,
 * offsets are those of the newest checkpoint, outputs are those of a plain loop up to there, commands count once. It reads
 * only what is new; it changes nothing.
 */
import {
  CHECKPOINT_KEY,
  commitMetadata,
  decodeCheckpointRecord,
  type CheckpointId,
  type CheckpointRecord,
} from '../../src/changelog/checkpoint-record.js';
import type { EmbeddedLog, ReadRecord } from '../../src/log/embedded/embedded-log.js';
import { OUTPUTS, stateText, type Dump, type OutputName, type PartitionModel } from './model.js';

/** A broken promise, in the words of a user. */
export class Broken extends Error {}

export type CommandFate = 'pending' | 'acknowledged' | 'notApplied' | 'unknown';

export const GROUP = 'sim';
export const STREAM = 's';
export const CHANGELOG = `changelog__${GROUP}--${STREAM}`;

interface Watched {
  checkpoint: (CheckpointId & { readonly offset: number }) | undefined;
  changelogFrom: number;
  readonly resets: Set<string>;
  /** Whether the newest checkpoint holds the store that is reset: what has just been reset is not reset again. */
  hasTotals: boolean;
  readonly from: Record<OutputName | 'done', number>;
  /** How many outputs of the model have been found. */
  readonly found: Record<OutputName, number>;
  /** At-least-once: which output comes next from each writer that repeats; a stale one may still send beside the owner. */
  readonly repeats: Record<OutputName, Set<number>>;
}

export class Invariants {
  /** How often each was checked. */
  readonly checked: Record<string, number> = {};
  readonly #log: EmbeddedLog;
  readonly #models: readonly PartitionModel[];
  readonly #fates: ReadonlyMap<string, CommandFate>;
  readonly #exactlyOnce: boolean;
  readonly #watched: readonly Watched[];
  readonly #done = new Map<string, number>();

  constructor(
    log: EmbeddedLog,
    models: readonly PartitionModel[],
    fates: ReadonlyMap<string, CommandFate>,
    exactlyOnce: boolean,
  ) {
    this.#log = log;
    this.#models = models;
    this.#fates = fates;
    this.#exactlyOnce = exactlyOnce;
    this.#watched = models.map(() => ({
      checkpoint: undefined,
      changelogFrom: 0,
      resets: new Set(),
      hasTotals: false,
      from: { out: 0, fired: 0, closed: 0, late: 0, done: 0 },
      found: { out: 0, fired: 0, closed: 0, late: 0 },
      repeats: { out: new Set(), fired: new Set(), closed: new Set(), late: new Set() },
    }));
  }

  /** The input offset up to which a partition is committed. */
  committed(partition: number): number {
    return this.#watched[partition]!.checkpoint?.offset ?? 0;
  }

  async check(): Promise<void> {
    if ((await this.#log.describeTopic(CHANGELOG)) === undefined) return;
    for (let partition = 0; partition < this.#models.length; partition++)
      await this.#readChangelog(partition);
    for (const topic of [...OUTPUTS, 'done'] as const) await this.#readOutputs(topic);
    await this.#checkOffsets();
    for (let partition = 0; partition < this.#models.length; partition++) this.#checkOutputs(partition);
    this.#checkCommands();
  }

  /** A query's answer must be the state after some number of records. */
  checkDump(partition: number, dump: Dump, isFinal: boolean): void {
    this.count('a query sees the state after some record');
    const model = this.#models[partition]!;
    const after = model.after[dump.records];
    if (after === undefined || (isFinal && dump.records !== model.records))
      throw new Broken(`partition ${partition} has counted ${dump.records} of ${model.records} records`);
    const found = isFinal ? stateText(dump.totals, dump.fired) : stateText(dump.totals, []);
    const expected = isFinal ? after.state : after.totals;
    if (isFinal ? found !== expected : !model.hadTotals(dump.records, found))
      throw new Broken(
        `partition ${partition} holds ${found} after ${dump.records} records instead of ${expected}`,
      );
    for (const [id, times] of dump.commands) {
      if (times !== 1) throw new Broken(`the command ${id} was applied ${times} times`);
      if (this.#fates.get(id) === 'notApplied' && isFinal)
        throw new Broken(`the rejected command ${id} was applied`);
    }
  }

  /** Every acknowledged command is in the state, in the end. */
  checkApplied(applied: ReadonlySet<string>): void {
    for (const [id, fate] of this.#fates)
      if (fate === 'acknowledged' && !applied.has(id))
        throw new Broken(`the acknowledged command ${id} is lost`);
  }

  async #readChangelog(partition: number): Promise<void> {
    const watched = this.#watched[partition]!;
    for await (const record of this.#new(CHANGELOG, partition, watched.changelogFrom)) {
      watched.changelogFrom = record.offset + 1;
      if (!Buffer.from(record.key!).equals(CHECKPOINT_KEY) || record.value === null) continue;
      this.count('checkpoints rise by one, from one writer');
      const found = decodeCheckpointRecord(record.value, 'simulation');
      const { number, incarnation } = found;
      const { offset } = found.positions['events']!;
      const last = watched.checkpoint;
      if (last !== undefined && number !== last.number + 1)
        throw new Broken(`partition ${partition} has checkpoint ${number} after ${last.number}: two writers`);
      if (last !== undefined && offset < last.offset)
        throw new Broken(`partition ${partition} goes back from ${last.offset} to ${offset}`);
      this.#takeResets(partition, found, offset);
      watched.hasTotals = Object.hasOwn(found.stores, 'totals');
      watched.checkpoint = { number, incarnation, offset };
    }
  }

  /** What is written down as reset was reset there and then, unless there was nothing yet. */
  #takeResets(partition: number, { resets }: CheckpointRecord, offset: number): void {
    const watched = this.#watched[partition]!;
    const fresh = resets.filter((entry) => !watched.resets.has(entry));
    for (const entry of fresh) watched.resets.add(entry);
    if (fresh.length === 0 || watched.checkpoint === undefined || !watched.hasTotals) return;
    this.count('a reset acts once, at a checkpoint');
    if (offset !== watched.checkpoint.offset)
      throw new Broken(
        `partition ${partition} is reset on its way from ${watched.checkpoint.offset} to ${offset}`,
      );
    this.#models[partition]!.resetTotals(offset);
  }

  async #readOutputs(topic: OutputName | 'done'): Promise<void> {
    for (let partition = 0; partition < this.#models.length; partition++) {
      const { from } = this.#watched[partition]!;
      for await (const record of this.#new(topic, partition, from[topic])) {
        from[topic] = record.offset + 1;
        const key = Buffer.from(record.key!).toString();
        if (topic === 'done') this.#done.set(key, (this.#done.get(key) ?? 0) + 1);
        else this.#takeOutput(topic, partition, `${key} ${Buffer.from(record.value!).toString()}`);
      }
    }
  }

  #takeOutput(topic: OutputName, partition: number, found: string): void {
    this.count('outputs are those of a plain loop, in its order');
    const expected = this.#models[partition]!.outputs[topic];
    const { found: counts, repeats } = this.#watched[partition]!;
    const at = counts[topic];
    if (expected[at] === found) counts[topic]++;
    else if (this.#exactlyOnce || !takeRepeat(repeats[topic], expected, found, at))
      throw new Broken(`${topic}/${partition} has ${found} where ${expected[at] ?? 'nothing'} was to come`);
    counts[topic] = Math.max(counts[topic], ...repeats[topic]);
  }

  async #checkOffsets(): Promise<void> {
    for (const { topic, partition, offset, metadata } of await this.#log.committed(GROUP)) {
      if (topic !== 'events') continue;
      this.count('offsets are those of the newest checkpoint');
      const newest = this.#watched[partition]!.checkpoint;
      if (newest === undefined || newest.offset !== offset || commitMetadata(newest) !== metadata)
        throw new Broken(
          `partition ${partition} is committed at ${offset} (${metadata}), its changelog holds ${JSON.stringify(newest)}`,
        );
    }
  }

  #checkOutputs(partition: number): void {
    const { checkpoint, found } = this.#watched[partition]!;
    if (checkpoint === undefined) return;
    this.count('outputs of a commit all or none');
    const { after } = this.#models[partition]!;
    const now = after[checkpoint.offset]!.counts;
    // What falls due with a record may be left to the next commit.
    const before = after[Math.max(0, checkpoint.offset - 1)]!.counts;
    for (const topic of OUTPUTS) {
      const least = topic === 'out' || topic === 'late' ? now[topic] : before[topic];
      const most = this.#exactlyOnce ? now[topic] : Infinity;
      const repeats = !this.#exactlyOnce;
      if ((found[topic] < least && !repeats) || found[topic] > most)
        throw new Broken(
          `${topic}/${partition} has ${found[topic]} outputs, its commit at ${checkpoint.offset} stands for ${now[topic]}`,
        );
    }
  }

  #checkCommands(): void {
    this.count('commands count once, and not at all if rejected');
    for (const [id, times] of this.#done) {
      if (times > 1) throw new Broken(`the command ${id} was committed ${times} times`);
      if (this.#fates.get(id) === 'notApplied') throw new Broken(`the rejected command ${id} was committed`);
    }
    for (const [id, fate] of this.#fates)
      if (fate === 'acknowledged' && !this.#done.has(id))
        throw new Broken(`the command ${id} is acknowledged and not committed`);
  }

  #new(topic: string, partition: number, from: number): AsyncIterable<ReadRecord> {
    return this.#log.read(topic, { partition, from });
  }

  count(what: string): void {
    this.checked[what] = (this.checked[what] ?? 0) + 1;
  }
}

/** Whether the next output of some writer, or one of which a new one begins to repeat, is this. */
function takeRepeat(next: Set<number>, expected: readonly string[], found: string, at: number): boolean {
  const known = [...next].find((index) => expected[index] === found);
  const index = known ?? expected.lastIndexOf(found, at);
  if (index < 0) return false;
  next.delete(index);
  next.add(index + 1);
  return true;
}
