/**
 * A gate before and behind the calls of an embedded log: those of an operation that it holds wait, before they reach the log
 * or with their answers, until it is opened. It changes no answer.
 */
import type { LogFaults, LogOperation } from '../../src/log/embedded/log-faults.js';

/** Calls of the log that nobody answers, before or after they have happened, until it is opened for good. */
export class LogGate {
  readonly faults: LogFaults = {
    before: (operation) => this.#wait(`before ${operation}`),
    after: (operation) => this.#wait(`after ${operation}`),
  };
  readonly #held = new Set<string>();
  #waiting = 0;
  #open: () => void = () => undefined;
  #opened = new Promise<void>((resolve) => (this.#open = resolve));

  /** Calls that wait at the gate. */
  get waiting(): number {
    return this.#waiting;
  }

  hold(when: 'before' | 'after', ...operations: readonly LogOperation[]): void {
    for (const operation of operations) this.#held.add(`${when} ${operation}`);
  }

  /** New calls pass; those that wait go on waiting. */
  letPass(): void {
    this.#held.clear();
  }

  /** Those that wait go on, however late. */
  open(): void {
    this.letPass();
    this.#open();
    this.#opened = new Promise<void>((resolve) => (this.#open = resolve));
  }

  async #wait(what: string): Promise<void> {
    if (!this.#held.has(what)) return;
    this.#waiting++;
    await this.#opened;
    this.#waiting--;
  }
}
