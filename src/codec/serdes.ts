/**
 * The built-in serdes and the two functions through which the runtime calls any serde, so that whatever one throws or
 * returns wrongly becomes SERDE_FAILED with its store or topic, key and cause. Their wire forms are those of Kafka's Java
 * serdes where there is one. It never frames, compresses or stores.
 */
import { createRequire } from 'node:module';
import { describeError, PartitaError } from '../core/errors.js';
import { type Serde, SERDE_TRAITS, type SerdeTraits, traitsOf } from '../processor/serde.js';
import { admitJson } from './freeze.js';
import { fromOrderedFloat64, orderedFloat64 } from './keys.js';

/** A serde with its traits. */
export type BuiltInSerde<T> = Serde<T> & { readonly [SERDE_TRAITS]: SerdeTraits<T> };

/** UTF-8 text, as Kafka's StringSerializer; lone surrogates become U+FFFD. */
export function string(): BuiltInSerde<string> {
  return STRING;
}

/** Bytes as they are, copied on both ways so that neither side can change the other's. */
export function bytes(): BuiltInSerde<Uint8Array> {
  return BYTES;
}

/** JSON text. `T` must survive JSON: no Date, Map, bigint, undefined, NaN, −0; found when a value is set. */
export function json<T>(): BuiltInSerde<T> {
  return JSON_SERDE as BuiltInSerde<T>;
}

/** A safe integer as 8 bytes, big-endian, two's complement, as Kafka's LongSerializer. */
export function int64(): BuiltInSerde<number> {
  return INT64;
}

/** A number as 8 bytes, big-endian IEEE 754, as Kafka's DoubleSerializer. */
export function float64(): BuiltInSerde<number> {
  return FLOAT64;
}

/**
 * Plain MessagePack that any reader understands, by the optional package msgpackr. Beside what JSON has it keeps Date, Set,
 * bytes, undefined, NaN and infinities. A Map comes back as an object, as MessagePack has but one kind of map, and −0 as 0.
 */
export function msgpack<T>(): BuiltInSerde<T> {
  return MSGPACK as BuiltInSerde<T>;
}

/**
 * Admits null, which in a record is a null key or value and has no bytes: `encode(null)` throws, `encodeNullable` gives
 * null.
 */
export function nullable<T>(serde: Serde<T>): BuiltInSerde<T | null> {
  const inner = traitsOf(serde);
  const { text, ordered, admit } = inner;
  return {
    encode: (value) => serde.encode(present(value)),
    decode: (encoded) => serde.decode(encoded),
    [SERDE_TRAITS]: {
      name: `nullable ${inner.name}`,
      nullable: true,
      shape: inner.shape,
      ...(text === undefined
        ? {}
        : {
            text: {
              toText: (value: T | null) => text.toText(present(value)),
              fromText: (encoded: string) => text.fromText(encoded),
            },
          }),
      ...(ordered === undefined
        ? {}
        : {
            ordered: {
              encode: (value: T | null) => ordered.encode(present(value)),
              decode: (encoded: Uint8Array) => ordered.decode(encoded),
            },
          }),
      ...(admit === undefined
        ? {}
        : { admit: (value: T | null) => (value === null ? NULL_BOUND : admit(value)) }),
    },
  };
}

/** Where a serde was called, for its error. */
export interface SerdeUse {
  readonly what: 'key' | 'value';
  readonly store?: string | undefined;
  readonly topic?: string | undefined;
  /** Key of the entry or record, where it is known. */
  readonly key?: unknown;
}

/**
 * `serde.encode(value)`. Throws SERDE_FAILED for what the serde throws, for a result that isn't bytes, and in a topic for
 * null; in a store null is an ordinary value, and the serde's own affair unless it is `nullable`.
 */
export function encodeWith<T>(serde: Serde<T>, value: T, where: SerdeUse): Uint8Array {
  let encoded: unknown;
  try {
    if (value === null && where.store === undefined) throw new TypeError(NULL_REFUSED);
    encoded = serde.encode(value);
  } catch (error) {
    throw serdeFailed('encode', serde, where, error);
  }
  if (!(encoded instanceof Uint8Array)) throw serdeFailed('encode', serde, where, new TypeError(NOT_BYTES));
  return encoded;
}

/** `serde.decode(encoded)`. Throws SERDE_FAILED for what the serde throws and for undefined, which stands for absence. */
export function decodeWith<T>(serde: Serde<T>, encoded: Uint8Array, where: SerdeUse): T {
  let value: T;
  try {
    value = serde.decode(encoded);
  } catch (error) {
    throw serdeFailed('decode', serde, where, error);
  }
  if (value === undefined) throw serdeFailed('decode', serde, where, new TypeError('it returned undefined'));
  return value;
}

/** As `encodeWith`; null for null if the serde is `nullable`. */
export function encodeNullable<T>(serde: Serde<T>, value: T, where: SerdeUse): Uint8Array | null {
  if (value === null && traitsOf(serde).nullable) return null;
  return encodeWith(serde, value, where);
}

/** As `decodeWith`; null for null if the serde is `nullable`, else SERDE_FAILED. */
export function decodeNullable<T>(serde: Serde<T>, encoded: Uint8Array | null, where: SerdeUse): T {
  if (encoded !== null) return decodeWith(serde, encoded, where);
  if (traitsOf(serde).nullable) return null as T;
  throw serdeFailed('decode', serde, where, new TypeError(NULL_REFUSED));
}

/** The SERDE_FAILED of a serde; also for callers that use its traits directly. */
export function serdeFailed<T>(
  step: 'encode' | 'decode' | 'admit',
  serde: Serde<T>,
  where: SerdeUse,
  cause: unknown,
): PartitaError {
  const { name } = traitsOf(serde);
  const place =
    where.store !== undefined
      ? ` of store ${where.store}`
      : where.topic !== undefined
        ? ` of topic ${where.topic}`
        : '';
  const key = where.key === undefined ? '' : ` at key ${shortly(where.key)}`;
  return new PartitaError(
    'SERDE_FAILED',
    `Serde ${name} can't ${step} the ${where.what}${place}${key}: ${describeError(cause)}`,
    {
      cause,
      details: {
        step,
        serde: name,
        what: where.what,
        ...(where.store === undefined ? {} : { store: where.store }),
        ...(where.topic === undefined ? {} : { topic: where.topic }),
        ...(where.key === undefined ? {} : { key: shortly(where.key) }),
      },
    },
  );
}

const NULL_REFUSED = 'it is null, which only nullable(serde) admits';
const NOT_BYTES = 'it did not return a Uint8Array';
const NULL_BOUND = 4;
const KEY_CHARS_MAX = 80;

function present<T>(value: T | null): T {
  if (value === null) throw new TypeError('null has no bytes; it is written as a null key or value');
  return value;
}

function shortly(key: unknown): string {
  let text: string | undefined;
  if (key instanceof Uint8Array) text = `0x${asBuffer(key.subarray(0, KEY_CHARS_MAX)).toString('hex')}`;
  else {
    try {
      text = JSON.stringify(key);
    } catch (error) {
      text = `(not shown: ${describeError(error)})`;
    }
  }
  text ??= typeof key;
  return text.length > KEY_CHARS_MAX ? `${text.slice(0, KEY_CHARS_MAX)}…` : text;
}

const STRING: BuiltInSerde<string> = {
  encode: (value) => Buffer.from(requireString(value), 'utf8'),
  decode: textOf,
  [SERDE_TRAITS]: {
    name: 'string',
    text: { toText: requireString, fromText: (text) => text },
    nullable: false,
    shape: 'primitive',
    admit: (value) => 3 * requireString(value).length,
  },
};

const BYTES: BuiltInSerde<Uint8Array> = {
  encode: (value) => {
    if (!((value as unknown) instanceof Uint8Array)) throw new TypeError('it is not a Uint8Array');
    return new Uint8Array(value);
  },
  decode: (encoded) => new Uint8Array(encoded),
  [SERDE_TRAITS]: { name: 'bytes', nullable: false, shape: 'opaque' },
};

const JSON_SERDE: BuiltInSerde<unknown> = {
  encode: (value) => Buffer.from(toJson(value), 'utf8'),
  decode: (encoded) => JSON.parse(textOf(encoded)) as unknown,
  [SERDE_TRAITS]: {
    name: 'json',
    text: { toText: toJson, fromText: (text) => JSON.parse(text) as unknown },
    nullable: false,
    shape: 'plain',
    admit: admitJson,
  },
};

const INT64: BuiltInSerde<number> = {
  encode: (value) => encodeInt64(value, 0),
  decode: (encoded) => decodeInt64(encoded, 0),
  [SERDE_TRAITS]: {
    name: 'int64',
    nullable: false,
    shape: 'primitive',
    // With the sign bit inverted, bytes sort as numbers do.
    ordered: {
      encode: (value) => encodeInt64(value, 0x80),
      decode: (encoded) => decodeInt64(encoded, 0x80),
    },
    admit: (value) => {
      requireSafeInteger(value);
      return 8;
    },
  },
};

const FLOAT64: BuiltInSerde<number> = {
  encode: (value) => {
    const encoded = Buffer.allocUnsafe(8);
    encoded.writeDoubleBE(requireNumber(value), 0);
    return encoded;
  },
  decode: (encoded) => requireBytes(encoded, 8).readDoubleBE(0),
  [SERDE_TRAITS]: {
    name: 'float64',
    nullable: false,
    shape: 'primitive',
    ordered: {
      encode: (value) => orderedFloat64(requireNumber(value)),
      decode: (encoded) => fromOrderedFloat64(requireBytes(encoded, 8)),
    },
    admit: (value) => {
      requireNumber(value);
      return 8;
    },
  },
};

const MSGPACK: BuiltInSerde<unknown> = {
  encode: (value) => packr().pack(value),
  decode: (encoded) => packr().unpack(encoded),
  [SERDE_TRAITS]: { name: 'msgpack', nullable: false, shape: 'opaque' },
};

interface Packr {
  pack(value: unknown): Buffer;
  unpack(encoded: Uint8Array): unknown;
}

let loadedPackr: Packr | undefined;

function packr(): Packr {
  if (loadedPackr !== undefined) return loadedPackr;
  let found: { Packr: new (options: object) => Packr };
  try {
    found = createRequire(import.meta.url)('msgpackr') as typeof found;
  } catch (error) {
    throw new PartitaError(
      'SERDE_FAILED',
      "The msgpack serde needs the package msgpackr, which can't be loaded. Install it: npm install msgpackr",
      { cause: error, details: { package: 'msgpackr' } },
    );
  }
  // Without its record extension, any MessagePack reader understands what is written.
  loadedPackr = new found.Packr({ useRecords: false, moreTypes: true, variableMapSize: true });
  return loadedPackr;
}

function toJson(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw new TypeError(`JSON has no text for ${typeof value}`);
  return text;
}

function textOf(encoded: Uint8Array): string {
  return asBuffer(encoded).toString('utf8');
}

function encodeInt64(value: number, signMask: number): Uint8Array {
  requireSafeInteger(value);
  const encoded = Buffer.allocUnsafe(8);
  encoded.writeInt32BE(Math.floor(value / 2 ** 32), 0);
  encoded.writeUInt32BE(value >>> 0, 4);
  encoded[0]! ^= signMask;
  return encoded;
}

function decodeInt64(encoded: Uint8Array, signMask: number): number {
  const buffer = requireBytes(encoded, 8);
  const high = signMask === 0 ? buffer.readInt32BE(0) : buffer.readUInt32BE(0) - 2 ** 31;
  const value = high * 2 ** 32 + buffer.readUInt32BE(4);
  if (!Number.isSafeInteger(value)) throw new RangeError('the integer is beyond 2^53 - 1');
  return value;
}

function requireSafeInteger(value: number): void {
  if (!Number.isSafeInteger(value)) throw new RangeError(`${String(value)} is not a safe integer`);
}

function requireNumber(value: number): number {
  if (typeof (value as unknown) !== 'number') throw new TypeError('it is not a number');
  return value;
}

function requireString(value: string): string {
  if (typeof (value as unknown) !== 'string') throw new TypeError('it is not a string');
  return value;
}

function requireBytes(encoded: Uint8Array, length: number): Buffer {
  if (encoded.length !== length) throw new RangeError(`it has ${encoded.length} bytes instead of ${length}`);
  return asBuffer(encoded);
}

function asBuffer(view: Uint8Array): Buffer {
  return Buffer.isBuffer(view) ? view : Buffer.from(view.buffer, view.byteOffset, view.byteLength);
}
