/**
 * The door for options: they are validated, completed and frozen here, once. The only table of defaults there is. zod is loaded
 * when a manager starts, not with the package. What each option means is in `options.ts`.
 */
import { availableParallelism } from 'node:os';
import { PartitaError } from '../core/errors.js';
import { silentLogger, type Logger } from '../core/logger.js';
import { noMetrics, type Metrics } from '../core/metrics.js';
import { checkName } from '../core/names.js';
import type { LogFactory } from '../log/log-client.js';
import type { ManagerOptions, ResolvedOptions } from './options.js';

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
