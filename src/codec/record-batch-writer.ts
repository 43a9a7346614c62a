/**
 * Writes records straight into one growing buffer and seals them as a Kafka record batch (magic 2). It makes no object
 * per record and no intermediate buffer for text; it never stamps offsets or producers, which `record-batch-header.ts`
 * does when the batch is sent or stored.
 */
import { PartitaError } from '../core/errors.js';
import { compress, type Compression } from './compression.js';
import { BATCH_HEADER_BYTES, batchAttributes, writeBatchHeader } from './record-batch-header.js';
import { writeText } from './text.js';

export type HeaderValue = Uint8Array | string | null;

const DEFAULT_INITIAL_BYTES = 16 * 1024;
/** The record format could go to 2 GiB; a batch of more than this is a mistake. */
const MAX_BATCH_BYTES = 2 ** 30;
/** Five varints of at most five bytes, a timestamp delta of ten, attributes, and room to notice that text isn't ASCII. */
const RECORD_OVERHEAD_BYTES = 5 * 5 + 10 + 1 + 2 * 4;
/** Below this a loop beats a call into the runtime. */
const SHORT_TEXT_LENGTH = 24;
/** Text that turned out not to be ASCII: its length in bytes isn't its length. */
const NOT_ASCII = -2;

export class RecordBatchWriter {
  #buffer: Buffer;
  /** Where the next record begins. */
  #at = BATCH_HEADER_BYTES;
  #count = 0;
  #baseTimestamp = 0;
  #maxTimestamp = 0;
  #markAt = BATCH_HEADER_BYTES;
  #markCount = 0;
  #markMaxTimestamp = 0;

  constructor(options: { readonly initialBytes?: number } = {}) {
    this.#buffer = Buffer.allocUnsafeSlow(
      Math.max(options.initialBytes ?? DEFAULT_INITIAL_BYTES, BATCH_HEADER_BYTES),
    );
  }

  /** Records since the last seal. */
  get count(): number {
    return this.#count;
  }

  /** Bytes of the batch if it were sealed now, uncompressed; 0 if empty. */
  get byteLength(): number {
    return this.#count === 0 ? 0 : this.#at;
  }

  /**
   * Appends a record and returns its encoded size in bytes. Text is written as UTF-8, lone surrogates as U+FFFD. Throws
   * TIMESTAMP_OUT_OF_RANGE for a timestamp (ms) outside −1..2^53−1, RECORD_TOO_LARGE beyond 1 GiB; the writer is then as
   * it was.
   */
  append(
    timestamp: number,
    key: Uint8Array | string | null,
    value: Uint8Array | string | null,
    headers?: Iterable<readonly [string, HeaderValue]>,
  ): number {
    if (!Number.isSafeInteger(timestamp) || timestamp < -1) {
      throw new PartitaError('TIMESTAMP_OUT_OF_RANGE', `A record can't have the timestamp ${timestamp}.`, {
        details: { timestamp },
      });
    }
    const start = this.#at;
    let end = NOT_ASCII;
    if (headers === undefined) {
      // Nearly all text is ASCII, whose length is known before it is written; the guess is checked while writing.
      end = this.#write(timestamp, key, lengthOf(key), value, lengthOf(value), undefined);
    }
    if (end === NOT_ASCII) {
      const encoded = headers === undefined ? undefined : encodeHeaders(headers);
      end = this.#write(timestamp, key, byteLengthOf(key), value, byteLengthOf(value), encoded);
    }
    if (this.#count === 0) this.#baseTimestamp = this.#maxTimestamp = timestamp;
    else if (timestamp > this.#maxTimestamp) this.#maxTimestamp = timestamp;
    this.#count++;
    this.#at = end;
    return end - start;
  }

  /** Remembers this point for `rollback`; one level, a later mark replaces it. Sealing moves it to the empty writer. */
  mark(): void {
    this.#markAt = this.#at;
    this.#markCount = this.#count;
    this.#markMaxTimestamp = this.#maxTimestamp;
  }

  /** Forgets what was appended since `mark`. */
  rollback(): void {
    this.#at = this.#markAt;
    this.#count = this.#markCount;
    this.#maxTimestamp = this.#markMaxTimestamp;
  }

  /**
   * The batch as a fresh, exactly sized, transferable buffer with valid CRC, base offset 0 and no producer; `undefined` if
   * there is no record. The writer is empty afterwards and keeps its buffer.
   */
  seal(
    options: { readonly transactional?: boolean; readonly compression?: Compression } = {},
  ): ArrayBuffer | undefined {
    if (this.#count === 0) return undefined;
    const compression = options.compression ?? 'none';
    const sealed = compression === 'none' ? Buffer.allocUnsafeSlow(this.#at) : this.#compressed(compression);
    if (compression === 'none') this.#buffer.copy(sealed, 0, 0, this.#at);
    writeBatchHeader(sealed, {
      attributes: batchAttributes(compression, options.transactional ?? false),
      lastOffsetDelta: this.#count - 1,
      baseTimestamp: this.#baseTimestamp,
      maxTimestamp: this.#maxTimestamp,
      producerId: -1,
      producerEpoch: -1,
      baseSequence: -1,
      recordCount: this.#count,
    });
    this.#at = BATCH_HEADER_BYTES;
    this.#count = 0;
    this.mark();
    return sealed.buffer as ArrayBuffer;
  }

  /** Room for the header, then the compressed records. */
  #compressed(compression: Compression): Buffer {
    const records = compress(compression, this.#buffer.subarray(BATCH_HEADER_BYTES, this.#at));
    const batch = Buffer.allocUnsafeSlow(BATCH_HEADER_BYTES + records.length);
    batch.set(records, BATCH_HEADER_BYTES);
    return batch;
  }

  /** Writes a record at the end and returns where it ends, or NOT_ASCII if the lengths given for text were wrong. */
  #write(
    timestamp: number,
    key: Uint8Array | string | null,
    keyLength: number,
    value: Uint8Array | string | null,
    valueLength: number,
    headers: EncodedHeaders | undefined,
  ): number {
    const delta = this.#count === 0 ? 0 : timestamp - this.#baseTimestamp;
    const bodyLength =
      1 +
      varlongSize(delta) +
      varintSize(this.#count) +
      (keyLength < 0 ? 1 : varintSize(keyLength) + keyLength) +
      (valueLength < 0 ? 1 : varintSize(valueLength) + valueLength) +
      (headers === undefined ? 1 : varintSize(headers.count) + headers.bytes.length);
    this.#reserve(bodyLength + RECORD_OVERHEAD_BYTES);
    const buffer = this.#buffer;
    let at = writeVarint(buffer, this.#at, bodyLength);
    buffer[at++] = 0;
    at = writeVarlong(buffer, at, delta);
    at = writeVarint(buffer, at, this.#count);
    at = writeBytes(buffer, at, key, keyLength);
    if (at === NOT_ASCII) return NOT_ASCII;
    at = writeBytes(buffer, at, value, valueLength);
    if (at === NOT_ASCII) return NOT_ASCII;
    if (headers === undefined) buffer[at++] = 0;
    else {
      at = writeVarint(buffer, at, headers.count);
      buffer.set(headers.bytes, at);
      at += headers.bytes.length;
    }
    return at;
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#buffer.length) return;
    if (needed > MAX_BATCH_BYTES) {
      throw new PartitaError(
        'RECORD_TOO_LARGE',
        `A record batch can't have more than ${MAX_BATCH_BYTES} bytes; this record would make it ${needed}.`,
        { details: { bytes: needed, maxBytes: MAX_BATCH_BYTES } },
      );
    }
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#at);
    this.#buffer = grown;
  }
}

interface EncodedHeaders {
  readonly count: number;
  readonly bytes: Buffer;
}

/** Headers are rare, so they may cost a buffer. */
function encodeHeaders(headers: Iterable<readonly [string, HeaderValue]>): EncodedHeaders {
  const parts: Uint8Array[] = [];
  let count = 0;
  for (const [name, value] of headers) {
    count++;
    parts.push(lengthPrefixed(name), value === null ? NULL_LENGTH : lengthPrefixed(value));
  }
  return { count, bytes: Buffer.concat(parts) };
}

const NULL_LENGTH = Uint8Array.of(1);

function lengthPrefixed(content: Uint8Array | string): Buffer {
  const length = byteLengthOf(content);
  const bytes = Buffer.allocUnsafe(5 + length + 4);
  return bytes.subarray(0, writeBytes(bytes, 0, content, length));
}

/** The length that bytes have and that text would have if it were ASCII; −1 for null. */
function lengthOf(content: Uint8Array | string | null): number {
  return content === null ? -1 : content.length;
}

function byteLengthOf(content: Uint8Array | string | null): number {
  if (content === null) return -1;
  return typeof content === 'string' ? Buffer.byteLength(content, 'utf8') : content.length;
}

/** Writes length and contents; NOT_ASCII if text doesn't take `length` bytes. Needs four bytes of room beyond its end. */
function writeBytes(buffer: Buffer, at: number, content: Uint8Array | string | null, length: number): number {
  if (content === null) {
    buffer[at] = 1;
    return at + 1;
  }
  at = writeVarint(buffer, at, length);
  if (typeof content !== 'string') {
    buffer.set(content, at);
    return at + length;
  }
  if (length < SHORT_TEXT_LENGTH && length === content.length) {
    for (let i = 0; i < length; i++) {
      const code = content.charCodeAt(i);
      if (code > 127) return NOT_ASCII;
      buffer[at + i] = code;
    }
    return at + length;
  }
  // With four bytes more than guessed, text that isn't ASCII always shows by a different length: it needs more than
  // `length`, and if it is cut, at a character of at most four bytes, more than `length` is written before.
  return writeText(buffer, content, at, length + 4) === length ? at + length : NOT_ASCII;
}

function varintSize(value: number): number {
  return value < 64 ? 1 : value < 8192 ? 2 : value < 1048576 ? 3 : value < 134217728 ? 4 : 5;
}

/** Zigzag varint of 0 ≤ value < 2^30. */
function writeVarint(buffer: Buffer, at: number, value: number): number {
  let rest = value << 1;
  while (rest > 127) {
    buffer[at++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  buffer[at++] = rest;
  return at;
}

function varlongSize(value: number): number {
  let magnitude = value < 0 ? -value - 1 : value;
  let size = 1;
  for (magnitude = Math.floor(magnitude / 64); magnitude > 0; magnitude = Math.floor(magnitude / 128)) size++;
  return size;
}

/** Zigzag varint of a number up to 2^53 of either sign: the sign is the lowest bit, the magnitude follows. */
function writeVarlong(buffer: Buffer, at: number, value: number): number {
  const magnitude = value < 0 ? -value - 1 : value;
  if (magnitude < 0x4000_0000) {
    let small = (magnitude << 1) | (value < 0 ? 1 : 0);
    while (small > 127) {
      buffer[at++] = (small & 127) | 128;
      small >>>= 7;
    }
    buffer[at++] = small;
    return at;
  }
  let rest = Math.floor(magnitude / 64);
  buffer[at++] = (magnitude % 64) * 2 + (value < 0 ? 1 : 0) + 128;
  while (rest > 127) {
    buffer[at++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  buffer[at++] = rest;
  return at;
}
