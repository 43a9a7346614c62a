/**
 * Takes what has expired out of a key-value store: tombstones in the layer that a checkpoint is about to freeze, oldest
 * first, within a budget. Readers never depend on it (they go by the clock), and it never runs while a record does.
 *
 * Each key that expires has a row in an index by time, at or before its expiry: a key whose life is prolonged keeps the
 * row it has, which moves when its time has come. So a key that is set with every record costs a comparison a checkpoint,
 * and not a row a record; what has expired before the first checkpoint has no row and no record in the changelog.
 */
import type { StoreParts } from './declared-store.js';
import { DueIndex } from './due-index.js';
import type { KeyValueStore } from './key-value-store.js';

/** Rows that a checkpoint takes up at least, if so many are due. */
const SWEPT_MAX = 10_000;
/** And so many more for each new row, so that the sweep never falls behind what is written. */
const SWEPT_PER_ROW = 2;
/** Entries between two breaths of the event loop: a few milliseconds. */
const PART = 1_000;
/** Entries of the layer that are looked at between two breaths: most of them cost a comparison. */
const LOOKED_AT = 8_000;

export class ExpirySweep {
  readonly #parts: StoreParts;
  readonly #store: KeyValueStore;
  readonly #index: DueIndex;
  /** The database was empty when it was opened: there is nothing that this store has not seen. */
  readonly #fresh: boolean;
  /** The layer that is being prepared, by its generation. */
  #generation = 0;
  /** Entries of it that were looked at. */
  #looked = 0;
  #budget = SWEPT_MAX;

  constructor(parts: StoreParts, store: KeyValueStore) {
    this.#parts = parts;
    this.#store = store;
    this.#fresh = parts.partition.empty === true;
    this.#index = new DueIndex(parts, '$expiry', (atMs, key) => {
      const expiryMs = store.expiryOf(key);
      return expiryMs >= atMs && expiryMs !== Infinity;
    });
  }

  /** Does most of it in parts, and reads what it needs of the index; `undefined`: `prepare` needs no help. */
  settle(): Promise<void> | undefined {
    if (this.#idle) return undefined;
    this.#beginLayer();
    const { layers, clock } = this.#parts;
    const isLong = layers.live.count > LOOKED_AT && this.#store.expires;
    return isLong || this.#index.nextMs <= clock.ms ? this.#settle() : undefined;
  }

  /** What `settle` has left, as far as the index is in memory. Between it and the freeze nothing may be written. */
  prepare(): void {
    if (this.#idle) return;
    this.#beginLayer();
    this.#look(Infinity);
    this.#sweep(Infinity);
    this.#index.prepare();
  }

  clear(): void {
    this.#index.clear();
  }

  /** Nothing here expires. */
  get #idle(): boolean {
    return this.#fresh && !this.#store.expires;
  }

  #beginLayer(): void {
    const { generation } = this.#parts.layers.live;
    if (this.#generation === generation) return;
    this.#generation = generation;
    this.#looked = 0;
    this.#budget = SWEPT_MAX;
  }

  async #settle(): Promise<void> {
    const { layers, clock } = this.#parts;
    // The record before this is done: what is staged here belongs to none.
    layers.savepoint();
    while (!this.#look(LOOKED_AT)) await breathe();
    while (this.#budget > 0 && this.#index.nextMs <= clock.ms) {
      await (this.#index.load(clock.ms) ?? breathe());
      layers.check();
      this.#sweep(PART);
    }
  }

  /**
   * Goes through what the layer has changed: what expires gets its row, what has expired already its tombstone.
   * @returns whether it is through
   */
  #look(entriesMax: number): boolean {
    const { layers, clock } = this.#parts;
    const { entries } = layers.live;
    const end = Math.min(entries.length, this.#looked + entriesMax);
    for (; this.#looked < end; this.#looked++) {
      const entry = entries[this.#looked]!;
      const { owner, life } = entry;
      if (life === undefined || owner !== this.#store || life.valueMs === Infinity) continue;
      if (life.valueMs <= clock.ms) this.#store.deleteEntry(entry);
      else if (life.baseMs > life.valueMs) {
        this.#index.insert(life.valueMs, this.#store.keyText(entry));
        this.#budget += SWEPT_PER_ROW;
      }
    }
    return end === entries.length;
  }

  /** Takes up rows that are due, oldest first, within the budget. */
  #sweep(rowsMax: number): void {
    const { ms } = this.#parts.clock;
    for (let rows = 0; rows < rowsMax && this.#budget > 0; rows++) {
      const head = this.#index.head(ms);
      if (head === undefined) return;
      const { key } = head;
      const expiryMs = this.#store.expiryOf(key);
      if (expiryMs <= ms) this.#store.deleteText(key);
      this.#index.takeHead();
      this.#index.pop();
      // Its life was prolonged: the row moves.
      if (expiryMs > ms && expiryMs !== Infinity) this.#index.insert(expiryMs, key);
      this.#budget--;
    }
  }
}

function breathe(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
