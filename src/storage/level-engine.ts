/**
 * The default engine, on classic-level (LevelDB): one database directory, reads on the caller's thread, writes on
 * libuv's. It writes chained batches only, since an array batch can be torn by a kill; after a failed write it takes no
 * more until it is opened anew, since LevelDB would append behind a torn record. It never touches a LOCK file.
 */
import { rm } from 'node:fs/promises';
import type { ClassicLevel, Iterator as LevelIterator } from 'classic-level';
import { engineUnavailable } from '../core/engine-kind.js';
import { PartitaError } from '../core/errors.js';
import { findDamage } from './database-files.js';
import { classifyLevelError, storageError } from './engine-errors.js';
import { findTableDamage } from './level-tables.js';
import { resolveRange, SCAN_PAGE, SCAN_PAGE_FIRST, type ResolvedRange } from './scan-range.js';
import type {
  EngineFactory,
  EngineOptions,
  EngineScan,
  EngineSnapshot,
  EngineStats,
  EngineWrite,
  ScanRange,
  StorageEngine,
} from './storage-engine.js';

type Database = ClassicLevel<Uint8Array, Uint8Array>;
type Snapshot = ReturnType<Database['snapshot']>;
type Iterator = LevelIterator<Database, Uint8Array, Uint8Array>;
type Entry = readonly [key: Uint8Array, value: Uint8Array];

/** Bytes after which the addon cuts a page short. */
const SCAN_PAGE_BYTES = 256 * 1024;

export class LevelEngine implements StorageEngine {
  readonly kind = 'level';
  readonly #directory: string;
  readonly #db: Database;
  readonly #snapshots = new Set<LevelSnapshot>();
  #writing: Promise<void> | undefined;
  #failed: PartitaError | undefined;
  #damage: PartitaError | undefined;
  #closing: Promise<void> | undefined;

  private constructor(directory: string, db: Database) {
    this.#directory = directory;
    this.#db = db;
  }

  static async open(directory: string, options: EngineOptions): Promise<LevelEngine> {
    const { ClassicLevel } = await loadClassicLevel();
    try {
      const { damage: filesDamage, manifest } = await findDamage(directory, 'level');
      const damage = filesDamage ?? (manifest && (await findTableDamage(directory, manifest)));
      if (damage !== undefined)
        throw new PartitaError('CORRUPT', `The database in ${directory} is damaged: ${damage}.`, {
          details: { directory, damage },
        });
      const db = new ClassicLevel<Uint8Array, Uint8Array>(directory, {
        keyEncoding: 'view',
        valueEncoding: 'view',
        cacheSize: options.blockCacheBytes,
        writeBufferSize: options.writeBufferBytes,
        compression: false,
      });
      await db.open();
      return new LevelEngine(directory, db);
    } catch (error) {
      throw storageError(classifyLevelError, 'opening it', directory, error);
    }
  }

  get damage(): PartitaError | undefined {
    return this.#damage;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#expectOpen();
    try {
      return this.#db.getSync(key);
    } catch (error) {
      throw this.#error('reading', error);
    }
  }

  snapshot(): EngineSnapshot {
    this.#expectOpen();
    const snapshot = new LevelSnapshot(
      this.#db,
      this.#db.snapshot(),
      (error) => this.#error('scanning', error),
      (closed) => this.#snapshots.delete(closed),
    );
    this.#snapshots.add(snapshot);
    return snapshot;
  }

  async write(batch: readonly EngineWrite[], options: { readonly sync: boolean }): Promise<void> {
    this.#expectOpen();
    if (this.#failed !== undefined) throw this.#failed;
    if (this.#writing !== undefined)
      throw new PartitaError('ILLEGAL_STATE', `Two writes overlap in the database in ${this.#directory}.`);
    this.#writing = this.#writeChained(batch, options.sync);
    try {
      await this.#writing;
    } catch (error) {
      this.#failed = this.#error('writing', error);
      throw this.#failed;
    } finally {
      this.#writing = undefined;
    }
  }

  async stats(): Promise<EngineStats> {
    this.#expectOpen();
    const tables = await this.#db.approximateSize(new Uint8Array([0]), new Uint8Array(256).fill(255));
    const memory = Number(this.#db.getProperty('leveldb.approximate-memory-usage'));
    return { bytes: tables + (Number.isFinite(memory) ? memory : 0) };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    // Whoever writes hears of a failed write; closing only has to wait for its end.
    await this.#writing?.catch(() => undefined);
    for (const snapshot of this.#snapshots) await snapshot.close();
    try {
      await this.#db.close();
    } catch (error) {
      throw this.#error('closing', error);
    }
  }

  async #writeChained(writes: readonly EngineWrite[], sync: boolean): Promise<void> {
    const batch = this.#db.batch();
    for (const { key, value } of writes) {
      if (value === null) batch.del(key);
      else batch.put(key, value);
    }
    await batch.write({ sync });
  }

  #error(doing: string, error: unknown): PartitaError {
    const failure = storageError(classifyLevelError, doing, this.#directory, error);
    if (failure.code === 'CORRUPT') this.#damage ??= failure;
    return failure;
  }

  #expectOpen(): void {
    if (this.#closing !== undefined)
      throw new PartitaError('ENGINE_CLOSED', `The database in ${this.#directory} is closed.`);
  }
}

class LevelSnapshot implements EngineSnapshot {
  readonly #db: Database;
  readonly #snapshot: Snapshot;
  readonly #error: (error: unknown) => PartitaError;
  readonly #onClose: (snapshot: LevelSnapshot) => void;
  readonly #scans = new Set<LevelScan>();
  #closing: Promise<void> | undefined;

  constructor(
    db: Database,
    snapshot: Snapshot,
    error: (error: unknown) => PartitaError,
    onClose: (snapshot: LevelSnapshot) => void,
  ) {
    this.#db = db;
    this.#snapshot = snapshot;
    this.#error = error;
    this.#onClose = onClose;
  }

  scan(range: ScanRange): EngineScan {
    if (this.#closing !== undefined)
      throw new PartitaError('ENGINE_CLOSED', 'The snapshot of the database is closed.');
    const scan = new LevelScan(this.#iterator(resolveRange(range)), this.#error, (closed) =>
      this.#scans.delete(closed),
    );
    this.#scans.add(scan);
    return scan;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #iterator(range: ResolvedRange): Iterator | undefined {
    if (range.empty) return undefined;
    return this.#db.iterator<Uint8Array, Uint8Array>({
      snapshot: this.#snapshot,
      ...(range.gte === undefined ? {} : { gte: range.gte }),
      ...(range.lt === undefined ? {} : { lt: range.lt }),
      reverse: range.reverse,
      limit: Number.isFinite(range.limit) ? range.limit : -1,
      highWaterMarkBytes: SCAN_PAGE_BYTES,
      fillCache: false,
    });
  }

  async #close(): Promise<void> {
    this.#onClose(this);
    // LevelDB's snapshot waits for its iterators, which only their owners would close.
    for (const scan of this.#scans) await scan.close();
    await this.#snapshot.close();
  }
}

class LevelScan implements EngineScan {
  readonly #iterator: Iterator | undefined;
  readonly #error: (error: unknown) => PartitaError;
  readonly #onClose: (scan: LevelScan) => void;
  #pageEntries = SCAN_PAGE_FIRST;
  #closing: Promise<void> | undefined;

  constructor(
    iterator: Iterator | undefined,
    error: (error: unknown) => PartitaError,
    onClose: (scan: LevelScan) => void,
  ) {
    this.#iterator = iterator;
    this.#error = error;
    this.#onClose = onClose;
  }

  async next(): Promise<readonly Entry[]> {
    if (this.#closing !== undefined)
      throw new PartitaError('ENGINE_CLOSED', 'The scan of the database is closed.');
    if (this.#iterator === undefined) return [];
    try {
      const page = await this.#iterator.nextv(this.#pageEntries);
      this.#pageEntries = SCAN_PAGE;
      return page;
    } catch (error) {
      throw this.#error(error);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#onClose(this);
    await this.#iterator?.close();
  }
}

async function loadClassicLevel(): Promise<{ readonly ClassicLevel: typeof ClassicLevel }> {
  try {
    return await import('classic-level');
  } catch (cause) {
    throw engineUnavailable('level', cause);
  }
}

async function destroyLevel(directory: string): Promise<void> {
  const { ClassicLevel } = await loadClassicLevel();
  try {
    await ClassicLevel.destroy(directory);
  } catch (error) {
    const failure = storageError(classifyLevelError, 'destroying it', directory, error);
    if (failure.code !== 'CORRUPT') throw failure;
    // A directory where a file should be: nobody has it open, and LevelDB removes files only.
  }
  try {
    await rm(directory, { recursive: true, force: true });
  } catch (error) {
    throw storageError(classifyLevelError, 'removing its files', directory, error);
  }
}

/** @see LevelEngine */
export const levelEngineFactory: EngineFactory = {
  kind: 'level',
  open: (directory, options) => LevelEngine.open(directory, options),
  destroy: destroyLevel,
};
