/**
 * What users declare: topics and stores. Declarations are data; the phantom types on them carry what handlers see.
 * `define-processor.ts` puts them together.
 */
import { PartitaError } from '../core/errors.js';
import type { Serde } from './serde.js';

/** A topic of a processor; `name` defaults to the name it is declared under. */
export interface Topic<K, V> {
  readonly key: Serde<K>;
  readonly value: Serde<V>;
  readonly name?: string;
}

/** Declares an input or output topic. */
export function topic<K, V>(declaration: Topic<K, V>): Topic<K, V> {
  return declaration;
}

declare const VIEWS: unique symbol;

/** A store's declaration; `RW` is what handlers see, `RO` what queries see. */
export interface StoreDeclaration<RW, RO> {
  readonly kind: string;
  readonly [VIEWS]?: readonly [RW, RO];
}

/** A deeply readonly view of a value: what `get` returns, since values are frozen. */
export type Frozen<V> = V extends (infer U)[]
  ? readonly Frozen<U>[]
  : V extends Uint8Array | Date | ReadonlyMap<unknown, unknown> | ReadonlySet<unknown>
    ? V
    : V extends object
      ? { readonly [P in keyof V]: Frozen<V[P]> }
      : V;

export interface RangeOptions {
  readonly reverse?: boolean;
  /** Entries at most. */
  readonly limit?: number;
}

/** A key-value store as queries see it. */
export interface ReadonlyKeyValue<K, V> {
  get(key: K): Frozen<V> | undefined;
  has(key: K): boolean;
  /** Entries with from ≤ key < to in the order of encoded keys, of the moment of the call. */
  range(from: K, to: K, options?: RangeOptions): AsyncIterable<readonly [K, Frozen<V>]>;
  /** Entries whose key begins with `prefix` (string and bytes keys: by encoded bytes). */
  prefix(prefix: K, options?: RangeOptions): AsyncIterable<readonly [K, Frozen<V>]>;
  entries(options?: RangeOptions): AsyncIterable<readonly [K, Frozen<V>]>;
}

export interface SetOptions {
  /**
   * The value is there until the event-time clock of the partition is so far, in ms, beyond the timestamp of what sets it: of
   * a record its event time, of a command the wall-clock now. A whole number above 0. @default the store's
   */
  readonly ttlMs?: number;
}

/** A key-value store as handlers see it. */
export interface KeyValue<K, V> extends ReadonlyKeyValue<K, V> {
  /**
   * Freezes plain values deeply. Without `ttlMs`, and in a store without a default, the value is permanent, whatever was
   * there before. Throws SERDE_FAILED for what does not survive its serde, RECORD_TOO_LARGE; INVALID_ARGUMENT for a ttl
   * that is none, TIMESTAMP_OUT_OF_RANGE for one without or beyond time.
   */
  set(key: K, value: V | Frozen<V>, options?: SetOptions): void;
  /** Read, modify, write as `set` does; `undefined` from `fn` deletes. */
  update(key: K, fn: (old: Frozen<V> | undefined) => V | Frozen<V> | undefined, options?: SetOptions): void;
  delete(key: K): void;
}

export interface KeyValueDeclaration<K, V> extends StoreDeclaration<KeyValue<K, V>, ReadonlyKeyValue<K, V>> {
  readonly kind: 'keyValue';
  readonly key: Serde<K>;
  readonly value: Serde<V>;
  readonly ttlMs?: number;
}

/**
 * Declares a key-value store. `ttlMs`: how long its values live, in ms of event time, unless `set` says otherwise; without
 * it they are permanent. It may come, change and go with any version: what was written keeps the expiry it was written with.
 * @throws PartitaError INVALID_PROCESSOR for a `ttlMs` that is no whole number above 0
 */
export function keyValue<K, V>(declaration: {
  readonly key: Serde<K>;
  readonly value: Serde<V>;
  readonly ttlMs?: number;
}): KeyValueDeclaration<K, V> {
  const { ttlMs } = declaration;
  if (ttlMs !== undefined && (!Number.isSafeInteger(ttlMs) || ttlMs <= 0))
    throw new PartitaError(
      'INVALID_PROCESSOR',
      `The ttlMs of a store must be a whole number of milliseconds above 0, not ${String(ttlMs)}.`,
    );
  return { kind: 'keyValue', ...declaration };
}

/* eslint-disable @typescript-eslint/no-explicit-any -- inference over declarations of any key and value */
export type AnyTopic = Topic<any, any>;
export type AnyStoreDeclaration = StoreDeclaration<any, any>;
/* eslint-enable @typescript-eslint/no-explicit-any */
export type Topics = Readonly<Record<string, AnyTopic>>;
export type Stores = Readonly<Record<string, AnyStoreDeclaration>>;
