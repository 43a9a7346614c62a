/**
 * How the keys of one store become Map keys, whole store keys (family prefix + encoded key) and sort keys, and back. It
 * holds no entry. Strings and numbers are their own Map keys, so that a hot `get` encodes nothing; two keys that encode
 * alike are made one before they get that far.
 */
import { familyPrefix, prefixEnd, storeKey } from '../codec/keys.js';
import { decodeWith, encodeWith } from '../codec/serdes.js';
import { PartitaError } from '../core/errors.js';
import { traitsOf, type Serde } from '../processor/serde.js';
import type { ByteArena } from './byte-arena.js';
import type { MapKey } from './entry.js';
import { latin1 } from './latin1.js';
import { isWellFormed, serdeFailed, toWellFormed } from './serde-failure.js';

/** Serdes of which the encoded bytes of a prefix begin the encoded bytes of the whole. */
const PREFIXABLE = new Set([
  'string',
  'bytes',
  'custom',
  'nullable string',
  'nullable bytes',
  'nullable custom',
]);

/** Text whose UTF-8 is itself, byte for character. */
// eslint-disable-next-line no-control-regex -- control characters are characters of keys too
const IS_ASCII = /^[\x00-\x7f]*$/;

export class StoreKeys {
  readonly #store: string;
  readonly #serde: Serde<unknown>;
  readonly #prefixable: boolean;
  readonly #admit: ((key: unknown) => number) | undefined;
  readonly #isText: boolean;
  /** Whether keys are strings or numbers that can be their own Map keys. */
  readonly direct: boolean;
  readonly #prefix: Uint8Array;
  readonly #prefixText: string;

  constructor(store: string, serde: Serde<unknown>) {
    const traits = traitsOf(serde);
    this.#store = store;
    this.#serde = traits.ordered === undefined ? serde : withoutTraits(traits.ordered);
    this.direct = traits.shape === 'primitive';
    this.#isText = this.direct && traits.text !== undefined && traits.ordered === undefined;
    this.#prefixable = traits.ordered === undefined && PREFIXABLE.has(traits.name);
    this.#admit = traits.shape === 'plain' ? traits.admit : undefined;
    this.#prefix = familyPrefix(store);
    this.#prefixText = latin1(this.#prefix);
  }

  /** The Map key of any key. @throws PartitaError SERDE_FAILED */
  mapKey(key: unknown): MapKey {
    if (this.#isText && typeof key === 'string') return isWellFormed(key) ? key : toWellFormed(key);
    const encoded = this.#encode(key);
    if (!this.direct) return latin1(encoded);
    if (typeof key === 'string') return isWellFormed(key) ? key : toWellFormed(key);
    // 0 and -0 are one key, as they are to a Map.
    if (typeof key === 'number') return key + 0;
    throw serdeFailed('key', this.#store, key, new TypeError('A key of this serde is a string or a number.'));
  }

  /** Upper bound of the whole store key in bytes. */
  bytesMax(key: MapKey): number {
    if (!this.direct) return this.#prefix.length + (key as string).length;
    if (this.#isText) return this.#prefix.length + 3 * (key as string).length;
    return this.storeKey(key).length;
  }

  /** The whole store key. */
  storeKey(key: MapKey): Uint8Array {
    if (this.direct) return storeKey(this.#prefix, this.#encode(key));
    return Buffer.from(this.#prefixText + (key as string), 'latin1');
  }

  /** The encoded key as latin1 text, without the store. */
  text(key: MapKey): string {
    return this.direct ? latin1(this.#encode(key)) : (key as string);
  }

  /** The Map key of an encoded key as latin1 text. */
  ofText(text: string): MapKey {
    return this.direct ? this.mapKey(this.fromKeyText(text)) : text;
  }

  write(key: MapKey, arena: ByteArena): Uint8Array {
    if (!this.direct) return arena.latin1(this.#prefix, key as string);
    if (this.#isText) return arena.text(this.#prefix, key as string);
    return arena.bytes(this.#prefix, this.#encode(key));
  }

  /** The whole store key as latin1 text, which sorts as its bytes do. */
  sortKey(key: MapKey): string {
    return this.#prefixText + this.text(key);
  }

  /** The encoded key alone, as latin1 text: what internal families of composite stores are keyed by. */
  keyText(key: unknown): string {
    if (this.#isText && typeof key === 'string' && IS_ASCII.test(key)) return key;
    return latin1(this.#encode(key));
  }

  fromKeyText(text: string): unknown {
    if (this.#isText && IS_ASCII.test(text)) return text;
    return this.#decode(Buffer.from(text, 'latin1'));
  }

  /** The key as handlers have it. */
  decode(wholeKey: Uint8Array): unknown {
    return this.#decode(wholeKey.subarray(this.#prefix.length));
  }

  fromSortKey(sortKey: string): unknown {
    return this.decode(Buffer.from(sortKey, 'latin1'));
  }

  /** Sort key of a bound, which need not be a key of the store. */
  bound(key: unknown): string {
    return this.#prefixText + this.keyText(key);
  }

  /** The bounds of the whole store, or of the keys that begin with `prefix`. */
  all(): { from: string; to: string | undefined } {
    return { from: this.#prefixText, to: endOf(this.#prefixText) };
  }

  prefixed(prefix: unknown): { from: string; to: string | undefined } {
    if (!this.#prefixable)
      throw new PartitaError(
        'INVALID_ARGUMENT',
        `The store ${this.#store} can't be read by prefix: that needs keys of string() or bytes(), or a serde of your own.`,
        { details: { store: this.#store } },
      );
    const from = this.bound(prefix);
    return { from, to: endOf(from) };
  }

  #decode(encoded: Uint8Array): unknown {
    return decodeWith(this.#serde, encoded, { what: 'key', store: this.#store });
  }

  #encode(key: unknown): Uint8Array {
    if (key === null || key === undefined)
      throw serdeFailed('key', this.#store, key, new TypeError(`A store's key is never ${String(key)}.`));
    if (this.#admit !== undefined) this.#admitKey(key);
    return encodeWith(this.#serde, key, { what: 'key', store: this.#store, key });
  }

  /** A key that changes on its way through its serde would be found under another key's name. */
  #admitKey(key: unknown): void {
    try {
      this.#admit!(key);
    } catch (cause) {
      throw serdeFailed('key', this.#store, key, cause);
    }
  }
}

function endOf(prefix: string): string | undefined {
  const end = prefixEnd(Buffer.from(prefix, 'latin1'));
  return end === undefined ? undefined : latin1(end);
}

function withoutTraits(ordered: Serde<unknown>): Serde<unknown> {
  return { encode: (key) => ordered.encode(key), decode: (bytes) => ordered.decode(bytes) };
}
