/**
 * The port to time: wall-clock, monotonic time, timers. `systemClock` is the machine's; `ManualClock` stands still until
 * it is advanced, for tests and `testing/`. Nothing in Partita reads `Date.now()` or sets a timer except through here.
 */
import { PartitaError } from './errors.js';

/** A timer that was set. */
export interface Timer {
  /** Idempotent; fine after it has fired. */
  cancel(): void;
}

export interface TimerOptions {
  /** `false`: the timer alone does not keep the process alive. Default `true`. */
  readonly ref?: boolean;
}

export interface Clock {
  /** Wall-clock time in ms since 1970. May jump. */
  now(): number;
  /** Time in ms since some moment, never going back: for durations and deadlines. */
  monotonic(): number;
  /** Calls `fn` once, `ms` from now (at once in the next turn if `ms` ≤ 0). */
  setTimer(ms: number, fn: () => void, options?: TimerOptions): Timer;
  /** Resolves `ms` from now; rejects CALL_ABORTED as soon as the signal is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Node's limit: a longer timer would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(ms, fn, options) {
    const handle = setTimeout(fn, Math.min(Math.max(ms, 0), TIMER_MS_MAX));
    if (options?.ref === false) handle.unref();
    return {
      cancel() {
        clearTimeout(handle);
      },
    };
  },
  sleep(ms, signal) {
    return sleepOn(this, ms, signal);
  },
};

interface ManualTimer {
  readonly at: number;
  readonly order: number;
  readonly fn: () => void;
}

/**
 * A clock that moves only by `advance`. Wall-clock and monotonic time move together; timers fire in the order of their
 * times, those of the same time in the order in which they were set, each seeing the clock at its own time.
 */
export class ManualClock implements Clock {
  #now: number;
  #order = 0;
  readonly #origin: number;
  readonly #timers = new Set<ManualTimer>();

  /** @param startMs wall-clock time to begin with */
  constructor(startMs = 0) {
    this.#now = startMs;
    this.#origin = startMs;
  }

  /** Whole milliseconds, as `Date.now()`; monotonic time keeps its fractions. */
  now(): number {
    return Math.floor(this.#now);
  }

  monotonic(): number {
    return this.#now - this.#origin;
  }

  setTimer(ms: number, fn: () => void): Timer {
    const timer: ManualTimer = { at: this.#now + Math.max(ms, 0), order: this.#order++, fn };
    this.#timers.add(timer);
    return {
      cancel: () => {
        this.#timers.delete(timer);
      },
    };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, ms, signal);
  }

  /** How many timers wait. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** When the next timer is due (wall-clock ms); `undefined` if none waits. */
  get nextTimerAt(): number | undefined {
    return this.#next()?.at;
  }

  /** Moves on by `ms` and fires what falls due on the way, also timers that were set by such timers. */
  advance(ms: number): void {
    if (!(ms >= 0)) throw new PartitaError('INVALID_ARGUMENT', `A clock can't be advanced by ${ms} ms.`);
    const target = this.#now + ms;
    for (let timer = this.#next(); timer !== undefined && timer.at <= target; timer = this.#next()) {
      this.#timers.delete(timer);
      this.#now = timer.at;
      timer.fn();
    }
    this.#now = target;
  }

  /**
   * As `advance`, but lets promises settle before and after each timer, so that code which awaits between its sleeps
   * gets as far as it would on a real clock.
   */
  async advanceAsync(ms: number): Promise<void> {
    if (!(ms >= 0)) throw new PartitaError('INVALID_ARGUMENT', `A clock can't be advanced by ${ms} ms.`);
    const target = this.#now + ms;
    await settle();
    for (let timer = this.#next(); timer !== undefined && timer.at <= target; timer = this.#next()) {
      this.#timers.delete(timer);
      this.#now = timer.at;
      timer.fn();
      await settle();
    }
    this.#now = target;
  }

  #next(): ManualTimer | undefined {
    let first: ManualTimer | undefined;
    for (const timer of this.#timers)
      if (first === undefined || timer.at < first.at || (timer.at === first.at && timer.order < first.order))
        first = timer;
    return first;
  }
}

/** One turn of the event loop: every microtask that is ready runs before it resolves. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function sleepOn(clock: Clock, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(aborted(signal));
      return;
    }
    const onAbort = (): void => {
      timer.cancel();
      reject(aborted(signal));
    };
    const timer = clock.setTimer(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

function aborted(signal: AbortSignal | undefined): PartitaError {
  return new PartitaError('CALL_ABORTED', 'A wait was ended by its signal.', { cause: signal?.reason });
}
