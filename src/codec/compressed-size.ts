/**
 * How large compressed data becomes, found from its frames without inflating it: snappy's block header, lz4's and zstd's
 * frame formats. It never decompresses; errors here are plain and say that the data is malformed, `compression.ts` gives
 * them their code.
 */

/** No snappy element makes more than 64 bytes out of less than 3; the header takes at least one. */
export const SNAPPY_MAX_RATIO = 32;

/** The uncompressed size that the header of a raw snappy block announces, a varint. */
export function snappyBlockSize(block: Buffer): number {
  let size = 0;
  for (let i = 0, unit = 1; i < 5; i++, unit *= 128) {
    const byte = block[i];
    if (byte === undefined) break;
    size += (byte & 127) * unit;
    if (byte < 128) return size;
  }
  throw new Error('the snappy block has no size');
}

const LZ4_MAGIC = 0x184d2204;
const LZ4_BLOCK_SIZES = new Map([
  [4, 64 << 10],
  [5, 256 << 10],
  [6, 1 << 20],
  [7, 4 << 20],
]);

/** The exact uncompressed size of one lz4 frame, by the lz4 frame format: the lengths of all sequences are added up. */
export function lz4FrameSize(frame: Buffer): number {
  if (frame.length < 7 || frame.readUInt32LE(0) !== LZ4_MAGIC) throw new Error('there is no lz4 frame');
  const flags = frame[4]!;
  if (flags >>> 6 !== 1) throw new Error(`lz4 frame version ${flags >>> 6} is unknown`);
  const blockMax = LZ4_BLOCK_SIZES.get((frame[5]! >>> 4) & 7);
  if (blockMax === undefined) throw new Error('the lz4 block size is unknown');
  const blockChecksum = (flags & 0x10) === 0 ? 0 : 4;
  let at = 6 + ((flags & 0x08) === 0 ? 0 : 8) + ((flags & 0x01) === 0 ? 0 : 4) + 1;
  let size = 0;
  for (;;) {
    if (frame.length - at < 4) throw new Error('the lz4 frame has no end mark');
    const header = frame.readUInt32LE(at);
    at += 4;
    if (header === 0) return size;
    const length = header & 0x7fff_ffff;
    if (length > frame.length - at) throw new Error('an lz4 block is cut off');
    const blockSize = header >= 0x8000_0000 ? length : lz4BlockSize(frame, at, at + length);
    if (blockSize > blockMax) throw new Error('an lz4 block is larger than the frame allows');
    size += blockSize;
    at += length + blockChecksum;
  }
}

function lz4BlockSize(bytes: Buffer, start: number, end: number): number {
  let size = 0;
  let at = start;
  while (at < end) {
    const token = bytes[at++]!;
    let literals = token >>> 4;
    if (literals === 15) {
      let more = 255;
      while (more === 255 && at < end) literals += more = bytes[at++]!;
    }
    at += literals;
    size += literals;
    if (at > end) throw new Error('lz4 literals are cut off');
    // The last sequence is literals only.
    if (at === end) break;
    at += 2;
    let match = (token & 15) + 4;
    if (match === 19) {
      let more = 255;
      while (more === 255 && at < end) match += more = bytes[at++]!;
    }
    size += match;
    if (at > end) throw new Error('an lz4 match is cut off');
  }
  return size;
}

const ZSTD_MAGIC = 0xfd2fb528;
const ZSTD_BLOCK_MAX = 128 * 1024;

/**
 * An estimate of the uncompressed size of zstd frames (RFC 8878): what the header says, or half of what all blocks before
 * the last may hold if that is more. Encoders fill their blocks or split them, so it is rarely more than the size, and
 * never less than half of it by more than a block. Needed since streaming encoders, as Java's, write no size, and since a
 * header may lie.
 */
export function zstdSizeEstimate(bytes: Buffer): number {
  let at = 0;
  let size = 0;
  while (at < bytes.length) {
    if (bytes.length - at < 5) throw new Error('a zstd frame is cut off');
    const magic = bytes.readUInt32LE(at);
    if (magic >= 0x184d2a50 && magic <= 0x184d2a5f) {
      if (bytes.length - at < 8) throw new Error('a skippable zstd frame is cut off');
      at += 8 + bytes.readUInt32LE(at + 4);
      continue;
    }
    if (magic !== ZSTD_MAGIC) throw new Error('there is no zstd frame');
    const frame = zstdFrame(bytes, at + 4);
    size += frame.size;
    at = frame.end;
  }
  if (at !== bytes.length) throw new Error('a zstd frame is cut off');
  return size;
}

function zstdFrame(bytes: Buffer, start: number): { readonly size: number; readonly end: number } {
  const descriptor = bytes[start]!;
  const single = (descriptor & 0x20) !== 0;
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][descriptor >>> 6]!;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  let at = start + 1;
  if (bytes.length - at < (single ? 0 : 1) + dictionaryBytes + sizeBytes)
    throw new Error('a zstd header is cut off');
  let window = Infinity;
  if (!single) {
    const byte = bytes[at++]!;
    const base = 2 ** (10 + (byte >>> 3));
    window = base + (base / 8) * (byte & 7);
  }
  at += dictionaryBytes;
  let content: number | undefined;
  if (sizeBytes === 8) content = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
  else if (sizeBytes > 0) content = bytes.readUIntLE(at, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
  at += sizeBytes;
  const blockMax = Math.min(ZSTD_BLOCK_MAX, single ? content! : window);
  let held = 0;
  for (let last = false; !last;) {
    if (bytes.length - at < 3) throw new Error('a zstd block is cut off');
    const header = bytes.readUIntLE(at, 3);
    at += 3;
    last = (header & 1) === 1;
    const kind = (header >>> 1) & 3;
    const length = header >>> 3;
    if (kind === 3) throw new Error('a zstd block is of the reserved kind');
    // Raw, repeated byte, compressed.
    if (kind !== 2) held += length;
    else if (!last) held += blockMax;
    at += kind === 1 ? 1 : length;
    if (at > bytes.length) throw new Error('a zstd block is cut off');
  }
  if ((descriptor & 0x04) !== 0) at += 4;
  return { size: Math.max(content ?? 0, held / 2), end: at };
}
