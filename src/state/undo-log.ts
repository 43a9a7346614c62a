/**
 * What a savepoint needs to take back: each entry written since, once, as it was before. Its records are reused, so that
 * a savepoint per record of the stream allocates nothing. One level only.
 */
import { ABSENT, type Entry } from './entry.js';

/** Records kept for reuse; a handler that writes more in one record gives the surplus back to the collector. */
const RECORDS_KEPT = 1024;

interface UndoRecord {
  entry: Entry;
  value: unknown;
  expiryMs: number;
  generation: number;
  bytes: number;
}

export class UndoLog {
  readonly #records: UndoRecord[] = [];
  #count = 0;

  /** Remembers `entry` as it is now. The caller has checked that it is not `undoable` yet. */
  push(entry: Entry): void {
    entry.undoable = true;
    const record = this.#records[this.#count];
    if (record === undefined)
      this.#records.push({
        entry,
        value: entry.value,
        expiryMs: entry.expiryMs,
        generation: entry.generation,
        bytes: entry.bytes,
      });
    else {
      record.entry = entry;
      record.value = entry.value;
      record.expiryMs = entry.expiryMs;
      record.generation = entry.generation;
      record.bytes = entry.bytes;
    }
    this.#count++;
  }

  forget(): void {
    for (let i = 0; i < this.#count; i++) this.#records[i]!.entry.undoable = false;
    this.#count = 0;
    if (this.#records.length > RECORDS_KEPT) this.#records.length = RECORDS_KEPT;
  }

  /**
   * Puts every entry back. An entry that was below the live layer loses its base, which only means something within it.
   * @returns by how many bytes the entries grew or (negative) shrank
   */
  undo(liveGeneration: number): number {
    let grown = 0;
    for (let i = 0; i < this.#count; i++) {
      const { entry, value, expiryMs, generation, bytes } = this.#records[i]!;
      grown += bytes - entry.bytes;
      entry.value = value;
      entry.expiryMs = expiryMs;
      entry.bytes = bytes;
      entry.generation = generation;
      if (generation !== liveGeneration) entry.base = ABSENT;
    }
    this.forget();
    return grown;
  }
}
