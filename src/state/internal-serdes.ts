/**
 * Serdes of the internal families that composite stores are made of. Their values are the state layer's own immutable
 * objects, so nothing is frozen or walked again; their keys are bytes as latin1 text, which is its own Map key.
 */
import { SERDE_TRAITS, type Serde } from '../processor/serde.js';

/** Keys that are bytes already, one a character. */
export const latin1Keys: Serde<unknown> = withTraits({
  encode: (key) => Buffer.from(key as string, 'latin1'),
  decode: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1'),
});

/** Rows of which only the key counts. */
export const presence: Serde<unknown> = internal('presence', {
  toText: () => '',
  fromText: () => true,
  bytesMax: () => 0,
});

export interface InternalForm<T> {
  readonly toText: (value: T) => string;
  readonly fromText: (text: string) => T;
  /** Upper bound of the bytes of `toText(value)`. */
  readonly bytesMax: (value: T) => number;
}

/** A serde of immutable objects that the state layer makes itself. */
export function internal<T>(name: string, form: InternalForm<T>): Serde<unknown> {
  const { toText, fromText, bytesMax } = form as InternalForm<unknown>;
  return {
    encode: (value) => Buffer.from(toText(value), 'utf8'),
    decode: (bytes) =>
      fromText(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')),
    [SERDE_TRAITS]: {
      name: `internal ${name}`,
      nullable: false,
      // Not walked and not frozen: nobody outside the state layer holds it.
      shape: 'primitive',
      text: { toText, fromText },
      admit: bytesMax,
    },
  } as Serde<unknown>;
}

function withTraits(serde: Serde<unknown>): Serde<unknown> {
  return {
    ...serde,
    [SERDE_TRAITS]: { name: 'internal key', nullable: false, shape: 'primitive' },
  } as Serde<unknown>;
}

/** Eight bytes, big-endian, as latin1 text: sorts as the times do. For whole numbers from 0 to 2^53 − 1. */
export function timeText(ms: number): string {
  const high = Math.floor(ms / 0x1_0000_0000);
  const low = ms >>> 0;
  return String.fromCharCode(
    high >>> 24,
    (high >>> 16) & 0xff,
    (high >>> 8) & 0xff,
    high & 0xff,
    low >>> 24,
    (low >>> 16) & 0xff,
    (low >>> 8) & 0xff,
    low & 0xff,
  );
}

export function timeOfText(text: string): number {
  let ms = 0;
  for (let i = 0; i < 8; i++) ms = ms * 256 + text.charCodeAt(i);
  return ms;
}
