/**
 * One key of one store as the actor holds it in memory, the two marks that a held value can be, and when it expires. It is a bare
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
 * When the values of an entry expire, in event time in ms: from then on nobody sees them; Infinity: never. An object of its
 * own, so that a key that never held such a value pays a pointer; made once, so that setting a value makes no garbage: both
 * numbers begin as no small integers, and V8 writes such fields in place.
 */
export class Life {
  /** Of `value`. */
  valueMs = Infinity;
  /** Of `base`. */
  baseMs = Infinity;
}

/** What an entry needs of its store. */
export interface EntryOwner {
  /** Forgets an evicted entry. */
  forget(entry: Entry): void;
  /** The whole store key as latin1 text, which sorts as the bytes do. */
  sortKey(entry: Entry): string;
  /** The whole store key, written into the arena. */
  writeKey(entry: Entry, arena: ByteArena): Uint8Array;
  /** The stored form of a held value (not ABSENT, not UNKNOWN), written into the arena. Infinity: it is permanent. */
  writeValue(entry: Entry, held: unknown, expiryMs: number, arena: ByteArena): Uint8Array;
}

export class Entry {
  readonly owner: EntryOwner;
  readonly key: MapKey;
  /** Held value: decoded and frozen, or (for opaque serdes) the stored bytes; ABSENT or UNKNOWN. */
  value: unknown;
  /** Held value below the live layer; means something only while `generation` is the live layer's. */
  base: unknown;
  /** Absent as long as it has never held a value that expires. */
  life: Life | undefined;
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
    this.life = undefined;
    this.generation = 0;
    this.bytes = bytes;
    this.keyBytesMax = keyBytesMax;
    this.used = false;
    this.undoable = false;
  }

  /** When `value` expires. */
  get expiryMs(): number {
    return this.life === undefined ? Infinity : this.life.valueMs;
  }

  set expiryMs(ms: number) {
    if (this.life !== undefined) this.life.valueMs = ms;
    else if (ms !== Infinity) (this.life = new Life()).valueMs = ms;
  }
}
