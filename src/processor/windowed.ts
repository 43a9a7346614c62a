/**
 * Declared types of windowed stores. The runtime of windows comes with its own issue; until then `defineProcessor`
 * refuses them (INVALID_PROCESSOR), and the public door does not export this file.
 */
import type { Serde } from './serde.js';
import type { StoreDeclaration } from './declarations.js';

/** One aggregation over the values of a window. */
export interface Aggregation<V, R> {
  add(state: unknown, value: V): unknown;
  result(state: unknown): R;
}

/** The named aggregations offered to `aggregate`. */
export interface Aggregations<V> {
  count(): Aggregation<V, number>;
  sum(of: (value: V) => number | null | undefined): Aggregation<V, number>;
  mean(of: (value: V) => number | null | undefined): Aggregation<V, number | undefined>;
  latest<R = V>(of?: (value: V) => R): Aggregation<V, R | undefined>;
  collect<R = V>(of?: (value: V) => R): Aggregation<V, readonly R[]>;
  fold<A>(fold: {
    initial: () => A;
    add: (a: A, value: V) => A;
    merge?: (a: A, b: A) => A;
  }): Aggregation<V, A>;
}

export interface WindowResult<K, R> {
  readonly key: K;
  readonly startMs: number;
  readonly endMs: number;
  readonly result: R;
  readonly closed: boolean;
}

export interface ReadonlyWindowed<K, R> {
  current(key: K): Iterable<WindowResult<K, R>>;
  fetch(key: K, fromMs: number, toMs: number): AsyncIterable<WindowResult<K, R>>;
  all(fromMs: number, toMs: number): AsyncIterable<WindowResult<K, R>>;
}

export interface Windowed<K, V, R> extends ReadonlyWindowed<K, R> {
  add(key: K, value: V): void;
}

export interface WindowedDeclaration<K, V, R> extends StoreDeclaration<
  Windowed<K, V, R>,
  ReadonlyWindowed<K, R>
> {
  readonly kind: 'windowed';
  readonly key: Serde<K>;
  readonly value: Serde<V>;
}

export interface Window {
  readonly kind: string;
}
