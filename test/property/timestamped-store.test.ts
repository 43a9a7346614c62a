/**
 * Timestamped stores against their naive model: random writes and reads, savepoints, rollbacks, checkpoints, crashes and
 * reopens, over all engines, with rows so small that trees grow levels. The last test goes through a whole actor.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { bytes, json } from '../../src/codec/serdes.js';
import type { EngineKind } from '../../src/core/engine-kind.js';
import type { Serde } from '../../src/processor/serde.js';
import { changelogTopic } from '../../src/core/names.js';
import { defineProcessor, nullable, string, topic } from '../../src/index.js';
import { timestamped, type TimestampedEntry } from '../../src/processor/timestamped.js';
import type { StoreParts } from '../../src/state/declared-store.js';
import { FrozenLayer } from '../../src/state/frozen-layer.js';
import { StateLayers } from '../../src/state/state-layers.js';
import { EventClock, RecordScope } from '../../src/state/state-store.js';
import { TimestampedStore } from '../../src/state/timestamped/timestamped-store.js';
import { WindowEvents } from '../../src/state/window-events.js';
import { engineFactory } from '../../src/storage/engines.js';
import type { StorageEngine } from '../../src/storage/storage-engine.js';
import { TestDriver } from '../../src/testing/index.js';
import { eventsOf, FAR_FUTURE_MS, KEYS as TEXT_KEYS, randomHistory } from '../support/random-events.js';
import { entriesOf, timestampedModelOf, type TimestampedOperation } from '../support/timestamped-model.js';

/** Binary keys that begin with each other, and with bytes that lengths and times are made of. */
const KEYS = [[], [0], [0, 0], [0, 0, 0, 0, 0], [1], [1, 0], [255], [255, 255]].map((b) =>
  Uint8Array.from(b),
);
const CACHE_BYTES = [0, 2_000, 1 << 20];

type Operation = TimestampedOperation<number>;
type Read = 'latest' | 'committed';

const key = fc.nat({ max: KEYS.length - 1 });
const time = fc.oneof(
  { weight: 30, arbitrary: fc.nat({ max: 60 }) },
  { weight: 6, arbitrary: fc.nat({ max: 400 }) },
  { weight: 1, arbitrary: fc.constantFrom(FAR_FUTURE_MS, Number.MAX_SAFE_INTEGER, -1, 0.5, NaN, 2 ** 53) },
);
const bound = fc.oneof(fc.integer({ min: -5, max: 70 }), fc.constantFrom(Infinity, -Infinity, 10.5, 2 ** 53));
const read = fc.constantFrom<Read>('latest', 'latest', 'committed');
const limit = fc.option(fc.nat({ max: 4 }), { nil: undefined, freq: 2 });
const step = fc.oneof(
  { weight: 24, arbitrary: fc.record({ do: fc.constant('set' as const), key, timestamp: time }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('getAsOf' as const), key, timestamp: time, read }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom('interval' as const, 'between' as const),
      key,
      fromMs: bound,
      toMs: bound,
      reverse: fc.boolean(),
      limit,
      read,
    }),
  },
  { weight: 3, arbitrary: fc.constant({ do: 'savepoint' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'rollback' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'freeze' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'flush' as const }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), reopen: fc.boolean() }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type ReadStep = Extract<Step, { read: Read }>;
type ScanStep = Extract<ReadStep, { limit: unknown }>;

const setup = fc.record({
  graceMs: fc.constantFrom(0, 5, 30, 10_000),
  keepDuplicates: fc.boolean(),
  opaque: fc.boolean(),
  cacheBytes: fc.constantFrom(...CACHE_BYTES),
  limits: fc.record({
    entriesMax: fc.integer({ min: 1, max: 4 }),
    bytesMax: fc.constantFrom(40, 10_000),
    placesMax: fc.integer({ min: 2, max: 3 }),
    deletionsMax: fc.integer({ min: 1, max: 9 }),
  }),
});
type Setup = typeof setup extends fc.Arbitrary<infer T> ? T : never;

/** How many of the operations each layer ends with. */
interface Marks {
  flushed: number;
  frozen: number;
  saved: number;
}

class Run {
  readonly #setup: Setup;
  readonly #open: () => Promise<StorageEngine>;
  readonly #scope = new RecordScope();
  #engine!: StorageEngine;
  #layers!: StateLayers;
  #store!: TimestampedStore;
  #frozen: FrozenLayer | undefined;
  /** Writes in effect. */
  #writes: Operation[] = [];
  #marks: Marks = { flushed: 0, frozen: 0, saved: 0 };

  constructor(of: Setup, open: () => Promise<StorageEngine>) {
    this.#setup = of;
    this.#open = open;
  }

  async run(steps: readonly Step[]): Promise<void> {
    this.#engine = await this.#open();
    this.#renew();
    try {
      for (const [n, one] of steps.entries()) await this.#step(one, n);
      this.#crash();
      await this.#check();
    } finally {
      await this.#engine.close();
    }
  }

  #renew(): void {
    const { graceMs, keepDuplicates, limits, cacheBytes, opaque } = this.#setup;
    this.#layers = new StateLayers('test-0', cacheBytes);
    const value = (opaque ? bytes() : json<unknown>()) as Serde<unknown>;
    const declaration = timestamped({ key: bytes(), value, graceMs, keepDuplicates });
    const parts: StoreParts = {
      name: 'entries',
      layers: this.#layers,
      partition: this.#engine,
      maxRecordBytes: 1 << 20,
      clock: new EventClock(-1),
      wallNow: () => 0,
      events: new WindowEvents(),
    };
    this.#store = new TimestampedStore(declaration, parts, limits);
    this.#scope.open = true;
  }

  async #step(one: Step, n: number): Promise<void> {
    switch (one.do) {
      case 'set':
        this.#set(KEYS[one.key]!, one.timestamp, n);
        return;
      case 'getAsOf':
      case 'interval':
      case 'between':
        await this.#read(one);
        return;
      case 'savepoint':
        this.#layers.savepoint();
        this.#marks.saved = this.#writes.length;
        return;
      case 'rollback':
        this.#layers.rollback();
        this.#writes.length = this.#marks.saved;
        return;
      case 'freeze':
        this.#freeze();
        return;
      case 'flush':
        await this.#flush();
        return;
      case 'crash':
        this.#crash();
        if (one.reopen) {
          await this.#engine.close();
          this.#engine = await this.#open();
          this.#renew();
        }
        return;
    }
  }

  #set(at: Uint8Array, timestamp: number, value: number): void {
    const operation = { do: 'set', key: textOf(at), value, timestamp } as const;
    const expected = this.#model(this.#writes, operation);
    const set = () => this.#store.set(at, this.#value(value), timestamp);
    if (expected === 'refused') {
      assert.throws(set, { code: 'TIMESTAMP_OUT_OF_RANGE' });
      return;
    }
    assert.equal(set(), expected === 'written');
    this.#writes.push(operation);
  }

  async #read(one: ReadStep): Promise<void> {
    const at = KEYS[one.key]!;
    const writes = this.#writesAt(one.read);
    if (one.do === 'getAsOf') {
      const operation = { do: 'getAsOf', key: textOf(at), timestamp: one.timestamp } as const;
      const expected = this.#model(writes, operation);
      const get = () => this.#store.getAsOf(at, one.timestamp, one.read);
      if (expected === 'refused') assert.throws(get, { code: 'TIMESTAMP_OUT_OF_RANGE' });
      else assert.deepEqual({ asOf: this.#shown(get()) }, expected);
      return;
    }
    assert.deepEqual(await this.#scan(at, one), this.#expected(writes, at, one));
  }

  async #scan(at: Uint8Array, one: ScanStep) {
    const { fromMs, toMs, reverse } = one;
    const options = one.limit === undefined ? { reverse } : { reverse, limit: one.limit };
    if (one.do === 'between')
      return this.#store.between(at, fromMs, toMs, options, one.read).map((entry) => this.#shown(entry)!);
    const scan = this.#store.interval(at, fromMs, toMs, options, one.read, this.#scope);
    // What is written after the call is not seen.
    this.#layers.savepoint();
    for (const timestamp of [0, 20, 40, 500]) this.#store.set(at, this.#value(-1), timestamp);
    this.#layers.rollback();
    this.#marks.saved = this.#writes.length;
    const found: unknown[] = [];
    for await (const [timestamp, value] of scan) found.push(this.#shown({ timestamp, value }));
    return found;
  }

  #expected(writes: readonly Operation[], at: Uint8Array, one: ScanStep) {
    const { fromMs, toMs } = one;
    const answer = this.#model(writes, { do: 'interval', key: textOf(at), fromMs, toMs });
    assert.ok(typeof answer === 'object' && 'interval' in answer);
    const entries = one.reverse ? [...answer.interval].reverse() : answer.interval;
    return entries.slice(0, one.limit);
  }

  #writesAt(level: Read): readonly Operation[] {
    const { flushed, frozen } = this.#marks;
    return level === 'latest' ? this.#writes : this.#writes.slice(0, Math.max(flushed, frozen));
  }

  #freeze(): void {
    if (this.#frozen !== undefined) return;
    this.#store.prepare();
    this.#frozen = new FrozenLayer(this.#layers, this.#layers.freeze());
    this.#marks.frozen = this.#marks.saved = this.#writes.length;
  }

  async #flush(): Promise<void> {
    if (this.#frozen === undefined) return;
    await this.#engine.write(this.#frozen.encode(), { sync: false });
    this.#frozen.complete();
    this.#frozen = undefined;
    this.#marks.flushed = this.#marks.frozen;
  }

  #crash(): void {
    this.#layers.end('discarded', () => assert.fail('a use after the end'));
    this.#frozen = undefined;
    this.#writes.length = this.#marks.flushed;
    this.#marks.frozen = this.#marks.saved = this.#marks.flushed;
    this.#renew();
  }

  /** Everything that is there in the end. */
  async #check(): Promise<void> {
    for (const at of KEYS.keys())
      for (const reverse of [false, true]) {
        const all = {
          key: at,
          fromMs: 0,
          toMs: Infinity,
          reverse,
          limit: undefined,
          read: 'latest',
        } as const;
        await this.#read({ do: 'interval', ...all });
        await this.#read({ do: 'between', ...all });
      }
  }

  #model(writes: readonly Operation[], operation: Operation) {
    return timestampedModelOf(this.#setup, [...writes, operation]).at(-1)!;
  }

  #value(n: number): unknown {
    return this.#setup.opaque ? Buffer.from(String(n)) : { n };
  }

  #shown(entry: TimestampedEntry<unknown> | undefined) {
    if (entry === undefined) return undefined;
    const { timestamp, value } = entry;
    return {
      timestamp,
      value: this.#setup.opaque
        ? Number(Buffer.from(value as Uint8Array).toString())
        : (value as { readonly n: number }).n,
    };
  }
}

function textOf(at: Uint8Array): string {
  return Buffer.from(at).toString('hex');
}

for (const [engine, numRuns] of [
  ['memory', 1_500],
  ['level', 60],
  ['rocksdb', 60],
] as const satisfies readonly (readonly [EngineKind, number])[])
  test(`a timestamped store on ${engine} answers as its definition over all writes does`, async () => {
    const root = await mkdtemp(join(tmpdir(), 'partita-asof-'));
    let run = 0;
    try {
      await fc.assert(
        fc.asyncProperty(setup, fc.array(step, { maxLength: 120, size: 'max' }), async (of, steps) => {
          const directory = join(root, String(++run));
          const kept = engine === 'memory' ? await keptMemory() : undefined;
          const open = () =>
            kept ??
            engineFactory(engine).open(directory, { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 });
          await new Run(of, async () => open()).run(steps);
          await rm(directory, { recursive: true, force: true });
        }),
        { numRuns },
      );
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });

/** A memory engine that a close and an open leave as it is, as files would be. */
async function keptMemory(): Promise<StorageEngine> {
  const engine = await engineFactory('memory').open('', { blockCacheBytes: 0, writeBufferBytes: 0 });
  return new Proxy(engine, {
    get: (target, name) => {
      if (name === 'close') return () => Promise.resolve();
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? (member.bind(target) as unknown) : member;
    },
  });
}

test('a timestamped store of an actor answers so through commits, crashes and a compacted changelog', async () => {
  const options = fc.record({ graceMs: fc.constantFrom(0, 20, 1e6), keepDuplicates: fc.boolean() });
  const isRead = fc.record({ isRead: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(options, randomHistory({ stepsMax: 150 }, isRead), async (of, steps) => {
      const processor = defineProcessor({
        inputs: {
          events: topic({
            key: nullable(string()),
            value: json<{ readonly n: number; readonly isRead: boolean }>(),
          }),
        },
        outputs: { found: topic({ key: string(), value: json<{ readonly n: number | null }>() }) },
        stores: { entries: timestamped({ key: string(), value: json<number>(), ...of }) },
        process({ key, value: { n, isRead: reads }, timestamp }, { stores, emit }) {
          if (key === null) return;
          if (reads) emit.found(key, { n: stores.entries.getAsOf(key, timestamp)?.value ?? null });
          else stores.entries.set(key, n, timestamp);
        },
      });
      await using driver = await TestDriver.start(processor, { cacheBytes: 3_000 });
      let n = 0;
      for (const one of steps) {
        if (one.do === 'event') {
          const { key: at, timestamp, isRead: reads } = one.event;
          await driver.append('events', [{ key: at, value: { n: n++, isRead: reads }, timestamp }]);
          await driver.drain();
          continue;
        }
        if (one.do !== 'crash') await driver.checkpoint();
        if (one.do === 'commit') continue;
        if (one.do === 'crashAndWipe') await driver.log.compact(changelogTopic('test', 'processor'));
        await driver.restart({ wipe: one.do === 'crashAndWipe' });
        await driver.drain();
      }
      await driver.checkpoint();
      const operations = eventsOf(steps).flatMap(
        ({ key: at, timestamp, isRead: reads }, value): Operation[] => {
          if (at === null) return [];
          return [reads ? { do: 'getAsOf', key: at, timestamp } : { do: 'set', key: at, value, timestamp }];
        },
      );
      assert.deepEqual(
        (await driver.outputs<string, { readonly n: number | null }>('found')).map(({ value }) => value.n),
        timestampedModelOf(of, operations).flatMap((answer) =>
          typeof answer === 'object' && 'asOf' in answer ? [answer.asOf?.value ?? null] : [],
        ),
      );
      await driver.restart({ wipe: true });
      for (const at of TEXT_KEYS)
        assert.deepEqual(
          await driver.timestamped('entries').between(at, 0, Infinity),
          entriesOf(of, operations, at),
        );
    }),
    { numRuns: 100 },
  );
});
