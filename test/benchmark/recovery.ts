/**
 * Recovery of one actor from a changelog that holds every key once, per engine; and the restart of a million keys on the
 * directory log with the state kept.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EmbeddedLog, processorAt, StateManager, type EngineKind, type LogFactory } from '../../src/index.js';
import { report } from './report.js';
import { INPUT, load } from './w1-load.js';
import type w1 from './w1-processor.js';

const GROUP = 'bench';
const POLL_MS = 20;

interface JobOptions {
  readonly log: LogFactory;
  readonly stateDir: string;
  readonly engine: EngineKind;
  readonly partitions: number;
}

function startJob({ log, stateDir, engine, partitions }: JobOptions) {
  return StateManager.start({
    group: GROUP,
    log,
    stateDir,
    engine,
    workers: 1,
    createTopics: { partitions },
    streams: { w1: processorAt<typeof w1>(new URL('./w1-processor.js', import.meta.url)) },
  });
}

/** Processes everything and stops. */
async function runJob(options: JobOptions, log: EmbeddedLog): Promise<void> {
  const manager = await startJob(options);
  await manager.ready();
  const client = await log.connect({ clientId: 'progress' });
  const partitions = Array.from({ length: options.partitions }, (_, partition) => ({
    topic: INPUT,
    partition,
  }));
  for (let behind = 1; behind > 0;) {
    await sleep(POLL_MS);
    const [bounds, committed] = [
      await client.topics.bounds(partitions),
      await client.committed(GROUP, partitions),
    ];
    behind = bounds.reduce((sum, { end }, i) => sum + end - (committed[i]?.offset ?? 0), 0);
  }
  await client.close();
  await manager.stop();
}

/** Each engine recovers the same changelog of one partition into an empty database. */
export async function benchRecovery(keys: number, engines: readonly EngineKind[]): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'partita-recovery-'));
  const log = await EmbeddedLog.open();
  await load(log, { records: keys, keys, sequential: true, partitions: 1 });
  await runJob({ log, stateDir: join(dir, 'first'), engine: 'memory', partitions: 1 }, log);
  for (const engine of engines) {
    const job = await startJob({ log, stateDir: join(dir, engine), engine, partitions: 1 });
    const recovered = new Promise<{ restoredRecords: number; durationMs: number }>((resolve) => {
      job.on('recovered', resolve);
    });
    await job.ready();
    const { restoredRecords, durationMs } = await recovered;
    report({
      bench: 'recovery',
      metric: 'rate',
      value: (restoredRecords / durationMs) * 1000,
      unit: 'records/s',
      with: { keys, engine },
    });
    await job.stop();
  }
  await log.close();
  await rm(dir, { recursive: true, force: true });
}

/** Everything is closed and opened again: the log's directory, the manager, four actors with their state kept. */
export async function benchRestart(keys: number): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'partita-restart-'));
  const partitions = 4;
  const options = { stateDir: join(dir, 'state'), engine: 'level', partitions } as const;
  const first = await EmbeddedLog.open({ dir: join(dir, 'log') });
  await load(first, { records: keys, keys, sequential: true, partitions });
  await runJob({ ...options, log: first }, first);
  await first.close();
  const startedAt = performance.now();
  const log = await EmbeddedLog.open({ dir: join(dir, 'log') });
  const openedAt = performance.now();
  const manager = await startJob({ ...options, log });
  await manager.ready();
  const readyAt = performance.now();
  await manager.stop();
  await log.close();
  await rm(dir, { recursive: true, force: true });
  for (const [metric, value] of [
    ['log opened', openedAt - startedAt],
    ['start to ready', readyAt - openedAt],
    ['both', readyAt - startedAt],
  ] as const)
    report({ bench: 'restart', metric, value, unit: 'ms', with: { keys, state: 'kept' } });
}
