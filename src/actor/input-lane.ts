/**
 * The chunks of one input topic in the order of their offsets, and the record at their head. A lane accepts a chunk only
 * if it begins at the next position; it never decodes a key or value (`record-processor.ts` does). Which lane's head is
 * next among several is decided by `input-merge.ts`.
 */
import { RecordReader } from '../codec/record-batch-reader.js';
import type { PartitaError } from '../core/errors.js';
import type { Chunk, ChunkDone, InputSpec } from '../threads/protocol.js';

interface BufferedChunk {
  readonly chunk: Chunk;
  readonly resolve: (done: ChunkDone) => void;
  readonly reject: (error: Error) => void;
}

export class InputLane {
  readonly spec: InputSpec;
  /** Of the input in the actor's spec. */
  readonly index: number;
  /** Walks the chunk at the head; its fields are the head record's while `hasHead`. */
  readonly reader: RecordReader;
  hasHead = false;
  /** The fetch that brought the head. */
  headFetch = -1;
  /** Nothing is buffered, and nothing more was there to read at the last fetch. */
  get isAtEnd(): boolean {
    return !this.hasHead && this.#sawEnd && this.#buffered.length === 0;
  }
  /** Nothing more was there to read when every chunk up to this fetch had been read. */
  endAsOf = -1;
  /** The next offset to be processed. */
  position: number;
  readonly #partition: number;
  #expected: number;
  #recordsOfChunk = 0;
  readonly #buffered: BufferedChunk[] = [];
  #loaded = false;
  #dropped = false;
  #sawEnd = false;

  constructor(spec: InputSpec, partition: number, position: number, checkCrc: boolean, index = 0) {
    this.spec = spec;
    this.index = index;
    this.#partition = partition;
    this.position = position;
    this.#expected = position;
    this.reader = new RecordReader({ checkCrc });
  }

  /** Takes the chunk over, or answers at once that it is not the next one. */
  push(chunk: Chunk): Promise<ChunkDone> {
    if (chunk.from !== this.#expected) return Promise.resolve({ accepted: false, records: 0 });
    this.#expected = chunk.next;
    this.#sawEnd = chunk.next >= chunk.lastStable;
    if (this.#sawEnd) this.endAsOf = chunk.asOf ?? chunk.fetch - 1;
    if (chunk.bytes.byteLength === 0 && this.#buffered.length === 0) {
      this.position = chunk.next;
      return Promise.resolve({ accepted: true, records: 0 });
    }
    const done = new Promise<ChunkDone>((resolve, reject) => {
      this.#buffered.push({ chunk, resolve, reject });
    });
    if (!this.#loaded)
      try {
        this.#load();
      } catch (error) {
        // The caller learns it from this throw; the promise is rejected when the lane is dropped.
        done.catch(() => undefined);
        throw error;
      }
    return done;
  }

  /** Leaves the head record behind, and stands on the next one if there is one. */
  advance(): void {
    this.position = this.reader.offset + 1;
    if (this.#dropped) return;
    this.#recordsOfChunk++;
    if (!this.reader.next()) this.#finishChunk();
  }

  /** Bad bytes surface here or in `push` as RECORD_BATCH_CORRUPT; the actor fails by it. */
  #load(): void {
    while (this.#buffered.length > 0) {
      const { chunk } = this.#buffered[0]!;
      this.#loaded = true;
      this.#recordsOfChunk = 0;
      const { bytes, from, aborted, topic } = chunk;
      this.reader.load(bytes, { from, aborted, topic, partition: this.#partition });
      if (this.reader.next()) {
        this.hasHead = true;
        this.headFetch = chunk.fetch;
        return;
      }
      this.#release();
    }
  }

  #finishChunk(): void {
    this.hasHead = false;
    this.#release();
    this.#load();
  }

  #release(): void {
    const done = this.#buffered.shift()!;
    this.#loaded = false;
    this.position = done.chunk.next;
    done.resolve({ accepted: true, records: this.#recordsOfChunk });
  }

  /** Nothing of this lane will be processed any more but the record under way, if there is one. */
  drop(error: () => PartitaError): void {
    this.hasHead = false;
    this.#dropped = true;
    this.#expected = -1;
    for (const { reject } of this.#buffered.splice(0)) reject(error());
  }

  /** After `drop`: takes chunks again, from the position on. What it knew of fetches is of another assignment. */
  restart(): void {
    this.#dropped = false;
    this.#loaded = false;
    this.#expected = this.position;
    this.headFetch = -1;
    this.endAsOf = -1;
    this.#sawEnd = false;
  }
}
