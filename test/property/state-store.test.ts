/**
 * The state layer against plain Maps: random reads, writes, savepoints, rollbacks, freezes, flushes, scans, crashes and
 * reopens, over two engines and several cache bounds. The model is one Map a layer; the stored bytes are checked against
 * encodings written out by hand here, not against our codec.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { bytes, float64, int64, json, msgpack, nullable, string } from '../../src/codec/serdes.js';
import { keyValue, type KeyValue, type ReadonlyKeyValue } from '../../src/processor/declarations.js';
import type { Serde } from '../../src/processor/serde.js';
import { RecordScope, StateStore, type FrozenLayer } from '../../src/state/state-store.js';
import { engineFactory } from '../../src/storage/engines.js';
import type { StorageEngine } from '../../src/storage/storage-engine.js';

/** Reversed text: a serde as a user would write one, which gives away a view of a buffer of its own. */
const shared = Buffer.alloc(256);
const reversed = (text: string): string => Array.from(text).reverse().join('');
const custom: Serde<string> = {
  encode: (text) => shared.subarray(0, shared.write(reversed(text), 'utf8')),
  decode: (encoded) => reversed(Buffer.from(encoded).toString('utf8')),
};

const stores = {
  word: keyValue({ key: bytes(), value: bytes() }),
  words: keyValue({ key: string(), value: nullable(json<unknown>()) }),
  's.1': keyValue({ key: int64(), value: string() }),
  's.12': keyValue({ key: float64(), value: nullable(int64()) }),
  pack: keyValue({ key: json<unknown>(), value: msgpack<unknown>() }),
  own: keyValue({ key: custom, value: custom }),
};
type StoreName = keyof typeof stores;
const storeNames = Object.keys(stores) as StoreName[];

const texts = ['', 'a', 'ab', 'abc', 'a\0', 'a\0b', 'é', '\u{1F600}', '\uFFFF', 'b'];
const keys: Record<StoreName, readonly unknown[]> = {
  word: [[], [0], [0, 0], [1], [1, 255], [255], [255, 255], [2]].map((b) => Uint8Array.from(b)),
  words: texts,
  's.1': [0, 1, -1, 255, 256, -256, 2 ** 40, -(2 ** 40), Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER],
  's.12': [0, 1, -1, 0.5, -0.5, 1e300, -1e300, Infinity, -Infinity, 5e-324],
  pack: [0, 1, 'a', [], ['a', 1], { a: 1 }, true, '1'],
  own: texts.slice(0, 6),
};
const values: Record<StoreName, readonly unknown[]> = {
  word: [[], [0], [1, 2, 3], [255]].map((b) => Uint8Array.from(b)),
  words: [null, 0, '', false, true, [], {}, { a: [1, { b: 'é' }] }, 'text', 1.5],
  's.1': ['', '0', 'null', 'é\u{1F600}'],
  's.12': [null, 0, 1, -7],
  pack: [0, '', false, new Date(0), { when: new Date(5) }, [1]],
  own: ['', 'x', 'yé'],
};

/** Bytes of a key in its store, by hand. */
function keyBytes(store: StoreName, key: unknown): Buffer {
  if (key instanceof Uint8Array) return Buffer.from(key);
  if (store === 'own') return Buffer.from(reversed(key as string));
  if (store === 'pack') return Buffer.from(JSON.stringify(key));
  if (typeof key === 'string') return Buffer.from(key);
  const ordered = Buffer.alloc(8);
  if (store === 's.1') ordered.writeBigUInt64BE(BigInt(key as number) + 2n ** 63n);
  else {
    ordered.writeDoubleBE(key as number);
    const bits = ordered.readBigUInt64BE();
    ordered.writeBigUInt64BE(bits >> 63n === 0n ? bits | (1n << 63n) : ~bits & (2n ** 64n - 1n));
  }
  return ordered;
}

/** The stored form of a value by hand, for the serdes of which we know the bytes. */
function valueBytes(store: StoreName, value: unknown): Buffer | undefined {
  if (value === null) return Buffer.from([1]);
  const plain = (encoded: Uint8Array): Buffer => Buffer.concat([Buffer.from([0]), encoded]);
  if (value instanceof Uint8Array) return plain(value);
  if (store === 'words') return plain(Buffer.from(JSON.stringify(value)));
  if (store === 's.1') return plain(Buffer.from(value as string));
  if (store === 'own') return plain(Buffer.from(reversed(value as string)));
  if (store !== 's.12') return undefined;
  const encoded = Buffer.alloc(8);
  encoded.writeBigInt64BE(BigInt(value as number));
  return plain(encoded);
}

const DELETED = Symbol('deleted');
interface ModelEntry {
  readonly store: StoreName;
  readonly key: unknown;
  readonly bytes: Buffer;
  readonly value: unknown;
}
type Layer = Map<string, ModelEntry>;

/** What the state must be, layer by layer. */
class Model {
  flushed: Layer = new Map();
  frozen: Layer | undefined;
  live: Layer = new Map();
  saved: Layer = new Map();

  at(store: StoreName, key: unknown, read: 'latest' | 'committed'): unknown {
    const id = idOf(store, key);
    const found =
      (read === 'latest' ? this.live.get(id) : undefined) ?? this.frozen?.get(id) ?? this.flushed.get(id);
    return found === undefined || found.value === DELETED ? undefined : found.value;
  }

  put(store: StoreName, key: unknown, value: unknown): void {
    this.live.set(idOf(store, key), { store, key, value, bytes: keyBytes(store, key) });
  }

  view(read: 'latest' | 'committed'): Layer {
    const view = new Map(this.flushed);
    for (const layer of [this.frozen, read === 'latest' ? this.live : undefined])
      for (const [id, entry] of layer ?? []) {
        if (entry.value === DELETED) view.delete(id);
        else view.set(id, entry);
      }
    return view;
  }

  sorted(store: StoreName, read: 'latest' | 'committed', reverse: boolean): ModelEntry[] {
    const entries = [...this.view(read).values()].filter((entry) => entry.store === store);
    entries.sort((a, b) => Buffer.compare(a.bytes, b.bytes));
    return reverse ? entries.reverse() : entries;
  }
}

function idOf(store: StoreName, key: unknown): string {
  return `${store}/${keyBytes(store, key).toString('hex')}`;
}

const pick = fc.nat({ max: 1000 });
const read = fc.constantFrom('latest' as const, 'committed' as const);
const inStore = { store: fc.constantFrom(...storeNames), key: pick };
const scanOptions = {
  store: fc.constantFrom(...storeNames),
  shape: fc.constantFrom('range' as const, 'prefix' as const, 'entries' as const),
  from: pick,
  to: pick,
  reverse: fc.boolean(),
  limit: fc.option(fc.nat({ max: 4 }), { nil: undefined }),
  read,
};
const op = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant('set' as const), ...inStore, value: pick }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('update' as const), ...inStore, value: pick }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('delete' as const), ...inStore }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('get' as const), ...inStore, read }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('has' as const), ...inStore, read }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('scan' as const), ...scanOptions }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('openScan' as const), ...scanOptions }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('finishScan' as const) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('savepoint' as const) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('rollback' as const) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('freeze' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('encodePart' as const), entries: fc.nat({ max: 3 }) }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('flush' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('crash' as const), reopen: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant('cache' as const), bytes: fc.constantFrom(0, 700, 3000, 1e6) }),
  },
);
type Op = typeof op extends fc.Arbitrary<infer T> ? T : never;
type ScanOp = Extract<Op, { op: 'scan' }> | Extract<Op, { op: 'openScan' }>;

type Views<V> = Record<StoreName, V>;

class Run {
  readonly model = new Model();
  readonly scope = new RecordScope();
  readonly #open: () => Promise<StorageEngine>;
  #engine!: StorageEngine;
  #written = false;
  #state!: StateStore;
  #views!: Views<KeyValue<unknown, unknown>>;
  #queries!: Record<'latest' | 'committed', Views<ReadonlyKeyValue<unknown, unknown>>>;
  #frozen: FrozenLayer | undefined;
  #scans: { got: AsyncIterable<readonly [unknown, unknown]>; expected: (readonly [unknown, unknown])[] }[] =
    [];
  #cacheBytes = 3000;

  constructor(open: () => Promise<StorageEngine>) {
    this.#open = open;
  }

  async start(): Promise<void> {
    this.#engine = await this.#open();
    this.#renew();
  }

  #renew(): void {
    const engine = this.#engine;
    this.#state = new StateStore({
      stores,
      partition: {
        // Told once, when the stores are opened, as the database of an actor tells it.
        empty: !this.#written,
        get: (key) => engine.get(key),
        snapshot: () => engine.snapshot(),
      },
      cacheBytes: this.#cacheBytes,
      maxRecordBytes: 10_000,
      stream: 'model',
      partitionNumber: 0,
    });
    this.scope.open = true;
    this.#views = this.#state.views(this.scope) as Views<KeyValue<unknown, unknown>>;
    this.#queries = {
      latest: this.#state.queryViews('latest', this.scope) as never,
      committed: this.#state.queryViews('committed', this.scope) as never,
    };
  }

  async step(step: Op): Promise<void> {
    const { model } = this;
    switch (step.op) {
      case 'get': {
        const key = nth(keys[step.store], step.key);
        const got = this.#queries[step.read][step.store].get(key);
        assert.deepEqual(got, model.at(step.store, key, step.read));
        if (step.read === 'latest') assert.deepEqual(this.#views[step.store].get(key), got);
        return;
      }
      case 'has': {
        const key = nth(keys[step.store], step.key);
        const exists = model.at(step.store, key, step.read) !== undefined;
        assert.equal(this.#queries[step.read][step.store].has(key), exists);
        return;
      }
      case 'set': {
        const key = nth(keys[step.store], step.key);
        const value = nth(values[step.store], step.value);
        this.#views[step.store].set(key, value);
        model.put(step.store, key, value);
        return;
      }
      case 'update': {
        const key = nth(keys[step.store], step.key);
        const value = step.value % 3 === 0 ? undefined : nth(values[step.store], step.value);
        this.#views[step.store].update(key, (old) => {
          assert.deepEqual(old, model.at(step.store, key, 'latest'));
          return value;
        });
        model.put(step.store, key, value === undefined ? DELETED : value);
        return;
      }
      case 'delete': {
        const key = nth(keys[step.store], step.key);
        this.#views[step.store].delete(key);
        model.put(step.store, key, DELETED);
        return;
      }
      case 'savepoint':
        this.#state.savepoint();
        model.saved = new Map(model.live);
        return;
      case 'rollback':
        this.#state.rollback();
        model.live = new Map(model.saved);
        return;
      case 'freeze':
        this.#freeze();
        return;
      case 'encodePart':
        this.#frozen?.encodePart(step.entries);
        return;
      case 'flush':
        return this.#flush();
      case 'cache':
        this.#cacheBytes = step.bytes;
        this.#state.setCacheBytes(step.bytes);
        return;
      case 'scan':
        assert.deepEqual(await all(this.#scan(step)), this.#expected(step));
        return;
      case 'openScan':
        if (this.#scans.length < 3)
          this.#scans.push({ got: this.#scan(step), expected: this.#expected(step) });
        return;
      case 'finishScan': {
        const scan = this.#scans.shift();
        if (scan !== undefined) assert.deepEqual(await all(scan.got), scan.expected);
        return;
      }
      case 'crash':
        return this.#crash(step.reopen);
    }
  }

  #freeze(): void {
    const { model } = this;
    if (this.#frozen !== undefined) {
      assert.throws(() => this.#state.freeze(), { code: 'ILLEGAL_STATE' });
      return;
    }
    this.#frozen = this.#state.freeze();
    assert.equal(this.#frozen.transaction.status, 'prepared');
    assert.equal(this.#state.dirtyCount, 0);
    assert.equal(this.#state.dirtyBytes, 0);
    model.frozen = model.live;
    model.live = new Map();
    model.saved = new Map();
  }

  async #flush(): Promise<void> {
    const frozen = this.#frozen;
    if (frozen === undefined) return;
    const writes = frozen.encode();
    const { model } = this;
    assert.equal(writes.length, frozen.count);
    assert.equal(new Set(writes.map(({ key }) => Buffer.from(key).toString('hex'))).size, writes.length);
    if (writes.length > 0) this.#written = true;
    await this.#engine.write(writes, { sync: false });
    frozen.complete();
    assert.equal(frozen.transaction.status, 'complete');
    this.#frozen = undefined;
    model.flushed = model.view('committed');
    model.frozen = undefined;
    await this.checkStored();
  }

  async #crash(reopen: boolean): Promise<void> {
    const closed = this.#views.words;
    this.#state.discard();
    this.#state.close();
    for (const scan of this.#scans) await assert.rejects(all(scan.got), { code: 'TRANSACTION_CLOSED' });
    assert.throws(() => closed.get('a'), { code: 'TRANSACTION_CLOSED' });
    this.#scans = [];
    this.#frozen = undefined;
    this.model.frozen = undefined;
    this.model.live = new Map();
    this.model.saved = new Map();
    if (reopen && this.#engine.kind !== 'memory') {
      await this.#engine.close();
      this.#engine = await this.#open();
    }
    this.#renew();
  }

  /** The engine's bytes, against encodings by hand. */
  async checkStored(): Promise<void> {
    const snapshot = this.#engine.snapshot();
    const scan = snapshot.scan({});
    const stored = new Map<string, Buffer>();
    for (let page = await scan.next(); page.length > 0; page = await scan.next())
      for (const [key, value] of page) stored.set(Buffer.from(key).toString('hex'), Buffer.from(value));
    await snapshot.close();
    assert.equal(stored.size, this.model.flushed.size);
    for (const { store, bytes: encoded, value } of this.model.flushed.values()) {
      const whole = Buffer.concat([Buffer.from([store.length]), Buffer.from(store), encoded]);
      const found = stored.get(whole.toString('hex'));
      assert.ok(found !== undefined, `${store} ${encoded.toString('hex')} is not stored`);
      const expected = valueBytes(store, value);
      if (expected !== undefined) assert.deepEqual(found, expected);
    }
  }

  /** Ends with everything read back. */
  async finish(): Promise<void> {
    for (const scan of this.#scans) assert.deepEqual(await all(scan.got), scan.expected);
    for (const store of storeNames)
      for (const key of keys[store]) {
        assert.deepEqual(this.#queries.committed[store].get(key), this.model.at(store, key, 'committed'));
        assert.deepEqual(this.#views[store].get(key), this.model.at(store, key, 'latest'));
      }
    await this.#flush();
    this.#freeze();
    await this.#flush();
    this.#state.setCacheBytes(0);
    assert.equal(
      this.#state.heldBytes,
      0,
      'once all is flushed, all can be evicted, and the count of bytes ends at 0',
    );
  }

  async close(): Promise<void> {
    this.#state.close();
    await this.#engine.close();
  }

  #scan(step: ScanOp): AsyncIterable<readonly [unknown, unknown]> {
    const view = this.#queries[step.read][step.store];
    const { reverse, limit } = step;
    const options = { reverse, ...(limit === undefined ? {} : { limit }) };
    const [from, to] = [nth(keys[step.store], step.from), nth(keys[step.store], step.to)];
    if (step.shape === 'range') return view.range(from, to, options);
    return step.shape === 'prefix' && prefixable(step.store)
      ? view.prefix(from, options)
      : view.entries(options);
  }

  #expected(step: ScanOp): (readonly [unknown, unknown])[] {
    const [from, to] = [step.from, step.to].map((n) => keyBytes(step.store, nth(keys[step.store], n)));
    const within = ({ bytes: key }: ModelEntry): boolean => {
      if (step.shape === 'range') return Buffer.compare(key, from!) >= 0 && Buffer.compare(key, to!) < 0;
      return (
        step.shape !== 'prefix' || !prefixable(step.store) || key.subarray(0, from!.length).equals(from!)
      );
    };
    const entries = this.model.sorted(step.store, step.read, step.reverse).filter(within);
    return entries.slice(0, step.limit).map(({ key, value }) => [key, value] as const);
  }
}

function prefixable(store: StoreName): boolean {
  return store === 'word' || store === 'words' || store === 'own';
}

function nth<T>(of: readonly T[], n: number): T {
  return of[n % of.length]!;
}

async function all<T>(iterable: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const entry of iterable) found.push(entry);
  return found;
}

async function check(kind: 'memory' | 'level', numRuns: number): Promise<void> {
  const factory = engineFactory(kind);
  await fc.assert(
    fc.asyncProperty(fc.array(op, { minLength: 1, maxLength: 120, size: 'max' }), async (steps) => {
      const directory = await mkdtemp(join(tmpdir(), 'partita-state-'));
      const run = new Run(() =>
        factory.open(directory, { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 }),
      );
      await run.start();
      try {
        for (const step of steps) await run.step(step);
        await run.finish();
      } finally {
        await run.close();
        await rm(directory, { recursive: true, force: true });
      }
    }),
    { numRuns, includeErrorInReport: true },
  );
}

test('state over the memory engine is what plain Maps say, through any order of writes, rollbacks, checkpoints, scans and crashes', async () => {
  await check('memory', 400);
});

test('state over LevelDB is what plain Maps say, also after reopening the database', async () => {
  await check('level', 80);
});
