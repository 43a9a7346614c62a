/**
 * Value types of the log that both houses speak: they cross to the workers as they are. The port itself is
 * `log/log-client.ts`, which no worker imports.
 */

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

/** A producer's aborted transaction: its records from `firstOffset` up to its abort marker are to be skipped. */
export interface AbortedTransaction {
  readonly producerId: number;
  readonly firstOffset: number;
}

/** Offsets: `start` ≤ `lastStable` ≤ `end`; `end` is the next offset to be written (the high watermark). */
export interface PartitionBounds {
  readonly start: number;
  readonly lastStable: number;
  readonly end: number;
}

/** What the log refuses for a topic; checked at `emit` already, so that it is an error of that record. */
export interface TopicLimits {
  /** `max.message.bytes`: bytes of one batch. */
  readonly maxBatchBytes: number;
  /** `message.timestamp.before.max.ms` and `after.max.ms`: how far a timestamp may be from the log's clock. */
  readonly timestampBeforeMaxMs: number;
  readonly timestampAfterMaxMs: number;
}

export interface TopicDescription {
  readonly topic: string;
  /** Changes when the topic is deleted and created again. */
  readonly topicId: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly configs: Readonly<Record<string, string>>;
  readonly limits: TopicLimits;
}

/** A committed offset with its metadata text. */
export interface CommittedOffset {
  readonly offset: number;
  readonly metadata: string;
}

/** Sealed record batches (v2) of one partition, one after the other. */
export interface LogBatch extends TopicPartition {
  readonly bytes: ArrayBuffer;
  /**
   * Only to be committed in a transaction beyond this offset: a partition that ends before it is another one than it was,
   * since its topic was deleted and created again, and the transaction is `rejected`.
   */
  readonly beyond?: number;
}

export interface OffsetCommit extends TopicPartition {
  readonly offset: number;
  readonly metadata: string;
}

/** The contents of one transaction. */
export interface CommitRequest {
  readonly batches: readonly LogBatch[];
  readonly group: string;
  readonly offsets: readonly OffsetCommit[];
}

/**
 * `committed`: base offset of each batch in the order given, and the partition's next offset after the commit marker is
 * never below `lastOffsets[i] + 1`. `fenced`: another holder, an expired id, a timed-out transaction or a sequence out of
 * order. `inDoubt`: no answer; only a new `init` settles it. `rejected`: for good, nothing was written.
 */
export type CommitOutcome =
  | {
      readonly kind: 'committed';
      readonly baseOffsets: readonly number[];
      readonly lastOffsets: readonly number[];
    }
  | { readonly kind: 'fenced'; readonly reason: string }
  | { readonly kind: 'inDoubt'; readonly reason: string }
  | { readonly kind: 'rejected'; readonly reason: string; readonly code?: RejectionCode };

/** What says more than COMMIT_REJECTED, where the reason has a code of its own. */
export type RejectionCode = 'LOG_AUTHORIZATION_FAILED' | 'TOPIC_MISSING' | 'CHANGELOG_INVALID';

/** A page of raw batches. The caller owns `bytes`. */
export interface LogPage {
  readonly bytes: ArrayBuffer;
  readonly from: number;
  /** Where the next page begins; equals `from` at the end. */
  readonly next: number;
  readonly aborted: readonly AbortedTransaction[];
  readonly bounds: PartitionBounds;
}

/** A run of one partition's batches, for an actor's mailbox. */
export interface Chunk {
  readonly topic: string;
  /** The epoch of the assignment or actor it is meant for; the receiver drops a stale one. */
  readonly epoch: number;
  /** Whole batches; empty for an empty fetch. The first batch may begin before `from`. */
  readonly bytes: ArrayBuffer;
  /** The position that was fetched from: records below it are to be skipped. */
  readonly from: number;
  /** The position after the last batch of `bytes`; `from` if it is empty. */
  readonly next: number;
  /** Aborted transactions that overlap `bytes`. */
  readonly aborted: readonly AbortedTransaction[];
  readonly lastStable: number;
  readonly highWatermark: number;
  /** Which fetch brought it: strictly rising per session in the order of delivery. */
  readonly fetch: number;
  /**
   * When the partition was looked into, every chunk of the session with a `fetch` up to this one had been read already:
   * what was not there then was written after them. Fetches of several brokers overlap. @default fetch − 1
   */
  readonly asOf?: number;
}
