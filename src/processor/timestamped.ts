/**
 * What users declare of timestamped stores: entries with a time of their own under each key, read as of a time. Declarations
 * are data, checked where they are made; `state/timestamped/` runs them, and docs/stores.md says what they mean.
 */
import { PartitaError } from '../core/errors.js';
import type { Frozen, RangeOptions, StoreDeclaration } from './declarations.js';
import type { Serde } from './serde.js';

const DAY_MS = 86_400_000;

/** An entry of a timestamped store. */
export interface TimestampedEntry<V> {
  /** In ms. */
  readonly timestamp: number;
  readonly value: Frozen<V>;
}

/** A timestamped store as queries see it. */
export interface ReadonlyTimestamped<K, V> {
  /**
   * The entry of the key with the largest timestamp ≤ `timestampMs`; of equal ones the latest. What is older than the
   * key's grace is never found. Throws TIMESTAMP_OUT_OF_RANGE for what is no whole number from 0 on.
   */
  getAsOf(key: K, timestampMs: number): TimestampedEntry<V> | undefined;
  /**
   * The entries of the key with from ≤ timestamp < to, in order, at once: for short intervals, of which all are wanted. It
   * reads a row for every 64 entries or so.
   */
  between(key: K, fromMs: number, toMs: number, options?: RangeOptions): readonly TimestampedEntry<V>[];
  /** The entries of the key with from ≤ timestamp < to, in order, of the moment of the call. */
  interval(
    key: K,
    fromMs: number,
    toMs: number,
    options?: RangeOptions,
  ): AsyncIterable<readonly [timestampMs: number, value: Frozen<V>]>;
}

/** A timestamped store as handlers see it. */
export interface Timestamped<K, V> extends ReadonlyTimestamped<K, V> {
  /**
   * Adds an entry, unless it is older than the key's grace. Freezes plain values deeply.
   * @returns whether it was added
   * Throws TIMESTAMP_OUT_OF_RANGE for what is no whole number from 0 on, SERDE_FAILED, RECORD_TOO_LARGE.
   */
  set(key: K, value: V | Frozen<V>, timestampMs: number): boolean;
}

export interface TimestampedDeclaration<K, V> extends StoreDeclaration<
  Timestamped<K, V>,
  ReadonlyTimestamped<K, V>
> {
  readonly kind: 'timestamped';
  readonly key: Serde<K>;
  readonly value: Serde<V>;
  readonly graceMs: number;
  readonly keepDuplicates: boolean;
}

export interface TimestampedOptions<K, V> {
  readonly key: Serde<K>;
  readonly value: Serde<V>;
  /**
   * How far behind the newest entry of its key one may be, in ms; what falls further behind is dropped, before and after.
   * It may be changed over existing entries, and counts from the next `set` of each key. @default 7 days
   */
  readonly graceMs?: number;
  /** Whether entries of one key and timestamp are kept all, in the order of their `set`; else the last replaces. @default false */
  readonly keepDuplicates?: boolean;
}

/** Declares a timestamped store. @throws PartitaError INVALID_PROCESSOR */
export function timestamped<K, V>(options: TimestampedOptions<K, V>): TimestampedDeclaration<K, V> {
  const { key, value, graceMs = 7 * DAY_MS, keepDuplicates = false } = options;
  if (!Number.isSafeInteger(graceMs) || graceMs < 0)
    throw new PartitaError(
      'INVALID_PROCESSOR',
      `The graceMs of a timestamped store must be a whole number from 0 on, not ${String(graceMs)}.`,
    );
  if (typeof keepDuplicates !== 'boolean')
    throw new PartitaError(
      'INVALID_PROCESSOR',
      `keepDuplicates of a timestamped store is true or false, not ${String(keepDuplicates)}.`,
    );
  return { kind: 'timestamped', key, value, graceMs, keepDuplicates };
}

/** What must not change over existing entries: without duplicates, those that are there would have no meaning. */
export function timestampedParameters(declaration: unknown): string {
  const { keepDuplicates } = declaration as TimestampedDeclaration<unknown, unknown>;
  return JSON.stringify({ keepDuplicates });
}
