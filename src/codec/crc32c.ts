/**
 * CRC32C (Castagnoli) over a range of bytes, as record batches carry it. The polynomial's work is done by
 * `@node-rs/crc32`; this file never looks at what the bytes mean.
 */
import { crc32c as crc32cOf } from '@node-rs/crc32';

/** The CRC32C of `bytes[start, end)` as an unsigned 32-bit number. */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  return crc32cOf(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end));
}
