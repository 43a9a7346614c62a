/**
 * Builds the body of a request of Kafka's protocol: big-endian numbers, strings and arrays in their classic and their
 * compact form. Grows as needed; `finish` gives the bytes, without a copy.
 */
export class ByteWriter {
  #bytes: Buffer;
  #at = 0;

  constructor(initialBytes = 256) {
    this.#bytes = Buffer.allocUnsafe(initialBytes);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#at;
  }

  int8(value: number): this {
    this.#room(1);
    this.#at = this.#bytes.writeInt8(value, this.#at);
    return this;
  }

  int16(value: number): this {
    this.#room(2);
    this.#at = this.#bytes.writeInt16BE(value, this.#at);
    return this;
  }

  int32(value: number): this {
    this.#room(4);
    this.#at = this.#bytes.writeInt32BE(value, this.#at);
    return this;
  }

  /** A safe integer. */
  int64(value: number): this {
    return this.int32(Math.floor(value / 0x1_0000_0000)).int32(value | 0);
  }

  uvarint(value: number): this {
    this.#room(5);
    for (; value > 127; value = Math.floor(value / 128))
      this.#at = this.#bytes.writeUInt8((value % 128) | 128, this.#at);
    this.#at = this.#bytes.writeUInt8(value, this.#at);
    return this;
  }

  bool(value: boolean): this {
    return this.int8(value ? 1 : 0);
  }

  string(value: string): this {
    return this.int16(Buffer.byteLength(value)).#text(value);
  }

  nullableString(value: string | null): this {
    return value === null ? this.int16(-1) : this.string(value);
  }

  compactString(value: string): this {
    return this.uvarint(Buffer.byteLength(value) + 1).#text(value);
  }

  /** 128 zero bits: Kafka's "no id". */
  noUuid(): this {
    this.#room(16);
    this.#bytes.fill(0, this.#at, this.#at + 16);
    this.#at += 16;
    return this;
  }

  /** Length and bytes. */
  byteArray(value: Uint8Array): this {
    this.int32(value.byteLength).#room(value.byteLength);
    this.#bytes.set(value, this.#at);
    this.#at += value.byteLength;
    return this;
  }

  array<T>(items: readonly T[], write: (item: T) => void): this {
    this.int32(items.length);
    items.forEach(write);
    return this;
  }

  compactArray<T>(items: readonly T[], write: (item: T) => void): this {
    this.uvarint(items.length + 1);
    items.forEach(write);
    return this;
  }

  /** No tagged fields. */
  tags(): this {
    return this.uvarint(0);
  }

  finish(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  #text(value: string): this {
    // Three bytes for a UTF-16 unit at most.
    this.#room(value.length * 3);
    this.#at += this.#bytes.write(value, this.#at);
    return this;
  }

  #room(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }
}
