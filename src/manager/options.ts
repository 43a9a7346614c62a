/**
 * The options of `StateManager.start`, as users write them and as the runtime has them: the first documented, the second with
 * nothing optional. Types only; how the one becomes the other, and every default, is `resolve-options.ts`.
 */
import type { EngineKind } from '../core/engine-kind.js';
import type { Logger } from '../core/logger.js';
import type { Metrics } from '../core/metrics.js';
import type { LogFactory } from '../log/log-client.js';
import type { ProcessorRef } from '../processor/processor-at.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- streams of any processors */
export type Streams = Readonly<Record<string, ProcessorRef<any>>>;
/* eslint-enable @typescript-eslint/no-explicit-any */

export type Guarantee = 'exactly-once' | 'at-least-once';

/** What users pass to `StateManager.start`. Durations are in ms. */
export interface ManagerOptions<R extends Streams = Streams> {
  /** The consumer group; managers of the same group share the partitions. */
  readonly group: string;
  /** Streams by name: each a processor over its co-partitioned input topics. */
  readonly streams: R;
  /** The log: `kafka({ brokers })` or `embeddedLog()`. */
  readonly log: LogFactory;
  /** Folder of the databases: `<stateDir>/[<instanceId>/]<group>/<stream>/<partition>`. */
  readonly stateDir: string;
  /** Keeps apart several managers that share a `stateDir`. */
  readonly instanceId?: string;
  /** Worker threads; `manager.scale` changes their number later. @default the machine's parallelism − 1, at least 1 */
  readonly workers?: number;
  /** `auto`: an actor may move from a busy thread to an idle one. @default 'off' */
  readonly rebalance?: 'off' | 'auto';
  /** @default 'exactly-once' */
  readonly guarantee?: Guarantee;
  /** @default 'level' */
  readonly engine?: EngineKind;
  /** Where a partition without committed offset begins. @default 'earliest' */
  readonly startFrom?: 'earliest' | 'latest';
  readonly checkpoint?: {
    /** @default 1,000; 5,000 with guarantee 'at-least-once' */
    readonly intervalMs?: number;
    /** Records of one actor that make a checkpoint due. @default 1,000,000 */
    readonly recordsMax?: number;
    /** Bytes of changes, or of waiting outputs, of one actor that make a checkpoint due. @default 16 MiB */
    readonly bytesMax?: number;
  };
  /** How long a command with ack `committed` waits for others to share its checkpoint. @default 5 */
  readonly commandLingerMs?: number;
  /** How often positions that moved alone are committed. @default 60,000 */
  readonly idleCommitMs?: number;
  /** @default 10,000 */
  readonly transactionTimeoutMs?: number;
  /** How long an empty input holds back the others of its stream. @default unbounded */
  readonly maxTopicWaitMs?: number;
  /** What one record may add to the event-time clock of its partition, beyond where it stands. @default unbounded */
  readonly maxClockAdvanceMs?: number;
  /** Bound on opening one database, waits for locks included. @default half the rebalance timeout */
  readonly openBudgetMs?: number;
  /** Bound on committing and closing revoked partitions. @default a fifth of the rebalance timeout, at least 5,000 */
  readonly revokeBudgetMs?: number;
  /** How long a revoked partition keeps its database open and its cache warm, in case it comes back; 0: not at all. @default 30,000 */
  readonly parkMs?: number;
  /** @default 10,000 */
  readonly sessionTimeoutMs?: number;
  /** @default 60,000 */
  readonly rebalanceTimeoutMs?: number;
  /** How partitions are spread over the members of the group. @default 'sticky' */
  readonly assignment?: 'sticky' | 'range';
  /** @default 'error' */
  readonly onStateMissing?: 'error' | 'startEmpty' | 'restoreFromDisk';
  /** `resetState` drops the state and goes on at the group's offsets, once per partition and `resetId`. @default 'error' */
  readonly onOffsetsMoved?: 'error' | 'useGroup' | 'useState' | 'resetState';
  /** Names the move of offsets that `onOffsetsMoved: 'resetState'` answers; needed by it. @default none */
  readonly resetId?: string;
  /** Streams begin anew, with empty state: once per partition and `id`. @default none */
  readonly reset?: {
    readonly id: string;
    /** @default all streams that have state */
    readonly streams?: readonly string[];
    /** Where all their inputs go on. @default 'earliest' */
    readonly to?: 'earliest' | 'latest';
  };
  /** Single stores begin anew, with everything else as it is: once per partition, store and `id`. @default none */
  readonly resetStores?: {
    readonly id: string;
    /** Names of stores, by stream. */
    readonly stores: Readonly<Record<string, readonly string[]>>;
  };
  /** @default 'error' */
  readonly onOutOfRange?: 'error' | 'earliest' | 'latest';
  /** Whether a corrupt database is destroyed and rebuilt from its changelog. @default true */
  readonly rebuildOnCorruption?: boolean;
  /** Whether each flush waits for the disk; not needed, a lost tail is replayed. @default false */
  readonly sync?: boolean;
  /** Whether checksums of fetched batches are verified. @default true */
  readonly checkCrc?: boolean;
  readonly memory?: {
    /** MiB of decoded state kept in memory, over all actors. @default 256 */
    readonly cacheMb?: number;
    /** MiB of heap of one thread; beyond it the thread dies and its actors restart. @default Node's own */
    readonly threadHeapMb?: number;
  };
  readonly mailbox?: {
    /** Bytes of chunks that may wait at one actor, per input topic. @default 2 MiB */
    readonly bytesMax?: number;
    /** Bytes of chunks that may wait at all actors; with many partitions each gets its share. @default 64 MiB */
    readonly bytesTotalMax?: number;
    /** Commands, and queries, that may be under way at one partition; sends of one stream. @default 1,024 */
    readonly callsMax?: number;
    /** How long a call waits for its place in a full mailbox. @default 1,000 */
    readonly waitMs?: number;
  };
  readonly recovery?: {
    /** Actors that recover at once. @default twice the workers */
    readonly concurrency?: number;
    /** Bytes of one page of the changelog. @default 4 MiB */
    readonly pageBytes?: number;
    /** How long recovery waits for somebody else's open transaction. @default 60,000 */
    readonly changelogBlockedMs?: number;
  };
  readonly restarts?: {
    /** Restarts in a row, without a commit or a minute of service in between, before the partition fails. @default 8 */
    readonly max?: number;
    /** @default 100 */
    readonly firstMs?: number;
    /** @default 5,000 */
    readonly maxMs?: number;
  };
  /** Timeout of queries, commands and sends that name none. @default 30,000 */
  readonly callTimeoutMs?: number;
  /** How long an actor may process before it lets queries and control messages in. @default 4 */
  readonly yieldMs?: number;
  /** Bytes of one fetched chunk, at least one batch. @default the log's */
  readonly chunkBytes?: number;
  /** Address that other members name in PARTITION_NOT_OWNED. @default none */
  readonly advertise?: string;
  /**
   * How long a thread's event loop may be blocked before the thread is ended, and a handler may not settle before its actor is
   * opened anew; 0: for ever. Off while a debugger is attached. @default 30,000
   */
  readonly watchdogMs?: number;
  /**
   * What becomes of the manager when a partition can't go on: it fails; or that partition alone stays down, until `reopen` or a
   * rebalance; or the manager commits the others and leaves the group. @default 'failManager'
   */
  readonly onPartitionFailed?: 'failManager' | 'isolate' | 'leaveGroup';
  /** Creates input, output and dead-letter topics that don't exist. @default absent: they must exist */
  readonly createTopics?: { readonly partitions: number; readonly replicationFactor?: number };
  /** Bound on `stop` without a deadline of its own, and on what a start that is aborted has to release. @default 30,000 */
  readonly stopDeadlineMs?: number;
  /** Ends the start: it releases what it has and rejects CALL_ABORTED. Without effect once it has resolved. @default none */
  readonly signal?: AbortSignal;
  /** pino's interface. @default silent */
  readonly logger?: Logger;
  /** @default none */
  readonly metrics?: Metrics;
}

/** The options as the runtime knows them. */
export interface ResolvedOptions {
  readonly group: string;
  readonly streams: Streams;
  readonly log: LogFactory;
  readonly stateDir: string;
  readonly instanceId: string | undefined;
  readonly workers: number;
  readonly rebalance: 'off' | 'auto';
  readonly guarantee: Guarantee;
  readonly engine: EngineKind;
  readonly startFrom: 'earliest' | 'latest';
  readonly checkpoint: {
    readonly intervalMs: number;
    readonly recordsMax: number;
    readonly bytesMax: number;
  };
  readonly commandLingerMs: number;
  readonly idleCommitMs: number;
  readonly transactionTimeoutMs: number;
  readonly maxTopicWaitMs: number | undefined;
  readonly maxClockAdvanceMs: number | undefined;
  readonly openBudgetMs: number;
  readonly revokeBudgetMs: number;
  readonly parkMs: number;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly assignment: 'sticky' | 'range';
  readonly onStateMissing: 'error' | 'startEmpty' | 'restoreFromDisk';
  readonly onOffsetsMoved: 'error' | 'useGroup' | 'useState' | 'resetState';
  readonly resetId: string | undefined;
  readonly reset:
    | {
        readonly id: string;
        readonly streams: readonly string[] | undefined;
        readonly to: 'earliest' | 'latest';
      }
    | undefined;
  readonly resetStores:
    { readonly id: string; readonly stores: Readonly<Record<string, readonly string[]>> } | undefined;
  readonly onOutOfRange: 'error' | 'earliest' | 'latest';
  readonly rebuildOnCorruption: boolean;
  readonly sync: boolean;
  readonly checkCrc: boolean;
  readonly memory: { readonly cacheMb: number; readonly threadHeapMb: number | undefined };
  readonly mailbox: {
    readonly bytesMax: number;
    readonly bytesTotalMax: number;
    readonly callsMax: number;
    readonly waitMs: number;
  };
  readonly recovery: {
    readonly concurrency: number;
    readonly pageBytes: number;
    readonly changelogBlockedMs: number;
  };
  readonly restarts: { readonly max: number; readonly firstMs: number; readonly maxMs: number };
  readonly callTimeoutMs: number;
  readonly yieldMs: number;
  readonly chunkBytes: number | undefined;
  readonly advertise: string | undefined;
  readonly watchdogMs: number;
  readonly onPartitionFailed: 'failManager' | 'isolate' | 'leaveGroup';
  readonly createTopics:
    { readonly partitions: number; readonly replicationFactor: number | undefined } | undefined;
  readonly stopDeadlineMs: number;
  readonly signal: AbortSignal | undefined;
  readonly logger: Logger;
  readonly metrics: Metrics;
}
