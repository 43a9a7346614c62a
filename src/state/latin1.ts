/** Bytes as text of one character each: such strings are cheap Map keys and compare as the bytes do. */

/** A method of Buffer that works on any Uint8Array without wrapping it; the typings omit it. */
const { latin1Slice } = Buffer.prototype as unknown as { latin1Slice: (this: Uint8Array) => string };

export function latin1(bytes: Uint8Array): string {
  return latin1Slice.call(bytes);
}
