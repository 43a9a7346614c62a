/**
 * The options of `StateManager.start`: documented, validated, defaulted and frozen here, once; inside the runtime nothing
 * is optional. The only table of defaults there is. zod is loaded when a manager starts, not with the package.
 */
import { availableParallelism } from 'node:os';
import { PartitaError } from '../core/errors.js';
import type { EngineKind } from '../core/engine-kind.js';
import type { Logger } from '../core/logger.js';
import { silentLogger } from '../core/logger.js';
import { noMetrics, type Metrics } from '../core/metrics.js';
import { checkName } from '../core/names.js';
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

const MIB = 1024 * 1024;
/** Of worker threads, at the start and ever after. */
export const WORKERS_MAX = 256;

/** The zod schema of the options, with every default that doesn't depend on another option. */
export async function optionsSchema() {
  const { z } = await import('zod');
  const ms = z.number().int().min(0);
  const count = z.number().int().min(1);
  const resetName = z.string().min(1).max(100);
  return z.strictObject({
    group: z.string(),
    streams: z.record(z.string(), z.looseObject({ url: z.instanceof(URL), config: z.unknown() })),
    log: z.custom<LogFactory>(
      (log) => typeof (log as Partial<LogFactory> | undefined)?.connect === 'function',
      'must be a log, such as kafka() or embeddedLog() gives',
    ),
    stateDir: z.string().min(1),
    instanceId: z.string().optional(),
    workers: z
      .number()
      .int()
      .min(1)
      .max(WORKERS_MAX)
      .default(() => Math.max(1, availableParallelism() - 1)),
    rebalance: z.enum(['off', 'auto']).default('off'),
    guarantee: z.enum(['exactly-once', 'at-least-once']).default('exactly-once'),
    engine: z.enum(['memory', 'level', 'rocksdb']).default('level'),
    startFrom: z.enum(['earliest', 'latest']).default('earliest'),
    checkpoint: z
      .strictObject({
        intervalMs: ms.min(1).optional(),
        recordsMax: count.default(1_000_000),
        bytesMax: count.default(16 * MIB),
      })
      .prefault({}),
    commandLingerMs: ms.default(5),
    idleCommitMs: ms.default(60_000),
    transactionTimeoutMs: ms.min(1).default(10_000),
    maxTopicWaitMs: ms.optional(),
    maxClockAdvanceMs: ms.min(1).optional(),
    openBudgetMs: ms.optional(),
    revokeBudgetMs: ms.optional(),
    parkMs: ms.default(30_000),
    sessionTimeoutMs: ms.min(1).default(10_000),
    rebalanceTimeoutMs: ms.min(1).default(60_000),
    assignment: z.enum(['sticky', 'range']).default('sticky'),
    onStateMissing: z.enum(['error', 'startEmpty', 'restoreFromDisk']).default('error'),
    onOffsetsMoved: z.enum(['error', 'useGroup', 'useState', 'resetState']).default('error'),
    resetId: resetName.optional(),
    reset: z
      .strictObject({
        id: resetName,
        streams: z.array(z.string()).optional(),
        to: z.enum(['earliest', 'latest']).default('earliest'),
      })
      .optional(),
    resetStores: z
      .strictObject({ id: resetName, stores: z.record(z.string(), z.array(z.string()).min(1)) })
      .optional(),
    onOutOfRange: z.enum(['error', 'earliest', 'latest']).default('error'),
    rebuildOnCorruption: z.boolean().default(true),
    sync: z.boolean().default(false),
    checkCrc: z.boolean().default(true),
    memory: z
      .strictObject({ cacheMb: z.number().min(1).default(256), threadHeapMb: count.min(16).optional() })
      .prefault({}),
    mailbox: z
      .strictObject({
        bytesMax: count.default(2 * MIB),
        bytesTotalMax: count.default(64 * MIB),
        callsMax: count.default(1_024),
        waitMs: ms.default(1_000),
      })
      .prefault({}),
    recovery: z
      .strictObject({
        concurrency: count.optional(),
        pageBytes: count.default(4 * MIB),
        changelogBlockedMs: ms.default(60_000),
      })
      .prefault({}),
    restarts: z
      .strictObject({
        max: z.number().int().min(0).default(8),
        firstMs: ms.default(100),
        maxMs: ms.default(5_000),
      })
      .prefault({}),
    callTimeoutMs: ms.min(1).default(30_000),
    yieldMs: z.number().min(0).default(4),
    chunkBytes: count.optional(),
    advertise: z.string().min(1).optional(),
    watchdogMs: ms.default(30_000),
    onPartitionFailed: z.enum(['failManager', 'isolate', 'leaveGroup']).default('failManager'),
    createTopics: z.strictObject({ partitions: count, replicationFactor: count.optional() }).optional(),
    stopDeadlineMs: ms.default(30_000),
    signal: z.instanceof(AbortSignal).optional(),
    logger: z
      .custom<Logger>((logger) => typeof (logger as Partial<Logger> | undefined)?.child === 'function', {
        message: "must have pino's methods",
      })
      .default(silentLogger),
    metrics: z
      .custom<Metrics>(
        (metrics) => typeof (metrics as Partial<Metrics> | undefined)?.counter === 'function',
        {
          message: 'must have counter, gauge and histogram',
        },
      )
      .default(noMetrics),
  });
}

/** Validates and completes the options. Rejects INVALID_OPTIONS naming the path, INVALID_NAME. */
export async function resolveOptions(options: ManagerOptions): Promise<ResolvedOptions> {
  const schema = await optionsSchema();
  const parsed = schema.safeParse(options);
  if (!parsed.success) {
    const issues = parsed.error.issues.map((issue) => ({
      path: issue.path.map(String).join('.') || '(options)',
      message: issue.message,
    }));
    throw new PartitaError(
      'INVALID_OPTIONS',
      `Invalid options: ${issues.map((issue) => `${issue.path}: ${issue.message}`).join('; ')}.`,
      { details: { issues } },
    );
  }
  const o = parsed.data;
  checkName('group', o.group);
  for (const stream of Object.keys(o.streams)) checkName('stream', stream);
  if (o.instanceId !== undefined) checkName('instance', o.instanceId);
  if (Object.keys(o.streams).length === 0)
    throw new PartitaError('INVALID_OPTIONS', 'Invalid options: streams: needs at least one stream.');
  if (o.restarts.maxMs < o.restarts.firstMs)
    throw new PartitaError('INVALID_OPTIONS', 'Invalid options: restarts.maxMs: is below restarts.firstMs.');
  checkResets(o);
  return Object.freeze({
    ...o,
    streams: options.streams,
    resetId: o.resetId,
    reset: o.reset === undefined ? undefined : Object.freeze({ ...o.reset, streams: o.reset.streams }),
    resetStores: o.resetStores,
    instanceId: o.instanceId,
    maxTopicWaitMs: o.maxTopicWaitMs,
    maxClockAdvanceMs: o.maxClockAdvanceMs,
    advertise: o.advertise,
    chunkBytes: o.chunkBytes,
    signal: o.signal,
    checkpoint: Object.freeze({
      ...o.checkpoint,
      intervalMs: o.checkpoint.intervalMs ?? (o.guarantee === 'exactly-once' ? 1_000 : 5_000),
    }),
    openBudgetMs: o.openBudgetMs ?? Math.floor(o.rebalanceTimeoutMs / 2),
    revokeBudgetMs: o.revokeBudgetMs ?? Math.max(5_000, Math.floor(o.rebalanceTimeoutMs / 5)),
    memory: Object.freeze({ cacheMb: o.memory.cacheMb, threadHeapMb: o.memory.threadHeapMb }),
    mailbox: Object.freeze(o.mailbox),
    recovery: Object.freeze({ ...o.recovery, concurrency: o.recovery.concurrency ?? 2 * o.workers }),
    restarts: Object.freeze(o.restarts),
    createTopics:
      o.createTopics === undefined
        ? undefined
        : Object.freeze({
            partitions: o.createTopics.partitions,
            replicationFactor: o.createTopics.replicationFactor,
          }),
  });
}

/** @throws PartitaError INVALID_OPTIONS for a reset without a name, or of what this manager does not run */
function checkResets(options: {
  readonly streams: object;
  readonly onOffsetsMoved: string;
  readonly resetId?: string | undefined;
  readonly reset?: { readonly streams?: readonly string[] | undefined } | undefined;
  readonly resetStores?: { readonly stores: object } | undefined;
}): void {
  const { streams, onOffsetsMoved, resetId, reset, resetStores } = options;
  if (onOffsetsMoved === 'resetState' && resetId === undefined)
    throw new PartitaError(
      'INVALID_OPTIONS',
      "Invalid options: resetId: is needed by onOffsetsMoved 'resetState', which acts once for each.",
    );
  const unknown = (path: string, named: readonly string[]): void => {
    for (const stream of named)
      if (!Object.hasOwn(streams, stream))
        throw new PartitaError('INVALID_OPTIONS', `Invalid options: ${path}: there is no stream ${stream}.`);
  };
  unknown('reset.streams', reset?.streams ?? []);
  unknown('resetStores.stores', Object.keys(resetStores?.stores ?? {}));
}
