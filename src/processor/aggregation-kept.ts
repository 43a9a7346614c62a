/**
 * The aggregations that keep values of users: earliest, latest, first, last, reduce and fold, whose states are small enough
 * to stand in the window's row. How a value is held is the matter of `held-values.ts`; what grows without a bound is kept
 * by `aggregation-collect.ts`.
 */
import { NUMBER_BYTES } from './aggregation-numbers.js';
import { aggregation, invalid, requireFunction, requireIntegerIn } from './aggregation-parts.js';
import type { Aggregation } from './aggregations.js';
import { type Held, holdJson, keeperOf, keeperOfValues, type Keeper } from './held-values.js';
import type { Serde } from './serde.js';

/** Values that `first` and `last` keep at most: they stand in the window's row, which is written as a whole. */
const KEPT_MAX = 10_000;
const NULL_BYTES = 4;

interface Stamped {
  readonly timestamp: number;
  readonly held: Held;
}

export function earliest<V, R>(serde: Serde<V>, of?: (value: V) => R): Aggregation<V, R | undefined> {
  return byTime(
    'earliest',
    keeperOf('earliest', serde, of),
    (there, timestamp) => timestamp < there.timestamp,
  );
}

export function latest<V, R>(serde: Serde<V>, of?: (value: V) => R): Aggregation<V, R | undefined> {
  return byTime('latest', keeperOf('latest', serde, of), (there, timestamp) => timestamp >= there.timestamp);
}

/** Keeps one value; `replaces` says whether one of the given time takes the place of the one that is there. */
function byTime<V, R>(
  kind: string,
  keeper: Keeper<V, R>,
  replaces: (there: Stamped, timestamp: number) => boolean,
): Aggregation<V, R | undefined> {
  return aggregation<Stamped | null, V, R | undefined>({
    kind: kind + keeper.suffix,
    initial: () => null,
    add: (state, value, timestamp) =>
      state === null || replaces(state, timestamp) ? { timestamp, held: keeper.hold(value) } : state,
    result: (state) => (state === null ? undefined : keeper.value(state.held)),
    merge: (a, b) => (a === null ? b : b === null || !replaces(a, b.timestamp) ? a : b),
    admit: (state) => (state === null ? NULL_BYTES : state.held.bound + NUMBER_BYTES + 3),
    pack: (state) => (state === null ? null : [state.timestamp, keeper.pack(state.held)]),
    unpack: (packed) => {
      if (packed === null) return null;
      const [timestamp, item] = packed as [number, unknown];
      return { timestamp, held: keeper.unpack(item) };
    },
  });
}

/** Values in order, with the bound of all of them. */
export interface HeldList {
  readonly list: readonly Held[];
  readonly bound: number;
}

export const EMPTY_LIST: HeldList = Object.freeze({ list: Object.freeze([]), bound: 2 });

export function listOf(list: readonly Held[]): HeldList {
  let bound = 2;
  for (const held of list) bound += held.bound + 1;
  return { list, bound };
}

export function first<V, R>(serde: Serde<V>, n: number, of?: (value: V) => R): Aggregation<V, readonly R[]> {
  return listed('first', n, keeperOf('first', serde, of), {
    add: (state, value, keeper) => (state.list.length >= n ? state : appended(state, keeper.hold(value))),
    merge: (a, b) =>
      a.list.length >= n || b.list.length === 0 ? a : listOf([...a.list, ...b.list].slice(0, n)),
  });
}

export function last<V, R>(serde: Serde<V>, n: number, of?: (value: V) => R): Aggregation<V, readonly R[]> {
  return listed('last', n, keeperOf('last', serde, of), {
    add: ({ list, bound }, value, keeper) => {
      const held = keeper.hold(value);
      if (list.length < n) return appended({ list, bound }, held);
      const kept = list.slice(1);
      kept.push(held);
      return { list: kept, bound: bound - list[0]!.bound + held.bound };
    },
    merge: (a, b) =>
      b.list.length >= n || a.list.length === 0 ? b : listOf([...a.list, ...b.list].slice(-n)),
  });
}

export function appended({ list, bound }: HeldList, held: Held): HeldList {
  return { list: [...list, held], bound: bound + held.bound + 1 };
}

function listed<V, R>(
  kind: string,
  n: number,
  keeper: Keeper<V, R>,
  moves: {
    add: (state: HeldList, value: V, keeper: Keeper<V, R>) => HeldList;
    merge: (a: HeldList, b: HeldList) => HeldList;
  },
): Aggregation<V, readonly R[]> {
  requireIntegerIn(kind, 'n', n, 1, KEPT_MAX);
  return aggregation<HeldList, V, readonly R[]>({
    kind: `${kind}(${n})${keeper.suffix}`,
    initial: () => EMPTY_LIST,
    add: (state, value) => moves.add(state, value, keeper),
    result: (state) => Object.freeze(state.list.map(keeper.value)),
    merge: moves.merge,
    admit: (state) => state.bound,
    pack: (state) => state.list.map(keeper.pack),
    unpack: (packed) => listOf((packed as readonly unknown[]).map(keeper.unpack)),
  });
}

export function reduce<V>(serde: Serde<V>, fn: (a: V, b: V) => V): Aggregation<V, V | undefined> {
  requireFunction('reduce', 'fn', fn);
  const keeper = keeperOfValues('reduce', serde);
  return aggregation<Held | null, V, V | undefined>({
    kind: 'reduce',
    initial: () => null,
    add: (state, value) =>
      state === null ? keeper.hold(value) : keeper.holdResult(fn(keeper.value(state), value)),
    result: (state) => (state === null ? undefined : keeper.value(state)),
    merge: (a, b) =>
      a === null ? b : b === null ? a : keeper.holdResult(fn(keeper.value(a), keeper.value(b))),
    admit: (state) => (state === null ? NULL_BYTES : state.bound + 2),
    // In an array, as null may be a value.
    pack: (state) => (state === null ? null : [keeper.pack(state)]),
    unpack: (packed) => (packed === null ? null : keeper.unpack((packed as [unknown])[0])),
  });
}

export interface Fold<V, A> {
  readonly initial: () => A;
  readonly add: (a: A, value: V) => A;
  readonly merge?: ((a: A, b: A) => A) | undefined;
}

export function fold<V, A>(given: Fold<V, A>): Aggregation<V, A> {
  if (typeof (given as unknown) !== 'object' || (given as unknown) === null)
    throw invalid('The aggregation fold needs an object with `initial` and `add`.');
  const { initial, add, merge } = given;
  requireFunction('fold', 'initial', initial);
  requireFunction('fold', 'add', add);
  if (merge !== undefined) requireFunction('fold', 'merge', merge);
  // What comes back as it was, is frozen and measured already.
  const next = (old: Held, value: A): Held => (value === old.item ? old : holdJson('fold', value));
  return aggregation<Held, V, A>({
    kind: 'fold',
    // Frozen from the beginning: an `add` that changes its argument fails for the first value, not for the second.
    initial: () => holdJson('fold', initial()),
    add: (state, value) => next(state, add(state.item as A, value)),
    result: (state) => state.item as A,
    ...(merge === undefined ? {} : { merge: (a: Held, b: Held) => next(a, merge(a.item as A, b.item as A)) }),
    admit: (state) => state.bound,
    pack: (state) => state.item,
    unpack: (packed) => holdJson('fold', packed),
  });
}
