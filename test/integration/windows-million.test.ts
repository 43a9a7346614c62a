/**
 * A million open windows in one store: on disk, within the bound of the cache, read and closed. Alone in its file, since it
 * takes long; the other limits are in windows-limits.test.ts.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../src/core/clock.js';
import { tumbling } from '../../src/index.js';
import { RecordScope } from '../../src/state/state-store.js';
import { StorePartition } from '../../src/storage/store-partition.js';
import { DrivenWindows, FLUSH_EVERY } from '../support/driven-windows.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const HOUR_MS = 3_600_000;
const MEBIBYTE = 1024 * 1024;

test('a million open windows lie on disk, within the bound of the cache, and close in order', async (t) => {
  const WINDOWS = 1_000_000;
  const CACHE_BYTES = 32 * MEBIBYTE;
  const directory = temporaryDirectory('windows');
  const partition = await StorePartition.open({
    directory: join(directory, 'db'),
    engine: 'level',
    changelogTopicId: '',
    openBudgetMs: 1_000,
    engineOptions: { blockCacheBytes: 8 * MEBIBYTE, writeBufferBytes: 4 * MEBIBYTE },
    clock: systemClock,
    rebuildOnCorruption: true,
  });
  t.after(() => partition.close());
  const bench = new DrivenWindows(partition, tumbling(HOUR_MS), CACHE_BYTES);
  let offset = 0;
  const flush = async () => {
    const frozen = bench.state.freeze();
    await partition.apply(frozen.encode(), { offset: ++offset, appendTime: 0, sync: false });
    frozen.complete();
  };
  const startedAt = performance.now();
  let heldMax = 0;
  // All in one hour, at 100,000 different times.
  for (let i = 0; i < WINDOWS; i++) {
    if (bench.add(`key-${i}`, Math.floor(i / 10))) await bench.close();
    if ((i + 1) % FLUSH_EVERY !== 0) continue;
    await flush();
    heldMax = Math.max(heldMax, bench.state.heldBytes);
  }
  const openedAt = performance.now();
  assert.equal(bench.closed, 0);
  assert.ok(heldMax <= 1.1 * CACHE_BYTES, `${heldMax} bytes are held after a flush`);
  const query = new RecordScope();
  query.open = true;
  const store = bench.state.queryViews('latest', query)['w'] as typeof bench.view;
  let open = 0;
  for await (const { result } of store.all(0, Infinity)) open += result.n;
  assert.equal(open, WINDOWS);
  query.open = false;
  const countedAt = performance.now();
  bench.flush = flush;
  bench.clock.advance(HOUR_MS);
  await bench.close();
  await flush();
  assert.equal(bench.closed, WINDOWS);
  assert.deepEqual(await rowsOf(partition), 0);
  const now = performance.now();
  const s = (from: number, to: number) => ((to - from) / 1000).toFixed(1);
  t.diagnostic(
    `opened in ${s(startedAt, openedAt)} s, counted in ${s(openedAt, countedAt)} s, closed in ${s(countedAt, now)} s`,
  );
});

/** Rows of the store that the engine still has. */
async function rowsOf(partition: StorePartition): Promise<number> {
  const snapshot = partition.snapshot();
  const scan = snapshot.scan({});
  let rows = 0;
  for (let page = await scan.next(); page.length > 0; page = await scan.next())
    rows += page.filter(([key]) => !Buffer.from(key).includes('$partita')).length;
  await scan.close();
  await snapshot.close();
  return rows;
}
