/**
 * The polls to one broker, as far as time goes: when the next one may be sent, and the wait until then. What is asked, and
 * what becomes of it, is `fetcher.ts`.
 */
import { Backoff } from '../../core/backoff.js';
import type { Clock } from '../../core/clock.js';

const LOST_BACKOFF = { firstMs: 20, maxMs: 1_000, attemptsMax: Infinity } as const;
const IDLE_BACKOFF = { firstMs: 2, maxMs: 100, attemptsMax: Infinity } as const;
/** After so many polls without news a broker may wait longer with each answer. */
const QUIET_POLLS = 20;
const QUIET_FACTOR = 4;
/** So often in a row a broker may refuse us, or not be understood: some seconds. */
const REFUSALS_MAX = 10;

export class FetchLoop {
  readonly node: number;
  /** Monotonic ms; no poll is sent before. */
  retryAt = 0;
  readonly #clock: Clock;
  readonly #lost = new Backoff(LOST_BACKOFF);
  readonly #idle = new Backoff(IDLE_BACKOFF);
  #refusals = 0;
  #turn = 0;
  #quietPolls = 0;
  #wake: (() => void) | undefined;

  constructor(node: number, clock: Clock) {
    this.node = node;
    this.#clock = clock;
  }

  /** Rises with every poll. */
  nextTurn(): number {
    return this.#turn++;
  }

  answered(): void {
    this.#lost.reset();
    this.#refusals = 0;
  }

  /** Whether this is the first failure since an answer. */
  failed(): boolean {
    this.#quietPolls = 0;
    const isFirst = this.#lost.attempts === 0;
    this.retryAt = this.#clock.monotonic() + this.#lost.next()!;
    return isFirst;
  }

  /** Whether that was once too often. */
  refused(): boolean {
    if (++this.#refusals <= REFUSALS_MAX) return false;
    this.#refusals = 0;
    return true;
  }

  /** How long the broker may wait, where nobody would mind a longer wait while nothing happens. */
  patience(maxWaitMs: number): number {
    return this.#quietPolls >= QUIET_POLLS ? maxWaitMs * QUIET_FACTOR : maxWaitMs;
  }

  /** A poll that brought nothing without waiting for anything, as none should, is not sent again at once. */
  brought(data: boolean, hasWaited: boolean): void {
    this.#quietPolls = data ? 0 : this.#quietPolls + 1;
    if (data || hasWaited) this.#idle.reset();
    else this.retryAt = this.#clock.monotonic() + this.#idle.next()!;
  }

  /** Until it is woken, or one of these times has come. */
  async untilDue(times: readonly number[]): Promise<void> {
    const now = this.#clock.monotonic();
    const due = [this.retryAt, ...times].filter((at) => at > now);
    await new Promise<void>((resolve) => {
      // Rounded up, so that it has come when the timer fires.
      const ms = Math.ceil(Math.min(...due) - now);
      const timer = due.length === 0 ? undefined : this.#clock.setTimer(ms, resolve);
      this.#wake = () => {
        timer?.cancel();
        resolve();
      };
    });
    this.#wake = undefined;
  }

  wake(): void {
    this.#wake?.();
  }
}
