/**
 * The as-of join: each record of the left input with the entry that the right input had for its key at that time. The right
 * side is kept in a timestamped store; the left one is not kept, so that what comes on the right afterwards changes nothing.
 */
import type { Frozen } from '../processor/declarations.js';
import type { Serde } from '../processor/serde.js';
import { timestamped, type Timestamped, type TimestampedDeclaration } from '../processor/timestamped.js';
import { oneOf, storeOf, type JoinContext, type JoinRecord, type Side } from './join-parts.js';

/** A left record and what the right side was then. */
export interface AsOf<K, A, B> {
  readonly key: K;
  readonly left: Side<A>;
  readonly right: B;
  /** Of the left record. */
  readonly timestamp: number;
  /** Of the right entry; `undefined` if there is none. */
  readonly asOf: number | undefined;
}

export type AsOfType = 'inner' | 'left';
type RightOf<T extends AsOfType, B> = T extends 'left' ? Frozen<B> | undefined : Frozen<B>;

export interface AsOfJoinOptions<N extends string, T extends AsOfType, K, A, B, X> {
  /** Name of the store that the join needs. */
  readonly name: N;
  readonly key: Serde<K>;
  /** Of the left values; they are not kept. */
  readonly left: Serde<A>;
  readonly right: Serde<B>;
  /** How far the left records may be behind the newest right one of their key, in ms. @default 7 days */
  readonly graceMs?: number;
  /** Whether left records without an entry are dropped, or joined with `undefined`. */
  readonly type: T;
  /** Called for each left record, while it is processed. */
  readonly onJoined: (joined: AsOf<K, A, RightOf<T, B>>, context: X) => void;
}

export interface AsOfJoin<N extends string, K, A, B, X> {
  /** To be spread into those of the processor. */
  readonly stores: { readonly [P in N]: TimestampedDeclaration<K, B> };
  /** Joins a record of the left side. */
  left(record: JoinRecord<K, A>, context: X & JoinContext): void;
  /** Keeps a record of the right side. Of one key and timestamp the last one holds. */
  right(record: JoinRecord<K, B>, context: X & JoinContext): void;
}

/** Defines an as-of join. @throws PartitaError INVALID_PROCESSOR */
export function asOfJoin<const N extends string, const T extends AsOfType, K, A, B, X = object>(
  options: AsOfJoinOptions<N, T, K, A, B, X>,
): AsOfJoin<N, K, A, B, X> {
  const { name, key, right, graceMs, type } = options;
  oneOf<AsOfType>(name, type, ['inner', 'left']);
  const onJoined = options.onJoined as (joined: AsOf<K, A, Frozen<B> | undefined>, context: X) => void;
  const store = timestamped({ key, value: right, ...(graceMs === undefined ? {} : { graceMs }) });
  return {
    stores: { [name]: store } as { readonly [P in N]: TimestampedDeclaration<K, B> },
    left: ({ key: of, value, timestamp }, context) => {
      if (of === null) return;
      const entry = (storeOf(context, name) as Timestamped<K, B>).getAsOf(of, timestamp);
      if (entry === undefined && type === 'inner') return;
      onJoined({ key: of, left: value, right: entry?.value, timestamp, asOf: entry?.timestamp }, context);
    },
    right: ({ key: of, value, timestamp }, context) => {
      if (of !== null) (storeOf(context, name) as Timestamped<K, B>).set(of, value, timestamp);
    },
  };
}
