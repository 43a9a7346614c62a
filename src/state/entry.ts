/**
 * One key of one store as the actor holds it in memory, the two marks that a held value can be, and what holds one that expires. It is a bare
 * record: `state-layers.ts` writes it, `state-cache.ts` evicts it, `key-value-store.ts` finds it.
 */
import type { ByteArena } from './byte-arena.js';

/** The key as the Map of its store has it: the key itself for strings and numbers, else its encoded bytes as latin1. */
export type MapKey = string | number;

/** "Nobody has looked yet": a blind write whose older value was never read. Never seen outside this folder. */
export const UNKNOWN: unique symbol = Symbol('unknown');

/** "There is nothing": absence is known. Data is never `undefined`. */
export const ABSENT = undefined;

/**
 * A held value that expires. Immutable, and a value like any other to layers, undo log and checkpoints; only its store
 * looks into it. Plain values are held without it, so that they pay nothing.
 */
export class Expiring {
  /** As it would be held without expiry. */
  readonly value: unknown;
  /** Two small integers: as one number it would be an object of its own on the heap. */
  readonly #high: number;
  readonly #low: number;

  constructor(value: unknown, expiryMs: number) {
    this.value = value;
    const high = (expiryMs / LOW_UNITS) | 0;
    this.#high = high;
    this.#low = (expiryMs - high * LOW_UNITS) | 0;
  }

  /** Event time in ms from which on nobody sees it; 0 to 2^53 − 1. */
  get expiryMs(): number {
    return this.#high * LOW_UNITS + this.#low;
  }
}

const LOW_UNITS = 2 ** 26;

/** What a reader at this time sees of a held value. */
export function visible(held: unknown, clockMs: number): unknown {
  if (!(held instanceof Expiring)) return held;
  return held.expiryMs <= clockMs ? ABSENT : held.value;
}

/** What an entry needs of its store. */
export interface EntryOwner {
  /** Forgets an evicted entry. */
  forget(entry: Entry): void;
  /** The whole store key as latin1 text, which sorts as the bytes do. */
  sortKey(entry: Entry): string;
  /** The whole store key, written into the arena. */
  writeKey(entry: Entry, arena: ByteArena): Uint8Array;
  /** The stored form of a held value (not ABSENT, not UNKNOWN), written into the arena. */
  writeValue(entry: Entry, held: unknown, arena: ByteArena): Uint8Array;
}

export class Entry {
  readonly owner: EntryOwner;
  readonly key: MapKey;
  /** Held value: decoded and frozen, or (for opaque serdes) the stored bytes; ABSENT or UNKNOWN. */
  value: unknown;
  /** Held value below the live layer; means something only while `generation` is the live layer's. */
  base: unknown;
  /** The layer in which it was last written; 0: never. At or below the flushed generation it is clean. */
  generation: number;
  /** Estimated bytes in memory, which is what the cache bounds. */
  bytes: number;
  /** Upper bound of its store key in bytes. */
  readonly keyBytesMax: number;
  /** Read or written since the clock hand of the cache passed. */
  used: boolean;
  /** Already in the undo log of the present savepoint. */
  undoable: boolean;

  constructor(owner: EntryOwner, key: MapKey, keyBytesMax: number, value: unknown, bytes: number) {
    this.owner = owner;
    this.key = key;
    this.value = value;
    this.base = ABSENT;
    this.generation = 0;
    this.bytes = bytes;
    this.keyBytesMax = keyBytesMax;
    this.used = false;
    this.undoable = false;
  }
}
