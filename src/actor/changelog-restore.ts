/**
 * Makes a partition's database the new changelog (`onStateMissing: 'restoreFromDisk'`): a reset record first, then its rows
 * in transactions of bounded size, its checkpoint record with the group's offsets last. Until that last one is committed the
 * changelog holds no checkpoint, so that nobody takes it for complete. When this may be done is decided by
 * `state-recovery.ts`.
 */
import { RecordBatchWriter } from '../codec/record-batch-writer.js';
import {
  CHECKPOINT_KEY,
  commitMetadata,
  encodeCheckpointRecord,
  parseCommitMetadata,
  RESET_KEY,
  storeResetKey,
  type CheckpointRecord,
} from '../changelog/checkpoint-record.js';
import type { Clock } from '../core/clock.js';
import type { CommittedOffset, LogBatch, OffsetCommit } from '../core/log-types.js';
import { isMetaKey } from '../storage/position-rows.js';
import type { StorePartition } from '../storage/store-partition.js';
import type { ActorSpec, ActorUplink } from '../threads/protocol.js';
import { commitFailed } from './checkpoint.js';

/** Batches are closed at this size; a single larger record still fits its topic's limit. */
const BATCH_BYTES = 1 << 20;

export interface ChangelogWriterOptions {
  readonly spec: ActorSpec;
  readonly uplink: ActorUplink;
  readonly clock: Clock;
}

/** Commits what recovery itself has to write, before there is anything like a checkpoint. */
export class RecoveryWriter {
  readonly #options: ChangelogWriterOptions;
  readonly #writer = new RecordBatchWriter({ initialBytes: 64 * 1024 });
  #batches: LogBatch[] = [];
  #bytes = 0;

  readonly #beyond: number;

  /** `beyond`: offset up to which the changelog is known; one that ends before it is another one. */
  constructor(options: ChangelogWriterOptions, beyond: number) {
    this.#options = options;
    this.#beyond = beyond;
  }

  /** The bytes that wait for a commit, roughly. */
  get bytes(): number {
    return this.#bytes + this.#writer.byteLength;
  }

  append(key: Uint8Array, value: Uint8Array | null): void {
    const { spec, clock } = this.#options;
    const bound = key.byteLength + (value?.byteLength ?? 0) + 64;
    const target = Math.min(BATCH_BYTES, spec.changelog!.limits.maxBatchBytes);
    if (this.#writer.count > 0 && this.#writer.byteLength + bound > target) this.#seal();
    this.#writer.append(clock.now(), key, value);
  }

  /** Offset of the last record. @throws PartitaError FENCED, COMMIT_IN_DOUBT, COMMIT_REJECTED */
  async commit(offsets: readonly OffsetCommit[]): Promise<number> {
    this.#seal();
    const batches = this.#batches;
    this.#batches = [];
    this.#bytes = 0;
    const outcome = await this.#options.uplink.commit({ batches, offsets, commands: [] });
    if (outcome.kind !== 'committed') throw commitFailed(this.#options.spec, outcome, 'reset');
    return outcome.lastOffsets[batches.length - 1]!;
  }

  #seal(): void {
    const { spec } = this.#options;
    const bytes = this.#writer.seal({ transactional: true });
    if (bytes === undefined) return;
    this.#batches.push({
      topic: spec.changelog!.topic,
      partition: spec.id.partition,
      bytes,
      ...(this.#beyond < 0 ? {} : { beyond: this.#beyond }),
    });
    this.#bytes += bytes.byteLength;
  }
}

/** One transaction: what is given up (everything, or these stores), the record after it, and the group's offsets. */
export async function commitReset(
  options: ChangelogWriterOptions,
  given: 'state' | readonly string[],
  record: CheckpointRecord,
  beyond: number,
): Promise<void> {
  const writer = new RecoveryWriter(options, beyond);
  if (given === 'state') writer.append(RESET_KEY, Uint8Array.of(1));
  else for (const store of given) writer.append(storeResetKey(store), Uint8Array.of(1));
  writer.append(CHECKPOINT_KEY, encodeCheckpointRecord(record));
  await writer.commit(offsetsOf(options.spec, record, () => true));
}

/** @throws PartitaError FENCED, COMMIT_IN_DOUBT, COMMIT_REJECTED, and what the database throws */
export async function restoreChangelog(
  options: ChangelogWriterOptions,
  partition: StorePartition,
  held: CheckpointRecord,
  committed: readonly (CommittedOffset | undefined)[],
  checkStopped: () => void,
): Promise<void> {
  const { spec, clock } = options;
  // First of all nothing counts as applied: whoever finds it so asks whether the changelog was completed.
  if (partition.mismatch === undefined) await partition.disown();
  else await partition.adopt();
  const writer = new RecoveryWriter(options, -1);
  writer.append(RESET_KEY, Uint8Array.of(1));
  const snapshot = partition.snapshot();
  try {
    const scan = snapshot.scan({});
    for (let rows = await scan.next(); rows.length > 0; rows = await scan.next()) {
      for (const [key, value] of rows) {
        if (isMetaKey(key)) continue;
        writer.append(key, value);
        if (writer.bytes < spec.options.recoveryPageBytes) continue;
        checkStopped();
        await writer.commit([]);
      }
    }
  } finally {
    await snapshot.close();
  }
  const record = { ...held, incarnation: held.incarnation + 1, number: held.number + 1 };
  const bytes = encodeCheckpointRecord(record);
  writer.append(CHECKPOINT_KEY, bytes);
  // An operator's offsets stay, to be answered by `onOffsetsMoved`.
  const isOurs = (topic: string): boolean => {
    const given = committed[spec.inputs.findIndex((input) => input.topic === topic)];
    return given === undefined || parseCommitMetadata(given.metadata) !== undefined;
  };
  const offset = await writer.commit(offsetsOf(spec, record, isOurs));
  await partition.apply([], { offset, appendTime: clock.now(), checkpointRecord: bytes, sync: false });
}

function offsetsOf(
  spec: ActorSpec,
  record: CheckpointRecord,
  includes: (topic: string) => boolean,
): OffsetCommit[] {
  const metadata = commitMetadata(record);
  return spec.inputs
    .filter(({ topic }) => record.positions[topic] !== undefined && includes(topic))
    .map(({ topic }) => ({
      topic,
      partition: spec.id.partition,
      offset: record.positions[topic]!.offset,
      metadata,
    }));
}
