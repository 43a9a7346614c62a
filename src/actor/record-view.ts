/**
 * The record as a handler sees it. Key and value are decoded before the handler runs; headers only when it asks for them,
 * from bytes that are gone once the record has ended.
 */
import type { RecordReader } from '../codec/record-batch-reader.js';
import { PartitaError } from '../core/errors.js';

type HeaderList = readonly (readonly [string, Uint8Array])[];
const NO_HEADERS: HeaderList = [];

export class RecordView {
  readonly input: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
  readonly key: unknown;
  readonly value: unknown;
  readonly #reader: RecordReader;

  constructor(
    input: string,
    topic: string,
    partition: number,
    reader: RecordReader,
    key: unknown,
    value: unknown,
  ) {
    this.input = input;
    this.topic = topic;
    this.partition = partition;
    this.offset = reader.offset;
    this.timestamp = reader.timestamp;
    this.key = key;
    this.value = value;
    this.#reader = reader;
  }

  get headers(): HeaderList {
    if (this.#reader.offset !== this.offset)
      throw new PartitaError(
        'RECORD_CLOSED',
        `The headers of ${this.topic}-${String(this.partition)} offset ${String(this.offset)} were read after the record ended.`,
      );
    return this.#reader.headerCount === 0 ? NO_HEADERS : this.#reader.headers();
  }
}
