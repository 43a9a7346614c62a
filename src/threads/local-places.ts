/**
 * Places without threads: actors run in the calling thread, on the caller's clock. For tests, the testing driver and
 * seeded simulation; a "thread" can be made to die by `end`, which abandons its actors as a crash would.
 */
import { PartitaError } from '../core/errors.js';
import type { ActorPlaces, PlacedActor } from './actor-places.js';
import type { ActorApi, ActorSpec, ActorUplink } from './protocol.js';

/** Makes an actor in this thread; `abandon` stops it at once, without a word, and frees what it holds. */
export type MakeActor = (
  spec: ActorSpec,
  uplink: ActorUplink,
) => { readonly api: ActorApi; abandon(): Promise<void> };

interface Resident {
  abandon(): Promise<void>;
  died(error: Error): void;
}

export class LocalPlaces implements ActorPlaces {
  readonly #make: MakeActor;
  readonly #residents: Set<Resident>[];

  constructor(size: number, make: MakeActor) {
    this.#make = make;
    this.#residents = Array.from({ length: size }, () => new Set());
  }

  get size(): number {
    return this.#residents.length;
  }

  async create(place: number, spec: ActorSpec, uplink: ActorUplink): Promise<PlacedActor> {
    const residents = this.#at(place);
    const made = this.#make(spec, uplink);
    let died: (error: Error) => void = () => undefined;
    const death = new Promise<Error>((resolve) => (died = resolve));
    const resident: Resident = { abandon: () => made.abandon(), died };
    residents.add(resident);
    const api = made.api;
    const close = api.close.bind(api);
    api.close = async (options) => {
      const closed = await close(options);
      residents.delete(resident);
      return closed;
    };
    return { api, died: death };
  }

  /** Everything is here already. */
  async prepare(place: number): Promise<void> {
    this.#at(place);
  }

  async resize(size: number): Promise<void> {
    while (this.size < size) this.#residents.push(new Set());
    for (let place = this.size - 1; place >= size; place--) {
      await this.end(place, 'there are fewer places now');
      this.#residents.length = place;
    }
  }

  /** They share one event loop: nothing can be told apart. */
  utilisations(): readonly undefined[] {
    return this.#residents.map(() => undefined);
  }

  async end(place: number, reason: string): Promise<void> {
    if (this.#residents[place] === undefined) return;
    const residents = [...this.#at(place)];
    this.#at(place).clear();
    await Promise.all(residents.map((resident) => resident.abandon()));
    const error = new PartitaError('THREAD_DIED', `The place ${place} was ended: ${reason}.`, {
      details: { place },
    });
    for (const resident of residents) resident.died(error);
  }

  states(): readonly { readonly place: number; readonly state: string; readonly actors: number }[] {
    return this.#residents.map((residents, place) => ({ place, state: 'ready', actors: residents.size }));
  }

  async close(): Promise<void> {
    for (let place = 0; place < this.size; place++) await this.end(place, 'the manager stopped');
  }

  #at(place: number): Set<Resident> {
    const residents = this.#residents[place];
    // As a thread's death, since that is what an actor meets that was on its way there when the place went.
    if (residents === undefined)
      throw new PartitaError('THREAD_DIED', `There is no place ${place}; there are ${this.size}.`, {
        details: { place },
      });
    return residents;
  }
}
