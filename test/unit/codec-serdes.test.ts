/**
 * Serdes: their bytes are those of Kafka's Java serdes, what does not survive is refused with its path, and whatever a
 * user's serde does wrongly becomes one typed error.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { admitJson, freezeDeep } from '../../src/codec/freeze.js';
import { compareBytes } from '../../src/codec/keys.js';
import {
  bytes,
  decodeNullable,
  decodeWith,
  encodeNullable,
  encodeWith,
  float64,
  int64,
  json,
  msgpack,
  nullable,
  string,
} from '../../src/codec/serdes.js';
import { isPartitaError } from '../../src/core/errors.js';
import { type Serde, SERDE_TRAITS, traitsOf } from '../../src/processor/serde.js';

const hexOf = (encoded: Uint8Array): string => Buffer.from(encoded).toString('hex');
const roundTrip = <T>(serde: Serde<T>, value: T): T => serde.decode(serde.encode(value));

describe('wire forms', () => {
  test('int64 and float64 are what Kafka’s LongSerializer and DoubleSerializer write', () => {
    const view = new DataView(new ArrayBuffer(8));
    const integers = [
      0,
      1,
      -1,
      255,
      -256,
      2 ** 31,
      -(2 ** 31),
      2 ** 32,
      -(2 ** 32) - 1,
      Number.MAX_SAFE_INTEGER,
      Number.MIN_SAFE_INTEGER,
    ];
    for (const value of integers) {
      view.setBigInt64(0, BigInt(value));
      assert.equal(hexOf(int64().encode(value)), hexOf(new Uint8Array(view.buffer)));
      assert.equal(roundTrip(int64(), value), value);
    }
    for (const value of [0, -0, 1.5, -1e300, Infinity, NaN, Number.MIN_VALUE]) {
      view.setFloat64(0, value);
      assert.equal(hexOf(float64().encode(value)), hexOf(new Uint8Array(view.buffer)));
      assert.ok(Object.is(roundTrip(float64(), value), value));
    }
  });

  test('int64 refuses what it would change', () => {
    for (const value of [0.5, NaN, Infinity, 2 ** 53]) assert.throws(() => int64().encode(value), RangeError);
    assert.throws(() => int64().decode(Buffer.from('7fffffffffffffff', 'hex')), RangeError);
    assert.throws(() => int64().decode(Buffer.alloc(7)), RangeError);
    assert.throws(() => float64().decode(Buffer.alloc(9)), RangeError);
  });

  test('ordered forms of numbers sort as the numbers do and come back', () => {
    const order = <T>(serde: Serde<T>): NonNullable<ReturnType<typeof traitsOf<T>>['ordered']> =>
      traitsOf(serde).ordered!;
    fc.assert(
      fc.property(
        fc.maxSafeInteger(),
        fc.maxSafeInteger(),
        fc.double({ noNaN: true }),
        fc.double({ noNaN: true }),
        (a, b, x, y) => {
          const integers = order(int64());
          assert.equal(Math.sign(compareBytes(integers.encode(a), integers.encode(b))), Math.sign(a - b));
          assert.equal(integers.decode(integers.encode(a)), a);
          const floats = order(float64());
          if (x !== y) assert.equal(compareBytes(floats.encode(x), floats.encode(y)) < 0, x < y);
          assert.ok(Object.is(floats.decode(floats.encode(x)), x));
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('text keeps every well-formed character, a byte order mark too', () => {
    for (const text of ['', 'a', 'ü€𝄞', '\ufeffx', '\0']) {
      assert.equal(roundTrip(string(), text), text);
      assert.equal(hexOf(string().encode(text)), hexOf(new TextEncoder().encode(text)));
    }
    assert.equal(string().decode(Uint8Array.of(0, 97, 98).subarray(1)), 'ab');
    assert.throws(() => string().encode(5 as never), TypeError);
  });

  test('bytes are copied on both ways, so neither side can change the other’s', () => {
    const mine = Uint8Array.of(1, 2, 3);
    const encoded = bytes().encode(mine);
    mine[0] = 9;
    assert.equal(encoded[0], 1);
    const source = Buffer.from([4, 5]);
    const decoded = bytes().decode(source);
    source[0] = 9;
    assert.equal(decoded[0], 4);
    assert.equal(decoded.constructor, Uint8Array);
    assert.throws(() => bytes().encode('text' as never), TypeError);
  });

  test('json survives as it is, strings with lone surrogates included', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        // JSON has no −0; it is refused at set.
        const plain = JSON.parse(JSON.stringify(value)) as unknown;
        assert.deepEqual(roundTrip(json<unknown>(), plain), plain);
        assert.ok(admitJson(plain) >= json<unknown>().encode(plain).length);
      }),
      { numRuns: 1000 },
    );
    assert.equal(roundTrip(json<string>(), '\ud800'), '\ud800');
    assert.ok(admitJson('\ud800'.repeat(10)) >= json<string>().encode('\ud800'.repeat(10)).length);
    assert.throws(() => json<unknown>().encode(undefined), TypeError);
    assert.throws(() => json<unknown>().encode(() => 1), TypeError);
  });

  test('msgpack keeps what json can’t: dates, sets, bytes, odd numbers', () => {
    const value = {
      at: new Date(5),
      of: new Set([1, 'x']),
      raw: Uint8Array.of(1),
      n: [1.5, NaN, 2 ** 40],
      no: undefined,
    };
    const back = roundTrip(msgpack<typeof value>(), value);
    assert.deepEqual(
      [back.at, back.of, [...back.raw], back.n, 'no' in back],
      [value.at, value.of, [1], value.n, true],
    );
    assert.deepEqual(roundTrip(msgpack<unknown>(), new Map([['a', 1]])), { a: 1 });
    // Plain MessagePack: a map of one text to 1.
    assert.equal(hexOf(msgpack().encode({ a: 1 })), '81a16101');
    assert.equal(traitsOf(msgpack()).shape, 'opaque');
  });
});

describe('admitting JSON', () => {
  const refused: [string, unknown, RegExp][] = [
    ['bigint', { a: { b: 1n } }, /the value\.a\.b is a bigint/],
    ['function', { f: () => 1 }, /the value\.f is a function/],
    ['symbol', [Symbol('x')], /the value\[0\] is a symbol/],
    ['a date', { at: new Date(0) }, /the value\.at is an instance of Date/],
    ['a map', new Map(), /instance of Map/],
    ['a set', { s: [new Set()] }, /the value\.s\[0\] is an instance of Set/],
    [
      'a class',
      new (class Account {
        balance = 1;
      })(),
      /instance of Account/,
    ],
    ['an array of a class', new (class List extends Array<number> {})(3), /instance of List/],
    ['bytes', { raw: new Uint8Array(1) }, /instance of Uint8Array/],
    ['a boxed number', { n: Object(1) as unknown }, /instance of Number/],
    ['toJSON', { toJSON: () => 1 }, /toJSON/],
    ['hidden toJSON', Object.defineProperty({}, 'toJSON', { value: () => 1 }), /toJSON/],
    ['-0', { n: -0 }, /the value\.n is -0/],
    ['NaN', [1, NaN], /the value\[1\] is NaN/],
    ['Infinity', -Infinity, /the value is -Infinity/],
    ['undefined', undefined, /the value is undefined/],
    ['undefined in an array', [undefined], /the value\[0\] is undefined/],
    ['an undefined property', { a: 1, b: undefined }, /the value\.b is undefined/],
    ['a hole', [1, , 3], /the value\[1\] is undefined/], // eslint-disable-line no-sparse-arrays -- the case
  ];
  for (const [name, value, message] of refused) {
    test(`refuses ${name} and says where`, () => {
      assert.throws(
        () => admitJson(value),
        (error) => error instanceof TypeError && message.test(error.message),
      );
    });
  }

  test('refuses cycles and absurd depth instead of overflowing', () => {
    const cycle: Record<string, unknown> = { n: 1 };
    cycle['self'] = { inner: [cycle], other: cycle };
    assert.throws(() => admitJson(cycle), /deeper than 200 levels, or in a cycle/);
    let deep: unknown = 1;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    assert.throws(() => admitJson(deep), /deeper than 200/);
    let fine: unknown = 1;
    for (let i = 0; i < 199; i++) fine = { fine };
    assert.ok(admitJson(fine) > 0);
  });

  test('accepts all that JSON keeps, freezes it deeply and bounds its size', () => {
    const value = {
      a: [1, { b: 'x"\u0001é' }],
      c: null,
      d: true,
      e: Object.create(null) as object,
      '"k\u0002': 1e-300,
      n: -1.7976931348623157e308,
    };
    const bound = admitJson(value);
    assert.ok(bound >= Buffer.byteLength(JSON.stringify(value)));
    assert.ok(
      Object.isFrozen(value) &&
        Object.isFrozen(value.a) &&
        Object.isFrozen(value.a[1]) &&
        Object.isFrozen(value.e),
    );
    for (const primitive of [0, 1, '', 'x', true, false, null])
      assert.ok(admitJson(primitive) >= JSON.stringify(primitive).length);
  });

  test('freezeDeep freezes what JSON.parse made and leaves other objects alone', () => {
    const value = freezeDeep({ a: [{ b: 1 }], at: new Date(0) });
    assert.ok(Object.isFrozen(value.a[0]) && Object.isFrozen(value.a) && Object.isFrozen(value));
    assert.equal(Object.isFrozen(value.at), false);
    assert.throws(() => {
      value.a.push({ b: 2 });
    }, TypeError);
  });

  test('whatever JSON changes is refused, whatever it keeps is accepted', () => {
    const anything = fc.anything({
      withDate: true,
      withMap: true,
      withBigInt: true,
      withSparseArray: true,
      withNullPrototype: true,
    });
    fc.assert(
      fc.property(anything, (value) => {
        let survives: boolean;
        try {
          assert.deepStrictEqual(
            withoutNullPrototypes(JSON.parse(JSON.stringify(value))),
            withoutNullPrototypes(value),
          );
          survives = true;
        } catch {
          survives = false;
        }
        let admitted: boolean;
        try {
          admitJson(value);
          admitted = true;
        } catch (error) {
          assert.ok(error instanceof TypeError);
          admitted = false;
        }
        assert.equal(admitted, survives);
      }),
      { numRuns: 3000 },
    );
  });
});

/** Objects without a prototype come back with one, which is no difference in data. */
function withoutNullPrototypes(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (Array.isArray(value))
    return Object.assign(
      Array.from({ length: value.length }) as object,
      ...Object.entries(value).map(([k, v]) => ({ [k]: withoutNullPrototypes(v) })),
    ) as unknown;
  if (prototype !== null && prototype !== Object.prototype) return value;
  return Object.entries(value).map(([name, inner]) => [name, withoutNullPrototypes(inner)]);
}

describe('calling any serde', () => {
  const store = { what: 'value', store: 'totals', key: 'alice' } as const;
  const failed = (pattern: RegExp) => (error: unknown) => {
    assert.ok(isPartitaError(error, 'SERDE_FAILED'), String(error));
    assert.match(error.message, pattern);
    assert.ok(error.cause instanceof Error);
    return true;
  };

  test('what a serde throws becomes SERDE_FAILED with store, key and cause', () => {
    const boom = new RangeError('boom');
    const serde: Serde<string> = {
      encode: () => {
        throw boom;
      },
      decode: () => {
        throw boom;
      },
    };
    assert.throws(
      () => encodeWith(serde, 'x', store),
      (error) =>
        isPartitaError(error, 'SERDE_FAILED') &&
        error.cause === boom &&
        error.details['store'] === 'totals' &&
        error.details['key'] === '"alice"',
    );
    assert.throws(
      () => decodeWith(serde, Buffer.alloc(1), { what: 'key', topic: 'in' }),
      failed(/the key of topic in: boom/),
    );
    assert.throws(
      () => encodeWith({ encode: () => 'text' as never, decode: () => 1 }, 1, store),
      failed(/Uint8Array/),
    );
    assert.throws(
      () => {
        decodeWith({ encode: () => Buffer.alloc(0), decode: () => undefined }, Buffer.alloc(0), store);
      },
      failed(/undefined/),
    );
    assert.throws(
      () => decodeWith(json(), Buffer.from('{"a"'), store),
      failed(/store totals at key "alice"/),
    );
  });

  test('a thrown thing that is no error, and a key that can’t be shown, do no harm', () => {
    const serde: Serde<string> = {
      encode: () => {
        throw 'words'; // eslint-disable-line @typescript-eslint/only-throw-error -- users do
      },
      decode: () => 'x',
    };
    const key: Record<string, unknown> = {};
    key['key'] = key;
    for (const shown of [key, 5n, Buffer.alloc(1000), 'k'.repeat(1000), undefined, () => 1]) {
      assert.throws(
        () => encodeWith(serde, 'x', { what: 'value', topic: 't', key: shown }),
        (error) =>
          isPartitaError(error, 'SERDE_FAILED') && error.message.length < 300 && error.cause === 'words',
      );
    }
  });

  test('null is refused in a topic unless the serde is nullable', () => {
    const use = { what: 'value', topic: 'in' } as const;
    assert.throws(() => encodeNullable(json<unknown>(), null, use), failed(/nullable/));
    assert.throws(() => decodeNullable(string(), null, use), failed(/nullable/));
    assert.equal(encodeNullable(nullable(string()), null, use), null);
    assert.equal(decodeNullable(nullable(string()), null, use), null);
    assert.equal(decodeNullable(nullable(string()), encodeNullable(nullable(string()), 'x', use), use), 'x');
    assert.throws(() => encodeWith(nullable(string()), null, use), failed(/null/));
    // In a store json's own null is an ordinary value.
    assert.equal(hexOf(encodeWith(json<unknown>(), null, store)), hexOf(Buffer.from('null')));
  });

  test('nullable keeps the traits of what it wraps', () => {
    const traits = nullable(json<{ n: number }>())[SERDE_TRAITS];
    assert.deepEqual([traits.nullable, traits.shape], [true, 'plain']);
    assert.equal(traits.admit!(null), 4);
    assert.throws(() => traits.admit!({ n: NaN }), TypeError);
    assert.equal(traits.text!.toText({ n: 1 }), '{"n":1}');
    const ordered = nullable(int64())[SERDE_TRAITS].ordered!;
    assert.equal(ordered.decode(ordered.encode(-5)), -5);
    assert.deepEqual(traitsOf({ encode: () => Buffer.alloc(0), decode: () => 1 }), {
      name: 'custom',
      nullable: false,
      shape: 'opaque',
    });
  });
});
