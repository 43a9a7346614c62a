/**
 * Runs operations strictly one after the other: what makes an append or a transaction of the embedded log atomic against
 * every other one, also while its write to disk is awaited. It knows nothing of what it runs.
 */
import { PartitaError } from '../../core/errors.js';

const WAITING_MAX = 100_000;

export class Sequencer {
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /** Runs `operation` after all earlier ones have settled. Rejects LOG_UNAVAILABLE when too many are waiting. */
  async run<T>(operation: () => T | Promise<T>): Promise<T> {
    if (this.#waiting >= WAITING_MAX)
      throw new PartitaError(
        'LOG_UNAVAILABLE',
        `More than ${WAITING_MAX} operations wait for the embedded log.`,
      );
    this.#waiting++;
    const result = this.#tail.then(operation);
    this.#tail = result.then(
      () => this.#waiting--,
      () => this.#waiting--,
    );
    return result;
  }

  /** Resolves when everything that was started before has settled. */
  async settled(): Promise<void> {
    await this.#tail;
  }
}
