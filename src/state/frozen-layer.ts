/**
 * A frozen transaction as a checkpoint sees it: every touched key once with its last stored form, or null. It encodes
 * once, whole or in parts so that the actor's loop can breathe, and never writes anywhere.
 */
import type { EngineWrite } from '../storage/storage-engine.js';
import { ByteArena } from './byte-arena.js';
import { ABSENT } from './entry.js';
import type { StateLayers } from './state-layers.js';
import type { StateTransaction } from './state-transaction.js';

export class FrozenLayer {
  readonly #layers: StateLayers;
  readonly #arena = new ByteArena();
  readonly #writes: EngineWrite[] = [];
  readonly transaction: StateTransaction;

  constructor(layers: StateLayers, transaction: StateTransaction) {
    this.#layers = layers;
    this.transaction = transaction;
  }

  get count(): number {
    return this.transaction.count;
  }

  /** The changes, encoded by the first call; whole store keys, in the order of first writes. */
  encode(): readonly EngineWrite[] {
    this.encodePart(Infinity);
    return this.#writes;
  }

  /**
   * Encodes up to `entriesMax` more entries; writes into the live layer may go on between the parts.
   * @returns whether all are encoded
   */
  encodePart(entriesMax: number): boolean {
    const { entries } = this.transaction;
    const end = Math.min(entries.length, this.#writes.length + entriesMax);
    for (let i = this.#writes.length; i < end; i++) {
      const entry = entries[i]!;
      const held = this.#layers.frozenValue(entry);
      const key = entry.owner.writeKey(entry, this.#arena);
      const value =
        held === ABSENT
          ? null
          : entry.owner.writeValue(entry, held, this.#layers.frozenExpiryMs(entry), this.#arena);
      this.#writes.push({ key, value });
      // What lay below this layer will not be asked for again; kept, it would double the memory of the cache.
      if (entry.generation === this.transaction.generation) entry.base = ABSENT;
    }
    return end === entries.length;
  }

  /** After the flush: its entries become clean. @throws PartitaError ILLEGAL_STATE if it is complete or was discarded */
  complete(): void {
    this.#layers.complete(this.transaction);
  }
}
