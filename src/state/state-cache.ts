/**
 * The byte bound over all entries of an actor: a clock that gives each entry used since its last turn another one, and
 * evicts clean entries only, at O(1) amortised a load. It owns no Map (each store has its own) and reads no engine. Its
 * entries survive checkpoints, since nobody else writes this partition.
 */
import type { Entry } from './entry.js';

/** Steps of the hand at most per loaded entry, so that no single read pays for a long search. */
const STEPS_PER_LOAD = 64;

export class StateCache {
  readonly #ring: Entry[] = [];
  #hand = 0;
  #limit: number;
  /** Steps since the hand last evicted something. */
  #barren = 0;
  /** Two whole turns found nothing to evict: all is pinned until the next flush. */
  #pinned = false;
  /** Estimated bytes of all entries; `state-layers.ts` adds what writes change. */
  bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get limit(): number {
    return this.#limit;
  }

  get size(): number {
    return this.#ring.length;
  }

  /** Whether a value that was only read may be kept. Not while pinned entries alone fill the bound. */
  get retains(): boolean {
    return !this.#pinned || this.bytes <= this.#limit;
  }

  /** Evicts nothing, since the caller may still be about to write the entry; `trim` follows. */
  add(entry: Entry): void {
    this.#ring.push(entry);
    this.bytes += entry.bytes;
  }

  /** @param flushed the generation up to which entries are clean */
  trim(flushed: number): void {
    if (this.bytes > this.#limit) this.#turn(flushed, STEPS_PER_LOAD);
  }

  /** After a flush: what was pinned may be evicted. */
  unpin(flushed: number): void {
    this.#pinned = false;
    this.#barren = 0;
    if (this.bytes > this.#limit) this.#turn(flushed, Infinity);
  }

  setLimit(limit: number, flushed: number): void {
    this.#limit = limit;
    this.unpin(flushed);
  }

  clear(): void {
    this.#ring.length = 0;
    this.#hand = 0;
    this.bytes = 0;
  }

  #turn(flushed: number, stepsMax: number): void {
    const ring = this.#ring;
    for (let steps = 0; steps < stepsMax && !this.#pinned && this.bytes > this.#limit; steps++) {
      if (this.#hand >= ring.length) this.#hand = 0;
      const entry = ring[this.#hand];
      if (entry === undefined) return;
      if (entry.generation <= flushed && !entry.used) {
        this.#evict(entry);
        continue;
      }
      entry.used = false;
      this.#hand++;
      this.#pinned = ++this.#barren > 2 * ring.length;
    }
  }

  #evict(entry: Entry): void {
    const last = this.#ring.pop()!;
    if (last !== entry) this.#ring[this.#hand] = last;
    this.bytes -= entry.bytes;
    this.#barren = 0;
    entry.owner.forget(entry);
  }
}
