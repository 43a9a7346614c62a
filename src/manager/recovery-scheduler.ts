/**
 * Bounds how many actors recover at once and orders those that wait: least remaining first, so that as many partitions as
 * possible serve early. Knows nothing of actors; a job is a function and a number.
 */

interface Waiting {
  readonly remaining: number;
  readonly order: number;
  readonly start: () => void;
}

export class RecoveryScheduler {
  readonly #concurrency: number;
  readonly #waiting: Waiting[] = [];
  #running = 0;
  #order = 0;

  constructor(concurrency: number) {
    this.#concurrency = concurrency;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Runs the job when its turn comes; rejects with the signal's reason if it is aborted before. */
  async run<T>(remaining: number, signal: AbortSignal, job: () => Promise<T>): Promise<T> {
    await this.#turn(remaining, signal);
    try {
      return await job();
    } finally {
      this.#running--;
      this.#next();
    }
  }

  async #turn(remaining: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#running < this.#concurrency) {
      this.#running++;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(signal.reason as Error);
      };
      const waiting: Waiting = {
        remaining,
        order: this.#order++,
        start: () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      this.#waiting.push(waiting);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  #next(): void {
    if (this.#running >= this.#concurrency) return;
    let least: Waiting | undefined;
    for (const waiting of this.#waiting)
      if (
        least === undefined ||
        waiting.remaining < least.remaining ||
        (waiting.remaining === least.remaining && waiting.order < least.order)
      )
        least = waiting;
    if (least === undefined) return;
    this.#waiting.splice(this.#waiting.indexOf(least), 1);
    this.#running++;
    least.start();
  }
}
