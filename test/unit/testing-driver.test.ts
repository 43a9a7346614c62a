/** The driver as its users meet it: what it promises in its docstrings. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { defineProcessor, int64, json, keyValue, nullable, string, topic } from '../../src/index.js';
import { ManualClock, TestDriver } from '../../src/testing/index.js';

const counter = defineProcessor({
  config: { parse: (input: unknown) => input as { readonly limit: number } },
  inputs: { clicks: topic({ key: nullable(string()), value: json<{ n: number }>(), name: 'clicks.v1' }) },
  outputs: { counts: topic({ key: string(), value: int64() }) },
  stores: { counts: keyValue({ key: string(), value: int64() }) },
  process({ key, value, headers }, { stores, emit, config }) {
    if (key === null) return;
    const next = (stores.counts.get(key) ?? 0) + value.n;
    stores.counts.set(key, next);
    emit.counts(key, next, { headers: Object.fromEntries(headers) });
    if (next > config.limit) throw new RangeError('over the limit');
  },
  onError: { deadLetter: 'clicks.dead' },
  queries: {
    count: ({ stores }, key, plus: number) => (key === null ? 0 : (stores.counts.get(key) ?? 0) + plus),
  },
  commands: {
    reset({ stores, emit }, key) {
      if (key === null) throw new Error('whose?');
      const old = stores.counts.get(key);
      stores.counts.delete(key);
      emit.counts(key, 0);
      return old;
    },
  },
});

const start = (options: Parameters<typeof TestDriver.start>[1] = {}) =>
  TestDriver.start(counter, { config: { limit: 10 }, ...options });

test('what is piped in is processed, readable at once, and in the outputs once it is committed', async () => {
  await using driver = await start();
  await driver.pipe('clicks', { key: 'a', value: { n: 2 }, timestamp: 5_000, headers: { trace: 'x' } });
  await driver.pipe('clicks', { key: 'a', value: { n: 3 } });
  await driver.pipe('clicks', { key: null, value: { n: 3 } });
  assert.equal(await driver.store('counts').get('a'), 5);
  assert.equal(await driver.store('counts', { read: 'committed' }).get('a'), undefined);
  assert.deepEqual(await driver.outputs('counts'), []);
  await driver.checkpoint();
  assert.equal(await driver.store('counts', { read: 'committed' }).get('a'), 5);
  assert.deepEqual(await driver.store('counts').entries(), [['a', 5]]);
  const [first, second, ...none] = await driver.outputs<string, number>('counts');
  assert.deepEqual(first, {
    partition: 0,
    offset: 0,
    timestamp: 5_000,
    key: 'a',
    value: 2,
    headers: { trace: 'x' },
  });
  assert.deepEqual([second!.value, second!.timestamp, none.length], [5, driver.clock.now(), 0]);
});

test('a crash takes what was not committed, and it is processed again', async () => {
  await using driver = await start();
  await driver.pipe('clicks', { key: 'a', value: { n: 1 } });
  await driver.checkpoint();
  await driver.pipe('clicks', { key: 'a', value: { n: 2 } });
  await driver.crash();
  await assert.rejects(driver.store('counts').get('a'), { code: 'ILLEGAL_STATE' });
  for (const wipe of [false, true]) {
    await driver.restart({ wipe });
    assert.equal(await driver.store('counts').get('a'), 1);
  }
  await driver.drain();
  assert.equal(await driver.store('counts').get('a'), 3);
  await driver.checkpoint();
  assert.deepEqual(
    (await driver.outputs('counts')).map(({ value }) => value),
    [1, 3],
  );
});

test('the clock stands still until it is advanced, and then makes checkpoints due', async () => {
  await using driver = await start({ checkpoint: { intervalMs: 500 }, startMs: 1_000_000 });
  assert.ok(driver.clock instanceof ManualClock);
  assert.equal(driver.clock.now(), 1_000_000);
  await driver.pipe('clicks', { key: 'a', value: { n: 1 } });
  await driver.advance(100);
  assert.deepEqual(await driver.outputs('counts'), []);
  await driver.advance(500);
  assert.equal((await driver.outputs('counts')).length, 1);
  assert.equal(driver.clock.now(), 1_000_600);
});

test('queries and commands reach the partition of their key', async () => {
  await using driver = await start({ partitions: 3 });
  const keys = ['a', 'b', 'c', 'd', 'e'];
  for (const [n, key] of keys.entries()) await driver.pipe('clicks', { key, value: { n: n + 1 } });
  for (const [n, key] of keys.entries()) {
    assert.equal(await driver.query('count', { key }, 100), n + 101);
    assert.equal(await driver.store('counts', { partition: driver.partitionOf(key) }).get(key), n + 1);
  }
  assert.equal(await driver.command('reset', { key: 'b' }), 2);
  assert.equal(await driver.query('count', { key: 'b' }, 0), 0);
  await assert.rejects(driver.command('reset', { key: null }), (error: Error) =>
    /whose/.test(String(error.cause)),
  );
  await driver.checkpoint();
  const resets = (await driver.outputs<string, number>('counts')).filter(({ value }) => value === 0);
  assert.deepEqual(
    resets.map(({ key, partition }) => [key, partition]),
    [['b', driver.partitionOf('b')]],
  );
});

test('a dead letter holds the record as it was and tells where it came from', async () => {
  await using driver = await start();
  await driver.pipe('clicks', { key: 'a', value: { n: 9 } });
  await driver.pipe('clicks', { key: 'a', value: { n: 2 } });
  await driver.pipe('clicks', { key: 'a', value: { n: 1 } });
  await driver.checkpoint();
  assert.equal(await driver.store('counts').get('a'), 10);
  const [dead, ...none] = await driver.outputs<Uint8Array, Uint8Array>('clicks.dead');
  assert.equal(none.length, 0);
  assert.equal(Buffer.from(dead!.value).toString(), '{"n":2}');
  assert.ok(Object.values(dead!.headers).includes('clicks.v1'), JSON.stringify(dead!.headers));
});

test('a failure of the actor rejects the step that met it', async () => {
  const broken = defineProcessor({
    inputs: { clicks: topic({ key: string(), value: string() }) },
    process() {
      throw new Error('broken');
    },
  });
  await using driver = await TestDriver.start(broken);
  await assert.rejects(driver.pipe('clicks', { key: 'a', value: '' }), (error: Error) => {
    return /broken/.test(`${error.message} ${String(error.cause)}`);
  });
});
