/**
 * All actors of one thread, by number. Owns nothing but the map: an actor's life is its own, and what crosses the thread
 * is `threads/host-endpoint.ts`. Next: `partition-actor.ts`.
 */
import { PartitaError } from '../core/errors.js';
import type { ActorApi, ActorSpec, ActorUplink } from '../threads/protocol.js';
import type { ActorEnvironment } from './actor-environment.js';
import { PartitionActor } from './partition-actor.js';

export class ActorHost {
  readonly #environment: ActorEnvironment;
  readonly #actors = new Map<number, ActorApi>();

  constructor(environment: ActorEnvironment) {
    this.#environment = environment;
  }

  create(actor: number, spec: ActorSpec, uplink: ActorUplink): void {
    this.#actors.set(actor, new PartitionActor(spec, uplink, this.#environment));
  }

  /** Imports a processor before an actor needs it. */
  async prepare(processorUrl: string): Promise<void> {
    await this.#environment.importProcessor(processorUrl);
  }

  /** @throws PartitaError ACTOR_FAILED for one that was never made here or is closed */
  api(actor: number): ActorApi {
    const api = this.#actors.get(actor);
    if (api === undefined)
      throw new PartitaError('ACTOR_FAILED', `The actor number ${actor} is not in this thread any more.`);
    return api;
  }

  /** Forgets a closed actor. */
  remove(actor: number): void {
    this.#actors.delete(actor);
  }
}
