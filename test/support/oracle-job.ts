/** One job of the threaded oracle tests: a manager over the oracle's processor, started, crashed and started again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { EngineKind, LogFactory, ManagerOptions, StateManager } from '../../src/index.js';
import { processorAt, StateManager as Manager } from '../../src/index.js';
import type { ManagerEnvironment } from '../../src/manager/manager-parts.js';
import type { Dump } from '../fixtures/oracle.js';
import type oracle from '../fixtures/oracle-fail.js';
import type { Policy, RawRecord } from './oracle-model.js';

export interface JobOptions {
  readonly log: LogFactory;
  readonly stateDir: string;
  readonly policy: Policy;
  readonly workers: number;
  readonly engine: EngineKind;
  readonly guarantee: 'exactly-once' | 'at-least-once';
  readonly intervalMs: number;
  readonly cacheMb: number;
  /** What stands before the names of its topics and is its group's name; none on a log of its own. */
  readonly of?: string;
  readonly more?: Partial<Omit<ManagerOptions, 'streams' | 'log'>>;
}

/** A log as the tests beside the runtime use it: topics by the names that they have in the processor. */
export interface OracleLog {
  createTopic(spec: { readonly topic: string; readonly partitions: number }): Promise<unknown>;
  produce(
    topic: string,
    records: readonly { readonly key: string; readonly value: string }[],
  ): Promise<unknown>;
  /** Everything committed. */
  read(topic: string): AsyncIterable<RawRecord>;
}

export type Job = StateManager<{ readonly oracle: ReturnType<typeof processorAt<typeof oracle>> }>;

export const GROUP = 'oracle';

/** `environment`: another than the system's, for a runtime in one thread. */
export function startJob(options: JobOptions, environment?: ManagerEnvironment): Promise<Job> {
  const managerOptions = {
    group: options.of ?? GROUP,
    log: options.log,
    stateDir: options.stateDir,
    workers: options.workers,
    engine: options.engine,
    guarantee: options.guarantee,
    checkpoint: { intervalMs: options.intervalMs },
    memory: { cacheMb: options.cacheMb },
    restarts: { max: 50, firstMs: 5, maxMs: 50 },
    ...options.more,
    streams: {
      oracle: processorAt<typeof oracle>(
        new URL(
          `../fixtures/oracle-${options.policy}.js${options.of === undefined ? '' : `?of=${options.of}`}`,
          import.meta.url,
        ),
      ),
    },
  };
  return environment === undefined
    ? Manager.start(managerOptions)
    : Manager.startIn(managerOptions, environment);
}

/** The committed state of all partitions, once the records counted in it are as many as expected. */
export async function settled(
  job: Job,
  records: number,
  timeoutMs: number,
  pause: (ms: number) => Promise<unknown> = (ms) => sleep(ms),
): Promise<readonly Dump[]> {
  const until = performance.now() + timeoutMs;
  let counted = -1;
  while (performance.now() < until) {
    const dumps = [...(await job.streams.oracle.queryAll('dump', { read: 'committed' })).values()];
    counted = dumps.flatMap(({ totals }) => totals).reduce((sum, [, { count }]) => sum + count, 0);
    if (counted >= records) return dumps;
    await pause(20);
  }
  throw new Error(`the state counts ${counted} records instead of ${records} after ${timeoutMs} ms`);
}

/** The topics of the oracle's processor. */
export async function createTopics(log: Pick<OracleLog, 'createTopic'>, partitions: number): Promise<void> {
  for (const topic of ['events', 'totals', 'adjusted', 'dead']) await log.createTopic({ topic, partitions });
}

/** The keys of what is told of commands that were applied, sorted. */
export async function adjustedKeys(log: Pick<OracleLog, 'read'>): Promise<readonly string[]> {
  return (await readAll(log, 'adjusted')).map(({ key }) => Buffer.from(key!).toString()).sort();
}

/** Everything committed in a topic, by partition and offset. */
export async function readAll(log: Pick<OracleLog, 'read'>, topic: string): Promise<readonly RawRecord[]> {
  const records: RawRecord[] = [];
  for await (const record of log.read(topic)) records.push(record);
  return records.sort((a, b) => a.partition - b.partition || a.offset - b.offset);
}
