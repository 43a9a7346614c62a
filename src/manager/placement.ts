/**
 * Which thread an actor goes to: pure functions over the loads of the threads. Sticky, since a thread that had the
 * partition has warm caches; least loaded first otherwise. Who carries out what they say is `movement.ts`.
 */

export interface PlaceLoad {
  readonly place: number;
  /** Actors there. A later policy may weigh them; until then an actor is an actor. */
  readonly actors: number;
}

/**
 * The place for one more actor. `previous` is kept as long as it carries at most one actor more than the least loaded
 * place; otherwise the least loaded, the lowest number first.
 */
export function choosePlace(loads: readonly PlaceLoad[], previous?: number): number {
  let least: PlaceLoad | undefined;
  for (const load of loads) if (least === undefined || load.actors < least.actors) least = load;
  if (least === undefined) throw new RangeError('There is no place to choose from.');
  const kept = loads.find(({ place }) => place === previous);
  return kept !== undefined && kept.actors <= least.actors + 1 ? kept.place : least.place;
}

/** An actor and where it is. */
export interface PlacedPartition {
  readonly stream: string;
  readonly partition: number;
  readonly place: number;
}

export interface PlannedMove {
  readonly stream: string;
  readonly partition: number;
  readonly to: number;
}

/**
 * The fewest moves after which every actor is on one of `places` places, and no place has two actors more than another.
 * Where there is a choice, an actor of the stream that is ahead most at the fuller place goes, so that streams spread too.
 */
export function planMoves(actors: readonly PlacedPartition[], places: number): PlannedMove[] {
  const at = Array.from({ length: places }, (): PlacedPartition[] => []);
  const homeless: PlacedPartition[] = [];
  for (const actor of actors) (at[actor.place] ?? homeless).push(actor);
  const destinations = new Map<PlacedPartition, number>();
  const give = (actor: PlacedPartition, to: number): void => {
    destinations.set(actor, to);
    at[to]!.push(actor);
  };
  for (const actor of homeless)
    give(
      actor,
      indexOf(at, (here, least) => here.length < least.length),
    );
  for (;;) {
    const least = indexOf(at, (here, best) => here.length < best.length);
    const most = indexOf(at, (here, best) => here.length > best.length);
    if (at[most]!.length - at[least]!.length <= 1) break;
    const leaving = chooseLeaving(at[most]!, at[least]!);
    at[most]!.splice(at[most]!.indexOf(leaving), 1);
    give(leaving, least);
  }
  return [...destinations].map(([{ stream, partition }, to]) => ({ stream, partition, to }));
}

function indexOf<T>(of: readonly T[], isBetter: (one: T, best: T) => boolean): number {
  let best = 0;
  for (let i = 1; i < of.length; i++) if (isBetter(of[i]!, of[best]!)) best = i;
  return best;
}

function chooseLeaving(from: readonly PlacedPartition[], to: readonly PlacedPartition[]): PlacedPartition {
  const ahead = ({ stream }: PlacedPartition): number => {
    const here = (actor: PlacedPartition): boolean => actor.stream === stream;
    return from.filter(here).length - to.filter(here).length;
  };
  // The last one among equals: who came last has the least to lose.
  return from.reduce((best, actor) => (ahead(actor) >= ahead(best) ? actor : best));
}

/** How many actors each place has at present. Those of a place that is gone leave it when they can. */
export class PlaceTable {
  readonly #actors: number[];
  readonly #waiting = new Set<() => void>();
  #size: number;

  constructor(places: number) {
    this.#size = places;
    this.#actors = Array.from({ length: places }, () => 0);
  }

  get size(): number {
    return this.#size;
  }

  /** Nobody enters a place beyond `places` from here on. */
  resize(places: number): void {
    this.#size = places;
    while (this.#actors.length < places) this.#actors.push(0);
  }

  loads(): PlaceLoad[] {
    return this.#actors.slice(0, this.#size).map((actors, place) => ({ place, actors }));
  }

  /** Chooses a place and counts the actor there until `leave`. With `stays` the previous place is kept if it exists. */
  enter(previous?: number, stays = false): number {
    const kept = stays && previous !== undefined && previous < this.#size;
    const place = kept ? previous : choosePlace(this.loads(), previous);
    this.#actors[place]! += 1;
    return place;
  }

  leave(place: number): void {
    this.#actors[place]! -= 1;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Actors that are still at places which are gone. */
  get displaced(): number {
    return this.#actors.slice(this.#size).reduce((sum, actors) => sum + actors, 0);
  }

  /** Resolves with the next `leave`. */
  left(): Promise<void> {
    return new Promise((resolve) => this.#waiting.add(resolve));
  }
}
