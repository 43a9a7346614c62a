/** Scans as queries and commands use them: their moment, their order, and that they never keep a snapshot open. */
import assert from 'node:assert/strict';
import { setImmediate as breathe } from 'node:timers/promises';
import { test } from 'node:test';
import { int64, json, string } from '../../src/codec/serdes.js';
import { keyValue, type KeyValue, type Stores } from '../../src/processor/declarations.js';
import type { Serde } from '../../src/processor/serde.js';
import { RecordScope, StateStore } from '../../src/state/state-store.js';
import { CountingPartition } from '../support/counting-partition.js';

function open(key: Serde<unknown> = string()) {
  const partition = new CountingPartition();
  const state = new StateStore({
    stores: { s: keyValue({ key, value: int64() }) } as Stores,
    partition,
    cacheBytes: 1e6,
    maxRecordBytes: 1e6,
    stream: 'payments',
    partitionNumber: 3,
  });
  const scope = new RecordScope();
  scope.open = true;
  return { partition, state, scope, store: state.views(scope)['s'] as KeyValue<unknown, number> };
}

/** The letters flushed with value 1. */
function openWith(letters: string): ReturnType<typeof open> {
  const opened = open();
  for (const letter of letters) opened.store.set(letter, 1);
  const frozen = opened.state.freeze();
  opened.partition.write(frozen.encode());
  frozen.complete();
  return opened;
}

async function keysOf(scan: AsyncIterable<readonly [unknown, unknown]>): Promise<string> {
  let keys = '';
  for await (const [key] of scan) keys += String(key);
  return keys;
}

test('a limit counts what is there, however many flushed keys the layers have deleted before it', async () => {
  const { store, state, partition } = openWith('abcdefgh');
  for (const key of 'abc') store.delete(key);
  state.freeze();
  for (const key of 'de') store.delete(key);
  assert.equal(await keysOf(store.entries({ limit: 2 })), 'fg');
  assert.equal(await keysOf(store.entries({ limit: 4, reverse: true })), 'hgf');
  assert.equal(await keysOf(store.entries({ limit: 0 })), '');
  for (const limit of [-1, 1.5, NaN])
    assert.throws(() => store.entries({ limit }), { code: 'INVALID_ARGUMENT' });
  assert.equal(partition.snapshotsOpen, 0);
});

test('a scan sees the moment of its call, though it is read while everything changes', async () => {
  const { store, state, partition } = openWith('ace');
  store.set('b', 2);
  const scan = store.entries();
  const frozen = state.freeze();
  store.set('b', 3);
  store.set('d', 3);
  store.delete('a');
  partition.write(frozen.encode());
  frozen.complete();
  const got: unknown[] = [];
  for await (const entry of scan) got.push(entry);
  assert.deepEqual(got, [
    ['a', 1],
    ['b', 2],
    ['c', 1],
    ['e', 1],
  ]);
  assert.equal(await keysOf(store.entries()), 'bcde');
});

test('a range includes its lower bound and excludes its upper one, in both directions', async () => {
  const { store } = openWith('abcde');
  store.set('bb', 1);
  assert.equal(await keysOf(store.range('b', 'd')), 'bbbc');
  assert.equal(await keysOf(store.range('b', 'd', { reverse: true })), 'cbbb');
  assert.equal(await keysOf(store.range('d', 'b')), '');
  assert.equal(await keysOf(store.range('b', 'b')), '');
});

test('stores whose names contain each other never mix', async () => {
  const partition = new CountingPartition();
  const declared = keyValue({ key: string(), value: int64() });
  const state = new StateStore({
    stores: { s: declared, ss: declared, 's.s': declared },
    partition,
    cacheBytes: 0,
    maxRecordBytes: 1e6,
    stream: 'payments',
    partitionNumber: 0,
  });
  const scope = new RecordScope();
  scope.open = true;
  const views = state.views(scope) as Record<'s' | 'ss' | 's.s', KeyValue<string, number>>;
  const keys = ['', 's', 'ss', '.s', '\u0001s', '\u0002ss'];
  for (const key of keys) views.s.set(key, 1);
  views.ss.set('', 2);
  const frozen = state.freeze();
  partition.write(frozen.encode());
  frozen.complete();
  assert.equal(partition.data.size, keys.length + 1);
  assert.equal((await keysOf(views.s.entries())).length, keys.join('').length);
  assert.deepEqual(await keysOf(views.ss.entries()), '');
  assert.equal(views.ss.has(''), true);
  assert.equal(views.ss.has('s'), false);
  assert.equal(await keysOf(views['s.s'].entries()), '');
});

test('keys are decoded back to their type, and numbers come in the order of numbers', async () => {
  const { store } = open(int64());
  for (const key of [10, -1, 9, 0, -300, 2 ** 40]) store.set(key, 0);
  const keys: unknown[] = [];
  for await (const [key] of store.entries()) keys.push(key);
  assert.deepEqual(keys, [-300, -1, 0, 9, 10, 2 ** 40]);
  assert.throws(() => store.prefix(1), { code: 'INVALID_ARGUMENT' });
  assert.throws(() => open(json()).store.prefix('a'), { code: 'INVALID_ARGUMENT' });
});

test('a scan closes its snapshot at its end, on break, on an error in the loop, and if it was never read', async () => {
  const { store, scope, partition } = openWith('abcdef');
  await keysOf(store.entries());
  assert.equal(partition.snapshotsOpen, 0);
  for await (const [key] of store.entries()) if (key === 'c') break;
  assert.equal(partition.snapshotsOpen, 0);
  await assert.rejects(async () => {
    for await (const [key] of store.entries()) throw new Error(`at ${String(key)}`);
  }, /at a/);
  assert.equal(partition.snapshotsOpen, 0);
  const unread = store.entries()[Symbol.asyncIterator]();
  assert.equal(partition.snapshotsOpen, 1);
  await unread.return?.();
  assert.equal(partition.snapshotsOpen, 0);
  store.entries();
  scope.open = false;
  await breathe();
  assert.equal(partition.snapshotsOpen, 0);
});

test('a scan kept beyond its record ends with RECORD_CLOSED, also once the next record is open', async () => {
  const { store, scope, partition } = openWith('abcdef');
  const scan = store.entries()[Symbol.asyncIterator]();
  assert.deepEqual((await scan.next()).value, ['a', 1]);
  scope.open = false;
  scope.open = true;
  await assert.rejects(scan.next(), { code: 'RECORD_CLOSED' });
  assert.equal((await scan.next()).done, true);
  assert.equal(partition.snapshotsOpen, 0);
});

test('a scan under way when the state is dropped ends with TRANSACTION_CLOSED', async () => {
  const { store, state, partition } = openWith('abcdef');
  const scan = store.entries()[Symbol.asyncIterator]();
  await scan.next();
  const reading = store.entries()[Symbol.asyncIterator]().next();
  state.discard();
  await assert.rejects(reading, { code: 'TRANSACTION_CLOSED' });
  await assert.rejects(scan.next(), { code: 'TRANSACTION_CLOSED' });
  assert.equal(partition.snapshotsOpen, 0);
});

test('an error of the engine in a scan fails the transaction', async () => {
  const { store, state, partition } = openWith('abcdef');
  const scan = store.entries();
  partition.failScan = new Error('disk gone');
  await assert.rejects(keysOf(scan), { code: 'ENGINE_FAILED', cause: partition.failScan });
  assert.equal(state.transaction.status, 'failed');
  assert.equal(partition.snapshotsOpen, 0);
});

test('a scan is read once: a second loop is an error, not silently empty', async () => {
  const { store } = openWith('ab');
  const scan = store.entries();
  assert.equal(await keysOf(scan), 'ab');
  await assert.rejects(keysOf(scan), { code: 'ILLEGAL_STATE' });
});

test('scans leave the cache as it was', async () => {
  const { store, state } = openWith('abcdef');
  state.setCacheBytes(0);
  state.setCacheBytes(1e6);
  await keysOf(store.entries());
  assert.equal(state.heldBytes, 0);
});
