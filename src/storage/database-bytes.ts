/**
 * How LevelDB and RocksDB write bytes: varints, masked checksums, and logs of records, which hold both the write-ahead
 * log and the manifest. Pure readers that survive any input; files are opened in `write-ahead-log.ts` and
 * `level-tables.ts`. Format: LevelDB's doc/log_format.md.
 */
import { crc32c } from '../codec/crc32c.js';

const LOG_BLOCK_BYTES = 32_768;
const LOG_HEADER_BYTES = 7;
const FULL = 1;
const FIRST = 2;
const MIDDLE = 3;
const LAST = 4;

/** The records of a log, as far as they can be made out, and whether one was found behind a damaged stretch. */
export interface LogRecords {
  readonly records: readonly Buffer[];
  /** Something was lost: at the end, as a crash does, unless it is a `hole`. */
  readonly damaged: boolean;
  /** What was lost lies before a record. */
  readonly hole: boolean;
}

export function readLogRecords(bytes: Buffer): LogRecords {
  const walk = new LogWalk();
  for (let block = 0; block < bytes.length; block += LOG_BLOCK_BYTES)
    walk.block(bytes, block, Math.min(block + LOG_BLOCK_BYTES, bytes.length));
  return walk;
}

class LogWalk implements LogRecords {
  readonly records: Buffer[] = [];
  damaged = false;
  hole = false;
  #fragments: Buffer[] | undefined;

  block(bytes: Buffer, start: number, end: number): void {
    let at = start;
    // Fewer than seven bytes are the padding of a block, or a torn header.
    while (end - at >= LOG_HEADER_BYTES) {
      const next = at + LOG_HEADER_BYTES + bytes.readUInt16LE(at + 4);
      const content = bytes.subarray(at + 6, next);
      if (next > end || !checksumFits(content, bytes.readUInt32LE(at))) {
        this.#lose();
        return;
      }
      this.#fragment(content[0]!, content.subarray(1));
      at = next;
    }
  }

  #fragment(type: number, payload: Buffer): void {
    if (type === FULL || type === FIRST) {
      if (this.#fragments !== undefined) this.#lose();
      this.#fragments = [payload];
    } else if (type === MIDDLE || type === LAST) {
      this.#fragments?.push(payload);
    } else return; // Metadata of RocksDB's.
    if (type === FULL || type === LAST) this.#record();
  }

  #record(): void {
    // A last fragment whose first was lost makes no record.
    if (this.#fragments === undefined) {
      this.damaged = true;
      return;
    }
    this.records.push(this.#fragments.length === 1 ? this.#fragments[0]! : Buffer.concat(this.#fragments));
    this.#fragments = undefined;
    this.hole ||= this.damaged;
  }

  #lose(): void {
    this.damaged = true;
    this.#fragments = undefined;
  }
}

/** Where a block lies in a table. */
export interface BlockHandle {
  readonly offset: number;
  readonly size: number;
}

/** Reads varints one after the other; what lies outside gives zeros and `failed`. */
export class VarintCursor {
  at = 0;
  failed = false;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    this.failed = true;
    return 0;
  }

  handle(): BlockHandle {
    return { offset: this.varint(), size: this.varint() };
  }

  skip(count: number): void {
    this.at += count;
    if (this.at > this.#bytes.length) this.failed = true;
  }

  /** Bytes with their length before them. */
  skipText(): void {
    this.skip(this.varint());
  }

  get ended(): boolean {
    return this.failed || this.at >= this.#bytes.length;
  }
}

/** Checksums are masked, so that the checksum of bytes with embedded checksums is a good one. */
export function checksumFits(content: Buffer, masked: number): boolean {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return crc32c(content) === ((rotated >>> 17) | (rotated << 15)) >>> 0;
}
