/** What a user of a key-value store meets, case by case; the model test in `test/property` covers the combinations. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, float64, int64, json, nullable, string } from '../../src/codec/serdes.js';
import { PartitaError } from '../../src/core/errors.js';
import {
  keyValue,
  type KeyValue,
  type ReadonlyKeyValue,
  type Stores,
} from '../../src/processor/declarations.js';
import type { Serde } from '../../src/processor/serde.js';
import { RecordScope, StateStore } from '../../src/state/state-store.js';
import { CountingPartition } from '../support/counting-partition.js';

interface Opened {
  readonly partition: CountingPartition;
  readonly state: StateStore;
  readonly scope: RecordScope;
  readonly store: KeyValue<unknown, unknown>;
  readonly committed: ReadonlyKeyValue<unknown, unknown>;
}

function open<K, V>(
  key: Serde<K>,
  value: Serde<V>,
  options: { partition?: CountingPartition; cacheBytes?: number; maxRecordBytes?: number } = {},
): Opened {
  const partition = options.partition ?? new CountingPartition();
  const state = new StateStore({
    stores: { s: keyValue({ key, value }) } as Stores,
    partition,
    cacheBytes: options.cacheBytes ?? 1e6,
    maxRecordBytes: options.maxRecordBytes ?? 1e6,
    stream: 'payments',
    partitionNumber: 3,
  });
  const scope = new RecordScope();
  scope.open = true;
  const store = state.views(scope)['s'] as KeyValue<unknown, unknown>;
  const committed = state.queryViews('committed', scope)['s'] as ReadonlyKeyValue<unknown, unknown>;
  return { partition, state, scope, store, committed };
}

function flush({ state, partition }: Opened): void {
  const frozen = state.freeze();
  partition.write(frozen.encode());
  frozen.complete();
}

function reopened<K, V>(key: Serde<K>, value: Serde<V>, before: Opened): Opened {
  flush(before);
  before.state.close();
  return open(key, value, { partition: before.partition });
}

test('null, 0, the empty string, false and empty bytes are values like any other, also after a restart', () => {
  for (const [serde, value] of [
    [nullable(json<unknown>()), null],
    [nullable(bytes()), null],
    [nullable(string()), null],
    [json<unknown>(), 0],
    [int64(), 0],
    [string(), ''],
    [json<unknown>(), ''],
    [json<unknown>(), false],
    [bytes(), new Uint8Array(0)],
  ] as const) {
    const serdeOfAny = serde as Serde<unknown>;
    const before = open(string(), serdeOfAny);
    before.store.set('k', value);
    assert.deepEqual(before.store.get('k'), value);
    const after = reopened(string(), serdeOfAny, before);
    assert.equal(after.store.has('k'), true);
    assert.deepEqual(after.store.get('k'), value);
    assert.equal(after.store.get('other'), undefined);
    assert.equal(after.store.has('other'), false);
  }
});

test('null without nullable() and undefined anywhere are refused with SERDE_FAILED, and leave nothing behind', () => {
  for (const serde of [json<unknown>(), bytes(), string()] as Serde<unknown>[]) {
    const opened = open(string(), serde);
    for (const value of [null, undefined])
      assert.throws(
        () => {
          opened.store.set('k', value);
        },
        { code: 'SERDE_FAILED' },
      );
    assert.equal(opened.state.dirtyCount, 0);
    assert.equal(opened.store.has('k'), false);
  }
  const opened = open(nullable(json<unknown>()), json<unknown>());
  for (const key of [null, undefined]) {
    assert.throws(
      () => {
        opened.store.set(key, 1);
      },
      { code: 'SERDE_FAILED' },
    );
    assert.throws(() => opened.store.get(key), { code: 'SERDE_FAILED' });
  }
});

test('a value that does not survive its serde fails at set, with store, key and cause', () => {
  const { store, state } = open(string(), json<unknown>());
  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;
  for (const value of [1n, NaN, -0, { at: new Date() }, [undefined], { gone: undefined }, new Map(), cyclic])
    assert.throws(
      () => {
        store.set('k', value);
      },
      (error) =>
        error instanceof PartitaError &&
        error.code === 'SERDE_FAILED' &&
        error.details['store'] === 's' &&
        error.details['key'] === 'k' &&
        error.cause instanceof Error,
    );
  assert.equal(state.dirtyCount, 0);
  const text = open(string(), string());
  assert.throws(
    () => {
      text.store.set('k', 'half \ud800');
    },
    { code: 'SERDE_FAILED' },
  );
  assert.throws(
    () => {
      text.store.set('k', 5);
    },
    { code: 'SERDE_FAILED' },
  );
});

test('a serde that throws at set or at get gives SERDE_FAILED, and the transaction goes on', () => {
  const picky: Serde<string> = {
    encode: (value) => {
      if (value === 'bad') throw new RangeError('bad');
      return Buffer.from(value);
    },
    decode: (encoded) => {
      const text = Buffer.from(encoded).toString();
      if (text === 'unreadable') throw new RangeError(text);
      return text;
    },
  };
  const { store, state } = open(string(), picky);
  assert.throws(
    () => {
      store.set('a', 'bad');
    },
    { code: 'SERDE_FAILED' },
  );
  store.set('b', 'unreadable');
  assert.throws(() => store.get('b'), { code: 'SERDE_FAILED' });
  store.set('c', 'good');
  assert.equal(store.get('c'), 'good');
  assert.equal(state.transaction.status, 'started');
});

test('what set was given and get has returned can no longer be changed', () => {
  const { store } = open(string(), json<unknown>());
  const value = { list: [{ n: 1 }] };
  store.set('k', value);
  assert.throws(() => value.list.push({ n: 2 }), TypeError);
  assert.throws(() => ((store.get('k') as typeof value).list[0]!.n = 5), TypeError);
  const again = reopened(
    string(),
    json<unknown>(),
    (() => {
      const fresh = open(string(), json<unknown>());
      fresh.store.set('k', { list: [{ n: 1 }] });
      return fresh;
    })(),
  );
  assert.throws(() => ((again.store.get('k') as typeof value).list[0]!.n = 5), TypeError);
});

test('bytes and values of own serdes are copies both ways: changing them changes no state', () => {
  const passing: Serde<Uint8Array> = { encode: (value) => value, decode: (encoded) => encoded };
  for (const serde of [bytes(), passing]) {
    const before = open(string(), serde);
    const mine = Uint8Array.of(1, 2, 3);
    before.store.set('k', mine);
    mine[0] = 9;
    (before.store.get('k') as Uint8Array)[1] = 9;
    assert.deepEqual([...(before.store.get('k') as Uint8Array)], [1, 2, 3]);
    const after = reopened(string(), serde, before);
    (after.store.get('k') as Uint8Array)[1] = 9;
    assert.deepEqual([...(after.store.get('k') as Uint8Array)], [1, 2, 3]);
  }
});

test('keys that are the same to their serde are one key: 0 and -0, a lone surrogate and U+FFFD, equal bytes', () => {
  const floats = open(float64(), string());
  floats.store.set(-0, 'zero');
  assert.equal(floats.store.get(0), 'zero');
  assert.equal(reopened(float64(), string(), floats).store.get(-0), 'zero');

  const words = open(string(), string());
  words.store.set('\ud800', 'first');
  words.store.set('\ufffd', 'second');
  assert.equal(words.store.get('\ud800'), 'second');
  assert.equal(words.state.dirtyCount, 1);

  const binary = open(bytes(), string());
  binary.store.set(Uint8Array.of(1), 'one');
  assert.equal(binary.store.get(Buffer.from([1])), 'one');
});

test('a key of the wrong type is refused, also where it would look like another key', () => {
  const words = open(string(), string());
  words.store.set('5', 'text');
  assert.throws(() => words.store.get(5), { code: 'SERDE_FAILED' });
  const numbers = open(int64(), string());
  assert.throws(
    () => {
      numbers.store.set('5', 'x');
    },
    { code: 'SERDE_FAILED' },
  );
  assert.throws(
    () => {
      numbers.store.set(1.5, 'x');
    },
    { code: 'SERDE_FAILED' },
  );
  const values = open(json<unknown>(), string());
  values.store.set('NaN', 'x');
  assert.throws(() => values.store.get(NaN), { code: 'SERDE_FAILED' });
  assert.equal(words.state.dirtyCount + numbers.state.dirtyCount, 1);
});

test('a value is refused exactly when its changelog record would pass the limit, not when its bound does', () => {
  // 96 bytes of a batch and a record around them; prefix "\x01s", key "k", mark, quotes.
  const fits = 1000 - 96 - 2 - 1 - 1 - 2;
  const { store, state } = open(string(), json<unknown>(), { maxRecordBytes: 1000 });
  store.set('k', 'x'.repeat(fits));
  assert.equal((store.get('k') as string).length, fits);
  assert.throws(
    () => {
      store.set('k', 'x'.repeat(fits + 1));
    },
    { code: 'RECORD_TOO_LARGE' },
  );
  assert.equal((store.get('k') as string).length, fits);
  assert.throws(
    () => {
      store.set('k'.repeat(1000), 1);
    },
    { code: 'RECORD_TOO_LARGE' },
  );
  assert.throws(
    () => {
      store.delete('k'.repeat(1000));
    },
    { code: 'RECORD_TOO_LARGE' },
  );
  assert.equal(store.get('k'.repeat(1000)), undefined);
  assert.equal(state.dirtyCount, 1);
  const raw = open(string(), bytes(), { maxRecordBytes: 1000 });
  raw.store.set('k', new Uint8Array(fits + 2));
  assert.throws(
    () => {
      raw.store.set('k', new Uint8Array(fits + 3));
    },
    { code: 'RECORD_TOO_LARGE' },
  );
});

test('a context used after its record ended throws RECORD_CLOSED, whatever is called', () => {
  const { store, committed, scope } = open(string(), string());
  scope.open = false;
  const uses = [
    () => store.get('k'),
    () => store.has('k'),
    () => {
      store.set('k', 'v');
    },
    () => {
      store.update('k', () => 'v');
    },
    () => {
      store.delete('k');
    },
    () => store.range('a', 'b'),
    () => store.prefix('a'),
    () => store.entries(),
    () => committed.get('k'),
    () => committed.has('k'),
    () => committed.range('a', 'b'),
    () => committed.prefix('a'),
    () => committed.entries(),
  ];
  for (const use of uses) assert.throws(use, { code: 'RECORD_CLOSED' });
  scope.open = true;
  assert.equal(store.get('k'), undefined);
});

test('queries can not write', () => {
  const { state, scope } = open(string(), string());
  for (const read of ['latest', 'committed'] as const) {
    const view = state.queryViews(read, scope)['s'] as Record<string, unknown>;
    for (const name of ['set', 'update', 'delete']) assert.equal(view[name], undefined);
  }
});

test('a handler that throws leaves no trace: values, counts and bytes are those of the savepoint', () => {
  const opened = open(string(), json<unknown>());
  const { store, state } = opened;
  store.set('kept', 1);
  flush(opened);
  store.set('live', 1);
  const { dirtyBytes } = state;
  state.savepoint();
  store.set('live', { much: 'more', than: ['before'] });
  store.set('live', 3);
  store.set('new', 1);
  store.delete('kept');
  store.update('live', () => undefined);
  state.rollback();
  assert.equal(store.get('live'), 1);
  assert.equal(store.get('new'), undefined);
  assert.equal(store.get('kept'), 1);
  assert.equal(state.dirtyCount, 1);
  assert.equal(state.dirtyBytes, dirtyBytes);
  state.rollback();
  assert.equal(store.get('live'), 1);
});

test('update may itself use the store; what it returns is what counts', () => {
  const { store } = open(string(), int64(), { cacheBytes: 0 });
  store.update('k', (old) => {
    assert.equal(old, undefined);
    store.set('k', 5);
    for (let i = 0; i < 100; i++) store.get(`other ${i}`);
    return 7;
  });
  assert.equal(store.get('k'), 7);
  assert.throws(() => {
    store.update('k', () => {
      throw new Error('mine');
    });
  }, /mine/);
  assert.equal(store.get('k'), 7);
});

test('a checkpoint holds the moment of its freeze, however much is written before it is encoded', () => {
  const opened = open(string(), int64());
  const { store, state, partition, committed } = opened;
  for (const key of ['a', 'b', 'c']) store.set(key, 1);
  store.delete('gone');
  const frozen = state.freeze();
  assert.equal(frozen.count, 4);
  assert.equal(frozen.encodePart(1), false);
  store.set('a', 2);
  store.set('b', 2);
  store.delete('c');
  store.set('gone', 2);
  assert.equal(frozen.encodePart(2), false);
  assert.equal(frozen.encodePart(1), true);
  assert.equal(frozen.encode(), frozen.encode());
  partition.write(frozen.encode());
  assert.throws(() => state.freeze(), { code: 'ILLEGAL_STATE' });
  for (const key of ['a', 'b', 'c']) assert.equal(committed.get(key), 1);
  assert.equal(committed.get('gone'), undefined);
  frozen.complete();
  assert.throws(
    () => {
      frozen.complete();
    },
    { code: 'ILLEGAL_STATE' },
  );
  for (const key of ['a', 'b', 'c']) assert.equal(committed.get(key), 1);
  assert.equal(store.get('gone'), 2);
  state.close();
  const after = open(string(), int64(), { partition });
  for (const key of ['a', 'b', 'c']) assert.equal(after.store.get(key), 1);
  assert.equal(after.store.has('gone'), false);
});

test('a tombstone is written once for a deleted key, and none for a key known to be absent', () => {
  const opened = open(string(), int64());
  const { store, state } = opened;
  assert.equal(store.get('never'), undefined);
  store.delete('never');
  assert.equal(state.dirtyCount, 0);
  store.set('k', 1);
  flush(opened);
  store.delete('k');
  store.delete('k');
  const writes = state.freeze().encode();
  assert.deepEqual(
    writes.map(({ value }) => value),
    [null],
  );
});

test('a transaction runs through its lifecycle, and a discarded one names its status', () => {
  const { state, store, scope } = open(string(), int64());
  const first = state.transaction;
  assert.equal(first.status, 'started');
  store.set('k', 1);
  const frozen = state.freeze();
  assert.equal(first.status, 'prepared');
  const second = state.transaction;
  store.set('k', 2);
  state.discard();
  assert.equal(first.status, 'discarded');
  assert.equal(second.status, 'discarded');
  assert.throws(
    () => {
      frozen.complete();
    },
    { code: 'ILLEGAL_STATE' },
  );
  assert.throws(() => store.get('k'), { code: 'TRANSACTION_CLOSED', message: /payments-3 is discarded/ });
  assert.throws(
    () => {
      store.set('k', 1);
    },
    { code: 'TRANSACTION_CLOSED' },
  );
  assert.throws(() => store.entries(), { code: 'TRANSACTION_CLOSED' });
  assert.throws(() => state.freeze(), { code: 'TRANSACTION_CLOSED' });
  const views = state.views(scope)['s'] as KeyValue<unknown, unknown>;
  assert.throws(() => views.get('k'), { code: 'TRANSACTION_CLOSED' });
  assert.equal(state.heldBytes, 0);
  state.close();
  state.close();
});

test('an error of the engine fails the transaction whatever the handler does with it', () => {
  const opened = open(string(), int64());
  const { store, state, partition } = opened;
  store.set('hot', 1);
  partition.failGet = new Error('disk gone');
  assert.throws(() => store.get('cold'), { code: 'ENGINE_FAILED', cause: partition.failGet });
  partition.failGet = undefined;
  assert.equal(state.transaction.status, 'failed');
  for (const use of [
    () => store.get('hot'),
    () => {
      store.set('hot', 2);
    },
    () => state.freeze(),
  ])
    assert.throws(use, { code: 'ENGINE_FAILED' });

  const corrupt = open(string(), int64());
  corrupt.partition.failGet = new PartitaError('CORRUPT', 'The file is damaged.');
  assert.throws(() => corrupt.store.get('k'), { code: 'CORRUPT' });
});

test('fail() makes every later use throw that very error, while a frozen layer may still complete', () => {
  const { state, store } = open(string(), int64());
  store.set('k', 1);
  const frozen = state.freeze();
  const fenced = new PartitaError('FENCED', 'Somebody else owns payments-3.');
  state.fail(fenced);
  state.fail(new PartitaError('ENGINE_FAILED', 'Later.'));
  assert.throws(
    () => store.get('k'),
    (error) => error === fenced,
  );
  frozen.complete();
  assert.equal(frozen.transaction.status, 'complete');
});

test('a stored value of a form that this version does not know is STORE_INCOMPATIBLE, never a wrong value', () => {
  const opened = open(string(), int64());
  opened.partition.write([
    { key: Buffer.from('\u0001sk'), value: Buffer.from([0x7f, 1, 2]) },
    { key: Buffer.from('\u0001se'), value: Buffer.alloc(0) },
  ]);
  assert.throws(() => opened.store.get('k'), { code: 'STORE_INCOMPATIBLE' });
  assert.throws(() => opened.store.get('e'), { code: 'STORE_INCOMPATIBLE' });
});

test('a store of a kind that this version can not run is refused at once', () => {
  assert.throws(
    () =>
      new StateStore({
        stores: { w: { kind: 'unheard' } },
        partition: new CountingPartition(),
        cacheBytes: 0,
        maxRecordBytes: 1000,
        stream: 'payments',
        partitionNumber: 0,
      }),
    { code: 'INVALID_PROCESSOR' },
  );
});
