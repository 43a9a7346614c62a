/** The cache by what it costs and keeps: engine reads and bytes, seen from outside. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { json, string } from '../../src/codec/serdes.js';
import { keyValue, type KeyValue } from '../../src/processor/declarations.js';
import { RecordScope, StateStore } from '../../src/state/state-store.js';
import { CountingPartition } from '../support/counting-partition.js';

function open(cacheBytes: number, empty?: boolean) {
  const partition = new CountingPartition();
  partition.empty = empty ?? false;
  const state = new StateStore({
    stores: { s: keyValue({ key: string(), value: json<unknown>() }) },
    partition,
    cacheBytes,
    maxRecordBytes: 1e6,
    stream: 'payments',
    partitionNumber: 0,
  });
  const scope = new RecordScope();
  scope.open = true;
  const store = state.views(scope)['s'] as KeyValue<string, unknown>;
  const flush = (): void => {
    const frozen = state.freeze();
    partition.write(frozen.encode());
    frozen.complete();
  };
  return { partition, state, store, flush };
}

test('a hot key is read from the engine once, absence included, also across checkpoints', () => {
  const { partition, store, flush } = open(1e6);
  for (let i = 0; i < 10; i++) {
    assert.equal(store.get('absent'), undefined);
    store.get('k');
    store.set('k', i);
    flush();
  }
  assert.equal(partition.gets, 2);
});

test('a blind write reads nothing', () => {
  const { partition, store, flush } = open(1e6);
  store.set('k', 1);
  store.delete('other');
  assert.equal(store.get('k'), 1);
  flush();
  assert.equal(store.get('other'), undefined);
  assert.equal(partition.gets, 0);
});

test('memory stays within its bound once flushed, and changes survive beyond it until they are', () => {
  const bound = 20_000;
  const { partition, state, store, flush } = open(bound);
  for (let i = 0; i < 1000; i++) store.set(`key ${i}`, { i });
  assert.ok(state.heldBytes > bound, 'changes are pinned');
  assert.equal(state.dirtyBytes, state.heldBytes);
  for (let i = 0; i < 1000; i++) assert.deepEqual(store.get(`key ${i}`), { i });
  assert.equal(partition.gets, 0);
  flush();
  assert.ok(state.heldBytes <= bound, `${state.heldBytes} bytes held`);
  for (let i = 0; i < 1000; i++) {
    assert.deepEqual(store.get(`key ${i}`), { i });
    assert.ok(state.heldBytes <= bound);
  }
});

test('reads do not grow memory while changes alone fill the bound', () => {
  const { partition, state, store, flush } = open(20_000);
  for (let i = 0; i < 1000; i++) store.set(`cold ${i}`, i);
  flush();
  for (let i = 0; i < 1000; i++) store.set(`pinned ${i}`, i);
  const held = state.heldBytes;
  for (let turn = 0; turn < 5; turn++) for (let i = 0; i < 1000; i++) assert.equal(store.get(`cold ${i}`), i);
  assert.ok(state.heldBytes < held + 60_000, `${state.heldBytes - held} bytes more`);
  assert.ok(partition.gets >= 4000);
});

test('keys in use stay while a stream of keys seen once passes by', () => {
  const { partition, store, flush } = open(20_000);
  for (let i = 0; i < 20; i++) store.set(`hot ${i}`, i);
  flush();
  partition.gets = 0;
  for (let i = 0; i < 5000; i++) {
    store.get(`hot ${i % 20}`);
    store.get(`once ${i}`);
  }
  assert.ok(partition.gets < 5000 + 50, `${partition.gets - 5000} reads of hot keys`);
});

test('the bound can be changed at any time', () => {
  const { state, store, flush } = open(1e6);
  for (let i = 0; i < 1000; i++) store.set(`key ${i}`, i);
  flush();
  assert.equal(state.cacheBytes, 1e6);
  const held = state.heldBytes;
  state.setCacheBytes(held / 2);
  assert.ok(state.heldBytes <= held / 2 && state.heldBytes > held / 4);
  state.setCacheBytes(0);
  assert.equal(state.heldBytes, 0);
  assert.equal(store.get('key 7'), 7);
});

test('a database that was empty is not asked for keys while everything written since is held', () => {
  const { partition, store, flush } = open(1e6, true);
  for (let i = 0; i < 100; i++) {
    assert.equal(store.get(`k${i}`), undefined);
    store.set(`k${i}`, i);
    flush();
  }
  assert.equal(partition.gets, 0);
});

test('a database that was empty is asked again once something was evicted', () => {
  const { store, flush } = open(2_000, true);
  for (let i = 0; i < 100; i++) {
    store.set(`k${i}`, i);
    flush();
  }
  for (let i = 0; i < 100; i++) assert.equal(store.get(`k${i}`), i);
});
