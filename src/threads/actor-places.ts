/**
 * Where actors run, as the manager sees it: numbered places, each a thread or (in tests and the testing driver) the
 * calling thread itself. `thread-pool.ts` implements it with worker threads, `local-places.ts` without.
 */
import type { ActorApi, ActorSpec, ActorUplink } from './protocol.js';

/** An actor at its place. */
export interface PlacedActor {
  readonly api: ActorApi;
  /** Resolves with the reason (the same error for all actors of a place) once the place under the actor is gone for good; never for one that closes in order. */
  readonly died: Promise<Error>;
}

export interface ActorPlaces {
  /** How many places there are: indices 0 to size − 1. */
  readonly size: number;
  /** Makes an actor at a place, starting its thread if none runs there. Rejects THREAD_DIED if it can't be started. */
  create(place: number, spec: ActorSpec, uplink: ActorUplink): Promise<PlacedActor>;
  /** Ends what runs at the place by force; every actor on it dies. Resolves when it has ended. */
  end(place: number, reason: string): Promise<void>;
  /** One line per place, for `stats`. */
  states(): readonly { readonly place: number; readonly state: string; readonly actors: number }[];
  /** Ends everything: in order within the budget, then by force. Idempotent. */
  close(options: { readonly budgetMs: number }): Promise<void>;
}
