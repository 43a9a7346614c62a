/**
 * Recovery inside the actor, before it accepts traffic (semantics.md 8): fence, read what is committed, replay the
 * changelog page by page into the database, reconcile the positions. The decisions are pure functions in
 * `changelog/recovery-decision.ts`; this shell reads, writes and reports progress, and stops within a page when asked.
 */
import {
  decodeCheckpointRecord,
  type CheckpointId,
  type CheckpointRecord,
  type InputPosition,
} from '../changelog/checkpoint-record.js';
import {
  decidePositions,
  decideReplay,
  decideStatelessPositions,
  isAsNew,
  isUntouched,
  newestCommitted,
  samePositions,
  type InputFacts,
  type LocalState,
  type PositionsDecision,
} from '../changelog/recovery-decision.js';
import { decideReset, type DueReset } from '../changelog/reset-decision.js';
import { settledResets, settledStores } from '../changelog/resets.js';
import { Backoff } from '../core/backoff.js';
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { PartitaError } from '../core/errors.js';
import type { CommittedOffset, PartitionBounds } from '../core/log-types.js';
import type { StorePartition } from '../storage/store-partition.js';
import type { ActorSpec, ActorUplink } from '../threads/protocol.js';
import { commitReset, restoreChangelog } from './changelog-restore.js';
import { ChangelogReplay } from './changelog-replay.js';
import { positionsRefused, stateMissing } from './recovery-errors.js';

/** How long the group's offsets may stay older than the state before that is an error: brokers settle in ms. */
const STALE_OFFSETS_BUDGET_MS = 10_000;

/** What the actor goes on with. */
export interface RecoveredState {
  readonly positions: Readonly<Record<string, InputPosition>>;
  /** Commit the positions before the first record. */
  readonly commitFirst: boolean;
  /** With that commit, everything before it in the changelog is given up. */
  readonly reset: boolean;
  readonly checkpoint: CheckpointId;
  readonly eventClock: number;
  /** What was reset on demand and must not be reset again. */
  readonly resets: CheckpointRecord['resets'];
  readonly restoredRecords: number;
  readonly restoredBytes: number;
  readonly rebuilt: string | undefined;
}

export interface StateRecoveryOptions {
  readonly spec: ActorSpec;
  readonly uplink: ActorUplink;
  readonly clock: Clock;
  readonly partition: StorePartition | undefined;
  readonly signal: AbortSignal;
}

export class StateRecovery {
  readonly #options: StateRecoveryOptions;
  readonly #where: string;
  readonly #replay: ChangelogReplay;
  #rebuilt: string | undefined;

  constructor(options: StateRecoveryOptions) {
    this.#options = options;
    const { stream, partition } = options.spec.id;
    this.#where = `${stream}-${String(partition)}`;
    this.#replay = new ChangelogReplay({
      ...options,
      checkStopped: () => {
        this.#checkStopped();
      },
    });
  }

  /** Rejects CALL_ABORTED when stopped, keeping what was applied; any other rejection ends the actor. */
  async run(): Promise<RecoveredState> {
    const { uplink, partition } = this.#options;
    await uplink.init();
    this.#checkStopped();
    if (partition === undefined) return this.#stateless();
    const bounds = await this.#settledChangelog();
    const committed = await uplink.committed();
    await this.#replayAll(partition, bounds, committed);
    return this.#reconcile(partition, committed);
  }

  /**
   * As `run`, for an actor that was parked at these positions: `undefined` if nobody has written meanwhile, so that what
   * it holds in memory is still the truth. Otherwise `dropCache` is called before the database changes.
   */
  async runAfterParking(
    positions: RecoveredState['positions'],
    dropCache: () => void,
  ): Promise<RecoveredState | undefined> {
    const { uplink, partition, spec } = this.#options;
    await uplink.init();
    this.#checkStopped();
    if (partition === undefined) {
      const recovered = await this.#stateless();
      return recovered.commitFirst || !samePositions(recovered.positions, positions) ? recovered : undefined;
    }
    const bounds = await this.#settledChangelog();
    const committed = await uplink.committed();
    if (isUntouched(localOf(partition), bounds)) {
      const inputs = await this.#inputFacts(committed);
      const record = this.#checkpointRecord(partition);
      const decision = decidePositions(record, inputs, spec.options);
      const agreed = decision.kind === 'positions' && !decision.commitFirst;
      const reset = decideReset(record, inputs, decision, spec.options);
      if (agreed && reset.kind === 'none' && samePositions(decision.positions, positions)) return undefined;
    }
    dropCache();
    await this.#replayAll(partition, bounds, committed);
    return this.#reconcile(partition, committed);
  }

  async #stateless(): Promise<RecoveredState> {
    const committed = await this.#options.uplink.committed();
    const inputs = await this.#inputFacts(committed);
    const decision = decideStatelessPositions(inputs, this.#options.spec.options);
    return this.#recovered(this.#accept(decision), undefined);
  }

  /** Bounds without anybody's open transaction at the tail: ours was settled by `init`, another's ends by its time-out. */
  async #settledChangelog(): Promise<PartitionBounds> {
    const { uplink, clock, spec, signal } = this.#options;
    const deadline = Deadline.after(clock, spec.options.changelogBlockedMs);
    const backoff = new Backoff({ firstMs: 5, maxMs: 500, attemptsMax: Infinity });
    for (;;) {
      const bounds = await uplink.changelogBounds();
      if (bounds.lastStable >= bounds.end) return bounds;
      if (deadline.expired)
        throw new PartitaError(
          'CHANGELOG_BLOCKED',
          `An open transaction holds ${spec.changelog!.topic}-${String(spec.id.partition)} at offset ${String(bounds.lastStable)} of ${String(bounds.end)}.`,
          {
            details: {
              topic: spec.changelog!.topic,
              partition: spec.id.partition,
              offset: bounds.lastStable,
            },
          },
        );
      await clock.sleep(backoff.next()!, signal);
    }
  }

  async #replayAll(
    partition: StorePartition,
    bounds: PartitionBounds,
    committed: readonly (CommittedOffset | undefined)[],
  ): Promise<void> {
    const { clock, spec } = this.#options;
    const decision = decideReplay(localOf(partition), bounds, {
      nowMs: clock.now(),
      deleteRetentionMs: spec.changelog!.deleteRetentionMs,
    });
    if (decision.kind === 'rebuild') {
      const way = await this.#checkRebuildable(decision.why, bounds, committed);
      if (way === 'restore') return this.#restoreFromDisk(partition, decision.why, committed);
      this.#rebuilt = decision.why;
      this.#warn(`The state of ${this.#where} is rebuilt from the changelog: ${decision.why}.`);
      await partition.rebuild();
    }
    await this.#replay.replay(partition, decision.from, bounds.end);
  }

  /** The database becomes the new changelog, from which every other one can be made again. */
  async #restoreFromDisk(
    partition: StorePartition,
    why: string,
    committed: readonly (CommittedOffset | undefined)[],
  ): Promise<void> {
    this.#warn(`The changelog of ${this.#where} is written anew from its database: ${why}.`);
    const held = this.#checkpointRecord(partition)!;
    await restoreChangelog(this.#options, partition, held, committed, () => {
      this.#checkStopped();
    });
    await this.#replayTail(partition);
  }

  /** Up to what recovery itself has committed. */
  async #replayTail(partition: StorePartition): Promise<void> {
    const bounds = await this.#settledChangelog();
    await this.#replay.replay(partition, Math.max(partition.offset + 1, bounds.start), bounds.end);
  }

  /** Before files are destroyed the changelog must hold a checkpoint at least as new as the group's (8.3). */
  async #checkRebuildable(
    why: string,
    bounds: PartitionBounds,
    committed: readonly (CommittedOffset | undefined)[],
  ): Promise<'rebuild' | 'restore'> {
    const { spec } = this.#options;
    if (this.#options.partition?.mismatch?.kind === 'corrupt' && !spec.options.rebuildOnCorruption)
      throw new PartitaError('CORRUPT', `The database of ${this.#where} can't be used: ${why}.`, {
        details: { directory: spec.directory },
      });
    if (spec.options.onStateMissing === 'startEmpty') return 'rebuild';
    const newest = newestCommitted(committed);
    const held = this.#heldOnDisk();
    if (committed.every((offset) => offset === undefined) && held === undefined) return 'rebuild';
    const found = await this.#replay.findCheckpoint(bounds.start, bounds.end);
    const record = found === undefined ? undefined : decodeCheckpointRecord(found, this.#where);
    if (isAsNew(record, newest ?? held)) return 'rebuild';
    if (held !== undefined && isAsNew(held, newest)) return 'restore';
    throw stateMissing(
      spec,
      `its database must be rebuilt (${why}), but the changelog holds no checkpoint as new as the group's`,
    );
  }

  /** What a readable database holds, if it may become the changelog. */
  #heldOnDisk(): CheckpointRecord | undefined {
    const { partition, spec } = this.#options;
    const isReadable =
      partition !== undefined && (partition.mismatch === undefined || partition.mismatch.kind === 'topicId');
    if (spec.options.onStateMissing !== 'restoreFromDisk' || !isReadable) return undefined;
    return this.#checkpointRecord(partition);
  }

  /** Positions from the checkpoint record, against what the group has committed; a stale answer is asked again. */
  async #reconcile(
    partition: StorePartition,
    first: readonly (CommittedOffset | undefined)[],
  ): Promise<RecoveredState> {
    const { uplink, clock, spec, signal } = this.#options;
    const record = this.#checkpointRecord(partition);
    const deadline = Deadline.after(clock, STALE_OFFSETS_BUDGET_MS);
    const backoff = new Backoff({ firstMs: 5, maxMs: 500, attemptsMax: Infinity });
    let committed = first;
    for (;;) {
      const inputs = await this.#inputFacts(committed);
      const decision: PositionsDecision =
        record === undefined && (this.#replay.records > 0 || (await partition.holdsRows()))
          ? { kind: 'stateMissing', why: 'the changelog holds entries and no checkpoint of theirs' }
          : decidePositions(record, inputs, spec.options);
      if (decision.kind === 'stateMissing' && spec.options.onStateMissing === 'startEmpty')
        return this.#startEmpty(partition, inputs, decision.why);
      const reset = decideReset(record, inputs, decision, spec.options);
      if (reset.kind === 'refused') this.#accept(reset.by);
      if (reset.kind === 'reset') {
        await this.#carryOut(partition, reset);
        return this.#reconcile(partition, await uplink.committed());
      }
      if (decision.kind !== 'stale' || deadline.expired)
        return this.#recovered(this.#accept(decision), record);
      await clock.sleep(backoff.next()!, signal);
      committed = await uplink.committed();
    }
  }

  #checkpointRecord({ checkpointRecord: bytes }: StorePartition): CheckpointRecord | undefined {
    return bytes === undefined ? undefined : decodeCheckpointRecord(bytes, this.#where);
  }

  /** The operator said so: nothing of the state is left, the group's positions hold, a new incarnation begins. */
  async #startEmpty(
    partition: StorePartition,
    inputs: readonly InputFacts[],
    why: string,
  ): Promise<RecoveredState> {
    const { spec } = this.#options;
    this.#warn(`The state of ${this.#where} starts empty: ${why}.`);
    await partition.rebuild();
    const newest = newestCommitted(inputs.map((input) => input.committed)) ?? { incarnation: 0, number: 0 };
    const decision = this.#accept(decideStatelessPositions(inputs, spec.options));
    const checkpoint = { incarnation: newest.incarnation + 1, number: newest.number };
    return { ...this.#recovered(decision, undefined), checkpoint, commitFirst: true, reset: true };
  }

  /** One transaction; what it means for the database is learnt from the changelog, as it would be by everyone else. */
  async #carryOut(partition: StorePartition, { given, record, why, notes }: DueReset): Promise<void> {
    for (const note of notes) this.#warn(note);
    this.#warn(`State of ${this.#where} is given up: ${why}.`);
    await commitReset(this.#options, given, record, partition.offset);
    await this.#replayTail(partition);
  }

  #warn(message: string): void {
    const { spec, uplink } = this.#options;
    const { stream, partition } = spec.id;
    uplink.event({ type: 'warning', message, details: { stream, partition } });
  }

  async #inputFacts(committed: readonly (CommittedOffset | undefined)[]): Promise<InputFacts[]> {
    const { uplink, spec } = this.#options;
    const bounds = await uplink.inputBounds();
    return spec.inputs.map(({ topic, topicId, isTable }, i) => ({
      topic,
      topicId,
      isTable,
      bounds: bounds[i]!,
      committed: committed[i],
    }));
  }

  #accept(decision: PositionsDecision): Extract<PositionsDecision, { kind: 'positions' }> {
    if (decision.kind !== 'positions') throw positionsRefused(this.#options.spec, decision);
    for (const note of decision.notes) this.#warn(note);
    return decision;
  }

  #recovered(
    decision: Extract<PositionsDecision, { kind: 'positions' }>,
    record: CheckpointRecord | undefined,
  ): RecoveredState {
    const { resets } = this.#options.spec.options;
    return {
      positions: decision.positions,
      commitFirst: decision.commitFirst,
      reset: false,
      checkpoint: { incarnation: record?.incarnation ?? 0, number: record?.number ?? 0 },
      eventClock: record?.clock ?? -1,
      resets: record === undefined ? settledResets(resets, []) : settledStores(resets, record.resets),
      restoredRecords: this.#replay.records,
      restoredBytes: this.#replay.bytes,
      rebuilt: this.#rebuilt,
    };
  }

  #checkStopped(): void {
    if (this.#options.signal.aborted)
      throw new PartitaError('CALL_ABORTED', `The recovery of ${this.#where} was stopped.`);
  }
}

function localOf(partition: StorePartition): LocalState {
  const { offset, appendTime, mismatch, checkpointRecord } = partition;
  const unfinished = offset < 0 && checkpointRecord !== undefined;
  return { offset, appendTime, mismatch: mismatch?.message, unfinished };
}
