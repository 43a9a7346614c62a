/**
 * What a manager is made of, and how a start gets hold of it: the log's client, the plan of its streams, the threads. A start that
 * fails or is aborted on the way releases what it has. Who puts the parts together is `state-manager.ts`.
 */
import type { Clock } from '../core/clock.js';
import { systemClock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { Emitter } from '../core/emitter.js';
import { PartitaError } from '../core/errors.js';
import { unlessAborted } from '../core/unless-aborted.js';
import type { LogClient, OutputProducer } from '../log/log-client.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import { importProcessor } from '../processor/import-processor.js';
import type { ActorPlaces } from '../threads/actor-places.js';
import { preloadEngine } from '../threads/preload-engine.js';
import { ThreadPool } from '../threads/thread-pool.js';
import type { ManagerEvents } from './events.js';
import { recordMetrics } from './metrics-recorder.js';
import type { ResolvedOptions } from './options.js';
import { planStreams, type StreamPlan } from './stream-plan.js';

/** What the manager is given besides its options: everything that a test or the testing driver replaces. */
export interface ManagerEnvironment {
  readonly clock: Clock;
  readonly random: () => number;
  places(options: ResolvedOptions): Promise<ActorPlaces>;
  importProcessor(url: string): Promise<AnyDefinition>;
}

export const systemEnvironment: ManagerEnvironment = {
  clock: systemClock,
  random: Math.random,
  importProcessor,
  places: async (options) => {
    await preloadEngine(options.engine);
    return ThreadPool.start({
      threads: options.workers,
      clock: systemClock,
      logger: options.logger,
      watchdogMs: options.watchdogMs,
      ...(options.memory.threadHeapMb === undefined ? {} : { maxHeapMb: options.memory.threadHeapMb }),
    });
  },
};

export interface ManagerParts {
  readonly options: ResolvedOptions;
  readonly environment: ManagerEnvironment;
  readonly log: LogClient;
  readonly places: ActorPlaces;
  readonly emitter: Emitter<ManagerEvents>;
  readonly plans: readonly StreamPlan[];
  readonly outputs: () => OutputProducer;
  readonly closeOutputs: () => Promise<void>;
}

/** What a manager is made of. Rejects with everything released, CALL_ABORTED if the options' signal ends it. */
export async function acquireParts(
  options: ResolvedOptions,
  environment: ManagerEnvironment,
): Promise<ManagerParts> {
  const { logger, signal } = options;
  if (signal?.aborted === true) throw startAborted(signal);
  const log = await connect(options, environment);
  try {
    const emitter = new Emitter<ManagerEvents>(logger);
    recordMetrics(emitter, options.metrics);
    emitter.hold();
    const planning = planStreams(options, {
      topics: log.topics,
      importProcessor: (url) => environment.importProcessor(url),
      warn: (message, details) => {
        logger.warn(details, message);
        emitter.emit('warning', { message, details });
      },
    });
    const plans = await unlessAborted(planning, signal, startAborted);
    let opened: OutputProducer | undefined;
    return {
      options,
      environment,
      log,
      emitter,
      plans,
      outputs: () => (opened ??= log.outputs()),
      closeOutputs: async () => opened?.close(),
      places: await environment.places(options),
    };
  } catch (error) {
    await log.close().catch((closeError: unknown) => {
      logger.warn({ err: closeError }, 'The log could not be closed after a failed start.');
    });
    throw error;
  }
}

/** One that comes after the abort is closed: before this rejects, if it comes in the time of a stop. */
async function connect(options: ResolvedOptions, environment: ManagerEnvironment): Promise<LogClient> {
  const { group, logger, signal, stopDeadlineMs } = options;
  const connecting = options.log.connect({
    clientId: `partita-${group}`,
    logger,
    ...(signal === undefined ? {} : { signal }),
  });
  try {
    return await unlessAborted(connecting, signal, startAborted);
  } catch (error) {
    if (signal?.aborted !== true) throw error;
    const closed = connecting.then((log) => log.close());
    const deadline = Deadline.after(environment.clock, stopDeadlineMs);
    await deadline.race(closed, 'Giving up the connection').catch((closeError: unknown) => {
      logger.debug({ err: closeError }, 'What was given up did not end well.');
    });
    throw error;
  }
}

export function startAborted({ reason }: AbortSignal): PartitaError {
  return new PartitaError('CALL_ABORTED', 'The start was aborted.', { cause: reason });
}
