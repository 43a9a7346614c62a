/**
 * Where actors run, as the manager sees it: numbered places, each a thread or (in tests and the testing driver) the
 * calling thread itself. `thread-pool.ts` implements it with worker threads, `local-places.ts` without.
 */
import type { ActorApi, ActorSpec, ActorUplink, PlaceNeeds } from './protocol.js';

/** An actor at its place. */
export interface PlacedActor {
  readonly api: ActorApi;
  /** Resolves with the reason (the same error for all actors of a place) once the place under the actor is gone for good; never for one that closes in order. */
  readonly died: Promise<Error>;
}

export interface ActorPlaces {
  /** How many places there are: indices 0 to size − 1. Changed by `resize` alone. */
  readonly size: number;
  /** Makes an actor at a place, starting its thread if none runs there. Rejects THREAD_DIED if it can't be started. */
  create(place: number, spec: ActorSpec, uplink: ActorUplink): Promise<PlacedActor>;
  /**
   * Makes the place ready for an actor that is about to come: its thread runs, the processor and the engine's code are
   * loaded. Rejects THREAD_DIED, or what the import rejects with.
   */
  prepare(place: number, needs: PlaceNeeds): Promise<void>;
  /**
   * More places: they are there at once, their threads start when needed. Fewer: those beyond are ended in order within
   * the budget, then by force; no actor may be made there any more. Resolves when they are gone. Calls may not overlap.
   */
  resize(size: number, options: { readonly budgetMs: number }): Promise<void>;
  /** How much of the time each place's event loop was busy since the previous call, 0 to 1; `undefined`: not known. */
  utilisations(): readonly (number | undefined)[];
  /** Ends what runs at the place by force; every actor on it dies. Resolves when it has ended. */
  end(place: number, reason: string): Promise<void>;
  /** One line per place, for `stats`. */
  states(): readonly { readonly place: number; readonly state: string; readonly actors: number }[];
  /** Ends everything: in order within the budget, then by force. Idempotent. */
  close(options: { readonly budgetMs: number }): Promise<void>;
}
