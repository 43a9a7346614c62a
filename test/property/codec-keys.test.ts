/**
 * Keys of stores: no two of different families, tuples or user keys share bytes, and bytes sort as keys do. The oracles
 * are comparisons of the decoded things.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  compareBytes,
  decodeTuple,
  encodeTuple,
  familyPrefix,
  fromOrderedFloat64,
  orderedFloat64,
  prefixEnd,
  storeKey,
  type Tuple,
  type TuplePart,
} from '../../src/codec/keys.js';
import { isPartitaError } from '../../src/core/errors.js';

/** Few different bytes, so that keys often contain and continue each other; the bytes that escapes are made of. */
const nasty = fc
  .array(fc.constantFrom(0, 1, 0x10, 0x20, 0x30, 0x40, 0xfe, 0xff), { maxLength: 6 })
  .map((bytes) => Uint8Array.from(bytes));
const text = fc.oneof(
  fc
    .array(fc.constantFrom('\0', '\u0001', 'a', '\u00ff', '\uffff', '𝄞'), { maxLength: 4 })
    .map((parts) => parts.join('')),
  fc.string({ unit: 'binary', maxLength: 8 }),
);
const number = fc.oneof(
  fc.double({ noNaN: true }).map((value) => (value === 0 ? 0 : value)),
  fc.integer(),
  fc.constantFrom(0, 1, -1, Infinity, -Infinity, Number.MIN_VALUE, Number.MAX_SAFE_INTEGER),
);
const { part } = fc.letrec<{ part: TuplePart }>((tie) => ({
  part: fc.oneof({ maxDepth: 3 }, number, text, nasty, fc.array(tie('part'), { maxLength: 3 })),
}));
const tuple = fc.array(part, { maxLength: 4 });

const rank = (value: TuplePart): number =>
  typeof value === 'number' ? 0 : typeof value === 'string' ? 1 : value instanceof Uint8Array ? 2 : 3;

/** The order that is promised, on the elements themselves. */
function compareParts(a: TuplePart, b: TuplePart): number {
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  if (typeof a === 'number') return a - (b as number) || 0;
  if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string));
  if (a instanceof Uint8Array) return Buffer.compare(a, b as Uint8Array);
  return compareTuples(a, b as Tuple);
}
function compareTuples(a: Tuple, b: Tuple): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    // Infinity − Infinity is NaN: equal.
    const order = a[i] === b[i] ? 0 : compareParts(a[i]!, b[i]!);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

test('bytes of tuples sort as the tuples do, element by element, and decode to them', () => {
  fc.assert(
    fc.property(tuple, tuple, (a, b) => {
      assert.equal(Math.sign(compareBytes(encodeTuple(a), encodeTuple(b))), Math.sign(compareTuples(a, b)));
      assert.deepEqual(decodeTuple(encodeTuple(a)), a);
    }),
    { numRuns: 5000 },
  );
});

test('a tuple that goes on where another ends sorts after it', () => {
  fc.assert(
    fc.property(tuple, part, (a, more) => {
      assert.ok(compareBytes(encodeTuple(a), encodeTuple([...a, more])) < 0);
    }),
    { numRuns: 1000 },
  );
});

test('bytes that no tuple has are refused, never half understood', () => {
  fc.assert(
    fc.property(fc.oneof(nasty, fc.uint8Array({ maxLength: 30 })), (bytes) => {
      let parts: TuplePart[];
      try {
        parts = decodeTuple(bytes);
      } catch (error) {
        assert.ok(isPartitaError(error, 'INVALID_ARGUMENT'), String(error));
        return;
      }
      // NaN and badly formed text decode, but no key was ever made of them.
      if (JSON.stringify(parts).includes('null') || JSON.stringify(parts).includes('\ufffd')) return;
      if (Object.is(parts[0], -0)) return;
      assert.deepEqual(decodeTuple(encodeTuple(parts)), parts);
    }),
    { numRuns: 3000 },
  );
});

test('no two keys of any two families are the same, and a family’s keys sort as they did', () => {
  const name = fc.oneof(text, fc.constantFrom('a', 'ab', '', 'totals', 'totals.index'));
  fc.assert(
    fc.property(name, nasty, name, nasty, (familyA, keyA, familyB, keyB) => {
      const a = storeKey(familyPrefix(familyA), keyA);
      const b = storeKey(familyPrefix(familyB), keyB);
      const same = familyA === familyB && compareBytes(keyA, keyB) === 0;
      assert.equal(compareBytes(a, b) === 0, same);
      if (familyA === familyB)
        assert.equal(Math.sign(compareBytes(a, b)), Math.sign(compareBytes(keyA, keyB)));
      // No family lies within another's range.
      else
        assert.notEqual(compareBytes(b.subarray(0, familyPrefix(familyA).length), familyPrefix(familyA)), 0);
    }),
    { numRuns: 3000 },
  );
});

test('prefixEnd is the smallest key above all that begin with a prefix', () => {
  fc.assert(
    fc.property(nasty, nasty, (prefix, key) => {
      const end = prefixEnd(prefix);
      const starts = compareBytes(key.subarray(0, prefix.length), prefix) === 0;
      const inRange = compareBytes(key, prefix) >= 0 && (end === undefined || compareBytes(key, end) < 0);
      assert.equal(inRange, starts || (end === undefined && compareBytes(key, prefix) >= 0));
      if (end === undefined) assert.ok(prefix.every((byte) => byte === 0xff));
    }),
    { numRuns: 3000 },
  );
  assert.deepEqual(prefixEnd(Uint8Array.of(1, 0xff, 0xff)), Uint8Array.of(2));
  assert.equal(prefixEnd(Uint8Array.of(0xff)), undefined);
  assert.equal(prefixEnd(new Uint8Array(0)), undefined);
});

test('numbers sort as numbers, also negative, tiny and infinite ones', () => {
  fc.assert(
    fc.property(number, number, (a, b) => {
      assert.equal(Math.sign(compareBytes(orderedFloat64(a), orderedFloat64(b))), a < b ? -1 : a > b ? 1 : 0);
      assert.equal(fromOrderedFloat64(orderedFloat64(a)), a);
    }),
    { numRuns: 2000 },
  );
});

test('what would collide is refused', () => {
  const refused = (error: unknown): boolean => isPartitaError(error, 'INVALID_ARGUMENT');
  assert.throws(() => encodeTuple([NaN]), refused);
  assert.throws(() => encodeTuple(['\ud800']), refused);
  assert.deepEqual(encodeTuple([-0]), encodeTuple([0]));
  let deep: Tuple = [];
  for (let i = 0; i < 100; i++) deep = [deep];
  assert.throws(() => encodeTuple(deep), refused);
  assert.throws(() => decodeTuple(new Uint8Array(100_000).fill(0x40)), refused);
  assert.throws(
    () => familyPrefix('x'.repeat(256)),
    (error) => isPartitaError(error, 'INVALID_NAME'),
  );
  assert.throws(
    () => familyPrefix('\udc00'),
    (error) => isPartitaError(error, 'INVALID_NAME'),
  );
});
