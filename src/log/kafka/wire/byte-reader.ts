/**
 * Walks an answer of Kafka's protocol: big-endian numbers, strings and arrays in their classic and their compact form.
 * It never copies bytes and never reads past the end: a cut answer throws RangeError.
 */
export class ByteReader {
  readonly bytes: Buffer;
  at: number;

  constructor(bytes: Buffer, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  int8(): number {
    return this.bytes.readInt8(this.#step(1));
  }

  int16(): number {
    return this.bytes.readInt16BE(this.#step(2));
  }

  int32(): number {
    return this.bytes.readInt32BE(this.#step(4));
  }

  /** A signed 64-bit number; inexact beyond 2^53, which offsets and times don't reach. */
  int64(): number {
    const at = this.#step(8);
    return this.bytes.readInt32BE(at) * 0x1_0000_0000 + this.bytes.readUInt32BE(at + 4);
  }

  uvarint(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.bytes.readUInt8(this.#step(1));
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  }

  string(): string {
    return this.nullableString() ?? '';
  }

  nullableString(): string | null {
    return this.#text(this.int16());
  }

  compactString(): string {
    return this.nullableCompactString() ?? '';
  }

  nullableCompactString(): string | null {
    return this.#text(this.uvarint() - 1);
  }

  /** 128 bits as 32 hexadecimal digits. */
  uuid(): string {
    const at = this.#step(16);
    return this.bytes.toString('hex', at, at + 16);
  }

  array<T>(read: () => T): T[] {
    return this.#items(this.int32(), read);
  }

  compactArray<T>(read: () => T): T[] {
    return this.#items(this.uvarint() - 1, read);
  }

  /** Tagged fields are for later versions: skipped. */
  tags(): void {
    for (let left = this.uvarint(); left > 0; left--) {
      this.uvarint();
      this.skip(this.uvarint());
    }
  }

  /** Where the skipped bytes begin. */
  skip(bytes: number): number {
    return this.#step(bytes);
  }

  #text(length: number): string | null {
    if (length < 0) return null;
    const at = this.#step(length);
    return this.bytes.toString('utf8', at, at + length);
  }

  #items<T>(count: number, read: () => T): T[] {
    const items: T[] = [];
    for (let i = 0; i < count; i++) items.push(read());
    return items;
  }

  #step(bytes: number): number {
    const at = this.at;
    if (at + bytes > this.bytes.length)
      throw new RangeError(`An answer of ${this.bytes.length} bytes ends before byte ${at + bytes}.`);
    this.at = at + bytes;
    return at;
  }
}
