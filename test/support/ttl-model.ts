/**
 * What a key-value store with expiry must answer, said from the definitions (semantics, section 4) over all events: each read
 * looks through every write before it. It keeps no entries and sweeps nothing. `random-events.ts` makes the histories.
 */
import { byKeyBytes } from './windows-model.js';

export type TtlOperation =
  | { readonly do: 'set'; readonly key: string; readonly value: number; readonly ttlMs?: number }
  | { readonly do: 'delete'; readonly key: string }
  | { readonly do: 'get'; readonly key: string };

/** One record, and what its handler does, in order. */
export interface TtlEvent {
  readonly timestamp: number;
  readonly operations: readonly TtlOperation[];
}

export interface TtlOptions {
  /** Of a `set` that names none. */
  readonly defaultTtlMs?: number;
  /** How far one record may move the clock; the first takes it wherever it wants. */
  readonly maxClockAdvanceMs?: number;
}

export interface TtlOutcome {
  /** What each `get` returned; `at` is the index of its event, `nth` that of the operation in it. */
  readonly reads: readonly {
    readonly at: number;
    readonly nth: number;
    readonly value: number | undefined;
  }[];
  /** Each `set` that was an error, and staged nothing. */
  readonly refused: readonly { readonly at: number; readonly nth: number }[];
  /** What a scan shows after the last event, by key bytes. */
  readonly entries: readonly (readonly [string, number])[];
  readonly clock: number | undefined;
}

interface Done {
  readonly at: number;
  readonly nth: number;
  readonly timestamp: number;
  readonly operation: TtlOperation;
}

/** What the definitions make of all events. */
export function ttlModelOf(options: TtlOptions, events: readonly TtlEvent[]): TtlOutcome {
  const done = events.flatMap(({ timestamp, operations }, at): Done[] =>
    operations.map((operation, nth) => ({ at, nth, timestamp, operation })),
  );
  const isBad = ({ timestamp, operation }: Done): boolean =>
    operation.do === 'set' && expiryOf(options, timestamp, operation) === 'refused';
  const written = done.filter((one) => one.operation.do !== 'get' && !isBad(one));

  const visible = (key: string, until: readonly Done[], at: number): number | undefined => {
    const last = until.findLast((one) => written.includes(one) && one.operation.key === key);
    if (last?.operation.do !== 'set') return undefined;
    const expiry = expiryOf(options, last.timestamp, last.operation) as number;
    return expiry <= clockAfter(options, events, at)! ? undefined : last.operation.value;
  };

  const keys = [...new Set(written.map(({ operation }) => operation.key))].sort(byKeyBytes);
  return {
    reads: done.flatMap((one, n) => {
      const { at, nth, operation } = one;
      return operation.do === 'get' ? [{ at, nth, value: visible(operation.key, done.slice(0, n), at) }] : [];
    }),
    refused: done.filter(isBad).map(({ at, nth }) => ({ at, nth })),
    entries: keys.flatMap((key): (readonly [string, number])[] => {
      const value = visible(key, done, events.length - 1);
      return value === undefined ? [] : [[key, value]];
    }),
    clock: clockAfter(options, events, events.length - 1),
  };
}

/** From when on the entry is hidden: Infinity for one that stays. */
function expiryOf(
  { defaultTtlMs }: TtlOptions,
  timestamp: number,
  { ttlMs = defaultTtlMs }: { readonly ttlMs?: number },
): number | 'refused' {
  if (ttlMs === undefined) return Infinity;
  const expiry = timestamp + ttlMs;
  const isGood = Number.isFinite(ttlMs) && ttlMs > 0 && expiry >= 0 && expiry <= Number.MAX_SAFE_INTEGER;
  return isGood ? expiry : 'refused';
}

/** The largest event time processed, this record included, with the steps of one record clamped. */
function clockAfter(options: TtlOptions, events: readonly TtlEvent[], at: number): number | undefined {
  const event = events[at];
  if (event === undefined) return undefined;
  const before = clockAfter(options, events, at - 1);
  if (before === undefined) return event.timestamp;
  const reach = before + (options.maxClockAdvanceMs ?? Infinity);
  return Math.max(before, Math.min(event.timestamp, reach));
}
