/** Definitions of windowed stores that can't be run are refused where they are made, and changed ones where they are opened. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  count,
  countHopping,
  countSliding,
  defineProcessor,
  hopping,
  int64,
  json,
  keyValue,
  session,
  sliding,
  string,
  topic,
  tumbling,
  windowed,
  type Window,
} from '../../src/index.js';
import { LevelEngine } from '../../src/storage/level-engine.js';
import { ActorHarness, CHANGELOG } from '../support/actor-harness.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const invalid = { code: 'INVALID_PROCESSOR' };
const base = { key: string(), value: int64(), window: tumbling(10) };
const visits = { visits: topic({ key: string(), value: int64() }) };

test('sizes, steps and gaps that are none are refused', () => {
  for (const bad of [0, -1, 1.5, NaN, Infinity]) {
    assert.throws(() => tumbling(bad), invalid);
    assert.throws(() => hopping(10, bad), invalid);
    assert.throws(() => hopping(bad, 1), invalid);
    assert.throws(() => sliding(bad), invalid);
    assert.throws(() => session(bad), invalid);
    assert.throws(() => count(bad), invalid);
    assert.throws(() => countHopping(3, bad), invalid);
    assert.throws(() => countSliding(bad), invalid);
  }
});

test('a step that is not below the size is refused', () => {
  assert.throws(() => hopping(10, 10), invalid);
  assert.throws(() => hopping(10, 11), invalid);
  assert.throws(() => countHopping(3, 3), invalid);
});

test('options that make no sense are refused', () => {
  const bad: readonly object[] = [
    { graceMs: -1 },
    { graceMs: 0.5 },
    { keyClockRetentionMs: -1 },
    { idleAfterMs: 0 },
    { closing: 'never' },
    { emission: 'sometimes' },
    { trigger: { count: 0 } },
    { trigger: { everyMs: -1 } },
    { trigger: {} },
    { window: count(3), graceMs: 1 },
    { window: count(3), closing: 'key' },
    { window: sliding(3), trigger: { count: 2, closes: true } },
  ];
  for (const options of bad)
    assert.throws(() => windowed({ ...base, aggregate: (of) => ({ n: of.count() }), ...options }), invalid);
});

test('aggregations that are none, and sessions that could not merge, are refused', () => {
  assert.throws(() => windowed({ ...base, aggregate: () => ({}) }), invalid);
  assert.throws(() => windowed({ ...base, aggregate: () => ({ n: 1 as never }) }), invalid);
  const withoutMerge = { initial: () => 0, add: (a: number, v: number) => a + v };
  assert.throws(
    () => windowed({ ...base, window: session(5), aggregate: (of) => ({ n: of.fold(withoutMerge) }) }),
    invalid,
  );
  windowed({
    ...base,
    window: session(5),
    aggregate: (of) => ({ n: of.fold({ ...withoutMerge, merge: (a, b) => a + b }) }),
  });
});

test('handlers of windows that are not there, and outputs that are not, are refused', () => {
  const process = () => undefined;
  const stores = {
    perTen: windowed({ ...base, aggregate: (of) => ({ n: of.count() }) }),
    plain: keyValue({ key: string(), value: int64() }),
  };
  const define = (more: object) => defineProcessor({ inputs: visits, stores, process, ...more });
  assert.throws(() => define({ windows: { plain: process } }), invalid);
  assert.throws(() => define({ windows: { nothing: process } }), invalid);
  assert.throws(() => define({ windows: { perTen: 'nowhere' } }), invalid);
  assert.throws(() => define({ onLate: { plain: process } }), invalid);
  assert.throws(() => define({ onLate: { perTen: 'nowhere' } }), invalid);
  assert.throws(() => define({ stores: { w: { kind: 'unheard' } } }), invalid);
  assert.throws(() => define({ stores: { w: undefined } }), invalid);
});

test('another definition over existing windows is refused, and leaves changelog and files untouched', async () => {
  const definition = (window: Window, more: object = {}) =>
    defineProcessor({
      inputs: { in: topic({ key: string(), value: json<number>() }) },
      stores: {
        w: windowed({
          key: string(),
          value: json<number>(),
          window,
          aggregate: (of) => ({ n: of.count() }),
          ...more,
        }),
      },
      process({ key, value }, { stores }) {
        stores.w.add(key, value);
      },
    }).definition;
  const reused = defineProcessor({
    inputs: { in: topic({ key: string(), value: json<number>() }) },
    stores: { w: keyValue({ key: string(), value: json<number>() }) },
    process: () => undefined,
  }).definition;
  const directory = temporaryDirectory('changed');
  const first = definition(tumbling(10));
  await using harness = await ActorHarness.make({
    definition: first,
    directory,
    options: { engine: 'level' },
  });
  await harness.boot();
  await harness.log.produce('in', [{ key: 'a', value: '1', timestamp: 5 }]);
  await harness.feed('in');
  await harness.actor.close({ commit: true, budgetMs: 1_000 });
  // Once more: how far the changelog was read moves over the end of the last transaction.
  await harness.boot();
  await harness.actor.close({ commit: true, budgetMs: 1_000 });
  const before = await harness.read(CHANGELOG);
  assert.ok(before.length > 1);
  const files = await filesAndRows(directory);
  assert.ok(files.length > 3, files.join(', '));
  for (const changed of [
    definition(tumbling(20)),
    definition(hopping(10, 5)),
    definition(tumbling(10), { graceMs: 1 }),
    definition(tumbling(10), { closing: 'key' }),
    definition(tumbling(10), { aggregate: (of: { count(): unknown }) => ({ m: of.count() }) }),
    reused,
  ]) {
    harness.definition = changed;
    await assert.rejects(harness.boot(), { code: 'STORE_INCOMPATIBLE' });
    assert.deepEqual(await filesAndRows(directory), files);
  }
  assert.deepEqual(await harness.read(CHANGELOG), before);
  // The database too: nothing has to be restored. What is emitted, and when, is no part of the state.
  harness.definition = definition(tumbling(10), { emission: 'updates', trigger: { count: 3 } });
  assert.equal((await harness.boot()).restoredRecords, 0);
});

/**
 * Everything that a database holds: our own files byte by byte, and each row. LevelDB writes its logs and manifest anew
 * whenever it is opened, so its own files say nothing.
 */
async function filesAndRows(directory: string): Promise<string[]> {
  const found: string[] = [];
  for (const { name, parentPath } of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(parentPath, name);
    if (name === 'CURRENT') {
      const engine = await LevelEngine.open(parentPath, { blockCacheBytes: 0, writeBufferBytes: 1 << 20 });
      const scan = engine.snapshot().scan({ gte: new Uint8Array() });
      for (let page = await scan.next(); page.length > 0; page = await scan.next())
        for (const row of page) found.push(row.map((bytes) => Buffer.from(bytes).toString('hex')).join('='));
      await engine.close();
    } else if (name.endsWith('.json')) found.push(`${name}: ${await readFile(path, 'utf8')}`);
  }
  return found.sort();
}
