/**
 * What a timestamped store must answer, said from the definitions (semantics, section 6) over all operations: each read looks
 * through every write before it. It keeps no entries and deletes none. `joins-model.ts` builds its as-of join on this.
 */

export interface TimestampedWrite<V> {
  readonly do: 'set';
  readonly key: string;
  readonly value: V;
  /** A negative or broken one is an error, and nothing is written. */
  readonly timestamp: number;
}

export type TimestampedOperation<V> =
  | TimestampedWrite<V>
  | { readonly do: 'getAsOf'; readonly key: string; readonly timestamp: number }
  /** [from, to) */
  | { readonly do: 'interval'; readonly key: string; readonly fromMs: number; readonly toMs: number };

export interface TimestampedOptions {
  readonly graceMs: number;
  readonly keepDuplicates: boolean;
}

export interface TimestampedEntry<V> {
  readonly timestamp: number;
  readonly value: V;
}

export type TimestampedAnswer<V> =
  | 'refused'
  /** Older than the minimum eligible timestamp of its key. */
  | 'dropped'
  | 'written'
  | { readonly asOf: TimestampedEntry<V> | undefined }
  | { readonly interval: readonly TimestampedEntry<V>[] };

/** The answer to each operation. */
export function timestampedModelOf<V>(
  options: TimestampedOptions,
  operations: readonly TimestampedOperation<V>[],
): readonly TimestampedAnswer<V>[] {
  return operations.map((operation, at): TimestampedAnswer<V> => {
    const before = operations.slice(0, at);
    const { key } = operation;
    if (operation.do === 'set') {
      if (!isTimestamp(operation.timestamp)) return 'refused';
      return operation.timestamp < minEligible(options, before, key) ? 'dropped' : 'written';
    }
    const entries = entriesOf(options, before, key);
    if (operation.do === 'getAsOf') {
      if (!isTimestamp(operation.timestamp)) return 'refused';
      return { asOf: entries.findLast(({ timestamp }) => timestamp <= operation.timestamp) };
    }
    const { fromMs, toMs } = operation;
    return { interval: entries.filter(({ timestamp }) => fromMs <= timestamp && timestamp < toMs) };
  });
}

/** The entries of a key after all these operations, by timestamp and then by insertion. */
export function entriesOf<V>(
  { graceMs, keepDuplicates }: TimestampedOptions,
  operations: readonly TimestampedOperation<V>[],
  key: string,
): readonly TimestampedEntry<V>[] {
  // A write below the minimum of its own time is below the minimum of now, since that never decreases.
  const writes = writesOf(operations, key);
  const eligible = writes.filter(({ timestamp }) => timestamp >= minEligible({ graceMs }, operations, key));
  const kept = eligible.filter(
    ({ timestamp }, n) =>
      keepDuplicates || !eligible.slice(n + 1).some((later) => later.timestamp === timestamp),
  );
  // Stable, so that what has the same timestamp stays in the order of insertion.
  return kept.map(({ timestamp, value }) => ({ timestamp, value })).sort((a, b) => a.timestamp - b.timestamp);
}

/** The newest timestamp ever written under the key, less the grace; never below zero. */
export function minEligible(
  { graceMs }: Pick<TimestampedOptions, 'graceMs'>,
  operations: readonly TimestampedOperation<unknown>[],
  key: string,
): number {
  return Math.max(0, ...writesOf(operations, key).map(({ timestamp }) => timestamp - graceMs));
}

function writesOf<V>(operations: readonly TimestampedOperation<V>[], key: string): TimestampedWrite<V>[] {
  return operations.filter(
    (operation): operation is TimestampedWrite<V> =>
      operation.do === 'set' && operation.key === key && isTimestamp(operation.timestamp),
  );
}

function isTimestamp(timestamp: number): boolean {
  return Number.isSafeInteger(timestamp) && timestamp >= 0;
}
