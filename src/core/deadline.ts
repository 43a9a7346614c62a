/**
 * A moment by which something must be done, on the monotonic clock, shared by all the steps it bounds. It never acts by
 * itself: whoever waits asks for what remains, or races a promise against it.
 */
import type { Clock } from './clock.js';
import { PartitaError, type ErrorCode } from './errors.js';

export class Deadline {
  readonly #clock: Clock;
  readonly #at: number;

  private constructor(clock: Clock, at: number) {
    this.#clock = clock;
    this.#at = at;
  }

  /** The deadline `ms` from now; `Infinity` never expires. */
  static after(clock: Clock, ms: number): Deadline {
    return new Deadline(clock, clock.monotonic() + ms);
  }

  /** Time left in ms; 0 once expired. */
  get remainingMs(): number {
    return Math.max(0, this.#at - this.#clock.monotonic());
  }

  get expired(): boolean {
    return this.#clock.monotonic() >= this.#at;
  }

  /** A deadline `ms` from now, but not beyond this one. */
  within(ms: number): Deadline {
    return new Deadline(this.#clock, Math.min(this.#at, this.#clock.monotonic() + ms));
  }

  /**
   * The promise's outcome if it comes in time; otherwise rejects with `code` (default CALL_TIMEOUT). The promise itself
   * goes on; a rejection that comes too late is not reported as unhandled.
   * @param what begins the sentence of the error: "The commit of orders-3"
   */
  async race<T>(promise: Promise<T>, what: string, code: ErrorCode = 'CALL_TIMEOUT'): Promise<T> {
    const totalMs = this.remainingMs;
    if (totalMs === Infinity) return promise;
    return new Promise<T>((resolve, reject) => {
      const timer = this.#clock.setTimer(totalMs, () => {
        reject(new PartitaError(code, `${what} did not end within ${Math.round(totalMs)} ms.`));
      });
      promise.then(
        (value) => {
          timer.cancel();
          resolve(value);
        },
        (error: unknown) => {
          timer.cancel();
          reject(error instanceof Error ? error : new Error(String(error), { cause: error }));
        },
      );
    });
  }
}
