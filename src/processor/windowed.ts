/**
 * What users declare of windowed stores: which windows there are, what is aggregated, when they close and what is emitted.
 * Declarations are data, checked where they are made; `state/windowed/` runs them, and docs/decisions/0008-windows.md
 * says what they mean.
 */
import { PartitaError } from '../core/errors.js';
import { aggregationsOf, type Aggregation, type Aggregations } from './aggregations.js';
import type { StoreDeclaration } from './declarations.js';
import type { Serde } from './serde.js';

/** Which windows an event belongs to. */
export type Window =
  | { readonly kind: 'tumbling'; readonly sizeMs: number }
  | { readonly kind: 'hopping'; readonly sizeMs: number; readonly stepMs: number }
  | { readonly kind: 'sliding'; readonly sizeMs: number }
  | { readonly kind: 'session'; readonly gapMs: number }
  | { readonly kind: 'count'; readonly count: number; readonly step: number };

/** Windows [n·size, (n + 1)·size) of event time. */
export function tumbling(sizeMs: number): Window {
  return { kind: 'tumbling', sizeMs: positive('size of a tumbling window', sizeMs) };
}

/** Windows [n·step, n·step + size) of event time, 0 < step < size. */
export function hopping(sizeMs: number, stepMs: number): Window {
  positive('size of a hopping window', sizeMs);
  positive('step of a hopping window', stepMs);
  if (stepMs >= sizeMs)
    throw invalid(
      `The step of a hopping window must be below its size of ${String(sizeMs)} ms, not ${String(stepMs)} ms; with equal ones it is tumbling.`,
    );
  return { kind: 'hopping', sizeMs, stepMs };
}

/** Windows of `size` ms, both ends inclusive, one for each different set of events (Kafka Streams' SlidingWindows). */
export function sliding(sizeMs: number): Window {
  return { kind: 'sliding', sizeMs: positive('size of a sliding window', sizeMs) };
}

/** Events at most `gap` ms apart share a session. */
export function session(gapMs: number): Window {
  return { kind: 'session', gapMs: positive('gap of a session', gapMs) };
}

/** Windows of n events each, in order of arrival. */
export function count(n: number): Window {
  return { kind: 'count', count: positive('size of a count window', n), step: n };
}

/** A window of n events begins with every step-th event, 0 < step < n. */
export function countHopping(n: number, step: number): Window {
  positive('size of a count window', n);
  positive('step of a count window', step);
  if (step >= n)
    throw invalid(`The step of a count window must be below its size of ${String(n)}, not ${String(step)}.`);
  return { kind: 'count', count: n, step };
}

/** A window of n events begins with every event. */
export function countSliding(n: number): Window {
  return { kind: 'count', count: positive('size of a count window', n), step: 1 };
}

/** A window as handlers and queries see it. */
export interface WindowResult<K, R> {
  readonly key: K;
  /** Inclusive, in ms of event time. */
  readonly startMs: number;
  /** Exclusive for tumbling and hopping windows, else inclusive. */
  readonly endMs: number;
  readonly result: R;
  readonly closed: boolean;
}

/** An event that missed a window which had closed before it came. */
export interface LateEvent<K, V> {
  readonly key: K;
  readonly value: V;
  readonly timestamp: number;
  /** The watermark that closed the window, less the timestamp, in ms. */
  readonly lateBy: number;
  readonly window: { readonly startMs: number; readonly endMs: number };
  /** Of the record that was processed; of a command or timer, `undefined`. */
  readonly topic: string | undefined;
  readonly partition: number;
  readonly offset: number | undefined;
}

export interface WindowScanOptions {
  /** Windows at most. */
  readonly limit?: number;
}

/** A windowed store as queries see it: the windows that are open. */
export interface ReadonlyWindowed<K, R> {
  /** The open windows of a key, by their start. */
  current(key: K): readonly WindowResult<K, R>[];
  /** The open windows of a key with from ≤ start < to, by their start. */
  fetch(key: K, fromMs: number, toMs: number): AsyncIterable<WindowResult<K, R>>;
  /** The open windows of all keys with from ≤ start < to, by key and start. */
  all(fromMs: number, toMs: number, options?: WindowScanOptions): AsyncIterable<WindowResult<K, R>>;
}

/** A windowed store as handlers see it. */
export interface Windowed<K, V, R> extends ReadonlyWindowed<K, R> {
  /**
   * Adds a value at the timestamp of the record (of a timer, its time; of a command, now). A null key is skipped.
   * Throws TIMESTAMP_OUT_OF_RANGE for a negative timestamp, SERDE_FAILED for a state that JSON can't hold.
   */
  add(key: K, value: V): void;
}

/** When a window's result is emitted before it closes. */
export type Trigger<R> = (
  | {
      /** When n events of a window have not been in an emission by this trigger yet. */ readonly count: number;
    }
  | { /** When it says so of the result after a change. */ readonly when: (result: R) => boolean }
  | { /** Every so many ms of wall-clock, if the window has changed since. */ readonly everyMs: number }
) & {
  /** Whether the window closes with that emission. @default false */
  readonly closes?: boolean;
};

/** What a result holds, by the names of the aggregations. */
export type ResultOf<A> = {
  readonly [N in keyof A]: A[N] extends Aggregation<never, infer R> ? R : never;
};

export interface WindowedDeclaration<K, V, R> extends StoreDeclaration<
  Windowed<K, V, R>,
  ReadonlyWindowed<K, R>
> {
  readonly kind: 'windowed';
  readonly key: Serde<K>;
  readonly value: Serde<V>;
  readonly window: Window;
  readonly aggregations: Readonly<Record<string, Aggregation<V, unknown>>>;
  readonly graceMs: number;
  readonly closing: 'key' | 'partition';
  readonly emission: 'final' | 'updates';
  readonly idleAfterMs: number | undefined;
  readonly keyClockRetentionMs: number;
  readonly trigger: Trigger<R> | undefined;
}

export interface WindowedOptions<K, V, A> {
  readonly key: Serde<K>;
  /** Of what is added; it also encodes values that an aggregation keeps. */
  readonly value: Serde<V>;
  readonly window: Window;
  readonly aggregate: (of: Aggregations<V>) => A;
  /** How long after its end a window takes late events. @default 0 */
  readonly graceMs?: number;
  /** Whose clock closes: the partition's, or each key's own. @default 'partition' */
  readonly closing?: 'key' | 'partition';
  /** Each window once when it closes, or every change and the closing. @default 'final' */
  readonly emission?: 'final' | 'updates';
  /** Wall-clock ms without records, all inputs being at their end, after which time goes on by itself. @default off */
  readonly idleAfterMs?: number;
  /** `closing: 'key'`: no key's clock stays further behind the partition's. @default 7 days */
  readonly keyClockRetentionMs?: number;
  /** Comes after `aggregate` in the object, so that the type of the result is known to `when`. */
  readonly trigger?: Trigger<ResultOf<A>>;
}

const DAY_MS = 86_400_000;

/** Declares a windowed store. @throws PartitaError INVALID_PROCESSOR */
export function windowed<K, V, const A extends Readonly<Record<string, Aggregation<V, unknown>>>>(
  options: WindowedOptions<K, V, A>,
): WindowedDeclaration<K, V, ResultOf<A>> {
  const { key, value, window, trigger } = options;
  const aggregations = options.aggregate(aggregationsOf(value));
  const {
    graceMs = 0,
    closing = 'partition',
    emission = 'final',
    keyClockRetentionMs = 7 * DAY_MS,
  } = options;
  checkAggregations(aggregations, window);
  notNegative('graceMs', graceMs);
  notNegative('keyClockRetentionMs', keyClockRetentionMs);
  oneOf('closing', closing, ['key', 'partition']);
  oneOf('emission', emission, ['final', 'updates']);
  if (options.idleAfterMs !== undefined) positive('idleAfterMs', options.idleAfterMs);
  if (trigger !== undefined) checkTrigger(trigger);
  if (trigger?.closes === true && window.kind === 'sliding')
    throw invalid('Sliding windows begin as copies of one another, so a trigger can not close one of them.');
  const byTime = ['graceMs', 'closing', 'idleAfterMs', 'keyClockRetentionMs'] as const;
  for (const name of byTime)
    if (window.kind === 'count' && options[name] !== undefined)
      throw invalid(`Windows by count are closed by their events; ${name} has no meaning for them.`);
  return {
    kind: 'windowed',
    key,
    value,
    window,
    aggregations,
    graceMs,
    closing,
    emission,
    idleAfterMs: options.idleAfterMs,
    keyClockRetentionMs,
    trigger: trigger,
  };
}

function checkAggregations(
  aggregations: Readonly<Record<string, Aggregation<never, unknown>>>,
  window: Window,
): void {
  if (Object.keys(aggregations).length === 0) throw invalid('A windowed store needs an aggregation.');
  for (const [name, aggregation] of Object.entries(aggregations)) {
    if (typeof (aggregation as { add?: unknown } | undefined)?.add !== 'function')
      throw invalid(`The aggregation ${name} is none; take one of those that \`aggregate\` is given.`);
    if (window.kind === 'session' && aggregation.merge === undefined)
      throw invalid(`The aggregation ${name} needs \`merge\`, since sessions may become one.`);
  }
}

function checkTrigger(trigger: Trigger<never>): void {
  if ('count' in trigger) positive('count of a trigger', trigger.count);
  else if ('everyMs' in trigger) positive('everyMs of a trigger', trigger.everyMs);
  else if (typeof trigger.when !== 'function') throw invalid('A trigger needs `count`, `when` or `everyMs`.');
}

function positive(what: string, value: number): number {
  if (!Number.isSafeInteger(value) || value <= 0)
    throw invalid(`The ${what} must be a whole number above 0, not ${String(value)}.`);
  return value;
}

function notNegative(what: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0)
    throw invalid(`The ${what} of a windowed store must be a whole number from 0 on, not ${String(value)}.`);
}

function oneOf(what: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value))
    throw invalid(`The ${what} of a windowed store is one of ${allowed.join(', ')}, not ${value}.`);
}

function invalid(why: string): PartitaError {
  return new PartitaError('INVALID_PROCESSOR', why);
}
