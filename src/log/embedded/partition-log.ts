/**
 * One partition: the index of its batches, its bounds, open and aborted transactions, and the sequences of its
 * producers. It decides what a fetch returns and what an append may be; it never writes to disk and never decodes a
 * record. Changes are applied by `append-plan.ts` and `log-cleaner.ts` after they have been made durable.
 */
import { PartitaError } from '../../core/errors.js';
import type { AbortedTransaction, PartitionBounds } from '../../core/log-types.js';

/** A batch in the index. `bytes` is absent while the batch is only on disk. */
export interface BatchEntry {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly size: number;
  readonly maxTimestamp: number;
  readonly isControl: boolean;
  readonly producerId: number;
  /** From when on the tombstones in it may be dropped; set by the first compaction that meets them. */
  readonly deleteHorizon: number | undefined;
  bytes: Uint8Array | undefined;
}

/** An aborted transaction with the offset of its abort marker. */
export interface AbortedRange extends AbortedTransaction {
  readonly markerOffset: number;
}

/** What a fetch returns: batches to copy out, and the facts as of the moment it was planned. */
export interface FetchPlan {
  readonly entries: readonly BatchEntry[];
  readonly from: number;
  /** The position after the last entry; `from` without any. */
  readonly next: number;
  readonly aborted: readonly AbortedTransaction[];
  readonly bounds: PartitionBounds;
}

export interface ProducerStamp {
  readonly producerId: number;
  readonly epoch: number;
}

interface ProducerState {
  epoch: number;
  /** The last batch, to recognise its repetition. */
  baseSequence: number;
  lastSequence: number;
  baseOffset: number;
  usedAt: number;
}

const NONE: readonly never[] = [];
const SEQUENCE_MASK = 0x7fffffff;

export class PartitionLog {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  /** Everything below has been through a compaction. */
  cleanedTo = 0;
  #entries: BatchEntry[] = [];
  #bounds: PartitionBounds;
  #bytes = 0;
  /** First offset of the open transaction of each producer. */
  readonly #open = new Map<number, number>();
  /** In the order of their markers, as a broker lists them. */
  #aborted: AbortedRange[] = [];
  readonly #producers = new Map<number, ProducerState>();
  readonly #listeners = new Set<() => void>();

  constructor(topic: string, topicId: string, partition: number) {
    this.topic = topic;
    this.topicId = topicId;
    this.partition = partition;
    this.#bounds = { start: 0, lastStable: 0, end: 0 };
  }

  get bounds(): PartitionBounds {
    return this.#bounds;
  }

  get entries(): readonly BatchEntry[] {
    return this.#entries;
  }

  get aborted(): readonly AbortedRange[] {
    return this.#aborted;
  }

  /** Bytes of all batches. */
  get byteLength(): number {
    return this.#bytes;
  }

  /**
   * Whole batches from the one that holds `from`, up to `maxBytes` but at least one; under read_committed only those
   * below the last stable offset.
   * @throws PartitaError OFFSET_OUT_OF_RANGE with the bounds in its details
   */
  plan(from: number, maxBytes: number, isolation: 'read_committed' | 'read_uncommitted'): FetchPlan {
    const bounds = this.#bounds;
    if (!Number.isSafeInteger(from) || from < bounds.start || from > bounds.end) throw this.#outOfRange(from);
    const limit = isolation === 'read_committed' ? bounds.lastStable : bounds.end;
    if (from >= limit) return { entries: NONE, from, next: from, aborted: NONE, bounds };
    const first = this.indexOf(from);
    let last = first;
    let bytes = 0;
    for (; last < this.#entries.length; last++) {
      const entry = this.#entries[last]!;
      if (entry.baseOffset >= limit || (last > first && bytes + entry.size > maxBytes)) break;
      bytes += entry.size;
    }
    if (last === first) return { entries: NONE, from, next: from, aborted: NONE, bounds };
    const next = this.#entries[last - 1]!.lastOffset + 1;
    const aborted = isolation === 'read_committed' ? this.#abortedBetween(from, next) : NONE;
    return { entries: this.#entries.slice(first, last), from, next, aborted, bounds };
  }

  /** Index of the first batch that ends at or after `offset`. */
  indexOf(offset: number): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#entries[middle]!.lastOffset < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /**
   * Whether an idempotent batch is the next of its producer: `undefined`, or the base offset of the earlier append if it
   * repeats the last one.
   * @throws PartitaError FENCED for an old epoch or a sequence out of order
   */
  checkSequence(stamp: ProducerStamp, baseSequence: number, recordCount: number): number | undefined {
    const known = this.#producers.get(stamp.producerId);
    if (known === undefined) return undefined;
    if (stamp.epoch < known.epoch)
      throw this.#fenced(`epoch ${stamp.epoch} of producer ${stamp.producerId} is older than ${known.epoch}`);
    const expected = stamp.epoch > known.epoch ? 0 : (known.lastSequence + 1) & SEQUENCE_MASK;
    if (baseSequence === expected) return undefined;
    const last = (baseSequence + recordCount - 1) & SEQUENCE_MASK;
    if (stamp.epoch === known.epoch && baseSequence === known.baseSequence && last === known.lastSequence)
      return known.baseOffset;
    throw this.#fenced(
      `sequence ${baseSequence} of producer ${stamp.producerId} is out of order: ${expected} was expected`,
    );
  }

  /** Remembers the last batch of a producer. */
  noteSequence(
    stamp: ProducerStamp,
    batch: { readonly baseSequence: number; readonly recordCount: number; readonly baseOffset: number },
    now: number,
  ): void {
    this.#producers.set(stamp.producerId, {
      epoch: stamp.epoch,
      baseSequence: batch.baseSequence,
      lastSequence: (batch.baseSequence + batch.recordCount - 1) & SEQUENCE_MASK,
      baseOffset: batch.baseOffset,
      usedAt: now,
    });
  }

  /** The sequence that the producer's next batch must carry. */
  nextSequence(stamp: ProducerStamp): number {
    const known = this.#producers.get(stamp.producerId);
    return known?.epoch === stamp.epoch ? (known.lastSequence + 1) & SEQUENCE_MASK : 0;
  }

  /** Forgets producers that have not written since `before`. */
  expireProducers(before: number): void {
    for (const [producerId, state] of this.#producers)
      if (state.usedAt < before && !this.#open.has(producerId)) this.#producers.delete(producerId);
  }

  append(entry: BatchEntry): void {
    this.#entries.push(entry);
    this.#bytes += entry.size;
    this.#setBounds(this.#bounds.start, entry.lastOffset + 1);
  }

  /** From now on the last stable offset stays at or below `firstOffset`. No effect if the producer's is open already. */
  openTransaction(producerId: number, firstOffset: number): void {
    if (!this.#open.has(producerId)) this.#open.set(producerId, firstOffset);
    this.#setBounds(this.#bounds.start, this.#bounds.end);
  }

  firstOffsetOfOpen(producerId: number): number | undefined {
    return this.#open.get(producerId);
  }

  closeTransaction(producerId: number, aborted: AbortedRange | undefined): void {
    this.#open.delete(producerId);
    if (aborted !== undefined) this.#aborted.push(aborted);
    this.#setBounds(this.#bounds.start, this.#bounds.end);
  }

  /** Raises the log start and drops the batches that lie wholly below it. */
  moveStart(start: number): void {
    const keep = this.indexOf(start);
    for (let index = 0; index < keep; index++) this.#bytes -= this.#entries[index]!.size;
    this.#entries.splice(0, keep);
    this.dropAborted(start);
    this.#setBounds(start, this.#bounds.end);
  }

  /** Whether the batch belongs to a transaction that was aborted. */
  isAborted(entry: BatchEntry): boolean {
    return this.#aborted.some(
      (range) =>
        range.producerId === entry.producerId &&
        range.firstOffset <= entry.baseOffset &&
        entry.baseOffset < range.markerOffset,
    );
  }

  /** Bytes of the batches from `offset` on. */
  bytesFrom(offset: number): number {
    let bytes = 0;
    for (let index = this.indexOf(offset); index < this.#entries.length; index++)
      bytes += this.#entries[index]!.size;
    return bytes;
  }

  /** Forgets aborted transactions whose marker lies below `offset`: nothing of them is left. */
  dropAborted(offset: number): void {
    if (this.#aborted.length > 0)
      this.#aborted = this.#aborted.filter((range) => range.markerOffset >= offset);
  }

  /** Puts what compaction has left of a batch, or nothing, in its place. */
  replace(entry: BatchEntry, cleaned: BatchEntry | undefined): void {
    const index = this.indexOf(entry.lastOffset);
    if (this.#entries[index] !== entry) return;
    this.#bytes += (cleaned?.size ?? 0) - entry.size;
    if (cleaned === undefined) this.#entries.splice(index, 1);
    else this.#entries[index] = cleaned;
  }

  /** Takes over what was read from disk. */
  restore(
    bounds: { readonly start: number; readonly end: number },
    entries: BatchEntry[],
    aborted: AbortedRange[],
  ): void {
    this.#entries = entries;
    this.#bytes = entries.reduce((sum, entry) => sum + entry.size, 0);
    this.#aborted = aborted.sort((a, b) => a.markerOffset - b.markerOffset);
    this.#setBounds(bounds.start, bounds.end);
  }

  /** Calls `listener` whenever there may be more to read; returns how to stop that. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #setBounds(start: number, end: number): void {
    let lastStable = end;
    for (const first of this.#open.values()) if (first < lastStable) lastStable = first;
    const before = this.#bounds;
    this.#bounds = { start, lastStable: Math.max(lastStable, start), end };
    if (this.#bounds.lastStable > before.lastStable || end > before.end || start > before.start)
      for (const listener of this.#listeners) listener();
  }

  #abortedBetween(from: number, next: number): readonly AbortedTransaction[] {
    if (this.#aborted.length === 0) return NONE;
    return this.#aborted
      .filter((range) => range.markerOffset >= from && range.firstOffset < next)
      .map(({ producerId, firstOffset }) => ({ producerId, firstOffset }));
  }

  #outOfRange(from: number): PartitaError {
    const { topic, partition } = this;
    const { start, end } = this.#bounds;
    return new PartitaError(
      'OFFSET_OUT_OF_RANGE',
      `The offset ${from} of ${topic}/${partition} is outside the log, which holds ${start} to ${end}.`,
      { details: { topic, partition, offset: from, bounds: this.#bounds } },
    );
  }

  #fenced(why: string): PartitaError {
    const { topic, partition } = this;
    return new PartitaError('FENCED', `An append to ${topic}/${partition} was refused: ${why}.`, {
      details: { topic, partition },
    });
  }
}
