/**
 * The port to the log: what Partita needs of Kafka, and nothing else. `log/embedded` implements it in-process, `log/kafka`
 * on kafkajs; `test/contract/log-client.ts` is the suite both pass. Everything that holds records is bytes of record
 * batches v2: nothing behind this port decodes a record for its caller. Offsets and timestamps are safe integers.
 * The value types that also cross to the workers live in `threads/protocol.ts` and `core/log-types.ts`.
 */
import type { Logger } from '../core/logger.js';
import type {
  Chunk,
  CommitOutcome,
  CommitRequest,
  CommittedOffset,
  LogBatch,
  LogPage,
  PartitionBounds,
  TopicDescription,
  TopicPartition,
} from '../core/log-types.js';

/** What is created by `ensure`. */
export interface TopicSpec {
  readonly topic: string;
  readonly partitions: number;
  readonly replicationFactor?: number;
  /** Kafka's topic configs by their Kafka names: `cleanup.policy`, `retention.ms`, … */
  readonly configs?: Readonly<Record<string, string>>;
}

export interface LogTopics {
  /** Descriptions in the order asked; a topic that does not exist is `undefined`. */
  describe(topics: readonly string[]): Promise<readonly (TopicDescription | undefined)[]>;
  /** Creates the topic unless it exists; never changes an existing one. Resolves to its description. */
  ensure(spec: TopicSpec): Promise<TopicDescription>;
  /** Start, end and last stable offset of each partition, in the order asked. Rejects TOPIC_MISSING. */
  bounds(partitions: readonly TopicPartition[]): Promise<readonly PartitionBounds[]>;
}

/** A chunk as it was fetched; the member owns its `bytes` (it may transfer them). */
export interface FetchedChunk extends Chunk {
  readonly partition: number;
}

export interface Assignment {
  /** Partitions that were not owned before. They start paused: `seek`, then `resume`. */
  readonly gained: readonly TopicPartition[];
  /** Partitions that were owned before and still are: they go on where they were. */
  readonly kept: readonly TopicPartition[];
  /** Partitions that were owned before (revoked) and now belong to others or nobody. */
  readonly lost: readonly TopicPartition[];
  /** Rises with every assignment. */
  readonly epoch: number;
  readonly generation: number;
  readonly memberId: string;
}

/** What a member is told. One call at a time, in order; awaited where it returns a promise. */
export interface GroupMember {
  onAssign(assignment: Assignment): void | Promise<void>;
  /** Awaited barrier of an eager rebalance: commits inside it still succeed. `deadline` is on the log's clock, in ms. */
  onRevoke(partitions: readonly TopicPartition[], options: { readonly deadline: number }): Promise<void>;
  /** The membership ended without a barrier (eviction): nothing may be written for these any more. */
  onLost(partitions: readonly TopicPartition[]): void;
  onChunk(chunk: FetchedChunk): void;
  /** A position outside the partition's bounds; the partition is paused until `seek` and `resume`. */
  onOutOfRange(partition: TopicPartition, bounds: PartitionBounds): void;
  onFatal(error: Error): void;
}

export interface JoinOptions {
  readonly group: string;
  readonly topics: readonly string[];
  /** Partition assignment strategy; `sticky` keeps co-partitioned topics of one stream together. Default `sticky`. */
  readonly strategy?: 'range' | 'sticky';
  /** Topics that must be assigned together, by stream. Default: every topic for itself. */
  readonly streams?: Readonly<Record<string, readonly string[]>>;
  readonly sessionTimeoutMs?: number;
  readonly rebalanceTimeoutMs?: number;
  /** Bytes of one chunk at most, but at least one batch. */
  readonly maxBytesPerPartition?: number;
  /** Address that other members are told for the partitions of this one. */
  readonly advertise?: string;
}

export type OwnershipAnswer = 'yes' | 'no' | 'unknown';

export interface GroupSession {
  readonly memberId: string;
  pause(partitions: readonly TopicPartition[]): void;
  resume(partitions: readonly TopicPartition[]): void;
  /** Sets the position of an assigned partition; chunks fetched from elsewhere before are not delivered any more. */
  seek(partition: TopicPartition, offset: number): void;
  /** Raises the epoch that chunks of this partition carry from now on and returns it (restart or move of an actor). */
  nextEpoch(partition: TopicPartition): number;
  /** Asks the group whether the partition is still this member's (semantics.md 7, ownership). */
  owns(partition: TopicPartition): Promise<OwnershipAnswer>;
  /** Advertised address of the member that owns the partition, if any is known. */
  ownerOf(partition: TopicPartition): string | undefined;
  /** Runs the revoke barrier, leaves the group, and delivers nothing afterwards. Idempotent. */
  leave(): Promise<void>;
}

export interface ReadRequest extends TopicPartition {
  readonly from: number;
  /** Bytes of the page at most, but at least one batch. */
  readonly maxBytes: number;
  readonly isolation: 'read_committed' | 'read_uncommitted';
}

export interface TransactionalProducer {
  /** Fences every other holder of the id and settles its open transaction. Must precede `commitTransaction`. */
  init(): Promise<void>;
  /**
   * The whole transaction in one go. Never rejects for what the log answered: the outcome says it. The producer stamps
   * producer id, epoch and sequence into the batches (their bytes are owned by the producer from here on).
   */
  commitTransaction(request: CommitRequest): Promise<CommitOutcome>;
  close(): Promise<void>;
}

export interface ProduceOptions {
  /**
   * Gives up what of the call is not sent yet: rejects CALL_ABORTED, but not before what of it is under way has been
   * settled.
   */
  readonly signal?: AbortSignal;
}

/** One idempotent producer for what leaves outside transactions. */
export interface OutputProducer {
  /**
   * Resolves when every batch is acknowledged; rejects with the first failure, naming topic and partition. A partition's
   * batches keep their order over all calls; one that fails fails those behind it. Waits while too much is under way.
   */
  produce(
    batches: readonly LogBatch[],
    options?: ProduceOptions,
  ): Promise<readonly { readonly baseOffset: number }[]>;
  close(): Promise<void>;
}

export interface LogClient {
  readonly kind: string;
  readonly topics: LogTopics;
  /** Stable committed offsets of a group, in the order asked; `undefined` where nothing is committed. */
  committed(
    group: string,
    partitions: readonly TopicPartition[],
  ): Promise<readonly (CommittedOffset | undefined)[]>;
  join(options: JoinOptions, member: GroupMember): Promise<GroupSession>;
  /** One page of raw batches, without a group. Rejects OFFSET_OUT_OF_RANGE with the bounds in its details. */
  read(request: ReadRequest): Promise<LogPage>;
  producer(options: {
    readonly transactionalId: string;
    readonly transactionTimeoutMs: number;
  }): TransactionalProducer;
  outputs(): OutputProducer;
  /** Closes connections; sessions and producers made by this client end. Idempotent. */
  close(): Promise<void>;
}

/** What users pass as `log`: makes the client when the manager starts. */
export interface LogFactory {
  readonly kind: string;
  /** `signal` gives up: rejects, with nothing left open. */
  connect(options: {
    readonly clientId: string;
    readonly logger?: Logger;
    readonly signal?: AbortSignal;
  }): Promise<LogClient>;
}
