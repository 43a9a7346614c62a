/** What a user of values that expire meets, case by case; the model test in `test/property` covers the combinations. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changelogTopic } from '../../src/core/names.js';
import {
  bytes,
  defineProcessor,
  int64,
  json,
  keyValue,
  msgpack,
  nullable,
  string,
  topic,
} from '../../src/index.js';
import type { KeyValue, ReadonlyKeyValue, Stores } from '../../src/processor/declarations.js';
import type { Serde } from '../../src/processor/serde.js';
import { EventClock, RecordScope, StateStore } from '../../src/state/state-store.js';
import { TestDriver } from '../../src/testing/index.js';
import { CountingPartition } from '../support/counting-partition.js';

interface Given {
  readonly ttlMs?: number;
  readonly value?: Serde<unknown>;
  readonly partition?: CountingPartition;
  readonly clockMs?: number;
  readonly maxRecordBytes?: number;
  readonly cacheBytes?: number;
}

function open(given: Given = {}) {
  const partition = given.partition ?? new CountingPartition();
  const clock = new EventClock(given.clockMs ?? -1);
  const { ttlMs } = given;
  const declared = {
    key: string(),
    value: given.value ?? json<unknown>(),
    ...(ttlMs === undefined ? {} : { ttlMs }),
  };
  const state = new StateStore({
    stores: { s: keyValue(declared) } as Stores,
    partition,
    clock,
    cacheBytes: given.cacheBytes ?? 1e8,
    maxRecordBytes: given.maxRecordBytes ?? 1e6,
    stream: 'payments',
    partitionNumber: 3,
  });
  const scope = new RecordScope();
  scope.open = true;
  const store = state.views(scope)['s'] as KeyValue<string, unknown>;
  const committed = state.queryViews('committed', scope)['s'] as ReadonlyKeyValue<string, unknown>;
  const at = (timestamp: number) => {
    state.savepoint();
    clock.advance(timestamp);
    scope.timestamp = timestamp;
    return store;
  };
  const checkpoint = async () => {
    await state.settle();
    const frozen = state.freeze();
    const writes = frozen.encode();
    partition.write(writes);
    frozen.complete();
    return writes.map(({ key, value }) => ({ key: Buffer.from(key).toString('latin1'), value }));
  };
  return { partition, state, scope, clock, store, committed, at, checkpoint };
}

async function all<K, V>(scan: AsyncIterable<readonly [K, V]>): Promise<(readonly [K, V])[]> {
  const entries: (readonly [K, V])[] = [];
  for await (const entry of scan) entries.push(entry);
  return entries;
}

const BAD_TTLS = [0, -1, 1.5, NaN, Infinity, -Infinity, 2 ** 53, '5', null];

test('a ttl that is none is refused where it is given, and stages nothing', () => {
  const { at, state } = open();
  for (const bad of BAD_TTLS.slice(0, -1)) {
    const ttlMs = bad as number;
    assert.throws(
      () => {
        at(5).set('k', 1, { ttlMs });
      },
      { code: 'INVALID_ARGUMENT' },
      String(bad),
    );
    assert.throws(
      () => {
        at(5).update('k', () => 1, { ttlMs });
      },
      { code: 'INVALID_ARGUMENT' },
      String(bad),
    );
  }
  assert.equal(state.dirtyCount, 0);
  for (const bad of BAD_TTLS)
    assert.throws(
      () => keyValue({ key: string(), value: string(), ttlMs: bad as number }),
      { code: 'INVALID_PROCESSOR' },
      String(bad),
    );
});

test('what has no timestamp, or would expire after all time, is refused and stages nothing', () => {
  const { at, scope, store, state } = open({ ttlMs: 10 });
  scope.timestamp = -1;
  assert.throws(
    () => {
      store.set('k', 1);
    },
    { code: 'TIMESTAMP_OUT_OF_RANGE' },
  );
  assert.throws(
    () => {
      store.set('k', 1, { ttlMs: 5 });
    },
    { code: 'TIMESTAMP_OUT_OF_RANGE' },
  );
  const last = Number.MAX_SAFE_INTEGER;
  assert.throws(
    () => {
      at(last - 9).set('k', 1);
    },
    { code: 'TIMESTAMP_OUT_OF_RANGE' },
  );
  assert.throws(
    () => {
      at(0).set('k', 1, { ttlMs: last });
      at(1).set('k', 1, { ttlMs: last });
    },
    { code: 'TIMESTAMP_OUT_OF_RANGE' },
  );
  assert.equal(state.dirtyCount, 1);
  store.delete('k');
  scope.timestamp = -1;
  store.update('k', () => undefined);
});

test('an update that keeps a value gives it a new life, by the default or by what it says', () => {
  const { at } = open({ ttlMs: 10 });
  at(0).set('k', 1);
  at(5).update('k', (old) => (old as number) + 1);
  assert.equal(at(14).get('k'), 2);
  at(14).update('k', (old) => (old as number) + 1, { ttlMs: 100 });
  assert.equal(at(113).get('k'), 3);
  at(114).update('k', (old) => old ?? 'gone');
  assert.equal(at(114).get('k'), 'gone');
});

test('a set without ttl is permanent where there is no default, also over an earlier ttl of the same record', async () => {
  const { at, store, checkpoint } = open();
  at(0).set('k', 1, { ttlMs: 5 });
  store.set('k', 2);
  await checkpoint();
  at(1_000);
  await checkpoint();
  assert.equal(store.get('k'), 2);
});

test('a late record’s value that has expired when it is set is not seen, nor is what it replaced', () => {
  const { at, store } = open();
  at(0).set('k', 1);
  at(100);
  at(50).set('k', 2, { ttlMs: 50 });
  assert.equal(store.get('k'), undefined);
  at(50).set('k', 3, { ttlMs: 51 });
  assert.equal(store.get('k'), 3);
});

test('a record that fails leaves no life and no death behind', async () => {
  const { at, store, state, clock, checkpoint } = open();
  at(0).set('k', 1, { ttlMs: 10 });
  state.savepoint();
  const before = clock.ms;
  at(0).set('k', 2, { ttlMs: 1_000 });
  state.rollback();
  clock.ms = before;
  at(9);
  assert.equal(store.get('k'), 1);
  await checkpoint();
  state.savepoint();
  clock.advance(500);
  assert.equal(store.get('k'), undefined);
  state.rollback();
  clock.ms = 9;
  assert.equal(store.get('k'), 1);
});

test('every serde keeps its values’ expiry through engine and reopening, null included', async () => {
  const cases: readonly (readonly [Serde<unknown>, unknown])[] = [
    [json<unknown>(), { a: [1] }],
    [nullable(json<unknown>()), null],
    [nullable(bytes()), null],
    [bytes(), new Uint8Array(0)],
    [int64(), 7],
    [string(), ''],
    [msgpack<unknown>(), { when: new Date(3) }],
  ];
  for (const [value, held] of cases) {
    const first = open({ value });
    first.at(2 ** 40).set('k', held, { ttlMs: 10 });
    const [entry] = await first.checkpoint();
    const mark = held === null ? 3 : 2;
    assert.equal(Buffer.from(entry!.value!).readUIntBE(0, 1), mark);
    assert.equal(Buffer.from(entry!.value!).readBigUInt64BE(1), BigInt(2 ** 40 + 10));
    const again = open({ value, partition: first.partition, clockMs: 2 ** 40 });
    assert.deepEqual(again.store.get('k'), held);
    assert.deepEqual(again.committed.get('k'), held);
    again.at(2 ** 40 + 10);
    assert.equal(again.store.has('k'), false);
    assert.deepEqual(again.committed.get('k'), held, 'committed reads go by the clock of the last freeze');
    const entries = again.committed.entries();
    assert.deepEqual(await all(entries), [['k', held]]);
    await again.checkpoint();
    assert.equal(again.committed.has('k'), false);
    assert.equal(first.partition.data.size, 0);
  }
});

test('the expiry counts towards the bytes of a record', () => {
  const fits = (maxRecordBytes: number, ttlMs: number | undefined): boolean => {
    const { at } = open({ value: int64(), maxRecordBytes });
    try {
      at(0).set('k', 7, ttlMs === undefined ? {} : { ttlMs });
      return true;
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'RECORD_TOO_LARGE');
      return false;
    }
  };
  let least = 0;
  while (!fits(least, undefined)) least++;
  for (let more = 0; more < 8; more++) assert.equal(fits(least + more, 5), false, String(more));
  assert.equal(fits(least + 8, 5), true);
});

test('turning ttl on leaves what is there permanent until it is set again; turned off, what expires still does', async () => {
  const before = open();
  before.at(0).set('old', 1);
  before.at(0).set('renewed', 1);
  await before.checkpoint();
  const on = open({ ttlMs: 10, partition: before.partition, clockMs: 0 });
  on.at(5).set('renewed', 2);
  on.at(5).set('new', 2);
  await on.checkpoint();
  const off = open({ partition: before.partition, clockMs: 5 });
  off.at(14).set('permanent', 3);
  assert.deepEqual(await all(off.store.entries()), [
    ['new', 2],
    ['old', 1],
    ['permanent', 3],
    ['renewed', 2],
  ]);
  off.at(15);
  const left = [
    ['old', 1],
    ['permanent', 3],
  ];
  assert.deepEqual(await all(off.store.entries()), left);
  await off.checkpoint();
  assert.equal(before.partition.data.size, 2);
});

test('a limit counts what has not expired, however much has', async () => {
  const { at, store, checkpoint } = open();
  for (const key of 'abcdefghij') at(0).set(key, 1, { ttlMs: 'aehj'.includes(key) ? 1_000 : 10 });
  await checkpoint();
  at(10);
  const keys = async (options: { limit?: number; reverse?: boolean }) =>
    (await all(store.entries(options))).map(([key]) => key).join('');
  assert.equal(await keys({ limit: 2 }), 'ae');
  assert.equal(await keys({ limit: 3 }), 'aeh');
  assert.equal(await keys({ limit: 4, reverse: true }), 'jhea');
  assert.equal(await keys({ limit: 9 }), 'aehj');
  store.set('b', 1);
  assert.equal(await keys({ limit: 3 }), 'abe');
});

const DUE = 12_000;
const keyOf = (n: number) => `k${String(n).padStart(6, '0')}`;
/** Values of which n expires at 1000 + n, in scrambled order. */
async function withMany(count: number, given: Given = {}) {
  const opened = open(given);
  for (let n = 0; n < count; n++) {
    const scrambled = (n * 7919) % count;
    opened.at(0).set(keyOf(scrambled), n, { ttlMs: 1_000 + scrambled });
  }
  await opened.checkpoint();
  return opened;
}

test('a checkpoint sweeps the oldest first within its budget, and the next ones go on', async () => {
  for (const reopened of [false, true]) {
    const first = await withMany(DUE);
    const clockMs = 1_000 + DUE;
    const opened = reopened ? open({ partition: first.partition, clockMs: 0, cacheBytes: 1e5 }) : first;
    opened.at(clockMs);
    const swept: string[] = [];
    for (let i = 0; i < 2; i++) {
      const writes = await opened.checkpoint();
      assert.ok(writes.every(({ value }) => value === null));
      const keys = writes.filter(({ key }) => /k\d{6}$/.test(key) && !key.includes('expiry'));
      assert.equal(keys.length, Math.min(10_000, DUE - swept.length));
      swept.push(...keys.map(({ key }) => key.slice(-7)));
    }
    assert.deepEqual(
      swept,
      Array.from({ length: DUE }, (_, n) => keyOf(n)),
    );
    assert.equal(opened.partition.data.size, 0);
    assert.equal((await opened.checkpoint()).length, 0);
  }
});

test('a checkpoint that comes without time to settle still sweeps what it knows of', async () => {
  const opened = await withMany(100);
  opened.at(1_010);
  await opened.checkpoint();
  opened.at(1_050);
  const writes = opened.state.freeze().encode();
  assert.equal(writes.length, 2 * 40);
});

test('a key that was set again since survives the sweep, and is swept in its own time', async () => {
  for (const cacheBytes of [0, 1e8]) {
    const { at, store, checkpoint, partition } = open({ cacheBytes });
    at(0).set('renewed', 1, { ttlMs: 10 });
    at(0).set('shortened', 1, { ttlMs: 1_000 });
    at(0).set('kept', 1, { ttlMs: 10 });
    at(0).set('dead', 1, { ttlMs: 10 });
    await checkpoint();
    at(5).set('renewed', 2, { ttlMs: 100 });
    at(5).set('shortened', 2, { ttlMs: 10 });
    at(5).set('kept', 2);
    at(5);
    await checkpoint();
    at(20);
    await checkpoint();
    const keys = (await all(store.entries())).map(([key]) => key);
    assert.deepEqual(keys, ['kept', 'renewed']);
    // Two values, the row that says when the one expires, and one that has lost its meaning and goes in its time.
    assert.equal(partition.data.size, 4);
    at(105);
    await checkpoint();
    assert.equal(partition.data.size, 2);
    at(1_000);
    await checkpoint();
    assert.equal(partition.data.size, 1);
    assert.equal(store.get('kept'), 2);
  }
});

test('a key that every record sets again costs the changelog one row, not one a checkpoint', async () => {
  const { at, checkpoint } = open({ ttlMs: 1_000 });
  const counts: number[] = [];
  for (let time = 0; time < 500; time++) {
    at(time).set('hot', time);
    if (time % 100 === 99) counts.push((await checkpoint()).length);
  }
  assert.deepEqual(counts, [2, 1, 1, 1, 1]);
});

test('what has expired before its first checkpoint never reaches the changelog', async () => {
  const { at, checkpoint } = open({ ttlMs: 10 });
  at(0).set('a', 1);
  at(10).set('b', 2);
  const writes = await checkpoint();
  assert.deepEqual(
    writes.map(({ key, value }) => [key.includes('expiry'), key.at(-1), value === null]),
    [
      [false, 'a', true],
      [false, 'b', false],
      [true, 'b', false],
    ],
  );
});

test('a version that does not know a mark says so, instead of taking it for a value', () => {
  const { partition, at, state } = open();
  at(0).set('k', 1);
  for (const { key } of state.freeze().encode())
    partition.write([{ key, value: Uint8Array.of(4, 0, 0, 0, 0, 0, 0, 0, 9, 49) }]);
  const again = open({ partition });
  assert.throws(() => again.store.get('k'), { code: 'STORE_INCOMPATIBLE' });
  partition.data = new Map([...partition.data.keys()].map((key) => [key, Uint8Array.of(2, 0, 0)]));
  assert.throws(() => open({ partition }).store.get('k'), { code: 'STORE_INCOMPATIBLE' });
});

test('the clock rises by no more than its bound with one record; the first one sets it', () => {
  const clock = new EventClock(-1, 100);
  clock.advance(5_000);
  assert.equal(clock.ms, 5_000);
  clock.advance(5_050);
  assert.equal(clock.ms, 5_050);
  clock.advance(9_000_000);
  assert.equal(clock.ms, 5_150);
  clock.advance(10);
  assert.equal(clock.ms, 5_150);
});

const visits = defineProcessor({
  inputs: { visits: topic({ key: string(), value: int64() }) },
  stores: { seen: keyValue({ key: string(), value: int64(), ttlMs: 1_000 }) },
  process: ({ key, value }, { stores }) => {
    stores.seen.set(key, value);
  },
  commands: {
    remember: ({ stores }, key, ttlMs: number) => {
      stores.seen.set(key, -1, { ttlMs });
    },
  },
});

test('the changelog does not grow with what has expired', async () => {
  await using driver = await TestDriver.start(visits);
  const log = changelogTopic('test', 'processor');
  const records = async () => {
    const values: (Uint8Array | null)[] = [];
    for await (const { value } of driver.log.read(log)) values.push(value);
    return values.length;
  };
  const counts: number[] = [];
  for (let round = 0; round < 40; round++) {
    for (let n = 0; n < 50; n++)
      await driver.pipe('visits', { key: `visitor-${round}-${n}`, value: n, timestamp: 500 * round + n });
    await driver.checkpoint();
    if (round % 10 !== 9) continue;
    // So that tombstones may go as well.
    driver.clock.advance(8 * 86_400_000);
    await driver.log.compact(log);
    driver.clock.advance(8 * 86_400_000);
    await driver.log.compact(log);
    counts.push(await records());
  }
  // The living of three rounds with their rows, tombstones of the last, and the checkpoint record.
  assert.ok(Math.max(...counts) <= 301, String(counts));
  assert.equal(new Set(counts).size, 1, String(counts));
  await driver.restart({ wipe: true });
  const living = await driver.store('seen').entries();
  assert.equal(living.length, 100);
});

test('what a command sets expires so long after the wall-clock of its run', async () => {
  await using driver = await TestDriver.start(visits, { startMs: 10_000 });
  await driver.command('remember', { key: 'a' }, 500);
  await driver.pipe('visits', { key: 'b', value: 1, timestamp: 10_499 });
  assert.equal(await driver.store('seen').get('a'), -1);
  await driver.pipe('visits', { key: 'b', value: 1, timestamp: 10_500 });
  assert.equal(await driver.store('seen').get('a'), undefined);
});

test('one timestamp from a far future does not empty the store of a driver with a bound', async () => {
  for (const maxClockAdvanceMs of [undefined, 60_000]) {
    await using driver = await TestDriver.start(
      visits,
      maxClockAdvanceMs === undefined ? {} : { maxClockAdvanceMs },
    );
    await driver.pipe('visits', { key: 'a', value: 1, timestamp: 1_000_000 });
    await driver.pipe('visits', { key: 'b', value: 1, timestamp: 1_070_000 });
    await driver.pipe('visits', { key: 'c', value: 1, timestamp: 4_000_000_000 });
    await driver.pipe('visits', { key: 'd', value: 1, timestamp: 1_120_000 });
    assert.equal(await driver.store('seen').get('d'), maxClockAdvanceMs === undefined ? undefined : 1);
  }
});
