/**
 * The windowed join of two streams: each pair of records of one key that are near each other in time, when the later of the
 * two comes, and, of the outer sides, what has stayed alone when its time is over. Both sides are buffered in timestamped
 * stores; `unmatched.ts` keeps account of what is alone.
 *
 *   left            a1 · · · · · · · · ·        b joins a1 if  a1 − before ≤ b ≤ a1 + after
 *   right     ├─ before ─┼──── after ────┤      a1's time is over when the partition's clock > a1 + after + grace
 */
import type { StoreDeclaration } from '../processor/declarations.js';
import type { Serde } from '../processor/serde.js';
import { timestamped, type Timestamped, type TimestampedDeclaration } from '../processor/timestamped.js';
import { notNegative, oneOf, storeOf, type JoinContext, type JoinRecord, type Side } from './join-parts.js';
import { Unmatched } from './unmatched.js';

export type StreamJoinType = 'inner' | 'left' | 'outer';

/** A pair, or a record that stayed alone. */
export interface Joined<T extends StreamJoinType, K, A, B> {
  readonly key: K;
  readonly left: T extends 'outer' ? Side<A> | undefined : Side<A>;
  readonly right: T extends 'inner' ? Side<B> : Side<B> | undefined;
  /** The larger of the two. */
  readonly timestamp: number;
}

/** A record that came when its time was over. */
export interface LateRecord<K, V> extends JoinRecord<K, V> {
  readonly side: 'left' | 'right';
  readonly key: K;
  /** The partition's clock, less the timestamp, in ms. */
  readonly lateBy: number;
}

export interface StreamJoinOptions<N extends string, T extends StreamJoinType, K, A, B, X> {
  /** What the names of its stores and timers begin with. */
  readonly name: N;
  readonly key: Serde<K>;
  readonly left: Serde<A>;
  readonly right: Serde<B>;
  /** How far a right record may be before the left one that it joins, in ms. */
  readonly beforeMs: number;
  /** How far it may be after it. */
  readonly afterMs: number;
  /** How long after its time a record may still come. @default 0 */
  readonly graceMs?: number;
  /** Pairs only; left records that stay alone too; those of both sides. */
  readonly type: T;
  /** Called for each pair while the later record is processed, and for what stayed alone when its time is over. */
  readonly onJoined: (joined: Joined<T, K, A, B>, context: X) => void;
  /** Called for each record that came when its time was over; it joins with nothing. */
  readonly onLate?: (late: LateRecord<K, A | B>, context: X) => void;
}

type Buffers<N extends string, K, A, B> = {
  readonly [P in `${N}.left`]: TimestampedDeclaration<K, A>;
} & { readonly [P in `${N}.right`]: TimestampedDeclaration<K, B> };

/** What the join's timers are: they emit what has stayed alone. Their keys are those that the join has scheduled. */
type Timers<X> = Readonly<
  Record<string, (context: X & JoinContext, key: unknown, timestamp: number) => void>
>;

/** What the join needs of the handler's context. */
export interface StreamJoinContext extends JoinContext {
  readonly watermark: number;
}

export interface StreamJoin<N extends string, K, A, B, X> {
  /** To be spread into those of the processor. */
  readonly stores: Buffers<N, K, A, B>;
  /** To be spread into those of the processor; none for an inner join. */
  readonly timers: Timers<X>;
  /** Joins a record of the left side. @returns whether it came in time */
  left(record: JoinRecord<K, A>, context: X & StreamJoinContext): boolean;
  /** Joins a record of the right side. @returns whether it came in time */
  right(record: JoinRecord<K, B>, context: X & StreamJoinContext): boolean;
}

/** Defines a join of two streams. @throws PartitaError INVALID_PROCESSOR */
export function streamJoin<const N extends string, const T extends StreamJoinType, K, A, B, X = object>(
  options: StreamJoinOptions<N, T, K, A, B, X>,
): StreamJoin<N, K, A, B, X> {
  const { name, type, key } = options;
  oneOf<StreamJoinType>(name, type, ['inner', 'left', 'outer']);
  const beforeMs = notNegative(name, 'beforeMs', options.beforeMs);
  const afterMs = notNegative(name, 'afterMs', options.afterMs);
  const graceMs = notNegative(name, 'graceMs', options.graceMs ?? 0);
  const left = joinSide(`${name}.left`, key, options.left, {
    backMs: beforeMs,
    forthMs: afterMs,
    graceMs,
    isOuter: type !== 'inner',
  });
  const right = joinSide(`${name}.right`, key, options.right, {
    backMs: afterMs,
    forthMs: beforeMs,
    graceMs,
    isOuter: type === 'outer',
  });
  const onLate = options.onLate as OnLate<K, X> | undefined;
  const onJoined = options.onJoined as (joined: AnyJoined<K, A, B>, context: X) => void;
  const joinedLeft = (of: K, timestamp: number, value: Side<A>, other: Side<B> | undefined, context: X) => {
    onJoined({ key: of, left: value, right: other, timestamp }, context);
  };
  const joinedRight = (of: K, timestamp: number, value: Side<B>, other: Side<A> | undefined, context: X) => {
    onJoined({ key: of, left: other, right: value, timestamp }, context);
  };
  return {
    stores: { ...left.stores, ...right.stores } as unknown as Buffers<N, K, A, B>,
    timers: { ...timersOf(left, joinedLeft), ...timersOf(right, joinedRight) },
    left: (record, context) =>
      joinRecord({ side: 'left', own: left, other: right, onJoined: joinedLeft, onLate }, record, context),
    right: (record, context) =>
      joinRecord({ side: 'right', own: right, other: left, onJoined: joinedRight, onLate }, record, context),
  };
}

interface AnyJoined<K, A, B> {
  readonly key: K;
  readonly left: Side<A> | undefined;
  readonly right: Side<B> | undefined;
  readonly timestamp: number;
}

type OnLate<K, X> = (late: LateRecord<K, unknown>, context: X) => void;
type OnJoined<K, V, W, X> = (
  key: K,
  timestamp: number,
  value: Side<V>,
  other: Side<W> | undefined,
  context: X,
) => void;

/** One of the two sides. */
interface JoinSide<K, V> {
  readonly name: string;
  /** How far the others may be before and after one of these. */
  readonly backMs: number;
  readonly forthMs: number;
  /** The time of one of these is over when the clock is so far ahead of it. */
  readonly spanMs: number;
  readonly stores: Readonly<Record<string, StoreDeclaration<unknown, unknown>>>;
  readonly unmatched: Unmatched<K, V> | undefined;
}

function joinSide<K, V>(
  name: string,
  key: Serde<K>,
  value: Serde<V>,
  reach: Pick<JoinSide<K, V>, 'backMs' | 'forthMs'> & { readonly graceMs: number; readonly isOuter: boolean },
): JoinSide<K, V> {
  const { backMs, forthMs, graceMs, isOuter } = reach;
  const spanMs = forthMs + graceMs + 1;
  const unmatched = isOuter ? new Unmatched(name, key, value, spanMs) : undefined;
  const buffer = timestamped({ key, value, graceMs: spanMs, keepDuplicates: true });
  return { name, backMs, forthMs, spanMs, stores: { [name]: buffer, ...unmatched?.stores }, unmatched };
}

interface Joining<K, V, W, X> {
  readonly side: 'left' | 'right';
  readonly own: JoinSide<K, V>;
  readonly other: JoinSide<K, W>;
  readonly onJoined: OnJoined<K, V, W, X>;
  readonly onLate: OnLate<K, X> | undefined;
}

/** @returns whether the record came in time */
function joinRecord<K, V, W, X>(
  { side, own, other, onJoined, onLate }: Joining<K, V, W, X>,
  { key, value, timestamp }: JoinRecord<K, V>,
  context: X & StreamJoinContext,
): boolean {
  if (key === null) return true;
  const { watermark } = context;
  const lateBy = watermark - timestamp;
  if (lateBy >= own.spanMs) {
    onLate?.({ side, key, value, timestamp, lateBy }, context);
    return false;
  }
  (storeOf(context, own.name) as Timestamped<K, V>).set(key, value, timestamp);
  // Those whose time the clock has ended are done with, though what they are waiting for may be about to run.
  const from = Math.max(timestamp - own.backMs, watermark - other.spanMs + 1);
  const matches = (storeOf(context, other.name) as Timestamped<K, W>).between(
    key,
    from,
    timestamp + own.forthMs + 1,
  );
  let last = -1;
  for (const match of matches) {
    if (match.timestamp !== last) other.unmatched?.matched(context, key, match.timestamp);
    last = match.timestamp;
    onJoined(key, Math.max(timestamp, match.timestamp), value, match.value, context);
  }
  if (matches.length === 0) own.unmatched?.add(context, key, timestamp, value);
  return true;
}

function timersOf<K, V, W, X>(
  { name, unmatched }: JoinSide<K, V>,
  onJoined: OnJoined<K, V, W, X>,
): Timers<X> {
  if (unmatched === undefined) return {};
  return {
    [name]: (context, key, timestamp) => {
      for (const value of unmatched.take(context, key as K, timestamp))
        onJoined(key as K, timestamp, value, undefined, context);
    },
  };
}
