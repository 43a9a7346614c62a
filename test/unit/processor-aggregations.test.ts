/**
 * The named aggregations against naive computations over all values: whatever way a state has taken (adds, merges, JSON),
 * it says the same, no state is ever changed, and none is larger than what it admits to.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { expectTypeOf } from 'expect-type';
import fc from 'fast-check';
import { bytes, float64, int64, json, msgpack, nullable, string } from '../../src/codec/serdes.js';
import { isPartitaError } from '../../src/core/errors.js';
import { type Aggregation, type Aggregations, aggregationsOf } from '../../src/processor/aggregations.js';
import { hash53 } from '../../src/processor/hash53.js';
import { hllAdd } from '../../src/processor/hyperloglog.js';
import type { Serde } from '../../src/processor/serde.js';

interface Reading {
  readonly n: number;
  readonly who: string;
}
interface Event<V> {
  readonly value: V;
  readonly timestamp: number;
}

const of = aggregationsOf(json<Reading>());
const SMALL = { numRuns: 60 };

/** Blocks as a store would keep them: as JSON. */
class KeptBlocks {
  readonly texts: string[] = [];
  write(items: readonly unknown[]): number {
    assert.ok(Object.isFrozen(items) && items.every((item) => Object.isFrozen(item)), 'blocks are frozen');
    return this.texts.push(JSON.stringify(items)) - 1;
  }
  read(id: number): readonly unknown[] {
    return JSON.parse(this.texts[id]!) as unknown[];
  }
}

function freezeAll<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) freezeAll(inner as unknown);
  }
  return value;
}

/** A window's state that is held as the store will: checked and frozen after each step, now and then through JSON. */
class Window<V, R> {
  state: unknown;
  readonly aggregation: Aggregation<V, R>;
  readonly blocks: KeptBlocks;
  constructor(aggregation: Aggregation<V, R>, blocks = new KeptBlocks()) {
    this.aggregation = aggregation;
    this.blocks = blocks;
    this.state = this.#checked(aggregation.initial());
  }
  add(value: V, timestamp = 0): this {
    const before = JSON.stringify(this.aggregation.pack(this.state));
    const next = this.aggregation.add(this.state, value, timestamp, this.blocks);
    assert.equal(JSON.stringify(this.aggregation.pack(this.state)), before, 'the old state has changed');
    this.state = this.#checked(next);
    return this;
  }
  addAll(events: readonly Event<V>[]): this {
    for (const { value, timestamp } of events) this.add(value, timestamp);
    return this;
  }
  merge(later: Window<V, R>): this {
    const packed = (): string => JSON.stringify([this, later].map((one) => one.aggregation.pack(one.state)));
    const before = packed();
    const next = this.aggregation.merge!(this.state, later.state, this.blocks);
    assert.equal(packed(), before, 'a merged state has changed');
    this.state = this.#checked(next);
    return this;
  }
  reopen(): this {
    const packed = JSON.parse(JSON.stringify(this.aggregation.pack(this.state))) as unknown;
    this.state = this.#checked(this.aggregation.unpack(packed));
    return this;
  }
  get result(): R {
    return this.aggregation.result(this.state, this.blocks);
  }
  #checked(state: unknown): unknown {
    const { length } = Buffer.from(JSON.stringify(this.aggregation.pack(state)));
    const bound = this.aggregation.admit(state);
    assert.ok(bound >= length, `${this.aggregation.kind} admits to ${bound} bytes of ${length}`);
    return freezeAll(state);
  }
}

/** As JSON.parse makes them. */
const PLAIN = { noNullPrototype: true };
const reading = fc.record(
  {
    n: fc.integer({ min: -1000, max: 1000 }),
    who: fc.oneof(fc.string({ maxLength: 3 }), fc.constantFrom('a', 'b', '"\\\u2028')),
  },
  PLAIN,
);
const events = fc.array(fc.record({ value: reading, timestamp: fc.nat(20) }, PLAIN), {
  maxLength: 200,
});

type Naive<R> = (events: readonly Event<Reading>[]) => R;
const numbers = (all: readonly Event<Reading>[]): number[] => all.map(({ value }) => value.n);
const lower = (sorted: readonly number[], q: number): number | undefined =>
  sorted[Math.floor(q * (sorted.length - 1))];

const CASES: readonly (readonly [aggregation: Aggregation<Reading, unknown>, naive: Naive<unknown>])[] = [
  [of.count(), (all) => all.length],
  [of.sum((v) => v.n), (all) => numbers(all).reduce((a, b) => a + b, 0)],
  [
    of.mean((v) => v.n),
    (all) => (all.length === 0 ? undefined : numbers(all).reduce((a, b) => a + b, 0) / all.length),
  ],
  [of.min((v) => v.n), (all) => (all.length === 0 ? undefined : Math.min(...numbers(all)))],
  [of.max((v) => v.n), (all) => (all.length === 0 ? undefined : Math.max(...numbers(all)))],
  [of.earliest(), (all) => all.toSorted((a, b) => a.timestamp - b.timestamp)[0]?.value],
  [of.earliest((v) => v.who), (all) => all.toSorted((a, b) => a.timestamp - b.timestamp)[0]?.value.who],
  [of.latest(), (all) => all.toSorted((a, b) => a.timestamp - b.timestamp).at(-1)?.value],
  [
    of.latest((v) => [v.n]),
    (all) =>
      all
        .toSorted((a, b) => a.timestamp - b.timestamp)
        .slice(-1)
        .map(({ value }) => [value.n])[0],
  ],
  [of.first(3), (all) => all.slice(0, 3).map(({ value }) => value)],
  [of.first(90, (v) => v.who), (all) => all.slice(0, 90).map(({ value }) => value.who)],
  [of.last(3), (all) => all.slice(-3).map(({ value }) => value)],
  [of.last(90, (v) => v.who), (all) => all.slice(-90).map(({ value }) => value.who)],
  [of.collect(), (all) => all.map(({ value }) => value)],
  [of.collect((v) => v.who), (all) => all.map(({ value }) => value.who)],
  [of.distinctCount((v) => v.who, { exact: true }), (all) => new Set(all.map(({ value }) => value.who)).size],
  [of.distinctCount((v) => v.n), (all) => new Set(numbers(all)).size],
  [
    of.reduce((a, b) => ({ n: a.n + b.n, who: a.who })),
    (all) =>
      all.length === 0 ? undefined : { n: numbers(all).reduce((a, b) => a + b, 0), who: all[0]!.value.who },
  ],
  [
    of.fold<readonly string[]>({
      initial: () => [],
      add: (a, v) => (a.includes(v.who) ? a : [...a, v.who]),
      merge: (a, b) => [...new Set([...a, ...b])],
    }),
    (all) => [...new Set(all.map(({ value }) => value.who))],
  ],
];

describe('each aggregation says what a computation over all values says', () => {
  for (const [aggregation, naive] of CASES) {
    test(`${aggregation.kind}: value by value, and after a restart at any moment`, () => {
      fc.assert(
        fc.property(events, fc.nat(200), (all, restart) => {
          const window = new Window(aggregation);
          window.addAll(all.slice(0, restart)).reopen().addAll(all.slice(restart));
          assert.deepEqual(window.result, naive(all));
          assert.deepEqual(window.reopen().result, naive(all));
          assert.deepEqual(aggregation.blocks?.(window.state) ?? [], [...window.blocks.texts.keys()]);
        }),
        SMALL,
      );
    });

    test(`${aggregation.kind}: windows that become one say what one window had said`, () => {
      fc.assert(
        fc.property(events, events, events, (a, b, c) => {
          const blocks = new KeptBlocks();
          const [first, second, third] = [a, b, c].map((some) =>
            new Window(aggregation, blocks).addAll(some),
          );
          assert.deepEqual(first!.merge(second!.reopen().merge(third!)).result, naive([...a, ...b, ...c]));
          first!.addAll(a);
          assert.deepEqual(first!.reopen().result, naive([...a, ...b, ...c, ...a]));
        }),
        SMALL,
      );
    });
  }

  test('one that is added to a state of the past does not see what else was added to it', () => {
    for (const [aggregation, naive] of CASES) {
      const start = new Window(aggregation).addAll(
        range(70).map((n) => ({ value: { n, who: `${n}` }, timestamp: n })),
      );
      const { state } = start;
      const failed = { value: { n: 500, who: 'failed' }, timestamp: 80 };
      const good = { value: { n: 600, who: 'good' }, timestamp: 81 };
      start.addAll([failed]);
      const once = start.result;
      start.state = state;
      // The one that failed is tried again, in vain, and is not there for the next.
      assert.deepEqual(start.addAll([failed]).result, once);
      start.state = state;
      start.addAll([good, failed]).reopen();
      const all = range(70).map((n) => ({ value: { n, who: `${n}` }, timestamp: n }));
      const expected = naive([...all, good, failed]);
      // Past its exact beginnings the sketch estimates.
      if (!aggregation.kind.startsWith('distinctCount(12')) assert.deepEqual(start.result, expected);
    }
  });
});

describe('numbers', () => {
  const given = aggregationsOf(json<unknown>());
  const numeric = (value: unknown): number => value as number;
  const named: Readonly<Record<string, Aggregation<unknown, unknown>>> = {
    sum: given.sum(numeric),
    mean: given.mean(numeric),
    min: given.min(numeric),
    max: given.max(numeric),
    quantiles: given.quantiles(numeric, [0.5]),
    distinctCount: given.distinctCount(numeric),
  };

  for (const [name, aggregation] of Object.entries(named)) {
    test(`${name} ignores null and undefined, and names itself when it is given anything else than a number`, () => {
      const window = new Window(aggregation);
      const empty = window.result;
      assert.deepEqual(window.add(null).add(undefined).result, empty);
      const names = new RegExp(`aggregation ${name} `);
      for (const wrong of [NaN, Infinity, -Infinity])
        assert.throws(
          () => window.add(wrong),
          (error) => error instanceof RangeError && names.test(error.message),
        );
      for (const wrong of [true, {}, 1n, ...(name === 'distinctCount' ? [] : ['1'])])
        assert.throws(
          () => window.add(wrong),
          (error) => error instanceof TypeError && names.test(error.message),
        );
    });
  }

  test('a sum that overflows is an error, in a merge too', () => {
    for (const name of ['sum', 'mean']) {
      const full = (): Window<unknown, unknown> => new Window(named[name]!).add(1.7e308);
      assert.throws(() => full().add(1.7e308), RangeError);
      assert.throws(() => full().merge(full()), RangeError);
    }
  });

  test('−0 is 0, as JSON has only one', () => {
    for (const name of ['sum', 'min', 'max'])
      assert.ok(Object.is(new Window(named[name]!).add(-0).result, 0));
    assert.deepEqual(new Window(named['quantiles']!).add(-0).result, [0]);
    assert.equal(new Window(named['distinctCount']!).add(-0).add(0).result, 1);
    assert.equal(new Window(given.distinctCount(numeric, { exact: true })).add(-0).add(0).reopen().result, 1);
  });
});

describe('values that are kept', () => {
  const kept = <V>(serde: Serde<V>, values: readonly V[]): void => {
    const every = aggregationsOf(serde);
    for (const value of values) {
      const one = new Window(every.latest()).add(value, 1);
      assert.deepEqual(one.result, value);
      assert.deepEqual(one.reopen().result, value);
      assert.deepEqual(new Window(every.earliest()).add(value, 1).reopen().result, value);
      assert.deepEqual(new Window(every.reduce((a) => a)).add(value).add(value).reopen().result, value);
    }
    for (const many of [every.first(1000), every.last(1000), every.collect()] as const) {
      const window = new Window(many);
      const all = range(150).map((i) => values[i % values.length]!);
      for (const value of all) window.add(value);
      assert.deepEqual(window.result, all);
      assert.deepEqual(window.reopen().result, all);
    }
  };

  test('come back as they were with every built-in serde', () => {
    kept(string(), ['', 'x', '"\u0000ü\u2028']);
    kept(int64(), [0, -1, Number.MAX_SAFE_INTEGER]);
    kept(float64(), [0.1, -0, NaN, Infinity, -Infinity, 5e-324, -1.7976931348623157e308]);
    kept(json(), [null, [], { a: [1, 'x', null] }, 'x', true]);
    kept(bytes(), [new Uint8Array(0), new Uint8Array([0, 255, 128])]);
    kept(msgpack<unknown>(), [new Date(5), new Set([1]), NaN, { a: undefined }]);
    kept(nullable(string()), [null, 'null', '']);
    kept(nullable(bytes()), [null, new Uint8Array([1])]);
    kept(nullable(json<unknown>()), [null, { a: 1 }]);
  });

  test('of json are frozen and are not encoded again; opaque ones are decoded afresh for each result', () => {
    const value = { n: 1, who: 'x' };
    const plain = new Window(of.latest()).add(value);
    assert.ok(Object.isFrozen(value));
    assert.equal(plain.result, value);
    const given = new Uint8Array([1]);
    const opaque = new Window(aggregationsOf(bytes()).latest()).add(given);
    given[0] = 2;
    opaque.result![0] = 3;
    assert.deepEqual(opaque.result, new Uint8Array([1]));
    assert.ok(Object.isFrozen(new Window(of.collect()).add(value).result));
    assert.ok(Object.isFrozen(new Window(of.last(2)).add(value).result));
  });

  test('of a serde that takes something else are refused by it', () => {
    const texts = aggregationsOf(string() as Serde<unknown>);
    assert.throws(() => new Window(texts.latest()).add(5), TypeError);
    const bad: Serde<unknown> = { encode: () => 'x' as never, decode: () => 1 };
    assert.throws(
      () => new Window(aggregationsOf(bad).collect()).add(5),
      /collect .*encode returned no bytes/,
    );
  });

  test('must survive JSON if they are made by a projection', () => {
    for (const wrong of [undefined, NaN, new Date(5), { a: new Map() }])
      for (const aggregation of [of.latest(() => wrong), of.first(2, () => wrong), of.collect(() => wrong)])
        assert.throws(() => new Window<Reading, unknown>(aggregation).add({ n: 1, who: '' }), {
          name: 'TypeError',
          message: /^The aggregation (latest|first|collect) can't keep a value: the value/,
        });
  });

  test('of equal timestamps: the earliest one stays, the latest one is replaced', () => {
    for (const [aggregation, expected] of [
      [of.earliest((v) => v.n), 1],
      [of.latest((v) => v.n), 2],
    ] as const) {
      const window = new Window(aggregation).add({ n: 1, who: '' }, 7).add({ n: 2, who: '' }, 7);
      assert.equal(window.result, expected);
    }
  });

  test('that are collected keep their order when windows with blocks and tails become one', () => {
    for (const [a, b] of [
      [70, 10],
      [10, 70],
      [64, 64],
      [150, 130],
      [40, 40],
      [0, 65],
    ] as const) {
      const blocks = new KeptBlocks();
      const [earlier, later] = [range(a), range(b).map((n) => n + a)].map((some) =>
        new Window(
          of.collect((v) => v.n),
          blocks,
        ).addAll(some.map((n) => ({ value: { n, who: '' }, timestamp: n }))),
      );
      earlier!.merge(later!).add({ n: a + b, who: '' });
      assert.deepEqual(earlier!.reopen().result, range(a + b + 1));
      assert.equal(new Set(earlier!.aggregation.blocks!(earlier!.state)).size, blocks.texts.length);
    }
  });

  test('collect holds fewer than 64 values in its state, and of large ones fewer still', () => {
    const small = new Window(of.collect());
    for (const n of range(63)) small.add({ n, who: '' });
    assert.equal(small.blocks.texts.length, 0);
    small.add({ n: 63, who: '' });
    assert.equal(small.blocks.texts.length, 1);
    assert.ok(small.aggregation.admit(small.state) < 100);
    const large = new Window(of.collect());
    for (const n of range(20)) large.add({ n, who: 'x'.repeat(5000) });
    assert.ok(large.aggregation.admit(large.state) < 100_000);
    assert.equal(large.result.length, 20);
  });
});

describe('functions of users', () => {
  test('may throw, and what they throw comes through', () => {
    const thrown = new Error('mine');
    const fail = (): never => {
      throw thrown;
    };
    const mine = (error: unknown): boolean => error === thrown;
    const value = { n: 1, who: '' };
    for (const aggregation of [
      of.sum(fail),
      of.latest(fail),
      of.distinctCount(fail),
      of.quantiles(fail, [0]),
      of.fold({ initial: () => 1, add: fail }),
    ])
      assert.throws(() => new Window<Reading, unknown>(aggregation).add(value), mine);
    assert.throws(() => of.fold({ initial: fail, add: () => 1 }).initial(), mine);
    assert.throws(() => new Window(of.reduce(fail)).add(value).add(value), mine);
  });

  test('of a fold are given frozen states, from the first value on', () => {
    const changing = of.fold<{ list: number[] }>({
      initial: () => ({ list: [] }),
      add: (a, v) => {
        a.list.push(v.n);
        return a;
      },
    });
    assert.throws(() => new Window(changing).add({ n: 1, who: '' }), TypeError);
    assert.equal(changing.merge, undefined);
  });

  test('of a fold whose state does not survive JSON fail with the path', () => {
    const dated = of.fold<unknown>({ initial: () => 0, add: () => ({ at: [new Date(5)] }) });
    assert.throws(() => new Window(dated).add({ n: 1, who: '' }), /fold can't keep .*the value\.at\[0\]/);
    assert.throws(() => of.fold<unknown>({ initial: () => undefined, add: () => 0 }).initial(), TypeError);
  });

  test('that are missing, and parameters out of range, are refused when the store is declared', () => {
    const any = of as unknown as Record<string, (...args: unknown[]) => unknown>;
    const f = (): number => 1;
    const wrongs: readonly (readonly [name: string, ...args: unknown[]])[] = [
      ...['sum', 'mean', 'min', 'max', 'distinctCount', 'quantiles', 'reduce', 'fold'].map(
        (name) => [name] as const,
      ),
      ...['earliest', 'latest', 'collect'].map((name) => [name, null] as const),
      ...[0, -1, 1.5, NaN, '3', 10_001, undefined].flatMap((n) => [
        ['first', n] as const,
        ['last', n] as const,
      ]),
      ['first', 1, 'x'],
      ['distinctCount', f, { precision: 3 }],
      ['distinctCount', f, { precision: 17 }],
      ['distinctCount', f, { precision: 12.5 }],
      ['distinctCount', f, { exact: 'yes' }],
      ['quantiles', f, 0.5],
      ['quantiles', f, [0.5, 1.1]],
      ['quantiles', f, [-0.1]],
      ['quantiles', f, ['0.5']],
      ['quantiles', f, [0.5], { accuracy: 0 }],
      ['quantiles', f, [0.5], { accuracy: 0.5 }],
      ['quantiles', f, [0.5], { binsMax: 1 }],
      ['fold', { initial: f }],
      ['fold', { add: f }],
      ['fold', { initial: f, add: f, merge: 1 }],
    ];
    for (const [name, ...args] of wrongs)
      assert.throws(
        () => any[name]!(...args),
        (error) => isPartitaError(error, 'INVALID_PROCESSOR') && error.message.includes(name),
        `${name}(${JSON.stringify(args)})`,
      );
  });
});

describe('kinds', () => {
  test('differ where what is stored differs', () => {
    const kinds = [
      of.first(3),
      of.first(4),
      of.first(3, (v) => v.n),
      of.distinctCount((v) => v.n),
      of.distinctCount((v) => v.n, { precision: 14 }),
      of.distinctCount((v) => v.n, { exact: true }),
      of.quantiles((v) => v.n, [0]),
      of.quantiles((v) => v.n, [0], { accuracy: 0.02 }),
    ].map(({ kind }) => kind);
    assert.equal(new Set(kinds).size, kinds.length);
    assert.equal(kinds[0], 'first(3)');
  });
});

describe('distinctCount', () => {
  const texts = aggregationsOf(json<string | number>());

  const relativeError = (precision: number, n: number, name: (i: number) => string | number): number => {
    const aggregation = texts.distinctCount((v) => v, { precision });
    let state = aggregation.initial();
    const blocks = new KeptBlocks();
    for (let i = 0; i < n; i++) state = aggregation.add(state, name(i), 0, blocks);
    // Seen again, nothing changes.
    for (let i = 0; i < n; i += 97) assert.equal(aggregation.add(state, name(i), 0, blocks), state);
    assert.ok(aggregation.admit(state) <= Math.max(2 ** precision, 17 * 256, 17 * 64) + 2);
    return aggregation.result(state, blocks) / n - 1;
  };

  test('estimates within three standard errors, of texts and numbers that hardly differ', () => {
    const names: readonly ((i: number) => string | number)[] = [
      (i) => i,
      (i) => i / 8,
      (i) => String(i),
      (i) => `user-${i}`,
      (i) => i.toString(36).padStart(12, '0'),
      (i) => `${i}@example.com`,
    ];
    for (const name of names)
      for (const [precision, n] of [
        [12, 1000],
        [12, 10_000],
        [12, 50_000],
        [10, 2_500],
        [4, 500],
      ] as const) {
        const sigma = 1.04 / Math.sqrt(2 ** precision);
        const error = relativeError(precision, n, name);
        assert.ok(Math.abs(error) <= 3 * sigma, `p ${precision}, ${n} like ${name(7)}: ${error}`);
      }
  });

  test('has no bias: the mean error of many counts is far below the standard error', () => {
    for (const n of [300, 1200, 4000]) {
      const errors = range(60).map((run) => relativeError(8, n, (i) => `${run}/${i}`));
      const sigma = 1.04 / Math.sqrt(2 ** 8);
      const mean = errors.reduce((a, b) => a + b, 0) / errors.length;
      const spread = Math.sqrt(errors.reduce((a, b) => a + b * b, 0) / errors.length);
      assert.ok(Math.abs(mean) < (3 * sigma) / Math.sqrt(60), `${n}: mean error ${mean}`);
      assert.ok(spread < 1.3 * sigma, `${n}: ${spread} of ${sigma}`);
    }
  });

  test('is exact up to 64 values at any precision, and the text of a number is another value', () => {
    for (const precision of [4, 8, 16]) {
      const window = new Window(texts.distinctCount((v) => v, { precision }));
      for (const i of range(32)) window.add(i).add(String(i)).add(i);
      assert.equal(window.result, 64);
    }
  });

  test('keeps the rank of the rarest hashes, and no register is a character that JSON escapes', () => {
    for (const precision of [4, 12, 16]) {
      const none = '0'.repeat(2 ** precision);
      const rank = (hash: number): number =>
        (hllAdd(none, hash, precision) as string).charCodeAt(hash % 2 ** precision) - 48;
      assert.equal(rank(2 ** 53 - 1), 1);
      assert.equal(rank(2 ** 51), 2);
      assert.equal(rank(2 ** 32 + 5), 21);
      assert.equal(rank(2 ** 31 + 5), 22);
      assert.equal(rank(5), Math.min(54 - precision, 43));
      assert.equal(JSON.stringify(hllAdd(none, 5, precision)).length, none.length + 2);
    }
  });

  test('depends on the values alone: neither on their order nor on merges', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(5000), { maxLength: 400 }),
        fc.array(fc.nat(5000), { maxLength: 400 }),
        fc.constantFrom(4, 8, 12),
        (a, b, precision) => {
          const aggregation = texts.distinctCount((v) => v, { precision });
          const state = (values: readonly number[]): unknown =>
            values.reduce<unknown>(
              (s, v) => aggregation.add(s, v, 0, new KeptBlocks()),
              aggregation.initial(),
            );
          const both = aggregation.merge!(state(a), state(b), new KeptBlocks());
          assert.deepEqual(both, state([...b, ...a]));
          assert.deepEqual(aggregation.unpack(JSON.parse(JSON.stringify(aggregation.pack(both)))), both);
        },
      ),
      SMALL,
    );
  });

  test('hashes never change, as they are stored', () => {
    assert.deepEqual(['', 'a', 'ab', 'abc', 'ü€', 0, 1, -1.5].map(hash53), HASHES);
  });

  test('hashes of short texts use all their bits: each is set in half of them, and a change of a bit changes half', () => {
    const hashes = range(4000).map((i) => BigInt(hash53(i.toString(36))));
    const neighbours = range(4000).map((i) => BigInt(hash53(`${i.toString(36).slice(0, -1)}~`)));
    for (let bit = 0n; bit < 53n; bit++) {
      const set = hashes.filter((hash) => (hash >> bit) & 1n).length;
      const changed = hashes.filter((hash, i) => ((hash ^ neighbours[i]!) >> bit) & 1n).length;
      assert.ok(
        Math.abs(set - 2000) < 160 && Math.abs(changed - 2000) < 250,
        `bit ${bit}: ${set}, ${changed}`,
      );
    }
    assert.equal(new Set(range(100_000).map((i) => hash53(i.toString(36)))).size, 100_000);
  });
});

const HASHES: readonly number[] = [
  3948938871615794, 5251659940476981, 1056049769621450, 4711439133458420, 480745785150468, 5185188496116527,
  1987370670952355, 6016311838883469,
];

describe('quantiles', () => {
  const given = aggregationsOf(json<number>());
  const QS = [0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1];
  /** An error of rounding beside that of the bins. */
  const ROUNDING = 1e-9;

  const shapes: Readonly<Record<string, fc.Arbitrary<number>>> = {
    integers: fc.integer({ min: -100, max: 10_000 }),
    'latencies over nine powers of ten': fc.double({ min: -2, max: 7, noNaN: true }).map((x) => 10 ** x),
    'both signs and zeros': fc.oneof(
      fc.constant(0),
      fc.double({ min: -1e6, max: 1e6, noNaN: true }).map((x) => Math.round(x * 100) / 100 + 0),
    ),
  };

  for (const [name, shape] of Object.entries(shapes))
    test(`of ${name} are within the accuracy, and exact up to 64 values`, () => {
      fc.assert(
        fc.property(
          fc.array(shape, { maxLength: 300, size: 'max' }),
          fc.array(shape, { maxLength: 300 }),
          fc.constantFrom(0.01, 0.05),
          (a, b, accuracy) => {
            const aggregation = given.quantiles((v) => v, QS, { accuracy });
            const blocks = new KeptBlocks();
            const [one, other] = [a, b].map((values) =>
              new Window(aggregation, blocks).addAll(values.map((value) => ({ value, timestamp: 0 }))),
            );
            const joined = one!.reopen().merge(other!).reopen().result;
            const sorted = [...a, ...b].sort((x, y) => x - y);
            for (const [i, q] of QS.entries()) {
              const exact = lower(sorted, q);
              if (exact === undefined || sorted.length <= 64) assert.equal(joined[i], exact);
              else
                assert.ok(
                  Math.abs(joined[i]! - exact) <= (accuracy + ROUNDING) * Math.abs(exact),
                  `q ${q} of ${sorted.length}: ${joined[i]} instead of ${exact}`,
                );
            }
            const alone = new Window(aggregation).addAll(
              [...b, ...a].map((value) => ({ value, timestamp: 0 })),
            );
            assert.deepEqual(joined, alone.result);
          },
        ),
        SMALL,
      );
    });

  test('of numbers at the ends of what a number can be are still within the accuracy', () => {
    const ends = [1.7976931348623157e308, 1e300, 2.3e-308, 5e-324, 0];
    const all = range(20).flatMap(() => [...ends, ...ends.map((x) => -x)]);
    const aggregation = given.quantiles(
      (v) => v,
      range(101).map((i) => i / 100),
      { binsMax: 65_536, accuracy: 0.02 },
    );
    const window = new Window(aggregation).addAll(all.map((value) => ({ value, timestamp: 0 })));
    const sorted = all.toSorted((x, y) => x - y);
    for (const [i, got] of window.reopen().result.entries()) {
      const exact = lower(sorted, i / 100)!;
      assert.ok(Math.abs(got! - exact) <= 0.02 * Math.abs(exact) + 5e-324, `${i}: ${got} for ${exact}`);
    }
  });

  test('with fewer bins than the values need keep the accuracy of the largest, in whatever order they came', () => {
    const all = range(600).map((i) => 1.05 ** i);
    const aggregation = given.quantiles((v) => v, [0, 0.5, 0.7, 1], { binsMax: 100, accuracy: 0.05 });
    const results = [all, all.toReversed(), all.toSorted((x, y) => hash53(x) - hash53(y))].map((values) => {
      const window = new Window(aggregation).addAll(values.map((value) => ({ value, timestamp: 0 })));
      const [, { p }] = aggregation.pack(window.state) as [unknown, { p: [number[], number[]] }];
      assert.ok(p[0].length <= 100);
      assert.ok(aggregation.admit(window.state) < 100 * 13 + 64 * 26 + 200);
      return window.result;
    });
    assert.deepEqual(results[1], results[0]);
    assert.deepEqual(results[2], results[0]);
    const [least, , high, most] = results[0]!;
    assert.deepEqual([least, most], [all[0], all.at(-1)]);
    assert.ok(Math.abs(high! / all[419]! - 1) <= 0.05);
  });

  test('of 64 numbers are exact, of 65 they are estimated', () => {
    const aggregation = given.quantiles((v) => v, [0.5]);
    const window = new Window(aggregation);
    for (const n of range(64)) window.add(n + 0.123);
    assert.deepEqual(window.result, [31.123]);
    assert.notDeepEqual(window.add(64.123).result, [32.123]);
  });

  test('without numbers are undefined, each', () => {
    assert.deepEqual(new Window(given.quantiles((v) => v, [0.1, 0.9])).result, [undefined, undefined]);
  });
});

describe('types', () => {
  test('of results follow the projection', () => {
    expectTypeOf<Aggregations<Reading>>().toEqualTypeOf(of);
    expectTypeOf(of.count()).toEqualTypeOf<Aggregation<Reading, number>>();
    expectTypeOf(of.mean((v) => v.n)).toEqualTypeOf<Aggregation<Reading, number | undefined>>();
    expectTypeOf(of.latest()).toEqualTypeOf<Aggregation<Reading, Reading | undefined>>();
    expectTypeOf(of.latest((v) => v.who)).toEqualTypeOf<Aggregation<Reading, string | undefined>>();
    expectTypeOf(of.last(2, (v) => v.n)).toEqualTypeOf<Aggregation<Reading, readonly number[]>>();
    expectTypeOf(of.collect()).toEqualTypeOf<Aggregation<Reading, readonly Reading[]>>();
    expectTypeOf(of.reduce((a) => a)).toEqualTypeOf<Aggregation<Reading, Reading | undefined>>();
    expectTypeOf(of.fold({ initial: () => 'x', add: (a, v) => a + v.who })).toEqualTypeOf<
      Aggregation<Reading, string>
    >();
    expectTypeOf(of.quantiles((v) => v.n, [0.5])).toEqualTypeOf<
      Aggregation<Reading, readonly (number | undefined)[]>
    >();
  });
});

function range(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i);
}
