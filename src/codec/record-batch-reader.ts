/**
 * Walks the records of fetched batches in place: no object, no copy and no decoding per record until somebody asks. It
 * filters what read-committed readers must not see (aborted transactions, control records) and keeps the position that
 * follows; it never decides what a key or value means. The header of a batch is `record-batch-header.ts`.
 */
import { type PartitaError, isPartitaError } from '../core/errors.js';
import type { AbortedTransaction } from '../core/log-types.js';
import { decompress } from './compression.js';
import {
  BATCH_HEADER_BYTES,
  type BatchHeader,
  checkCrc,
  corruptBatch,
  readBatchHeader,
} from './record-batch-header.js';

export interface ReaderOptions {
  /** Whether each batch's CRC32C is checked. @default true */
  readonly checkCrc?: boolean;
  /** What the records of one compressed batch may become. @default 134217728 (128 MiB) */
  readonly maxDecompressedBytes?: number;
}

export interface LoadOptions {
  /** Records below this offset are skipped. */
  readonly from: number;
  /** Transactions to skip, in any order. */
  readonly aborted?: readonly AbortedTransaction[] | undefined;
  /** For messages of errors. */
  readonly topic?: string | undefined;
  readonly partition?: number | undefined;
}

const DEFAULT_MAX_DECOMPRESSED_BYTES = 128 * 1024 * 1024;
/** A record has seven fields of at least a byte each. */
const MIN_RECORD_BYTES = 7;
const NOTHING = Buffer.alloc(0);
/** What a malformed varint gives: no length is that negative. */
const BAD_VARINT = -0x8000_0000;

export class RecordReader {
  /** Of the current record, valid after `next()` returned true. */
  offset = 0;
  /** Milliseconds; the batch's append time if `logAppendTime`. */
  timestamp = 0;
  /** The bytes that starts and ends refer to: what was loaded, or the decompressed records of the current batch. */
  data: Buffer = NOTHING;
  keyStart = 0;
  /** −1 if the key is null; equal to `keyStart` if it is empty. */
  keyEnd = -1;
  valueStart = 0;
  /** −1 if the value is null. */
  valueEnd = -1;
  headerCount = 0;

  /** The next offset after all batches entered so far, also those with nothing to see; at least `from`. */
  position = 0;

  /** Of the current batch. */
  isTransactional = false;
  producerId = -1;
  producerEpoch = -1;
  logAppendTime = false;
  /** Largest timestamp of the batch, or its append time. */
  batchTimestamp = 0;

  readonly #checkCrc: boolean;
  readonly #maxDecompressedBytes: number;
  /** Index in `data` of what is read next. */
  #at = 0;
  /** End of the current batch's records in `data`. */
  #limit = 0;
  /** Records of the current batch that are still to come. */
  #remaining = 0;
  #baseOffset = 0;
  #lastOffsetDelta = 0;
  #offsetDelta = -1;
  #baseTimestamp = 0;
  #headersAt = 0;
  #headersEnd = 0;
  #from = 0;

  #loaded: Buffer = NOTHING;
  #batchStart = 0;
  #nextBatch = 0;
  /** Aborted transactions not yet reached, by first offset; and producers within one. */
  #aborted: AbortedTransaction[] = [];
  #abortedReached = 0;
  readonly #aborting = new Set<number>();
  #topic: string | undefined;
  #partition: number | undefined;
  #failure: PartitaError | undefined;

  constructor(options: ReaderOptions = {}) {
    this.#checkCrc = options.checkCrc ?? true;
    this.#maxDecompressedBytes = options.maxDecompressedBytes ?? DEFAULT_MAX_DECOMPRESSED_BYTES;
  }

  /**
   * Starts on whole batches; a last one that is cut off ends the walk silently, as it ends a fetch. The bytes must not
   * change, nor be transferred, until the walk is over.
   */
  load(bytes: Uint8Array | ArrayBuffer, options: LoadOptions): void {
    this.#loaded =
      bytes instanceof ArrayBuffer
        ? Buffer.from(bytes)
        : Buffer.isBuffer(bytes)
          ? bytes
          : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#nextBatch = 0;
    this.#remaining = 0;
    this.#from = options.from;
    this.position = options.from;
    // Kafka lists them in the order in which they ended.
    this.#aborted = options.aborted === undefined ? [] : [...options.aborted];
    this.#aborted.sort((a, b) => a.firstOffset - b.firstOffset);
    this.#abortedReached = 0;
    this.#aborting.clear();
    this.#topic = options.topic;
    this.#partition = options.partition;
    this.#failure = undefined;
    this.#at = this.#limit = 0;
  }

  /**
   * Advances to the next record; false at the end. Throws RECORD_BATCH_CORRUPT with `{ position, offset, topic, partition }`
   * of the batch, COMPRESSION_UNAVAILABLE; after that it throws the same again until something else is loaded.
   */
  next(): boolean {
    for (;;) {
      while (this.#remaining === 0) if (!this.#enterBatch()) return false;
      this.#readRecord();
      this.#remaining--;
      if (this.#remaining === 0 && this.#at !== this.#limit) {
        this.#fail(`has ${this.#limit - this.#at} bytes after its last record`);
      }
      if (this.offset >= this.#from) return true;
    }
  }

  /** A view of the key's bytes, valid as long as `data`. */
  key(): Uint8Array | null {
    return this.keyEnd < 0 ? null : viewOf(this.data, this.keyStart, this.keyEnd);
  }

  /** A view of the value's bytes, valid as long as `data`. */
  value(): Uint8Array | null {
    return this.valueEnd < 0 ? null : viewOf(this.data, this.valueStart, this.valueEnd);
  }

  /** The key as UTF-8 text. */
  keyText(): string | null {
    return this.keyEnd < 0 ? null : this.data.toString('utf8', this.keyStart, this.keyEnd);
  }

  /** The value as UTF-8 text. */
  valueText(): string | null {
    return this.valueEnd < 0 ? null : this.data.toString('utf8', this.valueStart, this.valueEnd);
  }

  /** The headers of the current record, copied; a null value is given as empty bytes. */
  headers(): (readonly [string, Uint8Array])[] {
    const headers: (readonly [string, Uint8Array])[] = [];
    const { data } = this;
    const end = this.#headersEnd;
    const walk = this.#at;
    this.#at = this.#headersAt;
    for (let i = 0; i < this.headerCount; i++) {
      const nameLength = this.#varint();
      const nameAt = this.#at;
      if (nameLength < 0 || nameLength > end - nameAt) this.#fail('has a header that is cut off');
      this.#at = nameAt + nameLength;
      const valueLength = this.#varint();
      const valueAt = this.#at;
      if (valueLength < -1 || valueLength > end - valueAt) this.#fail('has a header that is cut off');
      this.#at = valueAt + Math.max(0, valueLength);
      headers.push([
        data.toString('utf8', nameAt, nameAt + nameLength),
        new Uint8Array(data.subarray(valueAt, this.#at)),
      ]);
    }
    if (this.#at !== end) this.#fail('has a record with bytes after its headers');
    this.#at = walk;
    return headers;
  }

  /** Moves to the next batch with records to see; false if there is none. */
  #enterBatch(): boolean {
    if (this.#failure !== undefined) throw this.#failure;
    const header = this.#header();
    if (header === undefined) return false;
    this.#batchStart = header.start;
    this.#baseOffset = header.baseOffset;
    // Markers count also below `from`: they end what would hide later records of the same producer.
    if (header.nextOffset > this.#from || header.isControl) {
      if (this.#checkCrc)
        this.#guard(() => {
          checkCrc(this.#loaded, header.start, header.end);
        });
      this.#enter(header);
    }
    this.#nextBatch = header.end;
    if (header.nextOffset > this.position) this.position = header.nextOffset;
    return true;
  }

  #header(): BatchHeader | undefined {
    this.#batchStart = this.#nextBatch;
    return this.#guard(() => readBatchHeader(this.#loaded, this.#nextBatch));
  }

  #enter(header: BatchHeader): void {
    this.isTransactional = header.isTransactional;
    this.producerId = header.producerId;
    this.producerEpoch = header.producerEpoch;
    this.logAppendTime = header.isLogAppendTime;
    this.batchTimestamp = header.maxTimestamp;
    this.#lastOffsetDelta = header.lastOffset - header.baseOffset;
    this.#offsetDelta = -1;
    this.#baseTimestamp = header.baseTimestamp;
    this.#reachAborted(header.lastOffset);
    if (header.isControl) {
      // A producer has one transaction at a time, so any marker of its ends what was open, whatever its type and even if
      // compaction has emptied it. Nothing is looked up in its key, which users could imitate in theirs.
      this.#aborting.delete(header.producerId);
      return;
    }
    if (header.isTransactional && this.#aborting.has(header.producerId)) return;
    if (header.recordCount === 0) return;
    this.#openRecords(header);
  }

  #reachAborted(lastOffset: number): void {
    for (;;) {
      const next = this.#aborted[this.#abortedReached];
      if (next === undefined || next.firstOffset > lastOffset) return;
      this.#aborting.add(next.producerId);
      this.#abortedReached++;
    }
  }

  #openRecords(header: BatchHeader): void {
    const recordsStart = header.start + BATCH_HEADER_BYTES;
    if (header.compression === 'none') {
      this.data = this.#loaded;
      this.#at = recordsStart;
      this.#limit = header.end;
    } else {
      const compressed = this.#loaded.subarray(recordsStart, header.end);
      this.data = this.#guard(() => decompress(header.compression, compressed, this.#maxDecompressedBytes));
      this.#at = 0;
      this.#limit = this.data.length;
    }
    if (header.recordCount * MIN_RECORD_BYTES > this.#limit - this.#at) {
      this.#fail(`counts ${header.recordCount} records in ${this.#limit - this.#at} bytes`);
    }
    this.#remaining = header.recordCount;
  }

  /** Reads the record at `#at` into the fields. */
  #readRecord(): void {
    const length = this.#varint();
    const end = this.#at + length;
    if (length < MIN_RECORD_BYTES - 1 || end > this.#limit) this.#fail('has a record that is cut off');
    this.#at++; // attributes, unused in this version
    const timestampDelta = this.#varlong();
    const offsetDelta = this.#varint();
    if (offsetDelta <= this.#offsetDelta || offsetDelta > this.#lastOffsetDelta) {
      this.#fail(`has an offset delta of ${offsetDelta} after ${this.#offsetDelta}`);
    }
    this.#offsetDelta = offsetDelta;

    const keyLength = this.#varint();
    const keyStart = this.#at;
    if (keyLength < -1 || keyLength > end - keyStart) this.#fail('has a key that is cut off');
    this.keyStart = keyStart;
    this.keyEnd = keyLength < 0 ? -1 : keyStart + keyLength;
    if (keyLength > 0) this.#at = keyStart + keyLength;

    const valueLength = this.#varint();
    const valueStart = this.#at;
    if (valueLength < -1 || valueLength > end - valueStart) this.#fail('has a value that is cut off');
    this.valueStart = valueStart;
    this.valueEnd = valueLength < 0 ? -1 : valueStart + valueLength;
    if (valueLength > 0) this.#at = valueStart + valueLength;

    // Headers are counted here and read when asked for.
    const headerCount = this.#varint();
    const rest = end - this.#at;
    if (headerCount < 0 || headerCount * 2 > rest || (headerCount === 0 && rest !== 0)) {
      this.#fail(`counts ${headerCount} headers in ${rest} bytes of a record`);
    }
    this.headerCount = headerCount;
    this.#headersAt = this.#at;
    this.#headersEnd = end;
    this.#at = end;

    this.offset = this.#baseOffset + offsetDelta;
    const timestamp = this.logAppendTime ? this.batchTimestamp : this.#baseTimestamp + timestampDelta;
    if (!Number.isSafeInteger(timestamp)) this.#fail('has a timestamp beyond 2^53');
    this.timestamp = timestamp;
  }

  /** A zigzag varint of 32 bits. */
  #varint(): number {
    const { data } = this;
    let at = this.#at;
    // Reading beyond the end gives undefined, which counts as 0 and ends the number; the caller finds the end passed.
    let byte = data[at++]!;
    let value = byte & 127;
    for (let shift = 7; byte > 127; shift += 7) {
      if (shift > 28) return BAD_VARINT;
      byte = data[at++]!;
      value |= (byte & 127) << shift;
    }
    this.#at = at;
    return (value >>> 1) ^ -(value & 1);
  }

  /** A zigzag varint of 64 bits: the sign is the lowest bit; NaN if it is longer than ten bytes. */
  #varlong(): number {
    const { data } = this;
    let at = this.#at;
    let byte = data[at++]!;
    const negative = (byte & 1) === 1;
    let magnitude = (byte & 127) >> 1;
    for (let unit = 64; byte > 127; unit *= 128) {
      if (unit > 2 ** 63) return NaN;
      byte = data[at++]!;
      magnitude += (byte & 127) * unit;
    }
    this.#at = at;
    return negative ? -magnitude - 1 : magnitude;
  }

  /** Gives an error of this batch its topic, partition and position. */
  #guard<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (!isPartitaError(error, 'RECORD_BATCH_CORRUPT')) throw error;
      const { offset } = error.details;
      const base = typeof offset === 'number' ? offset : this.#baseOffset;
      this.#failure = corruptBatch(`can't be read: ${error.message}`, this.#batchStart, base, {
        ...this.#source(),
        cause: error,
      });
      throw this.#failure;
    }
  }

  #fail(problem: string): never {
    this.#remaining = 0;
    this.#failure = corruptBatch(problem, this.#batchStart, this.#baseOffset, this.#source());
    throw this.#failure;
  }

  #source(): { readonly topic?: string; readonly partition?: number } {
    return {
      ...(this.#topic === undefined ? {} : { topic: this.#topic }),
      ...(this.#partition === undefined ? {} : { partition: this.#partition }),
    };
  }
}

/** A plain view costs a third of what `Buffer.subarray` does, which counts for changelogs of millions of records. */
function viewOf(data: Buffer, start: number, end: number): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset + start, end - start);
}
