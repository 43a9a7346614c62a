/**
 * How long an actor's inputs have all been at their end, for windows that close when nothing comes any more
 * (`idleAfterMs`). It counts wall-clock from the later of the last record and the last recovery, and tells the stores;
 * what they make of it is persisted with the next checkpoint.
 */
import type { Clock } from '../core/clock.js';
import type { IdleStore } from '../state/declared-store.js';

export class IdleTime {
  readonly #clock: Clock;
  readonly #stores: readonly IdleStore[];
  /** On the monotonic clock. */
  #since: number;

  constructor(clock: Clock, stores: readonly IdleStore[]) {
    this.#clock = clock;
    this.#stores = stores;
    this.#since = clock.monotonic();
  }

  /** There was something to do, or may have been. */
  busy(): void {
    if (this.#stores.length > 0) this.#since = this.#clock.monotonic();
  }

  /** Every input is at its end. Raises the idle clock of stores in which that closes something. */
  idle(): void {
    const idleMs = this.#clock.monotonic() - this.#since;
    for (const store of this.#stores) if (store.idleDueMs <= idleMs) store.raiseIdle(idleMs);
  }

  /** When to look again, on the monotonic clock; Infinity: only when something comes. */
  get dueAt(): number {
    let due = Infinity;
    for (const { idleDueMs } of this.#stores) if (idleDueMs < due) due = idleDueMs;
    return this.#since + due;
  }
}
