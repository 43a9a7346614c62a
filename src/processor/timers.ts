/* eslint-disable @typescript-eslint/no-explicit-any -- inference over functions of any payload */
/**
 * What users declare of timers, and how handlers schedule them. A timer is a function by name; what it is called with is
 * data. Nothing here runs: `state/timers/` keeps what was scheduled, `actor/due-runner.ts` calls what has come due.
 */
import { PartitaError } from '../core/errors.js';
import { checkName } from '../core/names.js';

export interface TimerOptions {
  /**
   * `event`: once the partition's clock, the largest event time processed, has reached the time. `wall`: once the machine's
   * clock has. @default 'event'
   */
  readonly clock?: 'event' | 'wall';
}

/** Schedules and cancels one timer. A timer is identified by its name, clock, key and time. */
export interface ScheduleTimer<K, P> {
  /**
   * Calls the timer at `atMs` (ms since 1970), or before the next record if that has passed. The same again replaces the
   * payload, which is kept as JSON and frozen. Throws INVALID_ARGUMENT for a time that is none, SERDE_FAILED for a key or
   * payload that does not survive, RECORD_TOO_LARGE.
   */
  (key: K, atMs: number, ...rest: ScheduleArgs<P>): void;
  /** Nothing happens if there is none. */
  cancel(key: K, atMs: number, options?: TimerOptions): void;
}

type ScheduleArgs<P> = undefined extends P
  ? [payload?: P, options?: TimerOptions]
  : [payload: P, options?: TimerOptions];

/** What a timer's third parameter takes. */
type PayloadOf<F> = F extends (...args: infer A) => unknown
  ? A extends readonly [any?, any?]
    ? undefined
    : A extends readonly [any?, any?, (infer P)?, ...unknown[]]
      ? P
      : never
  : never;

/** `schedule` of a context: what each timer is scheduled with. */
export type Schedule<K, T> = { readonly [N in keyof T]: ScheduleTimer<K, PayloadOf<T[N]>> };

/**
 * `schedule` in a timer's own context. Its functions are what the types of the others are inferred from, so here any name
 * may be given, with any payload; one that is not declared is `undefined`.
 */
export type ScheduleAny<K> = Readonly<Record<string, ScheduleTimer<K, any>>>;

/** Under which a timer stands in the state and in checkpoint records, where no store's name begins so. */
export function timerFamily(timer: string): string {
  return `$timer.${timer}`;
}

/** @throws PartitaError INVALID_NAME, INVALID_PROCESSOR */
export function checkTimers(timers: Readonly<Record<string, unknown>>): void {
  for (const [name, timer] of Object.entries(timers)) {
    checkName('timer', name);
    if (typeof timer !== 'function')
      throw new PartitaError('INVALID_PROCESSOR', `The timer ${name} is not a function.`);
  }
}
