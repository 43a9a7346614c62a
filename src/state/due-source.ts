/**
 * What comes due with time: timers and the closings of windows. Each store that has such work is a source of it; the actor
 * (`actor/due-runner.ts`) takes from all of them in one order, each call under its own savepoint.
 */

/** What a user's function is to be called for, once its source has changed the state. */
export interface DueCall {
  /** Default event time of what it emits, in ms. */
  readonly timestamp: number;
  /** Calls the user's function; `undefined` if nobody listens. */
  readonly call: ((context: object) => unknown) | undefined;
  /** For a dead letter: the encoded key, and what can be said as JSON of the rest. */
  describe(): { readonly key: Uint8Array | null; readonly value: unknown };
}

/** The earliest thing that a source has loaded. */
export interface DueHead {
  readonly atMs: number;
  /** Encoded key as latin1 text, for the order among equals. */
  readonly key: string;
}

export interface DueSource {
  /** At the same time timers go before windows. */
  readonly kind: 'timer' | 'window';
  /** Of the store or timer. */
  readonly name: string;
  readonly domain: 'event' | 'wall';
  /** A lower bound of the time at which something is next due; Infinity: nothing is. */
  readonly nextMs: number;
  /** Makes `head` exact as to everything due at or before `untilMs`; `undefined`: it is. */
  load(untilMs: number): Promise<void> | undefined;
  /** The earliest of what is due at or before `untilMs` and loaded. */
  head(untilMs: number): DueHead | undefined;
  /** Takes the head out of the state, in the live layer; may be repeated after a rollback. */
  apply(untilMs: number): DueCall | undefined;
  /** The head is done with: forgets it. */
  pop(): void;
  /** The live layer was rolled back to the last savepoint. */
  rolledBack(): void;
}
