/**
 * The pause of an actor that moves between two threads while records flow, and beside it the pause of one that is parked
 * and resumed because a member joins and leaves.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EmbeddedLog, processorAt, StateManager } from '../../src/index.js';
import { report } from './report.js';
import { INPUT, load } from './w1-load.js';
import type w1 from './w1-processor.js';

/** Between two moves: records come in, so that there is something to commit. */
const BETWEEN_MS = 20;
const PORTION = 500;

export async function benchMoves(keys: number, moves: number): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'partita-moves-'));
  const log = await EmbeddedLog.open();
  const start = (instanceId: string) =>
    StateManager.start({
      group: 'bench',
      log,
      stateDir: dir,
      instanceId,
      engine: 'level',
      workers: 2,
      createTopics: { partitions: 2 },
      streams: { w1: processorAt<typeof w1>(new URL('./w1-processor.js', import.meta.url)) },
    });
  await load(log, { records: keys, keys, sequential: true, partitions: 2 });
  const manager = await start('one');
  await manager.ready();
  const processed = async (): Promise<number> =>
    (await manager.stats()).partitions.reduce((sum, { actor }) => sum + (actor?.records ?? 0), 0);
  while ((await processed()) < keys) await sleep(BETWEEN_MS);
  await manager.checkpoint();
  const pauses: number[] = [];
  for (let move = 0; move < moves; move++) {
    await log.produce(
      INPUT,
      Array.from({ length: PORTION }, (_, i) => ({
        key: `k${String((move * PORTION + i) % keys).padStart(7, '0')}`,
        value: JSON.stringify({ t: Date.now(), v: i, pad: '' }),
      })),
    );
    await sleep(BETWEEN_MS);
    pauses.push((await manager.move('w1', 0, (move + 1) % 2)).pauseMs);
  }
  figures('move', keys, pauses);
  const parked: number[] = [];
  manager.on('resumed', ({ parkedMs }) => parked.push(parkedMs));
  for (let round = 0; round < 5; round++) {
    const other = await start('two');
    await other.ready();
    await other.stop();
    await manager.ready();
  }
  figures('park and resume', keys, parked);
  await manager.stop();
  await log.close();
  await rm(dir, { recursive: true, force: true });
}

function figures(how: string, keys: number, pauses: readonly number[]): void {
  const sorted = [...pauses].sort((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
  const bench = { bench: 'moves', with: { how, keys, pauses: sorted.length }, unit: 'ms' };
  for (const [metric, share] of [
    ['p50', 0.5],
    ['p99', 0.99],
    ['max', 1],
  ] as const)
    report({ ...bench, metric, value: at(share) });
}
