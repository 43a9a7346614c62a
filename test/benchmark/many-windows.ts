/**
 * Ten million open windows in one state over a database on disk, with a cache of 64 MiB: what adding, reading and closing
 * them costs, and what stays in memory. Without actor, log and changelog, which `stream.ts` has.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EngineKind } from '../../src/index.js';
import { tumbling } from '../../src/processor/windowed.js';
import { WindowedState } from '../support/windowed-state.js';
import { report } from './report.js';

const CACHE_BYTES = 64 << 20;
const CHECKPOINT_RECORDS = 50_000;
const DAY_MS = 86_400_000;
const START_MS = 1_767_225_600_000;
const SIZE_MS = 60_000;
/** The keys of one window of time. */
const KEYS_PER_WINDOW = 100_000;

export async function benchManyWindows(windows: number, engine: EngineKind): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'partita-many-windows-'));
  const figure = (metric: string, value: number, unit: string) => {
    report({ bench: 'many-windows', with: { windows, engine }, metric, value, unit });
  };
  try {
    await using state = await WindowedState.open({
      engine,
      directory: join(directory, 'db'),
      window: tumbling(SIZE_MS),
      graceMs: DAY_MS,
      cacheBytes: CACHE_BYTES,
    });
    const added = await addAll(state, windows);
    figure('windows opened', added.perSecond, 'windows/s');
    figure('held after a checkpoint, at most', added.heldMax / 1e6, 'MB');
    figure('resident memory, at most', added.residentMax / 1e6, 'MB');

    const readFrom = performance.now();
    let open = 0;
    for await (const { result } of state.all('committed')) open += result.n;
    if (open !== windows) throw new Error(`${String(open)} windows are open, not ${String(windows)}.`);
    figure('windows read by a query', perSecond(windows, readFrom), 'windows/s');

    // The windows of the first minute, of which nothing is in memory.
    const due = Math.min(KEYS_PER_WINDOW, windows);
    state.reads = { gets: 0, pages: 0 };
    state.add('clock', START_MS + SIZE_MS + DAY_MS);
    const closeFrom = performance.now();
    await state.close();
    await state.checkpoint();
    if (state.closed !== due) throw new Error(`${String(state.closed)} windows closed, not ${String(due)}.`);
    figure('windows closed', perSecond(due, closeFrom), 'windows/s');
    figure('point reads a closing', state.reads.gets / due, '');
    figure('pages read for all closings', state.reads.pages, '');
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function addAll(state: WindowedState, windows: number) {
  let heldMax = 0;
  let residentMax = 0;
  const from = performance.now();
  for (let i = 0; i < windows; i++) {
    const time = START_MS + SIZE_MS * Math.floor(i / KEYS_PER_WINDOW);
    state.add(`customer-${String(i)}`, time);
    if (state.pending) await state.close();
    if ((i + 1) % CHECKPOINT_RECORDS > 0) continue;
    await state.checkpoint();
    heldMax = Math.max(heldMax, state.heldBytes);
    residentMax = Math.max(residentMax, process.memoryUsage.rss());
  }
  await state.checkpoint();
  return { heldMax, residentMax, perSecond: perSecond(windows, from) };
}

function perSecond(count: number, fromMs: number): number {
  return (1_000 * count) / (performance.now() - fromMs);
}
