/**
 * The answer to a fetch, version 11, as bytes: per partition its header and where its record batches lie. Nothing is
 * decoded and nothing copied; positions come from the headers of batches (kafka.md, hazard 5), never from records.
 */
import { BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES } from '../../../codec/record-batch-header.js';
import type { AbortedTransaction } from '../../../core/log-types.js';
import { ByteReader } from './byte-reader.js';

export interface FetchAnswer {
  readonly clientSideThrottleTime: number;
  readonly errorCode: number;
  readonly partitions: readonly FetchedPartition[];
}

export interface FetchedPartition {
  readonly topic: string;
  readonly partition: number;
  readonly errorCode: number;
  readonly highWatermark: number;
  readonly lastStable: number;
  readonly logStart: number;
  readonly aborted: readonly AbortedTransaction[];
  /** The whole answer; the batches are `[start, end)` of it, the last of them possibly cut. */
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

export function decodeFetch(payload: Buffer): FetchAnswer {
  const reader = new ByteReader(payload);
  const clientSideThrottleTime = reader.int32();
  const errorCode = reader.int16();
  reader.int32();
  const partitions = reader
    .array(() => {
      const topic = reader.string();
      return reader.array(() => decodePartition(reader, topic));
    })
    .flat();
  return { clientSideThrottleTime, errorCode, partitions };
}

function decodePartition(reader: ByteReader, topic: string): FetchedPartition {
  const partition = reader.int32();
  const errorCode = reader.int16();
  const highWatermark = reader.int64();
  const lastStable = reader.int64();
  const logStart = reader.int64();
  const aborted = reader.array(() => ({ producerId: reader.int64(), firstOffset: reader.int64() }));
  reader.int32();
  const size = Math.max(0, reader.int32());
  const start = reader.skip(size);
  return {
    topic,
    partition,
    errorCode,
    highWatermark,
    lastStable,
    logStart,
    aborted,
    buffer: reader.bytes,
    start,
    end: start + size,
  };
}

const MAGIC_AT = 16;
const MAGIC = 2;

export interface WholeBatches {
  /** Where the last whole batch ends. */
  readonly end: number;
  /** The offset after it; `from` where there is none. */
  readonly next: number;
}

/**
 * The whole batches at the beginning of `[start, end)`, and how far they reach. Batches that end below `from` are passed
 * over by the reader of the records, not here: the first batch of a fetch usually begins below its offset.
 */
export function wholeBatches(bytes: Buffer, start: number, end: number, from: number): WholeBatches {
  let at = start;
  let next = from;
  while (end - at >= BATCH_HEADER_BYTES) {
    const after = at + BATCH_PREFIX_BYTES + bytes.readInt32BE(at + 8);
    // Of another format nothing is where it is looked for.
    if (after > end || after <= at || bytes[at + MAGIC_AT] !== MAGIC) break;
    const base = bytes.readInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4);
    next = Math.max(next, base + bytes.readInt32BE(at + 23) + 1);
    at = after;
  }
  return { end: at, next };
}

/** The bytes as a buffer of their own: to be transferred, and so that the answer can be let go. */
export function copyOut(bytes: Buffer, start: number, end: number): ArrayBuffer {
  // A buffer of its own, and not zeroed first.
  const copy = Buffer.allocUnsafeSlow(end - start);
  bytes.copy(copy, 0, start, end);
  return copy.buffer;
}
