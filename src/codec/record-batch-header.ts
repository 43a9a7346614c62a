/**
 * The 61-byte header of a Kafka record batch (magic 2): reading it, stamping what a log or a producer adds after a batch
 * was sealed, and the control batches that end transactions. It never looks at records; `record-batch-reader.ts` walks
 * them and `record-batch-writer.ts` writes them.
 */
import { PartitaError } from '../core/errors.js';
import { COMPRESSION_NAMES, type Compression } from './compression.js';
import { crc32c } from './crc32c.js';

/** Bytes from the base offset to the record count. */
export const BATCH_HEADER_BYTES = 61;
/** Bytes of base offset and length, which the length itself doesn't count. */
export const BATCH_PREFIX_BYTES = 12;

const LENGTH_AT = 8;
const LEADER_EPOCH_AT = 12;
const MAGIC_AT = 16;
const CRC_AT = 17;
/** Where the range that the CRC covers begins. */
const ATTRIBUTES_AT = 21;
const LAST_OFFSET_DELTA_AT = 23;
const BASE_TIMESTAMP_AT = 27;
const MAX_TIMESTAMP_AT = 35;
const PRODUCER_ID_AT = 43;
const PRODUCER_EPOCH_AT = 51;
const BASE_SEQUENCE_AT = 53;
const RECORD_COUNT_AT = 57;

const MAGIC = 2;
const COMPRESSION_MASK = 0x07;
const LOG_APPEND_TIME = 0x08;
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;
const DELETE_HORIZON = 0x40;

/** Keys of the control records that end a transaction: int16 version 0, int16 type. */
const CONTROL_TYPES = { abort: 0, commit: 1 } as const;

/** What the header of a batch says. Offsets and timestamps (ms) are safe integers; −1 stands for "none". */
export interface BatchHeader {
  /** Where the batch begins and ends in the bytes it was read from. */
  readonly start: number;
  readonly end: number;
  readonly baseOffset: number;
  readonly lastOffset: number;
  /** Offset after the batch, whatever compaction has left of it. */
  readonly nextOffset: number;
  /** With a delete horizon this is the horizon; base + delta is right all the same. */
  readonly baseTimestamp: number;
  /** The append time if `isLogAppendTime`. */
  readonly maxTimestamp: number;
  readonly attributes: number;
  readonly compression: Compression;
  readonly isControl: boolean;
  readonly isTransactional: boolean;
  readonly isLogAppendTime: boolean;
  readonly hasDeleteHorizon: boolean;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly recordCount: number;
}

/**
 * Reads the header of the batch at `at`. `undefined` if the bytes end within the batch, as the last one of a fetch may.
 * Throws RECORD_BATCH_CORRUPT for another magic, a length that can't be, or numbers that contradict each other.
 */
export function readBatchHeader(bytes: Buffer, at: number): BatchHeader | undefined {
  if (bytes.length - at < BATCH_HEADER_BYTES) return undefined;
  const baseOffset = readInt64(bytes, at);
  const magic = bytes[at + MAGIC_AT]!;
  if (magic !== MAGIC) throw corruptBatch(`has magic ${magic} instead of ${MAGIC}`, at, baseOffset);
  const length = bytes.readInt32BE(at + LENGTH_AT);
  if (length < BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES) {
    throw corruptBatch(`has an impossible length of ${length} bytes`, at, baseOffset);
  }
  const end = at + BATCH_PREFIX_BYTES + length;
  if (end > bytes.length) return undefined;
  const attributes = bytes.readInt16BE(at + ATTRIBUTES_AT);
  const compression = COMPRESSION_NAMES[attributes & COMPRESSION_MASK];
  if (compression === undefined) {
    throw corruptBatch(`names compression ${attributes & COMPRESSION_MASK}`, at, baseOffset);
  }
  const lastOffsetDelta = bytes.readInt32BE(at + LAST_OFFSET_DELTA_AT);
  const recordCount = bytes.readInt32BE(at + RECORD_COUNT_AT);
  // Compaction leaves fewer records than offsets, never more.
  if (lastOffsetDelta < 0 || recordCount < 0 || recordCount > lastOffsetDelta + 1) {
    throw corruptBatch(
      `counts ${recordCount} records over a last offset delta of ${lastOffsetDelta}`,
      at,
      baseOffset,
    );
  }
  const baseTimestamp = readInt64(bytes, at + BASE_TIMESTAMP_AT);
  const maxTimestamp = readInt64(bytes, at + MAX_TIMESTAMP_AT);
  const producerId = readInt64(bytes, at + PRODUCER_ID_AT);
  const lastOffset = baseOffset + lastOffsetDelta;
  if (
    baseOffset < 0 ||
    !Number.isSafeInteger(baseOffset) ||
    !Number.isSafeInteger(lastOffset + 1) ||
    !Number.isSafeInteger(baseTimestamp) ||
    !Number.isSafeInteger(maxTimestamp) ||
    !Number.isSafeInteger(producerId)
  ) {
    throw corruptBatch('has an offset, timestamp or producer id beyond 2^53', at, baseOffset);
  }
  return {
    start: at,
    end,
    baseOffset,
    lastOffset,
    nextOffset: lastOffset + 1,
    baseTimestamp,
    maxTimestamp,
    attributes,
    compression,
    isControl: (attributes & CONTROL) !== 0,
    isTransactional: (attributes & TRANSACTIONAL) !== 0,
    isLogAppendTime: (attributes & LOG_APPEND_TIME) !== 0,
    hasDeleteHorizon: (attributes & DELETE_HORIZON) !== 0,
    producerId,
    producerEpoch: bytes.readInt16BE(at + PRODUCER_EPOCH_AT),
    baseSequence: bytes.readInt32BE(at + BASE_SEQUENCE_AT),
    recordCount,
  };
}

/**
 * Checks magic, lengths and CRC of the whole batch at `at` and returns its header. Throws RECORD_BATCH_CORRUPT with
 * `{ position, offset }`, also for a batch that is cut off.
 */
export function checkBatch(bytes: Buffer, at: number): BatchHeader {
  const header = readBatchHeader(bytes, at);
  if (header === undefined) {
    throw new PartitaError(
      'RECORD_BATCH_CORRUPT',
      `The record batch at byte ${at} is cut off: ${bytes.length - at} bytes are left.`,
      { details: { position: at } },
    );
  }
  checkCrc(bytes, header.start, header.end);
  return header;
}

/** Throws RECORD_BATCH_CORRUPT if the CRC in the header of the batch `bytes[start, end)` isn't that of its contents. */
export function checkCrc(bytes: Buffer, start: number, end: number): void {
  const expected = bytes.readUInt32BE(start + CRC_AT);
  const actual = crc32c(bytes, start + ATTRIBUTES_AT, end);
  if (actual !== expected) {
    throw corruptBatch(
      `has CRC ${expected.toString(16)} but contents of CRC ${actual.toString(16)}`,
      start,
      readInt64(bytes, start),
    );
  }
}

/** Who a batch is from; −1 for the parts that are not known. */
export interface ProducerStamp {
  readonly producerId: number;
  readonly epoch: number;
  /** Sequence of the batch's first record. */
  readonly baseSequence: number;
  readonly transactional: boolean;
}

/** Puts a producer into the batch at `at` and recomputes its CRC. */
export function stampProducer(bytes: Buffer, at: number, producer: ProducerStamp): void {
  const attributes = bytes.readInt16BE(at + ATTRIBUTES_AT);
  bytes.writeInt16BE(
    producer.transactional ? attributes | TRANSACTIONAL : attributes & ~TRANSACTIONAL,
    at + ATTRIBUTES_AT,
  );
  writeInt64(bytes, at + PRODUCER_ID_AT, producer.producerId);
  bytes.writeInt16BE(producer.epoch, at + PRODUCER_EPOCH_AT);
  bytes.writeInt32BE(producer.baseSequence, at + BASE_SEQUENCE_AT);
  sealCrc(bytes, at);
}

/** Puts the offset that a log has given into the batch at `at`; the CRC doesn't cover it. */
export function stampOffset(bytes: Buffer, at: number, baseOffset: number, leaderEpoch: number): void {
  writeInt64(bytes, at, baseOffset);
  bytes.writeInt32BE(leaderEpoch, at + LEADER_EPOCH_AT);
}

/** Makes `timestamp` (ms) the append time of every record of the batch at `at` and recomputes its CRC. */
export function stampLogAppendTime(bytes: Buffer, at: number, timestamp: number): void {
  bytes.writeInt16BE(bytes.readInt16BE(at + ATTRIBUTES_AT) | LOG_APPEND_TIME, at + ATTRIBUTES_AT);
  writeInt64(bytes, at + MAX_TIMESTAMP_AT, timestamp);
  sealCrc(bytes, at);
}

/** A batch of one control record, which ends a producer's transaction. */
export function controlBatch(marker: {
  readonly type: 'commit' | 'abort';
  readonly producerId: number;
  readonly epoch: number;
  readonly baseOffset: number;
  readonly timestamp: number;
}): Buffer {
  // Length 16: attributes, timestamp delta, offset delta, key of 4 bytes, value (version, coordinator epoch) of 6, no headers.
  const record = [32, 0, 0, 0, 8, 0, 0, 0, CONTROL_TYPES[marker.type], 12, 0, 0, 0, 0, 0, 0, 0];
  const bytes = Buffer.alloc(BATCH_HEADER_BYTES + record.length);
  bytes.set(record, BATCH_HEADER_BYTES);
  writeBatchHeader(bytes, {
    attributes: TRANSACTIONAL | CONTROL,
    lastOffsetDelta: 0,
    baseTimestamp: marker.timestamp,
    maxTimestamp: marker.timestamp,
    recordCount: 1,
    producerId: marker.producerId,
    producerEpoch: marker.epoch,
    baseSequence: -1,
  });
  stampOffset(bytes, 0, marker.baseOffset, 0);
  return bytes;
}

/** Writes the header over the first 61 bytes of `bytes`, one whole batch: base offset 0, no leader epoch, and the CRC. */
export function writeBatchHeader(
  bytes: Buffer,
  header: {
    readonly attributes: number;
    readonly lastOffsetDelta: number;
    readonly baseTimestamp: number;
    readonly maxTimestamp: number;
    readonly producerId: number;
    readonly producerEpoch: number;
    readonly baseSequence: number;
    readonly recordCount: number;
  },
): void {
  writeInt64(bytes, 0, 0);
  bytes.writeInt32BE(bytes.length - BATCH_PREFIX_BYTES, LENGTH_AT);
  bytes.writeInt32BE(-1, LEADER_EPOCH_AT);
  bytes[MAGIC_AT] = MAGIC;
  bytes.writeInt16BE(header.attributes, ATTRIBUTES_AT);
  bytes.writeInt32BE(header.lastOffsetDelta, LAST_OFFSET_DELTA_AT);
  writeInt64(bytes, BASE_TIMESTAMP_AT, header.baseTimestamp);
  writeInt64(bytes, MAX_TIMESTAMP_AT, header.maxTimestamp);
  writeInt64(bytes, PRODUCER_ID_AT, header.producerId);
  bytes.writeInt16BE(header.producerEpoch, PRODUCER_EPOCH_AT);
  bytes.writeInt32BE(header.baseSequence, BASE_SEQUENCE_AT);
  bytes.writeInt32BE(header.recordCount, RECORD_COUNT_AT);
  sealCrc(bytes, 0);
}

/** The attribute bits of a data batch. */
export function batchAttributes(compression: Compression, transactional: boolean): number {
  return COMPRESSION_NAMES.indexOf(compression) | (transactional ? TRANSACTIONAL : 0);
}

/** A RECORD_BATCH_CORRUPT about the batch that begins at byte `position`; `problem` follows "The record batch … ". */
export function corruptBatch(
  problem: string,
  position: number,
  offset: number,
  from: { readonly topic?: string; readonly partition?: number; readonly cause?: unknown } = {},
): PartitaError {
  const { topic, partition, cause } = from;
  const where = topic === undefined ? '' : ` of ${topic}-${partition ?? '?'}`;
  return new PartitaError(
    'RECORD_BATCH_CORRUPT',
    `The record batch${where} with base offset ${offset} at byte ${position} ${problem}.`,
    {
      ...(cause === undefined ? {} : { cause }),
      details: {
        position,
        offset,
        ...(topic === undefined ? {} : { topic }),
        ...(partition === undefined ? {} : { partition }),
      },
    },
  );
}

function sealCrc(bytes: Buffer, at: number): void {
  const end = at + BATCH_PREFIX_BYTES + bytes.readInt32BE(at + LENGTH_AT);
  bytes.writeUInt32BE(crc32c(bytes, at + ATTRIBUTES_AT, end), at + CRC_AT);
}

/** A signed 64-bit number; inexact beyond 2^53, which the callers refuse. */
function readInt64(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4);
}

function writeInt64(bytes: Buffer, at: number, value: number): void {
  bytes.writeInt32BE(Math.floor(value / 0x1_0000_0000), at);
  bytes.writeUInt32BE(value >>> 0, at + 4);
}
