/**
 * The form of a store's values, held in memory and stored in engine and changelog. Held: decoded and frozen where the
 * serde allows it, otherwise the stored bytes, decoded afresh for each reader. Stored: a mark byte, then the encoded
 * value. It holds no entry and knows no layer.
 */
import { freezeDeep } from '../codec/freeze.js';
import { decodeWith, encodeWith } from '../codec/serdes.js';
import { PartitaError } from '../core/errors.js';
import { traitsOf, type Serde, type SerdeTraits } from '../processor/serde.js';
import type { ByteArena } from './byte-arena.js';
import { isWellFormed, serdeFailed, showKey } from './serde-failure.js';

/** The first byte of a stored value, by bits; a value with expiry (bit 1) will carry it after the mark. */
const MARK_PLAIN = 0x00;
const MARK_NULL = 0x01;

const PLAIN_HEAD = Uint8Array.of(MARK_PLAIN);
const NULL_FORM = Uint8Array.of(MARK_NULL);

export class StoredForm {
  readonly #store: string;
  readonly #serde: Serde<unknown>;
  readonly #traits: SerdeTraits<unknown>;
  readonly #admit: ((value: unknown) => number) | undefined;
  /** The encoded form of a string is its UTF-8, which lone surrogates do not survive (in JSON text they do). */
  readonly #isText: boolean;
  /** Held values are the decoded ones; otherwise they are stored bytes. */
  readonly decoded: boolean;

  constructor(store: string, serde: Serde<unknown>) {
    this.#store = store;
    this.#serde = serde;
    this.#traits = traitsOf(serde);
    this.#admit = this.#traits.admit;
    this.#isText = this.#traits.shape === 'primitive' && this.#traits.text !== undefined;
    // A plain value without a walk that freezes it can't be shared between readers.
    this.decoded =
      this.#traits.shape === 'primitive' ||
      (this.#traits.shape === 'plain' && this.#traits.admit !== undefined);
  }

  /**
   * Checks a value that is held decoded, and freezes it.
   * @returns an upper bound of its stored bytes
   * @throws PartitaError SERDE_FAILED
   */
  admit(value: unknown, key: unknown): number {
    if (value === null || value === undefined) return this.#admitNothing(value, key);
    if (typeof value === 'string' && this.#isText && !isWellFormed(value))
      throw serdeFailed('value', this.#store, key, new TypeError('The text has a lone surrogate.'));
    const admit = this.#admit;
    if (admit === undefined)
      return 1 + encodeWith(this.#serde, value, { what: 'value', store: this.#store, key }).length;
    try {
      return 1 + admit(value);
    } catch (cause) {
      throw serdeFailed('value', this.#store, key, cause);
    }
  }

  /** The stored bytes of a value that is held encoded; never shares memory with it. @throws PartitaError SERDE_FAILED */
  encode(value: unknown, key: unknown): Uint8Array {
    if (value === null || value === undefined) {
      this.#admitNothing(value, key);
      return NULL_FORM;
    }
    const encoded = encodeWith(this.#serde, value, { what: 'value', store: this.#store, key });
    const stored = new Uint8Array(1 + encoded.length);
    stored[0] = MARK_PLAIN;
    stored.set(encoded, 1);
    return stored;
  }

  /** What a reader gets for a held value. */
  read(held: unknown, key: unknown): unknown {
    if (this.decoded) return held;
    const stored = held as Uint8Array;
    // A copy each time: what `decode` returns may well be a view of what it was given.
    return stored[0] === MARK_NULL ? null : this.#decode(new Uint8Array(stored).subarray(1), key);
  }

  /** The held form of bytes from the engine. @throws PartitaError SERDE_FAILED or STORE_INCOMPATIBLE */
  hold(stored: Uint8Array, key: unknown): unknown {
    const mark = stored[0];
    if (mark !== MARK_PLAIN && mark !== MARK_NULL) throw this.#unknownMark(mark, key);
    // The engine's bytes may be a slice of something large; what is held for long is a copy of its own.
    if (!this.decoded) return new Uint8Array(stored);
    if (mark === MARK_NULL) return null;
    const value = this.#decode(stored.subarray(1), key);
    return this.#traits.shape === 'plain' ? freezeDeep(value) : value;
  }

  /** Exact stored bytes of a held value. */
  bytesOf(held: unknown, key: unknown): number {
    if (!this.decoded) return (held as Uint8Array).length;
    if (held === null) return 1;
    const text = this.#traits.text;
    if (text !== undefined) return 1 + Buffer.byteLength(text.toText(held));
    return 1 + encodeWith(this.#serde, held, { what: 'value', store: this.#store, key }).length;
  }

  /** The stored bytes of a held value. */
  write(held: unknown, key: unknown, arena: ByteArena): Uint8Array {
    if (!this.decoded) return held as Uint8Array;
    if (held === null) return NULL_FORM;
    const text = this.#traits.text;
    if (text !== undefined) return arena.text(PLAIN_HEAD, text.toText(held));
    return arena.bytes(PLAIN_HEAD, encodeWith(this.#serde, held, { what: 'value', store: this.#store, key }));
  }

  #admitNothing(value: null | undefined, key: unknown): number {
    if (value === null && this.#traits.nullable) return 1;
    throw serdeFailed(
      'value',
      this.#store,
      key,
      new TypeError(
        value === null
          ? 'null needs a serde made with nullable().'
          : 'undefined is not a value; use delete() to remove a key.',
      ),
    );
  }

  #decode(bytes: Uint8Array, key: unknown): unknown {
    return decodeWith(this.#serde, bytes, { what: 'value', store: this.#store, key });
  }

  #unknownMark(mark: number | undefined, key: unknown): PartitaError {
    return new PartitaError(
      'STORE_INCOMPATIBLE',
      `The value of key ${String(showKey(key))} in the store ${this.#store} begins with ${
        mark === undefined ? 'nothing' : `the mark ${String(mark)}`
      }, which this version does not know; a newer version may have written it.`,
      { details: { store: this.#store, key: showKey(key), mark } },
    );
  }
}
