/**
 * The aggregations that a windowed store is given by name: their interface and the object that offers them to `aggregate`.
 * They are pure: an aggregation knows neither windows nor rows nor clocks, and its states are never changed. Each is in an
 * `aggregation-*.ts` of its own.
 */
import { collect } from './aggregation-collect.js';
import { distinctCount } from './aggregation-distinct.js';
import { earliest, first, fold, last, latest, reduce } from './aggregation-kept.js';
import { count, max, mean, min, sum } from './aggregation-numbers.js';
import { quantiles } from './aggregation-quantiles.js';
import type { Serde } from './serde.js';

/** Where an aggregation that grows keeps what is full: rows beside the window's. */
export interface Blocks {
  /** Stores items (JSON-able, already packed and frozen) under a new id. */
  write(items: readonly unknown[]): number;
  read(id: number): readonly unknown[];
}

/** One aggregation over the values of a window. */
export interface Aggregation<V, R> {
  /** Its name and the parameters that shape what is stored (`first(3)`); part of the store's stored definition. */
  readonly kind: string;
  /** State of a window without values. */
  initial(): unknown;
  /** The next state; never changes the given one. What functions of users throw passes through. */
  add(state: unknown, value: V, timestamp: number, blocks: Blocks): unknown;
  /** Throws nothing but what a serde's decode throws. */
  result(state: unknown, blocks: Blocks): R;
  /** State of two windows that become one, `a` the earlier; absent if the aggregation can't. */
  readonly merge?: (a: unknown, b: unknown, blocks: Blocks) => unknown;
  /**
   * Upper bound of the bytes of `JSON.stringify(pack(state))`, in constant time: whether values survive JSON is checked,
   * and they are frozen, when `add`, `merge` or `unpack` takes them in, which throw the TypeError or RangeError.
   */
  admit(state: unknown): number;
  /** The state as what JSON keeps. */
  pack(state: unknown): unknown;
  unpack(packed: unknown): unknown;
  /** Ids of blocks that the state refers to: deleted with the window. */
  readonly blocks?: (state: unknown) => readonly number[];
}

export interface DistinctOptions {
  /**
   * Keeps every different value instead of a sketch: the count is exact, the state grows with them.
   * @default false
   */
  readonly exact?: boolean;
  /**
   * 2^precision registers of the sketch, a byte each; the standard error is 1.04 / √(2^precision). Up to 64 values, or a
   * sixteenth of the registers if that is more, are counted exactly. An integer from 4 to 16.
   * @default 12 (4 KiB, 1.6 %)
   */
  readonly precision?: number;
}

export interface QuantileOptions {
  /**
   * Relative error at most of a quantile of more than 64 values, from 0.0001 to 0.2.
   * @default 0.01
   */
  readonly accuracy?: number;
  /**
   * Bins for each sign at most, an integer from 64 to 65536. The default spans 17 powers of ten at the default accuracy;
   * smaller magnitudes than that below the largest one of their sign count as the smallest that has a bin.
   * @default 2048
   */
  readonly binsMax?: number;
}

/**
 * The named aggregations. Those of numbers ignore null and undefined and refuse what is not a finite number (TypeError,
 * RangeError). What a projection `of` returns must survive JSON; values without one are kept as the store's serde can. All
 * construct or throw PartitaError INVALID_PROCESSOR.
 */
export interface Aggregations<V> {
  /** Number of values. */
  count(): Aggregation<V, number>;
  /** Sum of numbers; an overflow is a RangeError. */
  sum(of: (value: V) => number | null | undefined): Aggregation<V, number>;
  /** Arithmetic mean; undefined without numbers. */
  mean(of: (value: V) => number | null | undefined): Aggregation<V, number | undefined>;
  /** Smallest number; undefined without numbers. */
  min(of: (value: V) => number | null | undefined): Aggregation<V, number | undefined>;
  /** Largest number; undefined without numbers. */
  max(of: (value: V) => number | null | undefined): Aggregation<V, number | undefined>;
  /** The value with the smallest timestamp; of equals, the one that came first. */
  earliest<R = V>(of?: (value: V) => R): Aggregation<V, R | undefined>;
  /** The value with the largest timestamp; of equals, the one that came last. */
  latest<R = V>(of?: (value: V) => R): Aggregation<V, R | undefined>;
  /** The first n values (1 to 10000) by arrival; of sessions that merge, those of the earlier session come first. */
  first<R = V>(n: number, of?: (value: V) => R): Aggregation<V, readonly R[]>;
  /** The last n values (1 to 10000) by arrival; of sessions that merge, those of the later session come last. */
  last<R = V>(n: number, of?: (value: V) => R): Aggregation<V, readonly R[]>;
  /** All values by arrival; of sessions that merge, those of the earlier session come first. */
  collect<R = V>(of?: (value: V) => R): Aggregation<V, readonly R[]>;
  /** Number of different texts and numbers, by default estimated in bounded space (HyperLogLog). */
  distinctCount(
    of: (value: V) => string | number | null | undefined,
    options?: DistinctOptions,
  ): Aggregation<V, number>;
  /**
   * For each q of `qs` (0 to 1) the number at position ⌊q · (count − 1)⌋ in ascending order; undefined without numbers.
   * Exact up to 64 numbers and for the smallest and largest; else estimated (DDSketch), see `accuracy`.
   */
  quantiles(
    of: (value: V) => number | null | undefined,
    qs: readonly number[],
    options?: QuantileOptions,
  ): Aggregation<V, readonly (number | undefined)[]>;
  /** All values by `fn`, from the first on; it also merges, so it has to be associative. Values it is given are frozen. */
  reduce(fn: (a: V, b: V) => V): Aggregation<V, V | undefined>;
  /**
   * A state of one's own, which must survive JSON and which the functions are given frozen. Without `merge` it can't be
   * used with session windows.
   */
  fold<A>(fold: {
    readonly initial: () => A;
    readonly add: (a: A, value: V) => A;
    readonly merge?: (a: A, b: A) => A;
  }): Aggregation<V, A>;
}

/** What `aggregate: (of) => …` is given. */
export function aggregationsOf<V>(value: Serde<V>): Aggregations<V> {
  return Object.freeze<Aggregations<V>>({
    count,
    sum,
    mean,
    min,
    max,
    earliest: (of) => earliest(value, of),
    latest: (of) => latest(value, of),
    first: (n, of) => first(value, n, of),
    last: (n, of) => last(value, n, of),
    collect: (of) => collect(value, of),
    distinctCount,
    quantiles,
    reduce: (fn) => reduce(value, fn),
    fold,
  });
}
