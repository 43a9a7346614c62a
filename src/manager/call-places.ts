/**
 * How many calls may be under way at once: places, and a bounded wait of bounded length for one of them. Owns no call and
 * knows nothing of partitions; `partition-calls.ts` has one for commands and one for queries, `stream-router.ts` one for
 * sends.
 */
import type { Clock } from '../core/clock.js';

export interface PlacesOptions {
  readonly clock: Clock;
  readonly callsMax: number;
  readonly waitMs: number;
  /** MAILBOX_FULL, naming what is full. */
  readonly full: () => Error;
}

/** So many calls per place may wait for one; a flood beyond that is told at once. */
const WAITERS_PER_PLACE_MAX = 16;

interface Waiter {
  /** It has the place of a call that ended. */
  readonly take: () => void;
}

export class CallPlaces {
  readonly #options: PlacesOptions;
  /** In the order in which they came. */
  readonly #waiters = new Set<Waiter>();
  #taken = 0;

  constructor(options: PlacesOptions) {
    this.#options = options;
  }

  /** Places taken at present, never more than there are. */
  get taken(): number {
    return this.#taken;
  }

  /** Resolves with a place, which `leave` gives back. Rejects MAILBOX_FULL, or what `aborted` makes of the signal. */
  async enter(timeoutMs: number, signal?: AbortSignal, aborted?: () => Error): Promise<void> {
    const { callsMax, full } = this.#options;
    if (this.#taken < callsMax) {
      this.#taken++;
      return;
    }
    if (this.#waiters.size >= callsMax * WAITERS_PER_PLACE_MAX) throw full();
    await this.#wait(timeoutMs, signal, aborted);
  }

  /** The next one in line gets the place; nobody who comes meanwhile can take it. */
  leave(): void {
    const [next] = this.#waiters;
    if (next === undefined) this.#taken--;
    else next.take();
  }

  #wait(timeoutMs: number, signal?: AbortSignal, aborted?: () => Error): Promise<void> {
    const { clock, waitMs, full } = this.#options;
    return new Promise<void>((resolve, reject) => {
      const end = (settle: () => void): void => {
        this.#waiters.delete(waiter);
        timer.cancel();
        signal?.removeEventListener('abort', onAbort);
        settle();
      };
      const waiter: Waiter = {
        take: () => {
          end(resolve);
        },
      };
      const onAbort = (): void => {
        end(() => {
          reject(aborted?.() ?? full());
        });
      };
      const timer = clock.setTimer(Math.min(waitMs, timeoutMs), () => {
        end(() => {
          reject(full());
        });
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(waiter);
    });
  }
}
