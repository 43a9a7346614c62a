/**
 * Keys in an actor's one keyspace: every store's family is a self-delimiting prefix, and tuples are encoded so that bytes
 * sort as their elements do. No two different keys ever share bytes. It never looks into values, and never at user keys
 * beyond copying them.
 */
import { PartitaError } from '../core/errors.js';

const FAMILY_BYTES_MAX = 255;

/** Prefix of all keys of a family: one length byte, then the name as UTF-8. Throws INVALID_NAME beyond 255 bytes. */
export function familyPrefix(family: string): Uint8Array {
  const name = Buffer.from(family, 'utf8');
  if (name.length > FAMILY_BYTES_MAX || hasLoneSurrogate(family)) {
    throw new PartitaError(
      'INVALID_NAME',
      `A family's name has at most ${FAMILY_BYTES_MAX} bytes of well-formed text; ${JSON.stringify(family)} hasn't.`,
      { details: { family } },
    );
  }
  const prefix = new Uint8Array(1 + name.length);
  prefix[0] = name.length;
  prefix.set(name, 1);
  return prefix;
}

/** The key of `keyBytes` in the family with this prefix; within a family the order is that of `keyBytes`. */
export function storeKey(prefix: Uint8Array, keyBytes: Uint8Array): Uint8Array {
  const key = new Uint8Array(prefix.length + keyBytes.length);
  key.set(prefix, 0);
  key.set(keyBytes, prefix.length);
  return key;
}

/** The smallest key above all keys that begin with `prefix`; `undefined` if there is none (only bytes of 255). */
export function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return undefined;
  const end = prefix.slice(0, length);
  end[length - 1]!++;
  return end;
}

/** Negative, zero or positive as `a` sorts before, with or after `b`: byte by byte, the shorter first. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/** Elements of a key. Numbers sort before strings, strings before bytes, bytes before tuples. */
export type TuplePart = number | string | Uint8Array | Tuple;
export type Tuple = readonly TuplePart[];

// Every tag is above the end byte and below the escape, so that what ends sorts before what goes on.
const END = 0x00;
const ESCAPE = 0xff;
const NUMBER = 0x10;
const STRING = 0x20;
const BYTES = 0x30;
const TUPLE = 0x40;
const DEPTH_MAX = 32;

/**
 * Encodes a tuple so that the order of bytes is the order of tuples, element by element, a prefix first: numbers as float64
 * (−0 as 0), strings by their UTF-8 bytes, bytes as they are, tuples within tuples. Throws INVALID_ARGUMENT for NaN, for
 * strings with lone surrogates (they would collide) and beyond 32 levels.
 */
export function encodeTuple(parts: Tuple): Uint8Array {
  const out: number[] = [];
  for (const part of parts) encodePart(out, part, 1);
  return Uint8Array.from(out);
}

/** The tuple that `encodeTuple` made these bytes of. Throws INVALID_ARGUMENT for anything else. */
export function decodeTuple(bytes: Uint8Array): TuplePart[] {
  const cursor = { bytes, at: 0 };
  const parts: TuplePart[] = [];
  while (cursor.at < bytes.length) parts.push(decodePart(cursor, 1));
  return parts;
}

/** Order-preserving 8 bytes of a float64: negative numbers inverted, the others with the sign bit set. */
export function orderedFloat64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value);
  if (bytes[0]! < 0x80) bytes[0]! |= 0x80;
  else for (let i = 0; i < 8; i++) bytes[i]! ^= 0xff;
  return bytes;
}

/** The number that `orderedFloat64` encoded into `bytes[at, at + 8)`. */
export function fromOrderedFloat64(bytes: Uint8Array, at = 0): number {
  const plain = bytes.slice(at, at + 8);
  if (plain[0]! >= 0x80) plain[0]! &= 0x7f;
  else for (let i = 0; i < 8; i++) plain[i]! ^= 0xff;
  return new DataView(plain.buffer, plain.byteOffset).getFloat64(0);
}

/** Whether `text` has a surrogate without its other half; its UTF-8 would be that of another text. */
export function hasLoneSurrogate(text: string): boolean {
  return /\p{Surrogate}/u.test(text);
}

function encodePart(out: number[], part: TuplePart, depth: number): void {
  if (depth > DEPTH_MAX) throw invalid(`Tuples of a key nest at most ${DEPTH_MAX} levels.`);
  if (typeof part === 'number') {
    if (Number.isNaN(part)) throw invalid('NaN has no place in the order of keys.');
    out.push(NUMBER, ...orderedFloat64(part === 0 ? 0 : part));
  } else if (typeof part === 'string') {
    if (hasLoneSurrogate(part))
      throw invalid('A key has a lone surrogate, which UTF-8 can not tell from U+FFFD.');
    pushEscaped(out, STRING, Buffer.from(part, 'utf8'));
  } else if (part instanceof Uint8Array) {
    pushEscaped(out, BYTES, part);
  } else {
    out.push(TUPLE);
    for (const inner of part) encodePart(out, inner, depth + 1);
    out.push(END);
  }
}

function pushEscaped(out: number[], tag: number, bytes: Uint8Array): void {
  out.push(tag);
  for (const byte of bytes) {
    out.push(byte);
    if (byte === END) out.push(ESCAPE);
  }
  out.push(END);
}

interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
}

function decodePart(cursor: Cursor, depth: number): TuplePart {
  if (depth > DEPTH_MAX) throw invalid(`Tuples of a key nest at most ${DEPTH_MAX} levels.`);
  const tag = cursor.bytes[cursor.at++];
  switch (tag) {
    case NUMBER: {
      if (cursor.bytes.length - cursor.at < 8) throw invalid('The key ends within a number.');
      const value = fromOrderedFloat64(cursor.bytes, cursor.at);
      cursor.at += 8;
      return value;
    }
    case STRING:
      return readEscaped(cursor).toString('utf8');
    case BYTES:
      return new Uint8Array(readEscaped(cursor));
    case TUPLE: {
      const parts: TuplePart[] = [];
      while (cursor.bytes[cursor.at] !== END) {
        if (cursor.at >= cursor.bytes.length) throw invalid('The key ends within a tuple.');
        parts.push(decodePart(cursor, depth + 1));
      }
      cursor.at++;
      return parts;
    }
    case undefined:
    default:
      throw invalid(`A key has an element of the unknown kind ${String(tag)}.`);
  }
}

function readEscaped(cursor: Cursor): Buffer {
  const { bytes } = cursor;
  const out: number[] = [];
  for (;;) {
    const byte = bytes[cursor.at++];
    if (byte === undefined) throw invalid('The key ends within text or bytes.');
    if (byte === END) {
      if (bytes[cursor.at] !== ESCAPE) return Buffer.from(out);
      cursor.at++;
    }
    out.push(byte);
  }
}

function invalid(message: string): PartitaError {
  return new PartitaError('INVALID_ARGUMENT', message);
}
