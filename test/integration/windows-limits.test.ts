/**
 * Windowed stores at their limits: a year without a record, a hundred thousand windows that close at once while queries come,
 * a crash in the midst of that, and a changelog that does not grow with what has closed. A million of them are in
 * windows-million.test.ts.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { changelogTopic } from '../../src/core/names.js';
import { defineProcessor, hopping, int64, json, string, topic, tumbling, windowed } from '../../src/index.js';
import { TestDriver } from '../../src/testing/index.js';
import { CountingPartition } from '../support/counting-partition.js';
import { DrivenWindows } from '../support/driven-windows.js';
import { turns } from '../support/waiting.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

for (const [name, window] of [
  ['tumbling', tumbling(1_000)],
  ['hopping', hopping(1_000, 100)],
] as const)
  test(`a year without a record costs ${name} windows of a second a bounded number of reads`, async () => {
    const partition = new CountingPartition();
    const bench = new DrivenWindows(partition, window, 0);
    for (let i = 0; i < 20; i++) bench.add(`key-${i}`, 5_000 + i);
    const frozen = bench.state.freeze();
    partition.write(frozen.encode());
    frozen.complete();
    const open = bench.closed;
    partition.gets = 0;
    bench.add('key-0', 365 * DAY_MS);
    await bench.close();
    assert.ok(bench.closed - open <= 20 * 10, `${bench.closed} windows were closed`);
    assert.ok(partition.gets <= 12 * (bench.closed - open) + 50, `${partition.gets} reads`);
  });

interface Told {
  readonly n: number;
}

const visits = defineProcessor({
  inputs: { visits: topic({ key: string(), value: int64() }) },
  outputs: { closed: topic({ key: string(), value: json<Told>() }) },
  stores: {
    perHour: windowed({
      key: string(),
      value: int64(),
      window: tumbling(HOUR_MS),
      aggregate: (of) => ({ n: of.count() }),
    }),
  },
  process({ key, value }, { stores }) {
    stores.perHour.add(key, value);
  },
  windows: { perHour: 'closed' },
  queries: {
    open: ({ stores }, key) => stores.perHour.current(key).length,
  },
});

const keyed = (n: number, timestamp: number) =>
  Array.from({ length: n }, (_, i) => ({ key: `visitor-${i}`, value: i, timestamp }));

test('while a hundred thousand windows close, queries are answered and see them as closed', async (t) => {
  const WINDOWS = 100_000;
  await using driver = await TestDriver.start(visits);
  await driver.append('visits', keyed(WINDOWS, 1));
  await driver.drain();
  await driver.append('visits', [{ key: 'late riser', value: 0, timestamp: 2 * HOUR_MS }]);
  const startedAt = performance.now();
  const state: { ended: boolean } = { ended: false };
  const hasEnded = () => state.ended;
  const closing = driver.drain().then(() => {
    state.ended = true;
  });
  const waits: number[] = [];
  const seen = new Set<number>();
  // The last one to close: by key.
  while (!hasEnded()) {
    const askedAt = performance.now();
    seen.add(await driver.query('open', { key: 'visitor-99999' }));
    if (!hasEnded()) waits.push(performance.now() - askedAt);
    await turns();
  }
  await closing;
  const took = performance.now() - startedAt;
  await driver.checkpoint();
  assert.equal((await driver.outputs('closed')).length, WINDOWS);
  assert.ok(waits.length >= 3, `${waits.length} queries were answered before the closings ended`);
  // Open until the record came, closed from then on.
  assert.deepEqual([...seen].sort(), seen.size === 2 ? [0, 1] : [0]);
  report(t, took, waits);
});

function report(t: TestContext, took: number, waits: readonly number[]): void {
  const sorted = waits.toSorted((a, b) => a - b);
  const at = (share: number) => (sorted[Math.floor(share * (sorted.length - 1))] ?? 0).toFixed(1);
  t.diagnostic(
    `closed in ${took.toFixed(0)} ms; ${waits.length} queries in between, ${at(0.5)} ms (median), ${at(1)} ms (longest)`,
  );
}

test('a crash amid the closings of many windows loses none and repeats none', async () => {
  const WINDOWS = 20_000;
  // Closings fill the layer again and again: checkpoints come in between.
  await using driver = await TestDriver.start(visits, { checkpoint: { bytesMax: 64 * 1024 } });
  await driver.append('visits', keyed(WINDOWS, 1));
  await driver.drain();
  await driver.append('visits', [{ key: 'late riser', value: 0, timestamp: 2 * HOUR_MS }]);
  const closedSoFar = async () => (await driver.outputs('closed')).length;
  for (let crashes = 0; crashes < 3; crashes++) {
    const drained = driver.drain().catch(() => undefined);
    const before = await closedSoFar();
    for (let turn = 0; turn < 200 && (await closedSoFar()) < before + 2_000; turn++) await turns();
    await driver.crash();
    await drained;
    await driver.restart({ wipe: crashes === 1 });
  }
  await driver.drain();
  await driver.checkpoint();
  const closed = await driver.outputs<string, Told>('closed');
  assert.equal(closed.length, WINDOWS);
  assert.equal(new Set(closed.map(({ key }) => key)).size, WINDOWS);
});

test('the changelog does not grow with the windows that have closed', async () => {
  const KEYS = 50;
  await using driver = await TestDriver.start(visits);
  const changelog = changelogTopic('test', 'processor');
  const counts: number[] = [];
  for (let hour = 0; hour < 60; hour++) {
    await driver.append('visits', keyed(KEYS, hour * HOUR_MS));
    await driver.drain();
    await driver.checkpoint();
    if (hour % 15 !== 14) continue;
    // Twice, so that tombstones may go as well.
    for (let pass = 0; pass < 2; pass++) {
      driver.clock.advance(8 * DAY_MS);
      await driver.log.compact(changelog);
    }
    let records = 0;
    for await (const _record of driver.log.read(changelog)) records += _record.offset >= 0 ? 1 : 0;
    counts.push(records);
  }
  assert.equal((await driver.outputs('closed')).length, 59 * KEYS);
  // A row and an index row for each open window, the tombstones of the last hour's, and the checkpoint record.
  assert.ok(Math.max(...counts) <= 4 * KEYS + 1, String(counts));
  assert.equal(new Set(counts).size, 1, String(counts));
});
