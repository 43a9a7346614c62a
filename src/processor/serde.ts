/**
 * Serdes: how keys and values become bytes. A user may write one as two functions; the built-in ones also carry traits
 * that the runtime uses to avoid an intermediate buffer, to order keys and to know what may be frozen.
 */

/** Encodes and decodes one type. `decode(encode(v))` must equal `v`; both are synchronous and pure. */
export interface Serde<T> {
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

/** Key under which a built-in serde keeps its traits; a registered symbol, so that two copies of the package agree. */
export const SERDE_TRAITS: unique symbol = Symbol.for('partita.serde.traits') as never;

export interface SerdeTraits<T> {
  readonly name: string;
  /** Present if the encoded form is UTF-8 text: lets writers encode straight into a batch, readers slice strings. */
  readonly text?: { toText(value: T): string; fromText(text: string): T };
  /** Whether null is a value of this type (`nullable`). */
  readonly nullable: boolean;
  /**
   * What a decoded value is: `primitive` (immutable by nature), `plain` (objects and arrays, frozen deeply), `opaque`
   * (bytes, Map, Date, class instances: kept encoded and decoded afresh for each `get`).
   */
  readonly shape: 'primitive' | 'plain' | 'opaque';
  /** Order-preserving form for store keys where the wire form does not sort as the values do. */
  readonly ordered?: { encode(value: T): Uint8Array; decode(bytes: Uint8Array): T };
  /**
   * Checks that a plain or primitive value survives encode and decode, and freezes it deeply, in one walk. Returns an upper
   * bound of its encoded size in bytes. Throws a TypeError or RangeError that names the path of what does not survive.
   */
  readonly admit?: (value: T) => number;
}

/** The traits of a serde; defaults for one that a user wrote: opaque, not nullable. */
export function traitsOf<T>(serde: Serde<T>): SerdeTraits<T> {
  const traits = (serde as { [SERDE_TRAITS]?: SerdeTraits<T> })[SERDE_TRAITS];
  return traits ?? { name: 'custom', nullable: false, shape: 'opaque' };
}
