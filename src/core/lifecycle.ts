/**
 * A lifecycle as a table of states and moves, and an instance of it that refuses every other move. The tables are in
 * `lifecycles.ts`. It knows nothing of what a move does: the owner acts, then moves.
 */
import { PartitaError } from './errors.js';

export interface LifecycleTable<S extends string> {
  /** What lives so: "actor". */
  readonly name: string;
  readonly initial: S;
  /** From each state, the states that may follow. A state without any is final. */
  readonly moves: Readonly<Record<S, readonly S[]>>;
}

export class Lifecycle<S extends string> {
  readonly #table: LifecycleTable<S>;
  readonly #what: string;
  #state: S;

  /** @param what names the thing in errors: "actor payments-3"; default: the table's name */
  constructor(table: LifecycleTable<S>, what: string = table.name) {
    this.#table = table;
    this.#what = what;
    this.#state = table.initial;
  }

  get state(): S {
    return this.#state;
  }

  /** Whether no move leads out of the present state. */
  get final(): boolean {
    return this.#table.moves[this.#state].length === 0;
  }

  is(...states: readonly S[]): boolean {
    return states.includes(this.#state);
  }

  can(to: S): boolean {
    return this.#table.moves[this.#state].includes(to);
  }

  /** @throws PartitaError ILLEGAL_STATE, naming the thing, where it is and where it was to go */
  move(to: S): void {
    if (!this.can(to))
      throw new PartitaError(
        'ILLEGAL_STATE',
        `The ${this.#what} can't go from ${this.#state} to ${to}; from ${this.#state} it may go to ${list(this.#table.moves[this.#state])}.`,
        { details: { what: this.#what, from: this.#state, to } },
      );
    this.#state = to;
  }

  /** The guard at the beginning of a method. @throws PartitaError ILLEGAL_STATE */
  expect(...states: readonly S[]): void {
    if (!states.includes(this.#state))
      throw new PartitaError(
        'ILLEGAL_STATE',
        `The ${this.#what} is ${this.#state}; this needs it to be ${list(states)}.`,
        { details: { what: this.#what, state: this.#state, expected: [...states] } },
      );
  }
}

function list(states: readonly string[]): string {
  return states.length === 0 ? 'nothing' : states.join(' or ');
}
