/**
 * What a reader of windows sees while they change: all of one moment, wherever a window lies. Over a store alone, on every
 * kind of engine, in which a scan can be stopped at any window; what handlers and queries see else is in
 * state-windowed.test.ts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tumbling } from '../../src/index.js';
import type { EngineKind } from '../../src/storage/storage-engine.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { WindowedState, type CountedWindow } from '../support/windowed-state.js';

const ENGINES: readonly EngineKind[] = ['memory', 'level', 'rocksdb'];
/** More than a row holds: each has a row of its own. */
const WINDOWS = 200;
/** More than a window's row holds: the rest is in blocks. */
const VALUES = 150;

const open = (engine: EngineKind): Promise<WindowedState> =>
  WindowedState.open({
    engine,
    directory: temporaryDirectory('windowed-view'),
    window: tumbling(10),
    graceMs: 100_000,
    cacheBytes: 1 << 20,
    collects: true,
  });

const shown = ({ key, startMs, result }: CountedWindow) =>
  `${key} ${startMs} ${result.n} ${result.values?.length}`;

async function listed(windows: AsyncIterable<CountedWindow>): Promise<string[]> {
  const found: string[] = [];
  for await (const window of windows) found.push(shown(window));
  return found;
}

/** A key with one window, one with many, and one with a large one. */
async function fill(state: WindowedState): Promise<void> {
  state.add('a', 5);
  for (let i = 0; i < WINDOWS; i++) state.add('many', 10 * i);
  for (let n = 0; n < VALUES; n++) state.add('much', 7);
  await Promise.resolve();
}

for (const engine of ENGINES)
  for (const flushed of [false, true])
    test(`a scan of all windows shows those of its beginning, whatever is added and closed meanwhile (${engine}, ${flushed ? 'from disk' : 'from memory'})`, async () => {
      await using state = await open(engine);
      await fill(state);
      if (flushed) await state.reopen();
      const before = await listed(state.all());
      assert.equal(before.length, 1 + WINDOWS + 1);
      assert.equal(before.at(-1), `much 0 ${VALUES} ${VALUES}`);

      const scan = state.all();
      const first = await scan.next();
      assert.equal(first.done, false);
      const seen = [shown(first.value)];
      // Each window changes, new ones come, and those that were there close and go.
      await fill(state);
      state.add('new', 20_000);
      if (flushed) await state.checkpoint();
      state.add('late riser', 1_000_000);
      await state.close();
      await state.checkpoint();
      assert.deepEqual(await listed(state.all()), ['late riser 1000000 1 1']);
      seen.push(...(await listed(scan)));
      assert.deepEqual(seen, before);
    });

for (const engine of ENGINES)
  test(`a committed read has all values of a window that has closed since (${engine})`, async () => {
    await using state = await open(engine);
    await fill(state);
    await state.checkpoint();
    const before = await listed(state.all());
    state.add('late riser', 1_000_000);
    await state.close();
    assert.deepEqual(await listed(state.all('committed')), before);
    assert.deepEqual(state.current('much', 'committed').map(shown), [`much 0 ${VALUES} ${VALUES}`]);
    assert.deepEqual(state.current('much'), []);
  });
