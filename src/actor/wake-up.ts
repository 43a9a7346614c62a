/**
 * What wakes an actor's loop: a ring, or an alarm at a time of the monotonic clock. One sleeper, one alarm at a time; a
 * ring that comes while the loop is awake is not lost. It knows nothing of why anybody rings.
 */
import type { Clock, Timer } from '../core/clock.js';

export class WakeUp {
  readonly #clock: Clock;
  #wake: (() => void) | undefined;
  /** Something has happened since the loop last looked. */
  #rung = false;
  #timer: Timer | undefined;
  #timerAt = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The loop is about to look at everything: what rings from here on is news to it. */
  looking(): void {
    this.#rung = false;
  }

  get rung(): boolean {
    return this.#rung;
  }

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** Rings at a time of the monotonic clock, unless it is set to ring earlier. */
  ringAt(at: number): void {
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#clock.setTimer(Math.max(0, at - this.#clock.monotonic()), () => {
      this.#timer = undefined;
      this.ring();
    });
  }

  /** Resolves with the next ring. */
  async sleep(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }

  /** No alarm rings any more. */
  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
