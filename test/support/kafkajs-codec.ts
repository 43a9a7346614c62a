/**
 * kafkajs' own record batch codec behind types: the oracle that is not our code. Only tests load it; compression other
 * than gzip is lent to it from the optional packages directly, past our framing.
 */
import { createRequire } from 'node:module';

interface Long {
  toString(): string;
}
interface Encoder {
  readonly buffer: Buffer;
}
interface DecodedRecord {
  readonly offset: string;
  readonly timestamp: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, Buffer | null | (Buffer | null)[]>>;
  readonly isControlRecord: boolean;
}
interface DecodedBatch {
  readonly firstOffset: string;
  readonly lastOffsetDelta: number;
  readonly firstTimestamp: string;
  readonly maxTimestamp: string;
  readonly producerId: string;
  readonly producerEpoch: number;
  readonly firstSequence: number;
  readonly inTransaction: boolean;
  readonly isControlBatch: boolean;
  readonly records: readonly DecodedRecord[];
}

const require = createRequire(import.meta.url);
const LongOf = require('kafkajs/src/utils/long') as { fromValue(value: string | number): Long };
const Decoder = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => object;
const decodeBatch = require('kafkajs/src/protocol/recordBatch/v0/decoder') as (
  decoder: object,
) => Promise<DecodedBatch>;
const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0') as {
  RecordBatch: (options: object) => Promise<Encoder>;
};
const encodeRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (record: object) => Encoder;
const compression = require('kafkajs/src/protocol/message/compression') as {
  Codecs: Partial<{
    [kind: number]: () => {
      compress(encoder: Encoder): Promise<Buffer>;
      decompress(bytes: Buffer): Promise<Buffer>;
    };
  }>;
};

const snappy = require('snappy') as {
  compressSync(bytes: Buffer): Buffer;
  uncompressSync(bytes: Buffer): Buffer;
};
const lz4 = require('lz4-napi') as {
  compressFrameSync(bytes: Buffer): Buffer;
  decompressFrameSync(bytes: Buffer): Buffer;
};
const zstd = require('@toondepauw/node-zstd') as {
  Encoder: new (level: number) => { encodeSync(bytes: Buffer): Buffer };
  Decoder: new () => { decodeSync(bytes: Buffer): Buffer };
};
const lend = (kind: number, pack: (bytes: Buffer) => Buffer, unpack: (bytes: Buffer) => Buffer) => {
  compression.Codecs[kind] = () => ({
    compress: async (encoder) => pack(encoder.buffer),
    decompress: async (bytes) => unpack(bytes),
  });
};
const XERIAL_HEADER_BYTES = 16;
lend(
  2,
  (bytes) => snappy.compressSync(bytes),
  (bytes) => {
    if (bytes.toString('latin1', 1, 7) !== 'SNAPPY') return snappy.uncompressSync(bytes);
    const parts: Buffer[] = [];
    for (let at = XERIAL_HEADER_BYTES; at < bytes.length;) {
      const length = bytes.readInt32BE(at);
      parts.push(snappy.uncompressSync(bytes.subarray(at + 4, at + 4 + length)));
      at += 4 + length;
    }
    return Buffer.concat(parts);
  },
);
lend(
  3,
  (bytes) => lz4.compressFrameSync(bytes),
  (bytes) => lz4.decompressFrameSync(bytes),
);
lend(
  4,
  (bytes) => new zstd.Encoder(3).encodeSync(bytes),
  (bytes) => new zstd.Decoder().decodeSync(bytes),
);

export const COMPRESSION_NUMBERS = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 } as const;

/** A record as both codecs can tell it. */
export interface PlainRecord {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: string | null;
  readonly value: string | null;
  /** Hexadecimal values by name, in order; kafkajs merges equal names. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
}

export function hex(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString('hex');
}

export function headersByName(
  headers: Iterable<readonly [string, Uint8Array | null]>,
): Readonly<Record<string, readonly string[]>> {
  const byName: Record<string, string[]> = {};
  for (const [name, value] of headers) (byName[name] ??= []).push(hex(value) ?? '');
  return byName;
}

/** The batches in `bytes`, each decoded by kafkajs. */
export async function kafkajsDecode(bytes: Buffer): Promise<readonly DecodedBatch[]> {
  const batches: DecodedBatch[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + 12 + bytes.readInt32BE(at + 8);
    batches.push(await decodeBatch(new Decoder(bytes.subarray(at, end))));
    at = end;
  }
  return batches;
}

/** The records of a decoded batch, in comparable form. */
export function plainRecords(batch: DecodedBatch): PlainRecord[] {
  return batch.records.map((record) => ({
    offset: Number(record.offset),
    timestamp: Number(record.timestamp),
    key: hex(record.key),
    value: hex(record.value),
    headers: headersByName(
      Object.entries(record.headers).flatMap(([name, value]) =>
        (Array.isArray(value) ? value : [value]).map((one) => [name, one] as const),
      ),
    ),
  }));
}

export interface BatchToEncode {
  readonly baseOffset?: number;
  readonly baseTimestamp: number;
  readonly maxTimestamp: number;
  readonly lastOffsetDelta: number;
  readonly compression?: keyof typeof COMPRESSION_NUMBERS;
  readonly transactional?: boolean;
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly baseSequence?: number;
  readonly records: readonly {
    readonly offsetDelta: number;
    readonly timestampDelta: number;
    readonly key: Buffer | null;
    readonly value: Buffer | null;
    readonly headers?: Readonly<Record<string, Buffer | readonly Buffer[]>>;
  }[];
}

/** A batch encoded by kafkajs. */
export async function kafkajsEncode(batch: BatchToEncode): Promise<Buffer> {
  const long = (value: number): Long => LongOf.fromValue(String(value));
  const encoder = await RecordBatch({
    compression: COMPRESSION_NUMBERS[batch.compression ?? 'none'],
    firstOffset: long(batch.baseOffset ?? 0),
    firstTimestamp: long(batch.baseTimestamp),
    maxTimestamp: long(batch.maxTimestamp),
    lastOffsetDelta: batch.lastOffsetDelta,
    transactional: batch.transactional ?? false,
    producerId: long(batch.producerId ?? -1),
    producerEpoch: batch.producerEpoch ?? -1,
    firstSequence: batch.baseSequence ?? -1,
    records: batch.records.map((record) =>
      encodeRecord({ ...record, timestampDelta: long(record.timestampDelta) }),
    ),
  });
  return Buffer.from(encoder.buffer);
}
