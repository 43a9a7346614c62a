/**
 * Recovery inside the actor, before it accepts traffic (semantics.md 8): fence, read what is committed, replay the
 * changelog page by page into the database, reconcile the positions. The decisions are pure functions in
 * `changelog/recovery-decision.ts`; this shell reads, writes and reports progress, and stops within a page when asked.
 */
import { compareBytes } from '../codec/keys.js';
import { readBatchHeader } from '../codec/record-batch-header.js';
import { RecordReader } from '../codec/record-batch-reader.js';
import {
  CHECKPOINT_KEY,
  compareCheckpoints,
  decodeCheckpointRecord,
  parseCommitMetadata,
  RESET_KEY,
  type CheckpointId,
  type CheckpointRecord,
  type InputPosition,
} from '../changelog/checkpoint-record.js';
import {
  decidePositions,
  decideReplay,
  decideStatelessPositions,
  isUntouched,
  samePositions,
  type InputFacts,
  type LocalState,
  type PositionsDecision,
} from '../changelog/recovery-decision.js';
import { Backoff } from '../core/backoff.js';
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { PartitaError } from '../core/errors.js';
import type { CommittedOffset, LogPage, PartitionBounds } from '../core/log-types.js';
import type { EngineWrite } from '../storage/storage-engine.js';
import type { StorePartition } from '../storage/store-partition.js';
import type { ActorSpec, ActorUplink } from '../threads/protocol.js';

const PROGRESS_EVERY_MS = 500;
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
  #records = 0;
  #bytes = 0;
  #rebuilt: string | undefined;

  constructor(options: StateRecoveryOptions) {
    this.#options = options;
    const { stream, partition } = options.spec.id;
    this.#where = `${stream}-${String(partition)}`;
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
    const { uplink, partition } = this.#options;
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
      const decision = decidePositions(this.#checkpointRecord(partition), inputs, this.#options.spec.options);
      const agreed = decision.kind === 'positions' && !decision.commitFirst;
      if (agreed && samePositions(decision.positions, positions)) return undefined;
    }
    dropCache();
    await this.#replayAll(partition, bounds, committed);
    return this.#reconcile(partition, committed);
  }

  async #stateless(): Promise<RecoveredState> {
    const committed = await this.#options.uplink.committed();
    const inputs = await this.#inputFacts(committed);
    const decision = decideStatelessPositions(inputs, this.#options.spec.options);
    return this.#recovered(this.#accept(decision), { incarnation: 0, number: 0 }, -1);
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
    const { clock, spec, uplink } = this.#options;
    const decision = decideReplay(localOf(partition), bounds, {
      nowMs: clock.now(),
      deleteRetentionMs: spec.changelog!.deleteRetentionMs,
    });
    if (decision.kind === 'rebuild') {
      await this.#checkRebuildable(decision.why, bounds, committed);
      this.#rebuilt = decision.why;
      uplink.event({
        type: 'warning',
        message: `The state of ${this.#where} is rebuilt from the changelog: ${decision.why}.`,
        details: { stream: spec.id.stream, partition: spec.id.partition },
      });
      await partition.rebuild();
    }
    await this.#eachPage(decision.from, bounds.end, (page) => this.#applyPage(partition, page));
  }

  /** Before files are destroyed the changelog must hold a checkpoint at least as new as the group's (8.3). */
  async #checkRebuildable(
    why: string,
    bounds: PartitionBounds,
    committed: readonly (CommittedOffset | undefined)[],
  ): Promise<void> {
    const { spec } = this.#options;
    if (this.#options.partition?.mismatch?.kind === 'corrupt' && !spec.options.rebuildOnCorruption)
      throw new PartitaError('CORRUPT', `The database of ${this.#where} can't be used: ${why}.`, {
        details: { directory: spec.directory },
      });
    const newest = newestOf(committed);
    if (newest === undefined || spec.options.onStateMissing === 'startEmpty') return;
    let found: CheckpointRecord | undefined;
    await this.#eachPage(bounds.start, bounds.end, (page) => {
      const record = this.#scanPage(page, ignore, ignore).checkpointRecord;
      if (record !== undefined) found = decodeCheckpointRecord(record, this.#where);
      return Promise.resolve();
    });
    if (found === undefined || compareCheckpoints(found, newest) < 0)
      throw this.#stateMissing(
        `its database must be rebuilt (${why}), but the changelog holds no checkpoint as new as the group's`,
      );
  }

  /** Reads ahead: the next page is fetched while the present one is applied. */
  async #eachPage(from: number, end: number, apply: (page: LogPage) => Promise<void>): Promise<void> {
    const { uplink, spec, clock } = this.#options;
    const maxBytes = spec.options.recoveryPageBytes;
    const startedAt = clock.monotonic();
    let reportAt = startedAt + PROGRESS_EVERY_MS;
    let ahead = from < end ? uplink.readChangelog({ from, maxBytes }) : undefined;
    while (ahead !== undefined) {
      const page = await ahead;
      this.#checkStopped();
      if (page.next <= page.from) throw this.#noProgress(page, end);
      ahead = page.next < end ? uplink.readChangelog({ from: page.next, maxBytes }) : undefined;
      // Whatever fails first is thrown; the page that was read ahead must not fail unheard.
      ahead?.catch(() => undefined);
      await apply(page);
      const now = clock.monotonic();
      if (now >= reportAt || ahead === undefined) {
        reportAt = now + PROGRESS_EVERY_MS;
        const seconds = Math.max(now - startedAt, 1) / 1000;
        uplink.event({
          type: 'recovery',
          records: this.#records,
          rate: this.#records / seconds,
          remaining: Math.max(0, end - page.next),
        });
      }
    }
  }

  #noProgress({ from }: LogPage, end: number): PartitaError {
    const topic = this.#options.spec.changelog!.topic;
    const { partition } = this.#options.spec.id;
    return new PartitaError(
      'LOG_UNAVAILABLE',
      `The log gave nothing of ${topic}-${String(partition)} at offset ${String(from)}, before its end ${String(end)}.`,
      { details: { topic, partition, offset: from, end } },
    );
  }

  async #applyPage(partition: StorePartition, page: LogPage): Promise<void> {
    const writes: EngineWrite[] = [];
    const { checkpointRecord, appendTime, reset } = this.#scanPage(
      page,
      (key, value) => writes.push({ key, value }),
      () => {
        writes.length = 0;
      },
    );
    if (reset) await partition.rebuild();
    this.#records += writes.length;
    this.#bytes += page.bytes.byteLength;
    const position = { offset: page.next - 1, appendTime, sync: false };
    await partition.apply(
      writes,
      checkpointRecord === undefined ? position : { ...position, checkpointRecord },
    );
  }

  /** Walks the records of a page; the checkpoint record is told apart from the stores' records. */
  #scanPage(
    page: LogPage,
    each: (key: Uint8Array, value: Uint8Array | null) => void,
    onReset: () => void,
  ): { checkpointRecord: Uint8Array | undefined; appendTime: number; reset: boolean } {
    const { spec } = this.#options;
    const reader = new RecordReader({ checkCrc: spec.options.checkCrc });
    reader.load(page.bytes, {
      from: page.from,
      aborted: page.aborted,
      topic: spec.changelog!.topic,
      partition: spec.id.partition,
    });
    let checkpointRecord: Uint8Array | undefined;
    let reset = false;
    while (reader.next()) {
      const key = reader.key();
      if (key === null)
        throw new PartitaError(
          'CHANGELOG_INVALID',
          `${spec.changelog!.topic}-${String(spec.id.partition)} offset ${String(reader.offset)} has no key: it is not a changelog of Partita.`,
          { details: { topic: spec.changelog!.topic, partition: spec.id.partition, offset: reader.offset } },
        );
      const value = reader.value();
      if (sameBytes(key, CHECKPOINT_KEY)) checkpointRecord = value ?? undefined;
      else if (sameBytes(key, RESET_KEY)) {
        reset = true;
        onReset();
      } else each(key, value);
    }
    return { checkpointRecord, appendTime: lastAppendTime(page), reset };
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
      const decision = decidePositions(record, inputs, spec.options);
      if (decision.kind === 'stateMissing' && spec.options.onStateMissing === 'startEmpty')
        return this.#startEmpty(partition, inputs, decision.why);
      if (decision.kind !== 'stale')
        return this.#recovered(
          this.#accept(decision),
          record ?? { incarnation: 0, number: 0 },
          record?.clock ?? -1,
        );
      if (deadline.expired)
        throw new PartitaError(
          'LOG_UNAVAILABLE',
          `The offsets of ${this.#where} stay stale: ${decision.why}.`,
        );
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
    const { uplink, spec } = this.#options;
    uplink.event({
      type: 'warning',
      message: `The state of ${this.#where} starts empty: ${why}.`,
      details: { stream: spec.id.stream, partition: spec.id.partition },
    });
    await partition.rebuild();
    const newest = newestOf(inputs.map((input) => input.committed)) ?? { incarnation: 0, number: 0 };
    const decision = this.#accept(decideStatelessPositions(inputs, spec.options));
    const checkpoint = { incarnation: newest.incarnation + 1, number: newest.number };
    return { ...this.#recovered(decision, checkpoint, -1), commitFirst: true, reset: true };
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
    const { spec, uplink } = this.#options;
    const details = { stream: spec.id.stream, partition: spec.id.partition };
    switch (decision.kind) {
      case 'positions':
        for (const message of decision.notes) uplink.event({ type: 'warning', message, details });
        return decision;
      case 'stateMissing':
        throw this.#stateMissing(decision.why);
      case 'offsetsMoved':
        throw new PartitaError(
          'OFFSETS_MOVED',
          `The offsets of ${this.#where} were moved: ${decision.why}. Choose by onOffsetsMoved.`,
          {
            details,
          },
        );
      case 'outOfRange':
        throw new PartitaError(
          'OFFSET_OUT_OF_RANGE',
          `${this.#where} can't go on in ${decision.topic}: ${decision.why}. Choose by onOutOfRange.`,
          { details: { ...details, topic: decision.topic } },
        );
      case 'stale':
        throw new PartitaError(
          'LOG_UNAVAILABLE',
          `The offsets of ${this.#where} are stale: ${decision.why}.`,
        );
    }
  }

  #recovered(
    decision: Extract<PositionsDecision, { kind: 'positions' }>,
    checkpoint: CheckpointId,
    eventClock: number,
  ): RecoveredState {
    return {
      positions: decision.positions,
      commitFirst: decision.commitFirst,
      reset: false,
      checkpoint: { incarnation: checkpoint.incarnation, number: checkpoint.number },
      eventClock,
      restoredRecords: this.#records,
      restoredBytes: this.#bytes,
      rebuilt: this.#rebuilt,
    };
  }

  #stateMissing(why: string): PartitaError {
    const { spec } = this.#options;
    return new PartitaError(
      'STATE_MISSING',
      `The state of ${this.#where} is missing: ${why}. Restore the changelog, or choose by onStateMissing.`,
      {
        details: { stream: spec.id.stream, partition: spec.id.partition, changelog: spec.changelog?.topic },
      },
    );
  }

  #checkStopped(): void {
    if (this.#options.signal.aborted)
      throw new PartitaError('CALL_ABORTED', `The recovery of ${this.#where} was stopped.`);
  }
}

function localOf(partition: StorePartition): LocalState {
  const { offset, appendTime, mismatch } = partition;
  return { offset, appendTime, mismatch: mismatch?.message };
}

function ignore(): void {
  // A scan for the checkpoint record alone looks at nothing else.
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && compareBytes(a, b) === 0;
}

function newestOf(committed: readonly (CommittedOffset | undefined)[]): CheckpointId | undefined {
  return committed
    .map((offset) => (offset === undefined ? undefined : parseCommitMetadata(offset.metadata)))
    .filter((id) => id !== undefined)
    .sort(compareCheckpoints)
    .at(-1);
}

/** Largest timestamp of the page's last batch: its append time, since changelogs are stamped by the log. */
function lastAppendTime(page: LogPage): number {
  const bytes = Buffer.from(page.bytes);
  let appendTime = -1;
  for (let at = 0; ;) {
    const header = readBatchHeader(bytes, at);
    if (header === undefined) return appendTime;
    appendTime = Math.max(appendTime, header.maxTimestamp);
    at = header.end;
  }
}
