/**
 * The form of a store's values, held in memory and stored in engine and changelog. Held: decoded and frozen where the
 * serde allows it, otherwise the stored bytes, decoded afresh for each reader; in an `Expiring` if it expires. Stored: a
 * mark byte, the expiry (u64) if the mark says so, then the encoded value. It holds no entry and knows no layer.
 */
import { freezeDeep } from '../codec/freeze.js';
import { decodeWith, encodeWith } from '../codec/serdes.js';
import { PartitaError } from '../core/errors.js';
import { traitsOf, type Serde, type SerdeTraits } from '../processor/serde.js';
import type { ByteArena } from './byte-arena.js';
import { isWellFormed, serdeFailed, showKey } from './serde-failure.js';

/** The first byte of a stored value, by bits. */
const MARK_PLAIN = 0x00;
const MARK_NULL = 0x01;
const MARK_EXPIRES = 0x02;
const MARKS_ALL = MARK_NULL | MARK_EXPIRES;

const PLAIN_HEAD = Uint8Array.of(MARK_PLAIN);
const NULL_FORM = Uint8Array.of(MARK_NULL);
const NOTHING = new Uint8Array(0);
/** Mark and expiry. */
const EXPIRING_HEAD_BYTES = 9;
/** What an expiry adds to the stored bytes. */
export const EXPIRY_BYTES = EXPIRING_HEAD_BYTES - 1;
/** Written anew for each value, and copied by the arena. */
const expiringHead = new Uint8Array(EXPIRING_HEAD_BYTES);

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

  /**
   * The stored bytes of a value that is held encoded; never shares memory with it.
   * @throws PartitaError SERDE_FAILED
   */
  encode(value: unknown, key: unknown, expiryMs: number | undefined): Uint8Array {
    const isNull = value === null || value === undefined;
    if (isNull) this.#admitNothing(value, key);
    if (isNull && expiryMs === undefined) return NULL_FORM;
    const encoded = isNull
      ? NOTHING
      : encodeWith(this.#serde, value, { what: 'value', store: this.#store, key });
    const mark = isNull ? MARK_NULL : MARK_PLAIN;
    const head = expiryMs === undefined ? PLAIN_HEAD : headOf(mark, expiryMs);
    const stored = new Uint8Array(head.length + encoded.length);
    stored.set(head);
    stored.set(encoded, head.length);
    return stored;
  }

  /** What a reader gets for a held value. */
  read(held: unknown, key: unknown): unknown {
    if (this.decoded) return held;
    const stored = held as Uint8Array;
    if ((stored[0]! & MARK_NULL) !== 0) return null;
    // A copy each time: what `decode` returns may well be a view of what it was given.
    return this.#decode(new Uint8Array(stored).subarray(headBytes(stored)), key);
  }

  /** The held form of bytes from the engine, without their expiry. @throws PartitaError SERDE_FAILED or STORE_INCOMPATIBLE */
  hold(stored: Uint8Array, key: unknown): unknown {
    this.#checkMark(stored, key);
    // The engine's bytes may be a slice of something large; what is held for long is a copy of its own.
    return this.decoded ? this.#decoded(stored, key) : new Uint8Array(stored);
  }

  /** The expiry in bytes from the engine; Infinity: they are permanent. @throws PartitaError STORE_INCOMPATIBLE */
  expiryOf(stored: Uint8Array, key: unknown): number {
    this.#checkMark(stored, key);
    return (stored[0]! & MARK_EXPIRES) === 0 ? Infinity : uint64(stored, 1);
  }

  #checkMark(stored: Uint8Array, key: unknown): void {
    const mark = stored[0];
    if (mark === MARK_PLAIN || mark === MARK_NULL) return;
    if (mark === undefined || mark > MARKS_ALL || stored.length < EXPIRING_HEAD_BYTES)
      throw this.#unknownMark(mark, key);
  }

  /** Exact stored bytes of a held value; those of a decoded one without its expiry. */
  bytesOf(held: unknown, key: unknown): number {
    if (!this.decoded) return (held as Uint8Array).length;
    if (held === null) return 1;
    const text = this.#traits.text;
    if (text !== undefined) return 1 + Buffer.byteLength(text.toText(held));
    return 1 + encodeWith(this.#serde, held, { what: 'value', store: this.#store, key }).length;
  }

  /** The stored bytes of a held value; it is permanent without an expiry. */
  write(held: unknown, key: unknown, arena: ByteArena, expiryMs = Infinity): Uint8Array {
    // Stored bytes carry their expiry already.
    if (!this.decoded) return held as Uint8Array;
    if (expiryMs === Infinity)
      return held === null ? NULL_FORM : this.#writeAfter(PLAIN_HEAD, held, key, arena);
    if (held === null) return arena.bytes(headOf(MARK_NULL, expiryMs), NOTHING);
    return this.#writeAfter(headOf(MARK_PLAIN, expiryMs), held, key, arena);
  }

  #writeAfter(head: Uint8Array, value: unknown, key: unknown, arena: ByteArena): Uint8Array {
    const text = this.#traits.text;
    if (text !== undefined) return arena.text(head, text.toText(value));
    return arena.bytes(head, encodeWith(this.#serde, value, { what: 'value', store: this.#store, key }));
  }

  #decoded(stored: Uint8Array, key: unknown): unknown {
    if ((stored[0]! & MARK_NULL) !== 0) return null;
    const value = this.#decode(stored.subarray(headBytes(stored)), key);
    return this.#traits.shape === 'plain' ? freezeDeep(value) : value;
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

function headBytes(stored: Uint8Array): number {
  return (stored[0]! & MARK_EXPIRES) === 0 ? 1 : EXPIRING_HEAD_BYTES;
}

/** Valid until the next call. */
function headOf(mark: number, expiryMs: number): Uint8Array {
  expiringHead[0] = mark | MARK_EXPIRES;
  const high = Math.floor(expiryMs / 0x1_0000_0000);
  const low = expiryMs >>> 0;
  expiringHead[1] = high >>> 24;
  expiringHead[2] = high >>> 16;
  expiringHead[3] = high >>> 8;
  expiringHead[4] = high;
  expiringHead[5] = low >>> 24;
  expiringHead[6] = low >>> 16;
  expiringHead[7] = low >>> 8;
  expiringHead[8] = low;
  return expiringHead;
}

function uint64(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = at; i < at + 8; i++) value = value * 256 + bytes[i]!;
  return value;
}
