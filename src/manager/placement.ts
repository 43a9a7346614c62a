/**
 * Which thread an actor goes to: pure functions over the loads of the threads. Sticky, since a thread that had the
 * partition has warm caches; least loaded first otherwise.
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

/** How many actors each place has at present. */
export class PlaceTable {
  readonly #actors: number[];

  constructor(places: number) {
    this.#actors = Array.from({ length: places }, () => 0);
  }

  loads(): PlaceLoad[] {
    return this.#actors.map((actors, place) => ({ place, actors }));
  }

  /** Chooses a place and counts the actor there until `leave`. */
  enter(previous?: number): number {
    const place = choosePlace(this.loads(), previous);
    this.#actors[place]! += 1;
    return place;
  }

  leave(place: number): void {
    this.#actors[place]! -= 1;
  }
}
