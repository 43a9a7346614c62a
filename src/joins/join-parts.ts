/**
 * What the joins have in common: the records they take, what they give, and how they find their stores among those of the
 * processor. `as-of-join.ts` and `stream-join.ts` are the joins; a lookup join needs no more than a table.
 */
import { PartitaError } from '../core/errors.js';
import type { Frozen } from '../processor/declarations.js';

/** A record of either side: that of `process` fits. One with a null key joins with nothing. */
export interface JoinRecord<K, V> {
  readonly key: K | null;
  readonly value: V | Frozen<V>;
  /** Event time in ms. */
  readonly timestamp: number;
}

/** A value of either side. */
export type Side<V> = V | Frozen<V>;

/** What a join needs of its handler's context: its own stores. */
export interface JoinContext {
  readonly stores: object;
}

/** A store of a join. @throws PartitaError INVALID_PROCESSOR if the processor does not declare it */
export function storeOf(context: JoinContext, name: string): unknown {
  const store = (context.stores as Readonly<Record<string, unknown>>)[name];
  if (store !== undefined) return store;
  throw new PartitaError(
    'INVALID_PROCESSOR',
    `The processor lacks the store ${name} of a join; spread the join's \`stores\` into its own.`,
    { details: { store: name } },
  );
}

/** What must be a whole number from 0 on. @throws PartitaError INVALID_PROCESSOR */
export function notNegative(join: string, what: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new PartitaError(
    'INVALID_PROCESSOR',
    `The ${what} of the join ${join} must be a whole number from 0 on, not ${String(value)}.`,
  );
}

export function oneOf<T extends string>(join: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  throw new PartitaError(
    'INVALID_PROCESSOR',
    `The type of the join ${join} is one of ${allowed.join(', ')}, not ${value}.`,
  );
}
