/**
 * What joins must emit, said from their definitions over all events in the order in which they were processed: pairs are
 * looked for among all pairs, and no buffer is kept. Merging the inputs into that order is not its business.
 */
import { timestampedModelOf, type TimestampedOperation } from './timestamped-model.js';
import { byKeyBytes } from './windows-model.js';

export interface JoinEvent {
  /** Of a lookup or as-of join the right side is what is looked up. */
  readonly side: 'left' | 'right';
  /** `null`: joins with nothing; its time counts for the partition clock. */
  readonly key: string | null;
  /** `null` on the right of a lookup join deletes the key. */
  readonly value: number | null;
  readonly timestamp: number;
}

export interface Joined {
  /** Index of the event that caused it. */
  readonly at: number;
  readonly key: string;
  /** Indices of the two events; `undefined` where a side had no match. */
  readonly left: number | undefined;
  readonly right: number | undefined;
}

/** Each left event with the right entry of its key as of its timestamp, of those that had come by then. */
export function asOfJoinOf(
  options: { readonly graceMs: number; readonly type: 'inner' | 'left' },
  events: readonly JoinEvent[],
): readonly Joined[] {
  return events.flatMap(({ side, key, timestamp }, at): Joined[] => {
    if (side === 'right' || key === null) return [];
    const operations: TimestampedOperation<number>[] = events
      .slice(0, at)
      .flatMap((event, index) =>
        event.side === 'right' && event.key !== null
          ? [{ do: 'set', key: event.key, value: index, timestamp: event.timestamp }]
          : [],
      );
    operations.push({ do: 'getAsOf', key, timestamp });
    const answer = timestampedModelOf({ graceMs: options.graceMs, keepDuplicates: false }, operations).at(-1);
    const right = typeof answer === 'object' && 'asOf' in answer ? answer.asOf?.value : undefined;
    return right === undefined && options.type === 'inner' ? [] : [{ at, key, left: at, right }];
  });
}

/** Each left event with the last right value of its key that had come by then and was no deletion. */
export function lookupJoinOf(
  options: { readonly type: 'inner' | 'left' },
  events: readonly JoinEvent[],
): readonly Joined[] {
  return events.flatMap(({ side, key }, at): Joined[] => {
    if (side === 'right' || key === null) return [];
    const last = events.findLastIndex(
      (event, index) => index < at && event.side === 'right' && event.key === key,
    );
    const right = last === -1 || events[last]!.value === null ? undefined : last;
    return right === undefined && options.type === 'inner' ? [] : [{ at, key, left: at, right }];
  });
}

export interface StreamJoin {
  /** How far a right event may be before the left one that it matches. */
  readonly beforeMs: number;
  /** How far it may be after it. */
  readonly afterMs: number;
  readonly graceMs: number;
  readonly type: 'inner' | 'left' | 'outer';
}

export interface StreamJoinOutcome {
  /** Pairs by the timestamp of the event that was there already; then what stays without a match, by the end of its time. */
  readonly joined: readonly Joined[];
  /** Indices of events that came after the end of their time: they match nothing and are not emitted. */
  readonly late: readonly number[];
}

/** Each pair (a, b) of a key with −before ≤ b − a ≤ after, if neither's time has ended when the second of them comes. */
export function streamJoinOf(join: StreamJoin, events: readonly JoinEvent[]): StreamJoinOutcome {
  const clockAt = (at: number): number =>
    Math.max(...events.slice(0, at + 1).map(({ timestamp }) => timestamp));
  /** The first partition clock at which an event can't be matched any more. */
  const endsAt = (index: number): number => {
    const { side, timestamp } = events[index]!;
    return timestamp + (side === 'left' ? join.afterMs : join.beforeMs) + join.graceMs + 1;
  };
  const isLate = (index: number, at: number): boolean => clockAt(at) >= endsAt(index);
  const indices = [...events.keys()].filter((index) => events[index]!.key !== null);

  const pairs = indices.flatMap((left): Joined[] =>
    indices.flatMap((right): Joined[] => {
      const [a, b] = [events[left]!, events[right]!];
      const at = Math.max(left, right);
      if (a.side !== 'left' || b.side !== 'right' || a.key === null || a.key !== b.key) return [];
      const apart = b.timestamp - a.timestamp;
      if (apart < -join.beforeMs || apart > join.afterMs || isLate(left, at) || isLate(right, at)) return [];
      return [{ at, key: a.key, left, right }];
    }),
  );
  pairs.sort((one, other) => one.at - other.at || byOlder(events, one, other));

  const late = indices.filter((index) => isLate(index, index));
  const alone = indices.filter((index) => {
    const { side } = events[index]!;
    const isEmitted = join.type === 'outer' || (join.type === 'left' && side === 'left');
    const isMatched = pairs.some(({ left, right }) => left === index || right === index);
    return isEmitted && !isMatched && !late.includes(index);
  });
  alone.sort(
    (a, b) =>
      endsAt(a) - endsAt(b) || bySide(events, a, b) || byKeyBytes(events[a]!.key!, events[b]!.key!) || a - b,
  );
  const unmatched = alone.flatMap((index): Joined[] => {
    const { side, key } = events[index]!;
    const at = [...events.keys()].find((candidate) => candidate > index && isLate(index, candidate));
    if (at === undefined) return [];
    return [
      {
        at,
        key: key!,
        left: side === 'left' ? index : undefined,
        right: side === 'right' ? index : undefined,
      },
    ];
  });
  // Stable: of one event the pairs come first, then what its time has ended.
  return { joined: [...pairs, ...unmatched].sort((a, b) => a.at - b.at), late };
}

/** Of two pairs of one event, the one whose other event is older goes first; of equally old ones the first to come. */
function byOlder(events: readonly JoinEvent[], a: Joined, b: Joined): number {
  const other = ({ at, left, right }: Joined): number => (left === at ? right! : left!);
  return events[other(a)]!.timestamp - events[other(b)]!.timestamp || other(a) - other(b);
}

/** Left before right, as the names of their timers go. */
function bySide(events: readonly JoinEvent[], a: number, b: number): number {
  return events[a]!.side === events[b]!.side ? 0 : events[a]!.side === 'left' ? -1 : 1;
}
