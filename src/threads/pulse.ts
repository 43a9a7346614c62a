/**
 * A thread's sign of life in shared memory: the thread's own timer counts it up, so that it stands still exactly while the
 * thread's event loop does not turn. The thread writes, the main thread reads (`thread-pool.ts`); the other way it says
 * whether a debugger is attached to the main thread.
 */
import type { Clock } from '../core/clock.js';
import { looksOf } from '../core/watchdog.js';

/** Int32 slots. */
const BEATS = 0;
const DEBUGGED = 1;
const SLOTS = 2;

export class ThreadPulse {
  readonly shared: SharedArrayBuffer;
  readonly #slots: Int32Array;

  /** @param shared of a pulse that was made on the other side */
  constructor(shared = new SharedArrayBuffer(SLOTS * Int32Array.BYTES_PER_ELEMENT)) {
    this.shared = shared;
    this.#slots = new Int32Array(shared);
  }

  get beats(): number {
    return Atomics.load(this.#slots, BEATS);
  }

  /** Whether the main thread has a debugger. */
  get isDebugged(): boolean {
    return Atomics.load(this.#slots, DEBUGGED) === 1;
  }

  set isDebugged(debugged: boolean) {
    Atomics.store(this.#slots, DEBUGGED, debugged ? 1 : 0);
  }

  /** Beats twice as often as it is looked at; the timer keeps no thread alive. `limitMs` 0: nobody looks. */
  beat(clock: Clock, limitMs: number): void {
    if (limitMs === 0) return;
    Atomics.add(this.#slots, BEATS, 1);
    clock.setTimer(
      looksOf(limitMs).everyMs / 2,
      () => {
        this.beat(clock, limitMs);
      },
      { ref: false },
    );
  }
}
