/**
 * Values that expire, against a model that keeps every write ever made and says from the definitions what a reader sees:
 * over the driver (disorder, ties, far futures, failed records, checkpoints, crashes, wiped databases), and over the state
 * layer alone on all three engines, with scans, committed reads and rollbacks.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { EngineKind } from '../../src/core/engine-kind.js';
import { bytes, defineProcessor, int64, json, keyValue, nullable, string, topic } from '../../src/index.js';
import type { KeyValue, ReadonlyKeyValue } from '../../src/processor/declarations.js';
import { EventClock, RecordScope, StateStore, type FrozenLayer } from '../../src/state/state-store.js';
import { engineFactory } from '../../src/storage/engines.js';
import type { StorageEngine } from '../../src/storage/storage-engine.js';
import { TestDriver } from '../../src/testing/index.js';

const KEYS = ['a', 'b', 'ba', 'c\0', 'é'];
const DEFAULT_TTL = 40;
const MAX_ADVANCE = 500;

// ── what there must be ───────────────────────────────────────────────────────────────────────────────────────────────

interface Write {
  readonly key: string;
  /** `undefined`: deleted. */
  readonly value: number | null | undefined;
  /** Infinity: permanent. */
  readonly expiry: number;
}

/** What a reader at `clock` sees after these writes, in the order of keys. */
function seen(writes: readonly Write[], clock: number): [string, number | null][] {
  const keys = [...new Set(writes.map(({ key }) => key))].sort((a, b) =>
    Buffer.compare(Buffer.from(a), Buffer.from(b)),
  );
  return keys.flatMap((key) => {
    const last = writes.findLast((write) => write.key === key)!;
    return last.value === undefined || last.expiry <= clock
      ? []
      : [[key, last.value] as [string, number | null]];
  });
}

const at = (entries: readonly [string, number | null][], key: string) =>
  entries.find(([found]) => found === key)?.[1];

// ── the whole actor ──────────────────────────────────────────────────────────────────────────────────────────────────

interface Action {
  readonly store: 'own' | 'aging';
  readonly op: 'set' | 'setTtl' | 'setTwice' | 'delete' | 'update' | 'fail' | 'badTtl' | 'get';
  readonly n: number | null;
  readonly ttlMs: number;
}

const stores = {
  own: keyValue({ key: string(), value: nullable(json<number>()) }),
  aging: keyValue({ key: string(), value: nullable(int64()), ttlMs: DEFAULT_TTL }),
};

const processor = defineProcessor({
  inputs: { actions: topic({ key: string(), value: json<Action>() }) },
  outputs: { saw: topic({ key: string(), value: json<unknown>() }) },
  stores,
  async process({ key, value: action }, context) {
    const { op, n, ttlMs } = action;
    const store = action.store === 'own' ? context.stores.own : context.stores.aging;
    const before = store.get(key);
    assert.equal(store.has(key), before !== undefined);
    if (op === 'set') store.set(key, n);
    else if (op === 'setTtl' || op === 'fail') store.set(key, n, { ttlMs });
    else if (op === 'setTwice') {
      store.set(key, 1, { ttlMs });
      store.set(key, n);
    } else if (op === 'delete') store.delete(key);
    else if (op === 'update') store.update(key, (old) => (old === undefined ? n : undefined));
    else if (op === 'badTtl') store.set(key, n, { ttlMs: -ttlMs });
    if (op === 'fail') throw new Error('fails after it has written');
    const all: (readonly [string, number | null])[] = [];
    // Only now and then: a handler that awaits makes the next context another one.
    if (n === 0) for await (const entry of store.entries()) all.push(entry);
    context.emit.saw(key, {
      before: before ?? null,
      had: before !== undefined,
      after: store.get(key) ?? null,
      all,
    });
  },
  onError: 'skip',
});

const time = fc.oneof(
  { weight: 12, arbitrary: fc.nat({ max: 300 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, 2 ** 40, 2 ** 53 - 1 - DEFAULT_TTL) },
);
const action = fc.record({
  step: fc.constant('record' as const),
  key: fc.constantFrom(...KEYS),
  timestamp: time,
  action: fc.record({
    store: fc.constantFrom('own' as const, 'aging' as const),
    op: fc.constantFrom(
      'set',
      'set',
      'setTtl',
      'setTtl',
      'setTtl',
      'setTwice',
      'delete',
      'update',
      'fail',
      'badTtl',
      'get',
    ),
    n: fc.constantFrom(null, 0, 0, 1, 7),
    ttlMs: fc.oneof(fc.integer({ min: 1, max: 90 }), fc.constant(2 ** 45)),
  }),
});
const step = fc.oneof(
  { weight: 12, arbitrary: action },
  { weight: 3, arbitrary: fc.record({ step: fc.constant('checkpoint' as const) }) },
  { weight: 1, arbitrary: fc.record({ step: fc.constant('crash' as const), wipe: fc.boolean() }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type RecordStep = Extract<Step, { step: 'record' }>;

/** The outputs of all records, and what is left at the end. */
function expectedOf(records: readonly RecordStep[], maxAdvance: number) {
  const writes = { own: [] as Write[], aging: [] as Write[] };
  const outputs: unknown[] = [];
  let clock = -1;
  for (const { key, timestamp, action } of records) {
    const { store, op, n, ttlMs } = action;
    const now = clock < 0 ? timestamp : Math.max(clock, Math.min(timestamp, clock + maxAdvance));
    const log = writes[store];
    const before = at(seen(log, now), key);
    const byDefault = store === 'aging' ? timestamp + DEFAULT_TTL : Infinity;
    const beyond = timestamp + (op === 'setTtl' || op === 'setTwice' ? ttlMs : 0) > Number.MAX_SAFE_INTEGER;
    if (op === 'fail' || op === 'badTtl' || beyond) continue;
    clock = now;
    if (op === 'set' || op === 'setTwice') log.push({ key, value: n, expiry: byDefault });
    if (op === 'setTtl') log.push({ key, value: n, expiry: timestamp + ttlMs });
    if (op === 'delete') log.push({ key, value: undefined, expiry: Infinity });
    if (op === 'update') log.push({ key, value: before === undefined ? n : undefined, expiry: byDefault });
    const after = seen(log, clock);
    outputs.push({
      before: before ?? null,
      had: before !== undefined,
      after: at(after, key) ?? null,
      all: n === 0 ? after : [],
    });
  }
  return { outputs, own: seen(writes.own, clock), aging: seen(writes.aging, clock) };
}

async function runHistory(steps: readonly Step[], maxClockAdvanceMs: number | undefined): Promise<void> {
  const records = steps.filter((one) => one.step === 'record');
  const expected = expectedOf(records, maxClockAdvanceMs ?? Infinity);
  await using driver = await TestDriver.start(processor, {
    cacheBytes: 900,
    ...(maxClockAdvanceMs === undefined ? {} : { maxClockAdvanceMs }),
  });
  for (const one of steps) {
    if (one.step === 'record')
      await driver.pipe('actions', { key: one.key, value: one.action, timestamp: one.timestamp });
    else if (one.step === 'checkpoint') await driver.checkpoint();
    else {
      await driver.restart({ wipe: one.wipe });
      await driver.drain();
    }
  }
  await driver.checkpoint();
  assert.deepEqual(
    (await driver.outputs('saw')).map(({ value }) => value),
    expected.outputs,
  );
  for (const wipe of [undefined, false, true]) {
    if (wipe !== undefined) await driver.restart({ wipe });
    for (const name of ['own', 'aging'] as const)
      for (const read of ['latest', 'committed'] as const)
        assert.deepEqual(await driver.store(name, { read }).entries(), expected[name], `${name} ${read}`);
  }
}

test('whatever happens, records and queries see what has not expired, and nothing else', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => runHistory(steps, undefined)),
    { numRuns: 250 },
  );
});

test('with a bound on what one record does to the clock as well', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30, size: 'max' }), (steps) =>
      runHistory(steps, MAX_ADVANCE),
    ),
    { numRuns: 80 },
  );
});

// ── the state layer on each engine ───────────────────────────────────────────────────────────────────────────────────

const layered = {
  s: keyValue({ key: string(), value: nullable(json<number>()) }),
  b: keyValue({ key: bytes(), value: nullable(bytes()) }),
};
type Name = keyof typeof layered;
const keyIn = (name: Name, key: string) => (name === 's' ? key : Buffer.from(key));
const valueIn = (name: Name, n: number | null) => (name === 's' || n === null ? n : Uint8Array.of(n));
const keyOut = (key: unknown) => (typeof key === 'string' ? key : Buffer.from(key as Uint8Array).toString());
const valueOut = (value: unknown) =>
  value instanceof Uint8Array ? value[0]! : (value as number | null | undefined);

const name = fc.constantFrom<Name>('s', 'b');
const key = fc.constantFrom(...KEYS);
const layerOp = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('set' as const),
      name,
      key,
      n: fc.constantFrom(null, 1, 7),
      ttlMs: fc.option(fc.integer({ min: 1, max: 60 }), { nil: undefined }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('delete' as const), name, key }) },
  {
    weight: 5,
    arbitrary: fc.record({ op: fc.constant('advance' as const), by: fc.integer({ min: -20, max: 30 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant('get' as const), name, key, committed: fc.boolean() }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('scan' as const),
      name,
      committed: fc.boolean(),
      reverse: fc.boolean(),
      limit: fc.option(fc.nat({ max: 3 }), { nil: undefined }),
      from: key,
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('rollback' as const) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('freeze' as const), settle: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('flush' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('reopen' as const) }) },
);
type LayerOp = typeof layerOp extends fc.Arbitrary<infer T> ? T : never;

type Views = Record<Name, KeyValue<unknown, unknown>>;
type ReadViews = Record<Name, ReadonlyKeyValue<unknown, unknown>>;

class Run {
  readonly #engine: StorageEngine;
  #written = false;
  #clock = new EventClock(-1);
  #state!: StateStore;
  readonly #scope = new RecordScope();
  #views!: Views;
  #committed!: ReadViews;
  #frozen: FrozenLayer | undefined;
  /** Every write that counts: those of the live layer, and how many of them were frozen. */
  readonly #writes: Record<Name, Write[]> = { s: [], b: [] };
  #below: Record<Name, Write[]> = { s: [], b: [] };
  #flushed: Record<Name, Write[]> = { s: [], b: [] };
  #saved: { s: number; b: number; ms: number } = { s: 0, b: 0, ms: -1 };
  #frozenMs = -1;
  #flushedMs = -1;

  constructor(engine: StorageEngine) {
    this.#engine = engine;
    this.#open();
  }

  #open(): void {
    const engine = this.#engine;
    this.#clock = new EventClock(this.#flushedMs);
    this.#state = new StateStore({
      stores: layered,
      partition: {
        empty: !this.#written,
        get: (bytesOfKey) => engine.get(bytesOfKey),
        snapshot: () => engine.snapshot(),
      },
      cacheBytes: 700,
      maxRecordBytes: 1e6,
      stream: 'ttl',
      partitionNumber: 0,
      clock: this.#clock,
    });
    this.#scope.open = true;
    this.#views = this.#state.views(this.#scope) as Views;
    this.#committed = this.#state.queryViews('committed', this.#scope) as ReadViews;
    this.#savepoint();
  }

  #savepoint(): void {
    this.#state.savepoint();
    this.#saved = { s: this.#writes.s.length, b: this.#writes.b.length, ms: this.#clock.ms };
  }

  async step(op: LayerOp): Promise<void> {
    switch (op.op) {
      case 'set': {
        const { name, key, n, ttlMs } = op;
        if (this.#clock.ms < 0) this.#clock.advance(0);
        this.#scope.timestamp = this.#clock.ms;
        this.#views[name].set(keyIn(name, key), valueIn(name, n), ttlMs === undefined ? {} : { ttlMs });
        this.#writes[name].push({ key, value: n, expiry: this.#clock.ms + (ttlMs ?? Infinity) });
        return;
      }
      case 'delete':
        this.#views[op.name].delete(keyIn(op.name, op.key));
        this.#writes[op.name].push({ key: op.key, value: undefined, expiry: Infinity });
        return;
      case 'advance':
        this.#savepoint();
        this.#clock.advance(this.#clock.ms + op.by);
        return;
      case 'get': {
        const view = op.committed ? this.#committed : this.#views;
        const got = view[op.name].get(keyIn(op.name, op.key));
        assert.equal(valueOut(got), at(this.#seen(op.name, op.committed), op.key));
        assert.equal(view[op.name].has(keyIn(op.name, op.key)), got !== undefined);
        return;
      }
      case 'scan':
        return this.#scan(op);
      case 'rollback':
        this.#state.rollback();
        for (const store of ['s', 'b'] as const) this.#writes[store].length = this.#saved[store];
        this.#clock.ms = this.#saved.ms;
        return;
      case 'freeze':
        if (this.#frozen === undefined) await this.freeze(op.settle);
        return;
      case 'flush':
        return this.flush();
      case 'reopen':
        this.#state.close();
        this.#frozen = undefined;
        for (const store of ['s', 'b'] as const) {
          this.#writes[store].splice(0, Infinity, ...this.#flushed[store]);
          this.#below[store] = this.#flushed[store];
        }
        this.#frozenMs = this.#flushedMs;
        this.#open();
    }
  }

  #seen(store: Name, committed: boolean): [string, number | null][] {
    return committed ? seen(this.#below[store], this.#frozenMs) : seen(this.#writes[store], this.#clock.ms);
  }

  async #scan({
    name: store,
    committed,
    reverse,
    limit,
    from,
  }: Extract<LayerOp, { op: 'scan' }>): Promise<void> {
    const view = (committed ? this.#committed : this.#views)[store];
    const options = { reverse, ...(limit === undefined ? {} : { limit }) };
    const got: unknown[] = [];
    for await (const [found, value] of view.range(keyIn(store, from), keyIn(store, '\u{1F600}'), options))
      got.push([keyOut(found), valueOut(value)]);
    const all = this.#seen(store, committed).filter(
      ([found]) => Buffer.compare(Buffer.from(found), Buffer.from(from)) >= 0,
    );
    if (reverse) all.reverse();
    assert.deepEqual(got, all.slice(0, limit));
  }

  async freeze(settle: boolean): Promise<void> {
    if (settle) await this.#state.settle();
    this.#frozen = this.#state.freeze();
    this.#below = { s: [...this.#writes.s], b: [...this.#writes.b] };
    this.#frozenMs = this.#clock.ms;
    this.#savepoint();
  }

  async flush(): Promise<void> {
    if (this.#frozen === undefined) return;
    await this.#engine.write(this.#frozen.encode(), { sync: false });
    this.#frozen.complete();
    this.#frozen = undefined;
    this.#written = true;
    this.#flushed = this.#below;
    this.#flushedMs = this.#frozenMs;
  }

  /** When all time is over, what is left in the engine is what never expires. */
  async end(): Promise<void> {
    await this.flush();
    this.#clock.advance(this.#clock.ms + 1_000_000);
    for (let i = 0; i < 2; i++) {
      await this.freeze(true);
      await this.flush();
    }
    let left = 0;
    const snapshot = this.#engine.snapshot();
    const scan = snapshot.scan({});
    for (let page = await scan.next(); page.length > 0; page = await scan.next()) left += page.length;
    await snapshot.close();
    assert.equal(left, this.#seen('s', false).length + this.#seen('b', false).length);
    this.#state.close();
  }
}

for (const [kind, numRuns] of [
  ['memory', 1000],
  ['level', 60],
  ['rocksdb', 60],
] as const satisfies readonly (readonly [EngineKind, number])[])
  test(`scans, committed reads and rollbacks know what has expired, and nothing of it stays behind, on ${kind}`, async () => {
    const run = async (ops: readonly LayerOp[]): Promise<void> => {
      const directory = await mkdtemp(join(tmpdir(), 'partita-ttl-'));
      const engine = await engineFactory(kind).open(directory, {
        blockCacheBytes: 1 << 20,
        writeBufferBytes: 1 << 20,
      });
      try {
        const state = new Run(engine);
        for (const op of ops) await state.step(op);
        await state.end();
      } finally {
        await engine.close();
        await rm(directory, { recursive: true, force: true });
      }
    };
    await fc.assert(fc.asyncProperty(fc.array(layerOp, { maxLength: 60, size: 'max' }), run), { numRuns });
  });
