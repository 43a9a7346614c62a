/**
 * Memory databases that outlive their actors, as files would: closing one only ends its use, opening it again finds what
 * was written. (The memory engine itself begins empty at every open.) For tests of what is left after a crash.
 */
import { PartitaError } from '../core/errors.js';
import { MemoryEngine } from '../storage/memory-engine.js';
import type {
  EngineFactory,
  EngineSnapshot,
  EngineStats,
  EngineWrite,
  StorageEngine,
} from '../storage/storage-engine.js';

export class KeptEngines implements EngineFactory {
  readonly kind = 'memory';
  readonly #databases = new Map<string, MemoryEngine>();
  readonly #open = new Set<string>();

  async open(directory: string): Promise<StorageEngine> {
    this.#refuseOpen(directory);
    const database = this.#databases.get(directory) ?? new MemoryEngine();
    this.#databases.set(directory, database);
    this.#open.add(directory);
    return new KeptEngine(database, () => this.#open.delete(directory));
  }

  async destroy(directory: string): Promise<void> {
    this.#refuseOpen(directory);
    this.#databases.delete(directory);
  }

  /** Forgets every database; none may be open. */
  wipe(): void {
    for (const directory of this.#open) this.#refuseOpen(directory);
    this.#databases.clear();
  }

  #refuseOpen(directory: string): void {
    if (this.#open.has(directory)) throw new PartitaError('LOCKED', `The database ${directory} is open.`);
  }
}

/** One use of a database, from its opening to its close. */
class KeptEngine implements StorageEngine {
  readonly kind = 'memory';
  readonly #database: StorageEngine;
  readonly #onClose: () => void;
  #closed = false;

  constructor(database: StorageEngine, onClose: () => void) {
    this.#database = database;
    this.#onClose = onClose;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#opened().get(key);
  }

  snapshot(): EngineSnapshot {
    return this.#opened().snapshot();
  }

  async write(batch: readonly EngineWrite[], options: { readonly sync: boolean }): Promise<void> {
    await this.#opened().write(batch, options);
  }

  async stats(): Promise<EngineStats> {
    return this.#opened().stats();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
  }

  #opened(): StorageEngine {
    if (this.#closed) throw new PartitaError('ENGINE_CLOSED', 'The database has been closed.');
    return this.#database;
  }
}
