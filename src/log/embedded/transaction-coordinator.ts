/**
 * Transactional ids: who holds them (producer id and epoch), which transaction is open, and how it ends. A transaction's
 * batches, offsets and markers are one atomic write. It knows nothing of group members: as in Kafka's protocol, only the
 * epoch fences.
 */
import type { Clock } from '../../core/clock.js';
import { PartitaError, describeError, isPartitaError } from '../../core/errors.js';
import type { CommitOutcome, CommitRequest, LogBatch, OffsetCommit } from '../../core/log-types.js';
import { AppendPlan, type Appended, type CheckedBatch, checkBatches } from './append-plan.js';
import type { LogStorage, OffsetRow, StorageBatch, TransactionalRow } from './log-storage.js';
import type { OffsetTable } from './offset-table.js';
import type { PartitionLog, ProducerStamp } from './partition-log.js';
import type { Sequencer } from './sequencer.js';
import type { TopicRegistry } from './topic-registry.js';

const EPOCH_MAX = 32_767;
const METADATA_BYTES_MAX = 4096;
/** Kafka's `transactional.id.expiration.ms`. */
const ID_EXPIRATION_MS = 7 * 86_400_000;

/** Proof of an `init`: what every later call of that holder carries. */
export interface TransactionHolder extends ProducerStamp {
  readonly transactionalId: string;
}

export interface CoordinatorParts {
  readonly clock: Clock;
  readonly storage: LogStorage;
  readonly sequencer: Sequencer;
  readonly topics: TopicRegistry;
  readonly offsets: OffsetTable;
}

export class TransactionCoordinator {
  readonly #parts: CoordinatorParts;
  readonly #ids = new Map<string, TransactionalRow>();
  #nextProducerId = 0;

  constructor(parts: CoordinatorParts) {
    this.#parts = parts;
  }

  /** Takes over what an earlier run left, open transactions included. */
  restore(rows: readonly TransactionalRow[], nextProducerId: number): void {
    this.#nextProducerId = nextProducerId;
    for (const row of rows) {
      this.#ids.set(row.transactionalId, row);
      for (const { firstOffset, ...partition } of row.open)
        this.#parts.topics.partition(partition).openTransaction(row.producerId, firstOffset);
    }
  }

  /** A producer id for idempotent appends outside transactions. */
  async newProducerId(): Promise<number> {
    return this.#parts.sequencer.run(async () => {
      const storage = this.#parts.storage.batch();
      const producerId = this.#takeProducerId(storage);
      await storage.write();
      return producerId;
    });
  }

  /** Fences every earlier holder of the id and aborts what it left open. */
  async init(transactionalId: string, timeoutMs: number): Promise<TransactionHolder> {
    return this.#parts.sequencer.run(async () => {
      const storage = this.#parts.storage.batch();
      const known = this.#ids.get(transactionalId);
      if (known !== undefined && known.open.length > 0) await this.#end(known, 'abort', [], known.epoch);
      const worn = known === undefined || known.epoch >= EPOCH_MAX;
      const row: TransactionalRow = {
        transactionalId,
        producerId: worn ? this.#takeProducerId(storage) : known.producerId,
        epoch: worn ? 0 : known.epoch + 1,
        timeoutMs,
        usedAt: this.#parts.clock.now(),
        open: [],
        openedAt: 0,
      };
      storage.putTransactional(row);
      await storage.write();
      this.#ids.set(transactionalId, row);
      return { transactionalId, producerId: row.producerId, epoch: row.epoch };
    });
  }

  /** The whole transaction as one write. */
  async commit(holder: TransactionHolder, request: CommitRequest): Promise<CommitOutcome> {
    return this.#parts.sequencer.run(async () => {
      let plan: AppendPlan;
      let appended: readonly Appended[];
      try {
        const row = this.#current(holder);
        if (row.open.length > 0)
          throw new PartitaError('FENCED', `${holder.transactionalId} has an open transaction already.`);
        const now = this.#parts.clock.now();
        const storage = this.#parts.storage.batch();
        plan = new AppendPlan(storage, now);
        appended = this.#planBatches(plan, holder, request.batches, now);
        for (const log of this.#logsOf(request.batches)) plan.addMarker(log, 'commit', holder);
        this.#planOffsets(plan, storage, request.group, request.offsets);
        this.#planRow(plan, storage, { ...row, usedAt: now });
      } catch (error) {
        return refusal(error);
      }
      try {
        await plan.commit();
      } catch (error) {
        return { kind: 'inDoubt', reason: describeError(error) };
      }
      return {
        kind: 'committed',
        baseOffsets: appended.map((batch) => batch.baseOffset),
        lastOffsets: appended.map((batch) => batch.lastOffset),
      };
    });
  }

  /** Appends to the holder's transaction and leaves it open, as a producer does that dies before its end. */
  async append(holder: TransactionHolder, batches: readonly LogBatch[]): Promise<void> {
    await this.#parts.sequencer.run(async () => {
      const row = this.#current(holder);
      const now = this.#parts.clock.now();
      const storage = this.#parts.storage.batch();
      const plan = new AppendPlan(storage, now);
      const firsts = new Map(row.open.map((open) => [this.#parts.topics.partition(open), open.firstOffset]));
      for (const log of this.#logsOf(batches)) {
        const firstOffset = firsts.get(log) ?? plan.endOf(log);
        firsts.set(log, firstOffset);
        plan.also(() => {
          log.openTransaction(holder.producerId, firstOffset);
        });
      }
      this.#planBatches(plan, holder, batches, now);
      const open = [...firsts].map(([{ topic, partition }, firstOffset]) => ({
        topic,
        partition,
        firstOffset,
      }));
      this.#planRow(plan, storage, {
        ...row,
        open,
        usedAt: now,
        openedAt: row.openedAt === 0 ? now : row.openedAt,
      });
      await plan.commit();
    });
  }

  /** Ends the transaction that `append` opened. Rejects FENCED if it is not the holder's any more. */
  async end(
    holder: TransactionHolder,
    type: 'commit' | 'abort',
    group: string,
    offsets: readonly OffsetCommit[],
  ): Promise<void> {
    await this.#parts.sequencer.run(async () => {
      const rows = type === 'commit' ? offsets.map((offset) => ({ group, ...offset })) : [];
      await this.#end(this.#current(holder), type, rows, holder.epoch);
    });
  }

  /** Aborts transactions past their timeout, fencing their holders, and forgets ids not used for a week. */
  async expire(): Promise<void> {
    await this.#parts.sequencer.run(async () => {
      const now = this.#parts.clock.now();
      for (const row of [...this.#ids.values()])
        if (row.open.length > 0) {
          if (now - row.openedAt >= row.timeoutMs)
            await this.#end(row, 'abort', [], Math.min(row.epoch + 1, EPOCH_MAX));
        } else if (now - row.usedAt >= ID_EXPIRATION_MS) {
          const storage = this.#parts.storage.batch();
          storage.deleteTransactional(row.transactionalId);
          await storage.write();
          this.#ids.delete(row.transactionalId);
        }
    });
  }

  /** Drops a deleted topic's partitions from open transactions. Runs inside the sequencer. */
  forgetTopic(topic: string, storage: StorageBatch): void {
    for (const row of this.#ids.values()) {
      const open = row.open.filter((partition) => partition.topic !== topic);
      if (open.length === row.open.length) continue;
      const rest = { ...row, open, openedAt: open.length === 0 ? 0 : row.openedAt };
      storage.putTransactional(rest);
      this.#ids.set(row.transactionalId, rest);
    }
  }

  #current(holder: TransactionHolder): TransactionalRow {
    const row = this.#ids.get(holder.transactionalId);
    if (row?.producerId === holder.producerId && row.epoch === holder.epoch) return row;
    const why =
      row === undefined ? 'the id has expired' : `the epoch ${holder.epoch} was replaced by ${row.epoch}`;
    throw new PartitaError('FENCED', `The producer of ${holder.transactionalId} was fenced: ${why}.`, {
      details: { transactionalId: holder.transactionalId },
    });
  }

  /** Ends an open transaction: markers, offsets and the row in one write. */
  async #end(row: TransactionalRow, type: 'commit' | 'abort', offsets: readonly OffsetRow[], epoch: number) {
    const storage = this.#parts.storage.batch();
    const plan = new AppendPlan(storage, this.#parts.clock.now());
    for (const { firstOffset, ...partition } of row.open) {
      const log = this.#parts.topics.partition(partition);
      const { baseOffset: markerOffset } = plan.addMarker(log, type, { producerId: row.producerId, epoch });
      const aborted =
        type === 'abort' ? { producerId: row.producerId, firstOffset, markerOffset } : undefined;
      if (aborted !== undefined) storage.putAborted(log, aborted);
      plan.also(() => {
        log.closeTransaction(row.producerId, aborted);
      });
    }
    for (const offset of offsets) this.#planOffset(plan, storage, offset);
    this.#planRow(plan, storage, { ...row, epoch, open: [], openedAt: 0, usedAt: this.#parts.clock.now() });
    await plan.commit();
  }

  #planBatches(
    plan: AppendPlan,
    stamp: ProducerStamp,
    batches: readonly LogBatch[],
    now: number,
  ): Appended[] {
    // Everything is checked before anything is stamped, so that a refused transaction has no part in any partition.
    const checked: (readonly CheckedBatch[])[] = batches.map((batch) => {
      const topic = this.#parts.topics.topic(batch.topic);
      return checkBatches(topic, this.#parts.topics.partition(batch), batch, now);
    });
    return checked.map((parts, index) => {
      const end = plan.endOf(this.#parts.topics.partition(batches[index]!));
      const appended = parts.map((part) => plan.addStamped(part, stamp, true));
      return {
        baseOffset: appended[0]?.baseOffset ?? end,
        lastOffset: appended.at(-1)?.lastOffset ?? end - 1,
      };
    });
  }

  #planOffsets(
    plan: AppendPlan,
    storage: StorageBatch,
    group: string,
    offsets: readonly OffsetCommit[],
  ): void {
    for (const offset of offsets) {
      this.#parts.topics.partition(offset);
      if (Buffer.byteLength(offset.metadata) > METADATA_BYTES_MAX)
        throw new PartitaError(
          'INVALID_ARGUMENT',
          `The metadata of ${offset.topic}/${offset.partition} is longer than ${METADATA_BYTES_MAX} bytes.`,
        );
      this.#planOffset(plan, storage, { group, ...offset });
    }
  }

  #planOffset(plan: AppendPlan, storage: StorageBatch, row: OffsetRow): void {
    storage.putOffset(row);
    plan.also(() => {
      this.#parts.offsets.set(row);
    });
  }

  #planRow(plan: AppendPlan, storage: StorageBatch, row: TransactionalRow): void {
    storage.putTransactional(row);
    plan.also(() => {
      this.#ids.set(row.transactionalId, row);
    });
  }

  #logsOf(batches: readonly LogBatch[]): ReadonlySet<PartitionLog> {
    return new Set(
      batches
        .filter((batch) => batch.bytes.byteLength > 0)
        .map((batch) => this.#parts.topics.partition(batch)),
    );
  }

  #takeProducerId(storage: StorageBatch): number {
    const producerId = this.#nextProducerId++;
    storage.putNextProducerId(this.#nextProducerId);
    return producerId;
  }
}

function refusal(error: unknown): CommitOutcome {
  if (isPartitaError(error, 'FENCED')) return { kind: 'fenced', reason: error.message };
  if (isPartitaError(error)) return { kind: 'rejected', reason: error.message };
  throw error;
}
