/**
 * The bound on what waits in the output producer, in bytes and batches. Who does not fit waits for room, in order; a call
 * that is larger than the bound is let in alone.
 */
import { PartitaError } from '../../core/errors.js';

interface Waiter {
  readonly bytes: number;
  readonly batches: number;
  admit(): void;
  refuse(error: Error): void;
}

export interface RoomBounds {
  readonly bytesMax: number;
  readonly batchesMax: number;
}

export class OutputRoom {
  readonly #bytesMax: number;
  readonly #batchesMax: number;
  #bytes = 0;
  #batches = 0;
  #waiting: Waiter[] = [];

  constructor(bounds: RoomBounds) {
    this.#bytesMax = bounds.bytesMax;
    this.#batchesMax = bounds.batchesMax;
  }

  /** What it holds now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Resolves when it is taken. Rejects CALL_ABORTED, or with the error of `refuse`. */
  async take(bytes: number, batches: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#waiting.length === 0 && this.#fits(bytes, batches)) {
      this.#add(bytes, batches);
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting = this.#waiting.filter((one) => one !== waiter);
        reject(callAborted(signal));
        this.#admit();
      };
      const waiter: Waiter = {
        bytes,
        batches,
        admit: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
        refuse: (error) => {
          signal?.removeEventListener('abort', onAbort);
          reject(error);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(waiter);
    });
  }

  give(bytes: number, batches: number): void {
    this.#add(-bytes, -batches);
    this.#admit();
  }

  refuse(error: Error): void {
    for (const waiter of this.#waiting.splice(0)) waiter.refuse(error);
  }

  #admit(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (!this.#fits(first.bytes, first.batches)) return;
      this.#waiting.shift();
      this.#add(first.bytes, first.batches);
      first.admit();
    }
  }

  #fits(bytes: number, batches: number): boolean {
    if (this.#batches === 0) return true;
    return this.#bytes + bytes <= this.#bytesMax && this.#batches + batches <= this.#batchesMax;
  }

  #add(bytes: number, batches: number): void {
    this.#bytes += bytes;
    this.#batches += batches;
  }
}

export function callAborted(signal: AbortSignal | undefined): PartitaError {
  return new PartitaError('CALL_ABORTED', 'Outputs that were not sent yet were given up by their signal.', {
    cause: signal?.reason,
  });
}
