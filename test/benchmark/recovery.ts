/** How fast one actor replays its changelog, per engine; and how soon a manager is ready when its state was kept. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedLog, processorAt, StateManager } from '../../src/index.js';
import { report } from './report.js';
import { fill } from './w1.js';
import type w1 from './w1-processor.js';

type Engine = 'memory' | 'level' | 'rocksdb';
const PROCESSOR = new URL('./w1-processor.js', import.meta.url);

async function start(log: EmbeddedLog, stateDir: string, engine: Engine, workers: number) {
  return StateManager.start({
    group: 'recovery',
    log,
    stateDir,
    workers,
    engine,
    streams: { w1: processorAt<typeof w1>(PROCESSOR) },
  });
}

async function untilCommitted(log: EmbeddedLog, partitions: number, records: number): Promise<void> {
  const client = await log.connect({ clientId: 'bench' });
  const all = Array.from({ length: partitions }, (_, partition) => ({ topic: 'w1-in', partition }));
  for (;;) {
    const committed = await client.committed('recovery', all);
    if (committed.reduce((sum, offset) => sum + (offset?.offset ?? 0), 0) >= records) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await client.close();
}

/** Fills the changelog of a single partition by processing, then starts with nothing on disk. */
export async function benchRecovery(engine: Engine, records: number): Promise<void> {
  const log = await EmbeddedLog.open();
  const first = mkdtempSync(join(tmpdir(), 'partita-recovery-'));
  const second = mkdtempSync(join(tmpdir(), 'partita-recovery-'));
  try {
    await log.createTopic({ topic: 'w1-out', partitions: 1 });
    await fill(log, { keys: records * 10, records, partitions: 1 });
    const writing = await start(log, first, 'memory', 1);
    await untilCommitted(log, 1, records);
    await writing.stop();
    const reading = await start(log, second, engine, 1);
    const recovered = new Promise<{ restoredRecords: number; durationMs: number }>((resolve) => {
      reading.on('recovered', resolve);
    });
    await reading.ready();
    const { restoredRecords, durationMs } = await recovered;
    await reading.stop();
    report({
      bench: 'recovery',
      metric: 'one actor from scratch',
      value: restoredRecords / (durationMs / 1000),
      unit: 'records/s',
      with: { engine, records: restoredRecords },
    });
  } finally {
    await log.close();
    rmSync(first, { recursive: true, force: true });
    rmSync(second, { recursive: true, force: true });
  }
}

/** The directory log and the state of `keys` keys stay; from `start` to `ready`, the log's own opening apart. */
export async function benchRestart(engine: Exclude<Engine, 'memory'>, keys: number): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'partita-restart-'));
  const stateDir = join(root, 'state');
  try {
    const writing = await EmbeddedLog.open({ dir: join(root, 'log') });
    await writing.createTopic({ topic: 'w1-out', partitions: 4 });
    await fill(writing, { keys, records: keys, sequential: true });
    const before = await start(writing, stateDir, engine, 2);
    await untilCommitted(writing, 4, keys);
    await before.stop();
    await writing.close();
    const openedAt = performance.now();
    const log = await EmbeddedLog.open({ dir: join(root, 'log') });
    const startedAt = performance.now();
    const after = await start(log, stateDir, engine, 2);
    await after.ready();
    const readyAt = performance.now();
    await after.stop();
    await log.close();
    const facts = { engine, keys };
    report({ bench: 'restart', metric: 'open the log', value: startedAt - openedAt, unit: 'ms', with: facts });
    report({ bench: 'restart', metric: 'start to ready', value: readyAt - startedAt, unit: 'ms', with: facts });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
