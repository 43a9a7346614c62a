/**
 * The disks of a simulated world: memory databases that outlive their actors, whose writes are messages and may fail. A
 * crash frees what a thread or process had open, with the write under way done or not. It never damages what was written.
 */
import { PartitaError } from '../../src/core/errors.js';
import { MemoryEngine } from '../../src/storage/memory-engine.js';
import type {
  EngineFactory,
  EngineSnapshot,
  EngineStats,
  EngineWrite,
  StorageEngine,
} from '../../src/storage/storage-engine.js';
import type { Owner, Scheduler } from './scheduler.js';

export class Disks {
  readonly #scheduler: Scheduler;
  readonly #databases = new Map<string, MemoryEngine>();
  readonly #open = new Map<string, Handle>();
  #fullUntil = 0;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  get open(): readonly string[] {
    return [...this.#open.keys()];
  }

  /** No write finds room for so long. */
  fill(ms: number): void {
    this.#fullUntil = this.#scheduler.clock.monotonic() + ms;
  }

  empty(): void {
    this.#fullUntil = 0;
  }

  /** The engines as a thread has them. */
  of(owner: Owner): EngineFactory {
    return {
      kind: 'memory',
      open: async (path) => {
        if (owner.dead) return NEVER;
        const directory = onDisk(path);
        this.#refuse(directory);
        const database = this.#databases.get(directory) ?? new MemoryEngine();
        this.#databases.set(directory, database);
        const handle = new Handle(database, directory, owner, this.#scheduler, {
          isFull: () => this.#scheduler.clock.monotonic() < this.#fullUntil,
          onClose: () => this.#open.delete(directory),
        });
        this.#open.set(directory, handle);
        return handle;
      },
      destroy: async (path) => {
        if (owner.dead) return NEVER;
        const directory = onDisk(path);
        this.#refuse(directory);
        this.#databases.delete(directory);
      },
    };
  }

  /** What the dead had open is free again. */
  cut(): void {
    for (const [directory, handle] of this.#open) if (handle.owner.dead) this.#open.delete(directory);
  }

  /** Loses a database that is not open; which, if any. */
  wipe(pick: (of: readonly string[]) => string): string | undefined {
    const closed = [...this.#databases.keys()].filter((directory) => !this.#open.has(directory));
    if (closed.length === 0) return undefined;
    const directory = pick(closed);
    this.#databases.delete(directory);
    return directory;
  }

  #refuse(directory: string): void {
    if (this.#open.has(directory)) throw new PartitaError('LOCKED', `The database ${directory} is open.`);
  }
}

const NEVER = new Promise<never>(() => undefined);

/** The same disk for every process of a host. */
function onDisk(path: string): string {
  return path.replace(/@[^/]*/, '');
}

interface DiskView {
  readonly isFull: () => boolean;
  readonly onClose: () => void;
}

class Handle implements StorageEngine {
  readonly kind = 'memory';
  readonly owner: Owner;
  readonly #database: MemoryEngine;
  readonly #directory: string;
  readonly #scheduler: Scheduler;
  readonly #disk: DiskView;
  #closed = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(database: MemoryEngine, directory: string, owner: Owner, scheduler: Scheduler, disk: DiskView) {
    this.#database = database;
    this.#directory = directory;
    this.owner = owner;
    this.#scheduler = scheduler;
    this.#disk = disk;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#opened().get(key);
  }

  snapshot(): EngineSnapshot {
    return this.#opened().snapshot();
  }

  write(batch: readonly EngineWrite[]): Promise<void> {
    const written = this.#write(batch);
    this.#writing = written.catch(() => undefined);
    return written;
  }

  async stats(): Promise<EngineStats> {
    return this.#opened().stats();
  }

  async close(): Promise<void> {
    await this.#writing;
    if (this.#closed) return;
    this.#closed = true;
    if (!this.owner.dead) this.#disk.onClose();
  }

  async #write(batch: readonly EngineWrite[]): Promise<void> {
    this.#opened();
    const line = `disk ${this.#directory}`;
    const what = `${this.owner.name} writes ${batch.length} rows`;
    if ((await this.#scheduler.hold(line, what, this.owner, ['arrives', 'lost'])) === 'lost')
      throw new PartitaError('ENGINE_FAILED', `A write to ${this.#directory} failed.`);
    if (this.#disk.isFull())
      throw new PartitaError('DISK_FULL', `There is no room for a write to ${this.#directory}.`);
    await this.#opened().write(batch);
    await this.#scheduler.hold(line, `${what}: done`, this.owner);
  }

  #opened(): MemoryEngine {
    if (this.#closed) throw new PartitaError('ENGINE_CLOSED', 'The database has been closed.');
    return this.#database;
  }
}
