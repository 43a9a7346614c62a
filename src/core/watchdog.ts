/**
 * Tells when counters stand still that should rise: a thread's pulse, an actor's call. Owns one timer, while anything is
 * watched. It decides nothing: whoever watches says what is to be done. Time is counted in the watchdog's own looks, so that
 * a process that was frozen, or a thread that was busy itself, does not take its own absence for the other's.
 */
import type { Clock, Timer } from './clock.js';

/** The shortest time between two looks, and the longest. */
const LOOK_MS_MIN = 10;
const LOOK_MS_MAX = 1_000;

/** Of a limit: how often to look, and after how many looks at the same number it is reached. */
export function looksOf(limitMs: number): { readonly everyMs: number; readonly looks: number } {
  const everyMs = Math.min(LOOK_MS_MAX, Math.max(LOOK_MS_MIN, Math.floor(limitMs / 10)));
  return { everyMs, looks: Math.ceil(limitMs / everyMs) };
}

/** One counter, as it looked the last time. */
export class Standstill {
  readonly #looksMax: number;
  #last: number | undefined;
  #looks = 0;

  /** @param looksMax looks in a row at the same number that are too many */
  constructor(looksMax: number) {
    this.#looksMax = looksMax;
  }

  /** @param value the number now; `undefined`: nothing is under way. @returns whether it has stood still for too long */
  look(value: number | undefined): boolean {
    if (value === undefined || value !== this.#last) {
      this.#last = value;
      this.#looks = 0;
      return false;
    }
    return ++this.#looks >= this.#looksMax;
  }
}

export interface WatchdogOptions {
  readonly clock: Clock;
  /** How long a counter may stand still; 0: nothing is watched. */
  readonly limitMs: number;
  /** While it says so, everything may stand still: somebody looks at it step by step. */
  readonly isDebugged: () => boolean;
}

interface Watched {
  readonly standstill: Standstill;
  readonly read: () => number | undefined;
  readonly onStill: () => void;
}

export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #watched = new Set<Watched>();
  readonly #everyMs: number;
  readonly #looks: number;
  #timer: Timer | undefined;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    const { everyMs, looks } = looksOf(options.limitMs);
    this.#everyMs = everyMs;
    this.#looks = looks;
  }

  /**
   * @param read the counter; `undefined` while nothing is under way
   * @param onStill called once, when it has stood still for the limit
   * @returns ends it; idempotent
   */
  watch(read: () => number | undefined, onStill: () => void): () => void {
    if (this.#options.limitMs === 0) return () => undefined;
    const watched = { standstill: new Standstill(this.#looks), read, onStill };
    this.#watched.add(watched);
    this.#timer ??= this.#arm();
    return () => {
      this.#forget(watched);
    };
  }

  #arm(): Timer {
    return this.#options.clock.setTimer(
      this.#everyMs,
      () => {
        this.#timer = undefined;
        this.#look();
        if (this.#watched.size > 0) this.#timer ??= this.#arm();
      },
      { ref: false },
    );
  }

  #look(): void {
    const debugged = this.#options.isDebugged();
    for (const watched of [...this.#watched]) {
      const { standstill, read, onStill } = watched;
      if (!standstill.look(debugged ? undefined : read())) continue;
      this.#forget(watched);
      onStill();
    }
  }

  #forget(watched: Watched): void {
    this.#watched.delete(watched);
    if (this.#watched.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
