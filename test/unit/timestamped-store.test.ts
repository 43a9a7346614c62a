/** Timestamped stores as handlers and queries meet them: errors, frozen values, grace that changes, and how many rows stay. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { encodeCheckpointRecord } from '../../src/changelog/checkpoint-record.js';
import { checkStores, storeForms } from '../../src/actor/declared-stores.js';
import {
  bytes,
  defineProcessor,
  json,
  nullable,
  string,
  timestamped,
  topic,
  type Timestamped,
  type TimestampedDeclaration,
} from '../../src/index.js';
import { RecordScope, StateStore } from '../../src/state/state-store.js';
import { engineFactory } from '../../src/storage/engines.js';
import type { StorageEngine } from '../../src/storage/storage-engine.js';
import { TestDriver } from '../../src/testing/index.js';

interface Rate {
  readonly of: number;
}

const rates = defineProcessor({
  inputs: {
    rates: topic({ key: string(), value: json<Rate>() }),
    orders: topic({ key: string(), value: json<{ readonly currency: string }>() }),
  },
  outputs: { priced: topic({ key: string(), value: json<Partial<Rate>>() }) },
  stores: { rates: timestamped({ key: string(), value: json<Rate>(), graceMs: 1_000 }) },
  process(record, { stores, emit }) {
    if (record.input === 'rates') stores.rates.set(record.key, record.value, record.timestamp);
    else emit.priced(record.key, stores.rates.getAsOf(record.value.currency, record.timestamp)?.value ?? {});
  },
  queries: {
    asOf: ({ stores }, _key: string, currency: string, ms: number) => stores.rates.getAsOf(currency, ms),
    between: ({ stores }, _key: string, currency: string, from: number, to: number) =>
      stores.rates.between(currency, from, to),
    interval: async ({ stores }, _key: string, currency: string, from: number, to: number, limit: number) => {
      const found: unknown[] = [];
      for await (const entry of stores.rates.interval(currency, from, to, { reverse: true, limit }))
        found.push(entry);
      return found;
    },
  },
});

test('a record is joined with the entry as of its own time, whatever has come since, also after a crash', async () => {
  await using driver = await TestDriver.start(rates);
  const p = { partition: 0 };
  for (const [timestamp, of] of [
    [100, 1],
    [300, 3],
    [200, 2],
  ] as const)
    await driver.pipe('rates', { key: 'EUR', value: { of }, timestamp });
  await driver.pipe('orders', { key: 'a', value: { currency: 'EUR' }, timestamp: 250 });
  await driver.checkpoint();
  await driver.pipe('rates', { key: 'EUR', value: { of: 4 }, timestamp: 1_150 });
  assert.equal(await driver.query('asOf', p, 'EUR', 149), undefined);
  assert.deepEqual(await driver.query('asOf', { ...p, read: 'committed' }, 'EUR', 149), {
    timestamp: 100,
    value: { of: 1 },
  });
  await driver.restart({ wipe: true });
  await driver.drain();
  await driver.pipe('orders', { key: 'b', value: { currency: 'EUR' }, timestamp: 150 });
  await driver.pipe('orders', { key: 'c', value: { currency: 'EUR' }, timestamp: 1_150 });
  await driver.checkpoint();
  assert.deepEqual(
    (await driver.outputs('priced')).map(({ value }) => value),
    [{ of: 2 }, {}, { of: 4 }],
  );
  assert.deepEqual(await driver.query('interval', p, 'EUR', 0, 2_000, 2), [
    [1_150, { of: 4 }],
    [300, { of: 3 }],
  ]);
  const expected = [{ timestamp: 200, value: { of: 2 } }];
  assert.deepEqual(await driver.query('between', p, 'EUR', 200, 300), expected);
  const store = driver.timestamped('rates', { read: 'committed' });
  assert.deepEqual(await store.between('EUR', 200, 300), expected);
  assert.deepEqual(await store.getAsOf('EUR', 200), expected[0]);
  await assert.rejects(driver.store('rates').get('EUR'), /no get/);
});

async function opened<K, V>(
  declaration: TimestampedDeclaration<K, V>,
  { maxRecordBytes = 1 << 20, engine }: { maxRecordBytes?: number; engine?: StorageEngine } = {},
) {
  const partition =
    engine ?? (await engineFactory('memory').open('', { blockCacheBytes: 0, writeBufferBytes: 0 }));
  const state = new StateStore({
    stores: { entries: declaration },
    partition,
    cacheBytes: 1 << 20,
    maxRecordBytes,
    stream: 'test',
    partitionNumber: 0,
  });
  const scope = new RecordScope();
  scope.open = true;
  const { entries } = state.views(scope) as { readonly entries: Timestamped<K, V> };
  const commit = async (): Promise<void> => {
    const frozen = state.freeze();
    await partition.write(frozen.encode(), { sync: false });
    frozen.complete();
  };
  return { partition, state, scope, entries, commit };
}

test('what is no timestamp, no interval or no value of the store is refused at the call and leaves nothing', async () => {
  const { entries } = await opened(timestamped({ key: string(), value: json<unknown>() }), {
    maxRecordBytes: 2_000,
  });
  for (const timestamp of [-1, 0.5, NaN, Infinity, 2 ** 53]) {
    assert.throws(() => entries.set('a', 1, timestamp), { code: 'TIMESTAMP_OUT_OF_RANGE' });
    assert.throws(() => entries.getAsOf('a', timestamp), { code: 'TIMESTAMP_OUT_OF_RANGE' });
  }
  assert.throws(() => entries.set('a', { when: new Date() }, 0), { code: 'SERDE_FAILED' });
  assert.throws(() => entries.set('a', undefined, 0), { code: 'SERDE_FAILED' });
  assert.throws(() => entries.set('a', 'x'.repeat(2_000), 0), { code: 'RECORD_TOO_LARGE' });
  assert.throws(() => entries.set(null as never, 1, 0), { code: 'SERDE_FAILED' });
  assert.throws(() => entries.interval('a', NaN, 1), { code: 'INVALID_ARGUMENT' });
  assert.throws(() => entries.interval('a', 0, 1, { limit: -1 }), { code: 'INVALID_ARGUMENT' });
  assert.deepEqual(entries.between('a', 0, Infinity), []);
  for (const options of [{ graceMs: -1 }, { graceMs: 0.5 }, { keepDuplicates: 'no' as never }])
    assert.throws(() => timestamped({ key: string(), value: json(), ...options }), {
      code: 'INVALID_PROCESSOR',
    });
});

test('values that are each as large as a row may be lie in rows of their own', async () => {
  const { entries, commit } = await opened(timestamped({ key: string(), value: string() }), {
    maxRecordBytes: 200_000,
  });
  const values = Array.from({ length: 10 }, (_, i) => String(i).repeat(150_000));
  for (const [i, value] of values.entries()) entries.set('a', value, 10 * i);
  entries.set('a', 'between', 45);
  await commit();
  assert.equal(entries.getAsOf('a', 49)?.value, 'between');
  for (const [i, value] of values.entries()) assert.equal(entries.getAsOf('a', 10 * i)?.value, value);
});

test('plain values are frozen and shared, others decoded afresh, and null is a value', async () => {
  const plain = await opened(timestamped({ key: string(), value: nullable(json<{ n: number[] }>()) }));
  plain.entries.set('a', { n: [1] }, 5);
  plain.entries.set('a', null, 6);
  const found = plain.entries.getAsOf('a', 5)!.value;
  assert.ok(Object.isFrozen(found) && Object.isFrozen(found!.n));
  assert.equal(plain.entries.getAsOf('a', 5)!.value, found);
  assert.deepEqual(plain.entries.getAsOf('a', 6), { timestamp: 6, value: null });
  const opaque = await opened(timestamped({ key: string(), value: bytes() }));
  opaque.entries.set('a', Uint8Array.of(1), 0);
  opaque.entries.getAsOf('a', 0)!.value[0] = 9;
  assert.deepEqual([...opaque.entries.getAsOf('a', 0)!.value], [1]);
});

test('an interval ends with its record and is iterated once', async () => {
  const { entries, scope } = await opened(timestamped({ key: string(), value: json<number>() }));
  for (let i = 0; i < 3; i++) entries.set('a', i, i);
  const scan = entries.interval('a', 0, 9);
  const iterator = scan[Symbol.asyncIterator]();
  assert.throws(() => scan[Symbol.asyncIterator](), { code: 'ILLEGAL_STATE' });
  assert.deepEqual((await iterator.next()).value, [0, 0]);
  scope.open = false;
  await assert.rejects(iterator.next(), { code: 'RECORD_CLOSED' });
  assert.throws(() => entries.getAsOf('a', 0), { code: 'RECORD_CLOSED' });
});

test('a larger grace brings nothing back, a smaller one counts from the next write of a key', async () => {
  const of = (graceMs: number) => timestamped({ key: string(), value: json<number>(), graceMs });
  const first = await opened(of(10));
  first.entries.set('a', 1, 100);
  first.entries.set('a', 2, 95);
  await first.commit();
  const larger = await opened(of(1_000), { engine: first.partition });
  assert.equal(larger.entries.set('a', 3, 89), false);
  assert.equal(larger.entries.set('a', 4, 101), true);
  assert.equal(larger.entries.set('a', 3, 89), false);
  await larger.commit();
  const smaller = await opened(of(1), { engine: first.partition });
  assert.equal(smaller.entries.getAsOf('a', 95)?.value, 2);
  smaller.entries.set('a', 5, 102);
  assert.equal(smaller.entries.getAsOf('a', 100), undefined);
});

test('what falls out of the grace is deleted at the checkpoints, of that key alone', async () => {
  const { entries, commit, partition } = await opened(
    timestamped({ key: string(), value: json<number>(), graceMs: 1_000 }),
  );
  const rows = async (): Promise<number> => {
    const snapshot = partition.snapshot();
    const scan = snapshot.scan({ gte: Uint8Array.of(0), reverse: false });
    let count = 0;
    for (let page = await scan.next(); page.length > 0; page = await scan.next()) count += page.length;
    await snapshot.close();
    return count;
  };
  for (let i = 0; i < 640; i++) entries.set('kept', i, i);
  await commit();
  const kept = await rows();
  assert.equal(kept, 11);
  let most = 0;
  for (let i = 0; i < 50_000; i++) {
    entries.set('a', i, i);
    if (i % 500 !== 499) continue;
    await commit();
    most = Math.max(most, await rows());
  }
  // 1,001 entries in blocks of 64, with one that is half gone.
  assert.ok(most - kept <= 18, `${most - kept} rows`);
  entries.set('a', 0, 1e9);
  await commit();
  assert.equal((await rows()) - kept, 1);
  for (let i = 0; i < 640; i++) assert.equal(entries.getAsOf('kept', i)?.value, i);
});

test('duplicates can not be declared otherwise over existing entries', () => {
  const forms = (keepDuplicates: boolean, graceMs: number) =>
    storeForms(
      defineProcessor({
        inputs: { in: topic({ key: string(), value: string() }) },
        stores: { entries: timestamped({ key: string(), value: string(), keepDuplicates, graceMs }) },
        process: () => undefined,
      }).definition,
    );
  const record = encodeCheckpointRecord({
    resets: [],
    incarnation: 0,
    number: 1,
    positions: {},
    clock: 0,
    stores: forms(false, 5),
  });
  const spec = { id: { stream: 's', partition: 0 } } as never;
  checkStores(record, forms(false, 6), spec, {} as never);
  assert.throws(
    () => {
      checkStores(record, forms(true, 5), spec, {} as never);
    },
    { code: 'STORE_INCOMPATIBLE' },
  );
});
