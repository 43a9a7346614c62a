/**
 * Puts a broker's answers together from what a socket reads, each copied once into its place; the bytes read may be
 * overwritten afterwards. A large answer goes into one buffer that is used again, if whoever gets it is done with it
 * before the next one comes, as the fetcher is: it asks one question at a time and copies out at once.
 */
import { PartitaError } from '../../core/errors.js';

/** Smaller ones get a buffer of their own in any case. */
const REUSED_BYTES_MIN = 64 << 10;
/** No broker answers more; a length beyond is no length. */
const ANSWER_BYTES_MAX = 1 << 30;

export class AnswerAssembler {
  readonly #reuses: boolean;
  readonly #onAnswer: (answer: Buffer) => void;
  readonly #length = Buffer.alloc(4);
  #lengthBytes = 0;
  #answer: Buffer | undefined;
  #filled = 0;
  #kept: Buffer | undefined;

  /** @param reuses whether an answer is done with before the next one comes */
  constructor(reuses: boolean, onAnswer: (answer: Buffer) => void) {
    this.#reuses = reuses;
    this.#onAnswer = onAnswer;
  }

  /** @throws PartitaError LOG_UNAVAILABLE for bytes that are no answers of Kafka */
  push(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;)
      at += this.#answer === undefined ? this.#takeLength(bytes, at) : this.#take(this.#answer, bytes, at);
  }

  /** What was begun is forgotten: the next bytes are of another connection. */
  reset(): void {
    this.#lengthBytes = 0;
    this.#answer = undefined;
  }

  #takeLength(bytes: Buffer, at: number): number {
    const count = Math.min(this.#length.length - this.#lengthBytes, bytes.length - at);
    bytes.copy(this.#length, this.#lengthBytes, at, at + count);
    this.#lengthBytes += count;
    if (this.#lengthBytes < this.#length.length) return count;
    this.#lengthBytes = 0;
    this.#filled = 0;
    this.#answer = this.#bufferOf(this.#length.readInt32BE(0));
    return count;
  }

  #take(answer: Buffer, bytes: Buffer, at: number): number {
    const count = Math.min(answer.length - this.#filled, bytes.length - at);
    bytes.copy(answer, this.#filled, at, at + count);
    this.#filled += count;
    if (this.#filled === answer.length) {
      this.#answer = undefined;
      this.#onAnswer(answer);
    }
    return count;
  }

  #bufferOf(length: number): Buffer {
    if (length < 4 || length > ANSWER_BYTES_MAX)
      throw new PartitaError(
        'LOG_UNAVAILABLE',
        `An answer can't have ${length} bytes: that is no Kafka broker.`,
      );
    if (!this.#reuses || length < REUSED_BYTES_MIN) return Buffer.allocUnsafe(length);
    if (this.#kept === undefined || this.#kept.length < length) this.#kept = Buffer.allocUnsafeSlow(length);
    return this.#kept.subarray(0, length);
  }
}
