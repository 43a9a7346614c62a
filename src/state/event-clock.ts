/**
 * The actor's clock: the largest event time processed. It only rises, but for the rollback of the record that raised it.
 * All stores of the actor read it; the actor alone moves it, and every checkpoint record carries it.
 */
export class EventClock {
  /** In ms since 1970; -1: nothing was processed yet. */
  ms: number;
  /** As of the last freeze: what `read: 'committed'` goes by. */
  frozenMs: number;
  readonly #maxAdvanceMs: number;

  /** @param maxAdvanceMs what one record may add at most; the first one sets the clock freely */
  constructor(ms: number, maxAdvanceMs = Infinity) {
    this.ms = ms;
    this.frozenMs = ms;
    this.#maxAdvanceMs = maxAdvanceMs;
  }

  /** A record of this event time is being processed. */
  advance(timestamp: number): void {
    if (timestamp <= this.ms) return;
    this.ms = this.ms < 0 ? timestamp : Math.min(timestamp, this.ms + this.#maxAdvanceMs);
  }
}
