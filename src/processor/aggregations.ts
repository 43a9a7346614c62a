/** Placeholder of the contract until the branch of the aggregations is merged. */
import type { Serde } from './serde.js';

export interface Blocks {
  write(items: readonly unknown[]): number;
  read(id: number): readonly unknown[];
}
export interface Aggregation<V, R> {
  readonly kind: string;
  initial(): unknown;
  add(state: unknown, value: V, timestamp: number, blocks: Blocks): unknown;
  result(state: unknown, blocks: Blocks): R;
  readonly merge?: (a: unknown, b: unknown, blocks: Blocks) => unknown;
  admit(state: unknown): number;
  pack(state: unknown): unknown;
  unpack(packed: unknown): unknown;
  readonly blocks?: (state: unknown) => readonly number[];
}
export interface Aggregations<V> {
  count(): Aggregation<V, number>;
  sum(of: (value: V) => number | null | undefined): Aggregation<V, number>;
}
export function aggregationsOf<V>(value: Serde<V>): Aggregations<V> {
  value;
  return {
    count: () => ({
      kind: 'count',
      initial: () => 0,
      add: (state) => (state as number) + 1,
      result: (state) => state as number,
      merge: (a, b) => (a as number) + (b as number),
      admit: () => 20,
      pack: (state) => state,
      unpack: (packed) => packed,
    }),
    sum: (of) => ({
      kind: 'sum',
      initial: () => 0,
      add: (state, value) => (state as number) + (of(value) ?? 0),
      result: (state) => state as number,
      merge: (a, b) => (a as number) + (b as number),
      admit: () => 20,
      pack: (state) => state,
      unpack: (packed) => packed,
    }),
  };
}
