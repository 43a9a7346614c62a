/**
 * The actor's clock: the largest event time processed. It only rises, but for the rollback of the record that raised it.
 * All stores of the actor read it; the actor alone moves it, and every checkpoint record carries it.
 */
export class EventClock {
  /** In ms since 1970; -1: nothing was processed yet. */
  ms: number;
  /** As of the last freeze: what `read: 'committed'` goes by. */
  frozenMs: number;

  constructor(ms: number) {
    this.ms = ms;
    this.frozenMs = ms;
  }

  /** A record of this event time is being processed. */
  advance(timestamp: number): void {
    if (timestamp > this.ms) this.ms = timestamp;
  }
}
