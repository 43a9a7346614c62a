/**
 * Room for the many small byte strings of one checkpoint: they are written one after the other into a few chunks, since
 * an allocation each would cost more than encoding them. It never reuses a chunk, so what it handed out stays valid.
 */
import { writeText } from '../codec/text.js';

const CHUNK_BYTES_MIN = 4 * 1024;
const CHUNK_BYTES_MAX = 256 * 1024;
/** Above this, text is measured before it is written, instead of reserving its worst case. */
const GUESS_CHARS_MAX = 16 * 1024;

export class ByteArena {
  #chunk: Buffer = Buffer.alloc(0);
  #used = 0;
  #nextChunkBytes = CHUNK_BYTES_MIN;

  /** A writable view of exactly `bytes`. */
  take(bytes: number): Uint8Array {
    this.#reserve(bytes);
    return this.#commit(bytes);
  }

  /** `head` followed by `text` as UTF-8. */
  text(head: Uint8Array, text: string): Uint8Array {
    const start = head.length;
    this.#reserve(start + (text.length > GUESS_CHARS_MAX ? Buffer.byteLength(text) : 3 * text.length));
    this.#copy(head);
    const at = this.#used + start;
    return this.#commit(start + writeText(this.#chunk, text, at, this.#chunk.length - at));
  }

  /** `head` followed by the bytes that `text` stands for, one a character. */
  latin1(head: Uint8Array, text: string): Uint8Array {
    const start = head.length;
    this.#reserve(start + text.length);
    this.#copy(head);
    return this.#commit(start + this.#chunk.write(text, this.#used + start, 'latin1'));
  }

  /** `head` followed by `bytes`. */
  bytes(head: Uint8Array, bytes: Uint8Array): Uint8Array {
    const view = this.take(head.length + bytes.length);
    view.set(head);
    view.set(bytes, head.length);
    return view;
  }

  /** Heads are a few bytes: a loop beats the call of `set`. */
  #copy(head: Uint8Array): void {
    for (let i = 0; i < head.length; i++) this.#chunk[this.#used + i] = head[i]!;
  }

  #reserve(bytes: number): void {
    if (this.#used + bytes <= this.#chunk.length) return;
    this.#chunk = Buffer.allocUnsafeSlow(Math.max(bytes, this.#nextChunkBytes));
    this.#nextChunkBytes = Math.min(CHUNK_BYTES_MAX, this.#nextChunkBytes * 2);
    this.#used = 0;
  }

  #commit(bytes: number): Uint8Array {
    const view = new Uint8Array(this.#chunk.buffer, this.#used, bytes);
    this.#used += bytes;
    return view;
  }
}
