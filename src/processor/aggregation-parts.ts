/**
 * What the named aggregations share: the typed form in which each is written, and the checks of what callers pass and
 * what projections return. It holds no aggregation itself; `aggregations.ts` puts them together.
 */
import { PartitaError } from '../core/errors.js';
import type { Aggregation, Blocks } from './aggregations.js';

/** An aggregation whose state has a type, which outside of it is nobody's business. */
export interface Stateful<S, V, R> {
  readonly kind: string;
  initial(): S;
  add(state: S, value: V, timestamp: number, blocks: Blocks): S;
  result(state: S, blocks: Blocks): R;
  readonly merge?: (a: S, b: S, blocks: Blocks) => S;
  admit(state: S): number;
  pack(state: S): unknown;
  unpack(packed: unknown): S;
  readonly blocks?: (state: S) => readonly number[];
}

export type NumberOf<V> = (value: V) => number | null | undefined;

/** Hides the type of the state: whoever keeps it hands back what it was given. */
export function aggregation<S, V, R>(stateful: Stateful<S, V, R>): Aggregation<V, R> {
  return Object.freeze(stateful) as unknown as Aggregation<V, R>;
}

export function same<T>(value: T): T {
  return value;
}

export function invalid(why: string): PartitaError {
  return new PartitaError('INVALID_PROCESSOR', why);
}

/** Callers without types may pass anything. */
export function requireFunction(kind: string, name: string, given: unknown): void {
  if (typeof given !== 'function')
    throw invalid(`The aggregation ${kind} needs a function \`${name}\`, not ${typeNameOf(given)}.`);
}

export function requireNumberIn(kind: string, name: string, given: unknown, low: number, high: number): void {
  if (typeof given !== 'number' || !(given >= low && given <= high))
    throw invalid(`The aggregation ${kind} needs \`${name}\` from ${low} to ${high}, not ${shown(given)}.`);
}

export function requireIntegerIn(
  kind: string,
  name: string,
  given: unknown,
  low: number,
  high: number,
): void {
  if (!Number.isInteger(given) || (given as number) < low || (given as number) > high)
    throw invalid(
      `The aggregation ${kind} needs an integer \`${name}\` from ${low} to ${high}, not ${shown(given)}.`,
    );
}

/** Whether a number is finite, without a call: NaN and infinities less themselves are NaN. */
export function isFiniteNumber(value: unknown): value is number {
  return typeof value === 'number' && value - value === 0;
}

/** The error of a numeric aggregation that was given something else than a finite number, null or undefined. */
export function notANumber(kind: string, given: unknown): Error {
  return typeof given === 'number'
    ? new RangeError(`The aggregation ${kind} takes finite numbers, not ${given}`)
    : new TypeError(`The aggregation ${kind} takes numbers, null and undefined, not ${typeNameOf(given)}`);
}

export function typeNameOf(given: unknown): string {
  return given === null ? 'null' : given === undefined ? 'undefined' : `a ${typeof given}`;
}

function shown(given: unknown): string {
  return typeof given === 'number' ? String(given) : typeNameOf(given);
}
