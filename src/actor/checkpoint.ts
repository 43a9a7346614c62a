/**
 * One checkpoint after the other (semantics.md 7): freeze the layer, encode it once, commit changelog, outputs and offsets
 * in one transaction of the log, then flush to the database, while the actor already fills the next layer. It never
 * decides to retry: any failure after the freeze ends the actor, which restarts from what is committed.
 */
import { RecordBatchWriter } from '../codec/record-batch-writer.js';
import {
  CHECKPOINT_KEY,
  commitMetadata,
  encodeCheckpointRecord,
  RESET_KEY,
  type CheckpointId,
  type CheckpointRecord,
} from '../changelog/checkpoint-record.js';
import type { Clock } from '../core/clock.js';
import { PartitaError } from '../core/errors.js';
import { Lifecycle } from '../core/lifecycle.js';
import { checkpointLifecycle } from '../core/lifecycles.js';
import type { CommitOutcome, LogBatch, OffsetCommit } from '../core/log-types.js';
import type { FrozenLayer, StateStore } from '../state/state-store.js';
import type { EngineWrite } from '../storage/storage-engine.js';
import type { StorePartition } from '../storage/store-partition.js';
import type { ActorSpec, ActorUplink, CheckpointReason } from '../threads/protocol.js';

/** Changelog batches are closed at this size; a single larger record still fits its topic's limit. */
const CHANGELOG_BATCH_BYTES = 1 << 20;

/** So many entries are encoded before the loop may breathe: a few milliseconds. */
const ENTRIES_PER_PART = 4000;

/** What a checkpoint takes over from the processing loop. */
export interface CheckpointContents {
  readonly reason: CheckpointReason;
  /** By topic. */
  readonly positions: CheckpointRecord['positions'];
  readonly eventClock: number;
  readonly outputs: readonly LogBatch[];
  readonly commands: readonly { readonly seq: number; readonly result: unknown }[];
  /** Records processed since the last checkpoint. */
  readonly records: number;
  /** At-least-once: settles when the outputs that left before are acknowledged. */
  readonly outputsSent: Promise<void> | undefined;
  /** Whether everything that stands in the changelog before this checkpoint is given up. */
  readonly reset: boolean;
}

export interface CheckpointOptions {
  readonly spec: ActorSpec;
  readonly uplink: ActorUplink;
  readonly clock: Clock;
  readonly state: StateStore | undefined;
  readonly partition: StorePartition | undefined;
  readonly stores: CheckpointRecord['stores'];
  readonly resets: CheckpointRecord['resets'];
  /** The last committed one. */
  readonly last: CheckpointId;
}

export class Checkpoint {
  readonly lifecycle: Lifecycle<(typeof checkpointLifecycle)['initial']>;
  readonly #options: CheckpointOptions;
  #number: number;
  #writer: RecordBatchWriter | undefined;

  constructor(options: CheckpointOptions) {
    this.#options = options;
    const { stream, partition } = options.spec.id;
    this.lifecycle = new Lifecycle(checkpointLifecycle, `checkpoint of ${stream}-${String(partition)}`);
    this.#number = options.last.number;
  }

  /** Whether a layer is frozen and not yet flushed. */
  get underWay(): boolean {
    return this.lifecycle.state !== 'idle';
  }

  /** Number of the last checkpoint that was begun. */
  get number(): number {
    return this.#number;
  }

  /**
   * Freezes in this very step; resolves after the flush. Rejects with what ends the actor: FENCED, COMMIT_IN_DOUBT,
   * COMMIT_REJECTED, an engine's error. `onCommitted` is called once the log has committed, whatever becomes of the flush.
   */
  async run(contents: CheckpointContents, onCommitted: () => void): Promise<void> {
    this.lifecycle.move('frozen');
    try {
      const frozen = this.#options.state?.freeze();
      this.#number++;
      await this.#complete(contents, frozen, onCommitted);
    } catch (error) {
      this.lifecycle.move('failed');
      throw error;
    }
  }

  async #complete(
    contents: CheckpointContents,
    frozen: FrozenLayer | undefined,
    onCommitted: () => void,
  ): Promise<void> {
    const { clock, uplink, partition, spec } = this.#options;
    const startedAt = clock.monotonic();
    const record = this.#record(contents);
    if (frozen !== undefined)
      while (!frozen.encodePart(ENTRIES_PER_PART)) await new Promise((resolve) => setImmediate(resolve));
    const changes = frozen?.encode() ?? [];
    const changelog = record === undefined ? [] : this.#encodeChangelog(changes, record, contents.reset);
    const bytes = changelog.reduce((sum, batch) => sum + batch.bytes.byteLength, 0);
    if (contents.outputsSent !== undefined) await contents.outputsSent;
    this.lifecycle.move('committing');
    const changelogBatches = changelog.length;
    const outcome = await uplink.commit({
      batches: [...changelog, ...contents.outputs],
      offsets: this.#offsets(contents),
      commands: contents.commands,
    });
    if (outcome.kind !== 'committed') throw commitFailed(spec, outcome);
    onCommitted();
    this.lifecycle.move('flushing');
    if (partition !== undefined && record !== undefined)
      await partition.apply(changes, {
        offset: outcome.lastOffsets[changelogBatches - 1]!,
        // The log stamps its own time; ours differs by less than any retention that this is compared with.
        appendTime: clock.now(),
        checkpointRecord: record,
        sync: spec.options.sync,
      });
    frozen?.complete();
    this.lifecycle.move('idle');
    uplink.event({
      type: 'checkpoint',
      number: this.#number,
      records: contents.records,
      bytes,
      durationMs: clock.monotonic() - startedAt,
      reason: contents.reason,
    });
  }

  /** The encoded checkpoint record; `undefined` for a stateless stream. */
  #record(contents: CheckpointContents): Uint8Array | undefined {
    const { spec, last, stores, resets } = this.#options;
    if (spec.changelog === undefined) return undefined;
    const { incarnation } = last;
    const { positions, eventClock: clock } = contents;
    return encodeCheckpointRecord({ incarnation, number: this.#number, positions, clock, stores, resets });
  }

  #offsets(contents: CheckpointContents): OffsetCommit[] {
    const { spec, last } = this.#options;
    const metadata =
      spec.changelog === undefined
        ? ''
        : commitMetadata({ incarnation: last.incarnation, number: this.#number });
    return Object.entries(contents.positions).map(([topic, { offset }]) => ({
      topic,
      partition: spec.id.partition,
      offset,
      metadata,
    }));
  }

  #encodeChangelog(changes: readonly EngineWrite[], record: Uint8Array, reset: boolean): LogBatch[] {
    const { spec, clock } = this.#options;
    const { topic, limits } = spec.changelog!;
    const { partition } = spec.id;
    const target = Math.min(CHANGELOG_BATCH_BYTES, limits.maxBatchBytes);
    const writer = (this.#writer ??= new RecordBatchWriter({ initialBytes: 64 * 1024 }));
    const batches: LogBatch[] = [];
    const now = clock.now();
    // A changelog that was deleted and created again under the actor must not take what belongs to the old one.
    const beyond = this.#options.partition?.offset ?? -1;
    const seal = (): void => {
      const bytes = writer.seal({ transactional: true });
      if (bytes !== undefined) batches.push({ topic, partition, bytes, ...(beyond < 0 ? {} : { beyond }) });
    };
    const append = (key: Uint8Array, value: Uint8Array | null): void => {
      const bound = key.byteLength + (value?.byteLength ?? 0) + 64;
      if (writer.count > 0 && writer.byteLength + bound > target) seal();
      writer.append(now, key, value);
    };
    if (reset) append(RESET_KEY, Uint8Array.of(1));
    for (const change of changes) append(change.key, change.value);
    append(CHECKPOINT_KEY, record);
    seal();
    return batches;
  }
}

export function commitFailed(
  spec: ActorSpec,
  outcome: Exclude<CommitOutcome, { kind: 'committed' }>,
  which = 'checkpoint',
): PartitaError {
  const what = `The ${which} of ${spec.id.stream}-${String(spec.id.partition)}`;
  const details = { stream: spec.id.stream, partition: spec.id.partition, outcome: outcome.kind };
  switch (outcome.kind) {
    case 'fenced':
      return new PartitaError('FENCED', `${what} was fenced: ${outcome.reason}`, { details });
    case 'inDoubt':
      return new PartitaError('COMMIT_IN_DOUBT', `${what} is in doubt: ${outcome.reason}`, { details });
    case 'rejected':
      return new PartitaError(outcome.code ?? 'COMMIT_REJECTED', `${what} was rejected: ${outcome.reason}`, {
        details,
      });
  }
}
