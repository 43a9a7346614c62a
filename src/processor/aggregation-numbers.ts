/**
 * The aggregations whose state is one or two numbers: count, sum, mean, min and max. They run for every record, so an add
 * allocates no more than the state; null and undefined are ignored, and what no result could be made of is refused.
 */
import {
  aggregation,
  isFiniteNumber,
  notANumber,
  type NumberOf,
  requireFunction,
  same,
} from './aggregation-parts.js';
import type { Aggregation } from './aggregations.js';

/** JSON text of the longest number, as in `codec/freeze.ts`. */
export const NUMBER_BYTES = 25;
const PAIR_BYTES = 2 * NUMBER_BYTES + 3;

export function count<V>(): Aggregation<V, number> {
  return aggregation<number, V, number>({
    kind: 'count',
    initial: () => 0,
    add: (state) => state + 1,
    result: same,
    merge: (a, b) => a + b,
    admit: () => NUMBER_BYTES,
    pack: same,
    unpack: (packed) => packed as number,
  });
}

export function sum<V>(of: NumberOf<V>): Aggregation<V, number> {
  requireFunction('sum', 'of', of);
  return aggregation<number, V, number>({
    kind: 'sum',
    initial: () => 0,
    add: (state, value) => {
      const given = of(value);
      if (given === null || given === undefined) return state;
      if (!isFiniteNumber(given)) throw notANumber('sum', given);
      return finiteSum('sum', state + given);
    },
    result: same,
    merge: (a, b) => finiteSum('sum', a + b),
    admit: () => NUMBER_BYTES,
    pack: same,
    unpack: (packed) => packed as number,
  });
}

type SumAndCount = readonly [sum: number, count: number];

export function mean<V>(of: NumberOf<V>): Aggregation<V, number | undefined> {
  requireFunction('mean', 'of', of);
  return aggregation<SumAndCount, V, number | undefined>({
    kind: 'mean',
    initial: () => NOTHING_SUMMED,
    add: (state, value) => {
      const given = of(value);
      if (given === null || given === undefined) return state;
      if (!isFiniteNumber(given)) throw notANumber('mean', given);
      return [finiteSum('mean', state[0] + given), state[1] + 1];
    },
    result: ([total, values]) => (values === 0 ? undefined : total / values),
    merge: (a, b) => [finiteSum('mean', a[0] + b[0]), a[1] + b[1]],
    admit: () => PAIR_BYTES,
    pack: same,
    unpack: (packed) => packed as SumAndCount,
  });
}

const NOTHING_SUMMED: SumAndCount = Object.freeze([0, 0] as const);

export function min<V>(of: NumberOf<V>): Aggregation<V, number | undefined> {
  return extreme('min', of, (a, b) => (b < a ? b : a));
}

export function max<V>(of: NumberOf<V>): Aggregation<V, number | undefined> {
  return extreme('max', of, (a, b) => (b > a ? b : a));
}

function extreme<V>(
  kind: string,
  of: NumberOf<V>,
  choose: (a: number, b: number) => number,
): Aggregation<V, number | undefined> {
  requireFunction(kind, 'of', of);
  return aggregation<number | null, V, number | undefined>({
    kind,
    initial: () => null,
    add: (state, value) => {
      const given = of(value);
      if (given === null || given === undefined) return state;
      if (!isFiniteNumber(given)) throw notANumber(kind, given);
      // JSON has no −0; adding 0 makes it 0.
      return state === null ? given + 0 : choose(state, given + 0);
    },
    result: (state) => state ?? undefined,
    merge: (a, b) => (a === null ? b : b === null ? a : choose(a, b)),
    admit: () => NUMBER_BYTES,
    pack: same,
    unpack: (packed) => packed as number | null,
  });
}

function finiteSum(kind: string, total: number): number {
  if (total - total !== 0) throw new RangeError(`The aggregation ${kind} has overflown: its sum is ${total}`);
  return total;
}
