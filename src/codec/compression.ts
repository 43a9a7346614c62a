/**
 * Compression of a batch's records, synchronously: gzip by zlib, the others by optional packages that are loaded when
 * first needed. What would inflate beyond the caller's limit is refused before it is inflated, since a few kilobytes can
 * become hundreds of megabytes; `compressed-size.ts` finds the sizes.
 */
import { createRequire } from 'node:module';
import * as zlib from 'node:zlib';
import { describeError, PartitaError } from '../core/errors.js';
import { lz4FrameSize, snappyBlockSize, SNAPPY_MAX_RATIO, zstdSizeEstimate } from './compressed-size.js';

/** Names in the order of their numbers in a batch's attributes. */
export const COMPRESSION_NAMES = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;

export type Compression = (typeof COMPRESSION_NAMES)[number];

interface SnappyPackage {
  compressSync: (bytes: Uint8Array) => Buffer;
  uncompressSync: (bytes: Uint8Array) => string | Buffer;
}
interface Lz4Package {
  compressFrameSync(bytes: Buffer): Buffer;
  decompressFrameSync(bytes: Buffer): Buffer;
}
interface ZstdPackage {
  Encoder: new (level: number) => { encodeSync(bytes: Buffer): Buffer };
  Decoder: new () => { decodeSync(bytes: Buffer): Buffer };
}
/** In node:zlib since Node 22.15. */
interface ZstdOfNode {
  zstdCompressSync?: (bytes: Uint8Array) => Buffer;
  zstdDecompressSync?: (bytes: Uint8Array, options: { maxOutputLength: number }) => Buffer;
}

/** Header of the framing in which Java's clients write snappy: magic, version 1, compatible version 1. */
const XERIAL_HEADER = Buffer.from('82534e4150505900' + '00000001' + '00000001', 'hex');
const XERIAL_MAGIC_BYTES = 8;
/** What Java's clients put into one block. */
const XERIAL_BLOCK_BYTES = 32 * 1024;
const ZSTD_LEVEL = 3;

/** The compressed form of `bytes`. Throws COMPRESSION_UNAVAILABLE naming the package to install. */
export function compress(kind: Compression, bytes: Uint8Array): Buffer {
  switch (kind) {
    case 'none':
      return asBuffer(bytes);
    case 'gzip':
      return zlib.gzipSync(bytes);
    case 'snappy':
      return compressSnappy(bytes);
    case 'lz4':
      return (load('lz4', 'lz4-napi') as Lz4Package).compressFrameSync(asBuffer(bytes));
    case 'zstd': {
      const builtIn = (zlib as ZstdOfNode).zstdCompressSync;
      if (builtIn !== undefined) return builtIn(bytes);
      const { Encoder } = load('zstd', '@toondepauw/node-zstd') as ZstdPackage;
      return new Encoder(ZSTD_LEVEL).encodeSync(asBuffer(bytes));
    }
  }
}

/**
 * The original of `bytes`, at most `maxBytes` long. Throws RECORD_BATCH_CORRUPT for what can't be decompressed or would
 * exceed `maxBytes` (details: `maxBytes`), COMPRESSION_UNAVAILABLE naming the package to install.
 */
export function decompress(kind: Compression, bytes: Uint8Array, maxBytes: number): Buffer {
  if (kind === 'none') return asBuffer(bytes);
  let result: Buffer;
  try {
    result = inflate(kind, asBuffer(bytes), maxBytes);
  } catch (error) {
    if (error instanceof PartitaError) throw error;
    if ((error as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(kind, maxBytes);
    throw new PartitaError(
      'RECORD_BATCH_CORRUPT',
      `The ${kind} data can't be decompressed: ${describeError(error)}`,
      { cause: error },
    );
  }
  // zstd's size is an estimate, and a library may yield more than its input announced.
  if (result.length > maxBytes) throw tooLarge(kind, maxBytes);
  return result;
}

function inflate(kind: Exclude<Compression, 'none'>, bytes: Buffer, maxBytes: number): Buffer {
  switch (kind) {
    case 'gzip':
      return zlib.gunzipSync(bytes, { maxOutputLength: Math.max(1, maxBytes) });
    case 'snappy':
      return decompressSnappy(bytes, maxBytes);
    case 'lz4': {
      const size = lz4FrameSize(bytes);
      if (size > maxBytes) throw tooLarge(kind, maxBytes);
      const result = (load('lz4', 'lz4-napi') as Lz4Package).decompressFrameSync(bytes);
      // The package returns what it has, without an error, where the frame is damaged.
      if (result.length !== size) throw new Error(`${size} bytes announced, ${result.length} found`);
      return result;
    }
    case 'zstd': {
      // Node 22's own zstd takes nothing for an empty frame.
      if (bytes.length === 0) throw new Error('there is no frame');
      if (zstdSizeEstimate(bytes) > maxBytes) throw tooLarge(kind, maxBytes);
      const builtIn = (zlib as ZstdOfNode).zstdDecompressSync;
      if (builtIn !== undefined) return builtIn(bytes, { maxOutputLength: Math.max(1, maxBytes) });
      const { Decoder } = load('zstd', '@toondepauw/node-zstd') as ZstdPackage;
      return new Decoder().decodeSync(bytes);
    }
  }
}

/** Snappy in xerial framing: header, then blocks with their lengths. */
function compressSnappy(bytes: Uint8Array): Buffer {
  const { compressSync } = load('snappy', 'snappy') as SnappyPackage;
  const parts: Buffer[] = [XERIAL_HEADER];
  for (let at = 0; at < bytes.length; at += XERIAL_BLOCK_BYTES) {
    const block = compressSync(bytes.subarray(at, at + XERIAL_BLOCK_BYTES));
    const length = Buffer.allocUnsafe(4);
    length.writeInt32BE(block.length, 0);
    parts.push(length, block);
  }
  return Buffer.concat(parts);
}

/** Reads xerial framing, and a bare block as librdkafka writes it. */
function decompressSnappy(bytes: Buffer, maxBytes: number): Buffer {
  const { uncompressSync } = load('snappy', 'snappy') as SnappyPackage;
  let total = 0;
  const uncompress = (block: Buffer): Buffer => {
    const size = snappyBlockSize(block);
    total += size;
    if (total > maxBytes) throw tooLarge('snappy', maxBytes);
    if (size > block.length * SNAPPY_MAX_RATIO) throw new Error('a block announces more than it can hold');
    const result = uncompressSync(block);
    if (typeof result === 'string') throw new Error('the snappy package returned text');
    return result;
  };
  if (bytes.compare(XERIAL_HEADER, 0, XERIAL_MAGIC_BYTES, 0, XERIAL_MAGIC_BYTES) !== 0)
    return uncompress(bytes);
  const parts: Buffer[] = [];
  for (let at = XERIAL_HEADER.length; at < bytes.length;) {
    if (bytes.length - at < 4) throw new Error('a block length is cut off');
    const length = bytes.readInt32BE(at);
    at += 4;
    if (length <= 0 || length > bytes.length - at) throw new Error(`a block of ${length} bytes is cut off`);
    parts.push(uncompress(bytes.subarray(at, at + length)));
    at += length;
  }
  return Buffer.concat(parts);
}

const require = createRequire(import.meta.url);
const loaded = new Map<string, unknown>();

function load(kind: Compression, name: string): unknown {
  const known = loaded.get(name);
  if (known !== undefined) return known;
  let found: unknown;
  try {
    found = require(name);
  } catch (error) {
    throw new PartitaError(
      'COMPRESSION_UNAVAILABLE',
      `Compression ${kind} needs the package ${name}, which can't be loaded. Install it: npm install ${name}`,
      { cause: error, details: { compression: kind, package: name } },
    );
  }
  loaded.set(name, found);
  return found;
}

function tooLarge(kind: Compression, maxBytes: number): PartitaError {
  return new PartitaError(
    'RECORD_BATCH_CORRUPT',
    `The ${kind} data would decompress to more than ${maxBytes} bytes, the limit (maxDecompressedBytes).`,
    { details: { compression: kind, maxBytes } },
  );
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
