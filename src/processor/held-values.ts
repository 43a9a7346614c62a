/**
 * How an aggregation holds values of users: as they are if JSON keeps them, else encoded by the store's serde, in base64.
 * A value is walked, frozen and measured once, when it is taken in. It decides nothing about which values are kept; see
 * `aggregation-kept.ts`.
 */
import { admitJson } from '../codec/freeze.js';
import { describeError } from '../core/errors.js';
import { requireFunction, same } from './aggregation-parts.js';
import { type Serde, traitsOf } from './serde.js';

/** A value that is held, with an upper bound of the bytes of its packed form. */
export interface Held {
  readonly item: unknown;
  readonly bound: number;
}

/** Takes in values `V`, gives back values `R`. */
export interface Keeper<V, R> {
  /** Part of the aggregation's kind: with a projection, other things are stored. */
  readonly suffix: string;
  readonly hold: (value: V) => Held;
  /** As `hold`, for what is already of the type that comes out. */
  readonly holdResult: (value: R) => Held;
  readonly value: (held: Held) => R;
  readonly pack: (held: Held) => unknown;
  readonly unpack: (packed: unknown) => Held;
}

/** The keeper of values as they are, or of what `of` makes of them. */
export function keeperOf<V, R>(kind: string, serde: Serde<V>, of?: (value: V) => R): Keeper<V, R> {
  if (of === undefined) return keeperOfValues(kind, serde) as unknown as Keeper<V, R>;
  requireFunction(kind, 'of', of);
  return jsonKeeper(kind, ' of a projection', of);
}

/** The keeper of a store's values. */
export function keeperOfValues<V>(kind: string, serde: Serde<V>): Keeper<V, V> {
  const { shape } = traitsOf(serde);
  if (shape === 'opaque') return opaqueKeeper(kind, serde);
  if (shape === 'primitive') return primitiveKeeper(kind, serde);
  return jsonKeeper(kind, '', same);
}

/** Freezes and measures what has to survive JSON. Throws a TypeError that names the aggregation and the path. */
export function holdJson(kind: string, value: unknown): Held {
  let bound: number;
  try {
    bound = admitJson(value);
  } catch (error) {
    throw new TypeError(`The aggregation ${kind} can't keep a value: ${describeError(error)}`, {
      cause: error,
    });
  }
  return { item: value, bound };
}

function jsonKeeper<V, R>(kind: string, suffix: string, of: (value: V) => R): Keeper<V, R> {
  const holdResult = (value: R): Held => holdJson(kind, value);
  return {
    suffix,
    hold: (value) => holdResult(of(value)),
    holdResult,
    value: (held) => held.item as R,
    pack: (held) => held.item,
    unpack: (packed) => holdJson(kind, packed),
  };
}

/**
 * Primitives are immutable and held as they are. The few that JSON changes (of float64: NaN, infinities, −0) are encoded
 * when packed, in an array of one, which no primitive is.
 */
function primitiveKeeper<V>(kind: string, serde: Serde<V>): Keeper<V, V> {
  const { admit } = traitsOf(serde);
  const hold = (value: V): Held => {
    admit?.(value);
    return isJsonPrimitive(value)
      ? holdJson(kind, value)
      : { item: value, bound: encode(kind, serde, value).length + 4 };
  };
  return {
    suffix: '',
    hold,
    holdResult: hold,
    value: (held) => held.item as V,
    pack: ({ item }) => (isJsonPrimitive(item) ? item : Object.freeze([encode(kind, serde, item as V)])),
    unpack: (packed) => hold(Array.isArray(packed) ? decode(serde, packed[0] as string) : (packed as V)),
  };
}

/** Encoded when taken in, as the user may change the value afterwards; decoded afresh each time it is given out. */
function opaqueKeeper<V>(kind: string, serde: Serde<V>): Keeper<V, V> {
  const { nullable } = traitsOf(serde);
  const hold = (value: V): Held => {
    // A nullable serde has no bytes for null.
    if (value === null && nullable) return HELD_NULL;
    const item = encode(kind, serde, value);
    return { item, bound: item.length + 2 };
  };
  return {
    suffix: '',
    hold,
    holdResult: hold,
    value: ({ item }) => (item === null ? (null as V) : decode(serde, item as string)),
    pack: ({ item }) => item,
    unpack: (packed) =>
      packed === null ? HELD_NULL : { item: packed, bound: (packed as string).length + 2 },
  };
}

const HELD_NULL: Held = Object.freeze({ item: null, bound: 4 });

function isJsonPrimitive(value: unknown): boolean {
  return typeof value === 'number'
    ? value - value === 0 && !Object.is(value, -0)
    : typeof value === 'string' || typeof value === 'boolean' || value === null;
}

function encode<V>(kind: string, serde: Serde<V>, value: V): string {
  const encoded: unknown = serde.encode(value);
  if (!(encoded instanceof Uint8Array))
    throw new TypeError(`The aggregation ${kind} can't keep a value: its serde's encode returned no bytes`);
  return Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength).toString('base64');
}

/** The bytes are the serde's own: what it decodes may refer to them. */
function decode<V>(serde: Serde<V>, base64: string): V {
  return serde.decode(new Uint8Array(Buffer.from(base64, 'base64')));
}
