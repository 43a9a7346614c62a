/**
 * The RocksDB engine, on the optional package \@nxtedition/rocksdb: one database directory, everything on the caller's
 * thread. One native batch is made per database and reused; a point read after close would crash the process, so every
 * call is guarded here. After a failed write it takes no more until it is opened anew.
 */
import { rm } from 'node:fs/promises';
import { ENGINE_PACKAGES, engineUnavailable } from '../core/engine-kind.js';
import { isPartitaError, PartitaError } from '../core/errors.js';
import { findDamage } from './database-files.js';
import { classifyRocksdbError, storageError } from './engine-errors.js';
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

// The package has no typings; these are the parts of it that are used, as read in its source (12.2.12).
interface NativeBatch {
  _put(key: Uint8Array, value: Uint8Array): void;
  _del(key: Uint8Array): void;
  _clear(): void;
  _writeSync(options: { sync: boolean }): void;
  close(): Promise<void>;
}
interface NativeIterator {
  _seekSync(target: Uint8Array): void;
  /** Keys and values in turn. */
  _nextvSync(size: number): { rows: Uint8Array[]; finished: boolean };
  close(): Promise<void>;
}
interface NativeDatabase {
  open(): Promise<void>;
  close(): Promise<void>;
  getProperty(name: string): string;
  _chainedBatch(): NativeBatch;
  _iterator(options: Record<string, unknown>): NativeIterator;
  _getManySync(keys: Uint8Array[]): (Uint8Array | undefined | null)[];
}
interface RocksdbModule {
  readonly RocksLevel: new (directory: string, options: Record<string, unknown>) => NativeDatabase;
}

type Entry = readonly [key: Uint8Array, value: Uint8Array];

/** Bytes after which the addon cuts a page short. */
const SCAN_PAGE_BYTES = 256 * 1024;
const DESTROY_OPTIONS: EngineOptions = { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 };

export class RocksdbEngine implements StorageEngine {
  readonly kind = 'rocksdb';
  readonly #directory: string;
  readonly #db: NativeDatabase;
  readonly #batch: NativeBatch;
  readonly #snapshots = new Set<RocksdbSnapshot>();
  #failed: PartitaError | undefined;
  #damage: PartitaError | undefined;
  #closing: Promise<void> | undefined;

  private constructor(directory: string, db: NativeDatabase) {
    this.#directory = directory;
    this.#db = db;
    this.#batch = db._chainedBatch();
  }

  static async open(directory: string, options: EngineOptions): Promise<RocksdbEngine> {
    const db = await openDatabase(directory, options, true);
    return new RocksdbEngine(directory, db);
  }

  get damage(): PartitaError | undefined {
    return this.#damage;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#expectOpen();
    let found: Uint8Array | undefined | null;
    try {
      found = this.#db._getManySync([key])[0];
    } catch (error) {
      throw this.#error('reading', error);
    }
    if (found === null)
      throw new PartitaError('ENGINE_FAILED', `A read of the database in ${this.#directory} was cut short.`);
    return found;
  }

  snapshot(): EngineSnapshot {
    this.#expectOpen();
    try {
      const snapshot = new RocksdbSnapshot(
        this.#db,
        (error) => this.#error('scanning', error),
        (closed) => this.#snapshots.delete(closed),
      );
      this.#snapshots.add(snapshot);
      return snapshot;
    } catch (error) {
      throw this.#error('taking a snapshot', error);
    }
  }

  async write(writes: readonly EngineWrite[], options: { readonly sync: boolean }): Promise<void> {
    this.#expectOpen();
    if (this.#failed !== undefined) throw this.#failed;
    const batch = this.#batch;
    try {
      for (const { key, value } of writes) {
        if (value === null) batch._del(key);
        else batch._put(key, value);
      }
      batch._writeSync({ sync: options.sync });
    } catch (error) {
      this.#failed = this.#error('writing', error);
      throw this.#failed;
    } finally {
      batch._clear();
    }
  }

  async stats(): Promise<EngineStats> {
    this.#expectOpen();
    const property = (name: string): number => Number(this.#db.getProperty(name)) || 0;
    return {
      bytes: property('rocksdb.total-sst-files-size') + property('rocksdb.cur-size-all-mem-tables'),
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const snapshot of this.#snapshots) await snapshot.close();
    try {
      await this.#batch.close();
      await this.#db.close();
    } catch (error) {
      // The binding has let go of the database and its lock all the same. After a failed write RocksDB repeats that
      // failure here, which whoever wrote has heard of already.
      if (this.#failed === undefined) throw this.#error('closing', error);
    }
  }

  #error(doing: string, error: unknown): PartitaError {
    const failure = storageError(classifyRocksdbError, doing, this.#directory, error);
    if (failure.code === 'CORRUPT') this.#damage ??= failure;
    return failure;
  }

  #expectOpen(): void {
    if (this.#closing !== undefined)
      throw new PartitaError('ENGINE_CLOSED', `The database in ${this.#directory} is closed.`);
  }
}

/**
 * The binding has no snapshots, but its iterators see the moment of their making: a snapshot is one iterator in each
 * direction, without bounds, and scans take turns on them.
 */
class RocksdbSnapshot implements EngineSnapshot {
  readonly #forward: SharedIterator;
  readonly #backward: SharedIterator;
  readonly #onClose: (snapshot: RocksdbSnapshot) => void;
  #closed = false;

  constructor(
    db: NativeDatabase,
    error: (error: unknown) => PartitaError,
    onClose: (snapshot: RocksdbSnapshot) => void,
  ) {
    this.#forward = new SharedIterator(db, false, error);
    this.#backward = new SharedIterator(db, true, error);
    this.#onClose = onClose;
  }

  scan(range: ScanRange): EngineScan {
    if (this.#closed) throw new PartitaError('ENGINE_CLOSED', 'The snapshot of the database is closed.');
    return new RocksdbScan(resolveRange(range), range.reverse === true ? this.#backward : this.#forward);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose(this);
    await this.#forward.close();
    await this.#backward.close();
  }
}

/** One native iterator that several scans use in turns: whoever finds another's position seeks anew. */
class SharedIterator {
  readonly #native: NativeIterator;
  readonly #error: (error: unknown) => PartitaError;
  #user: RocksdbScan | undefined;
  /** The first key in the iterator's direction: where a scan without bound begins. `undefined`: not yet looked. */
  #first: Uint8Array | 'none' | undefined;
  #closed = false;

  constructor(db: NativeDatabase, reverse: boolean, error: (error: unknown) => PartitaError) {
    this.#error = error;
    this.#native = db._iterator({
      reverse,
      keys: true,
      values: true,
      limit: -1,
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      fillCache: false,
      highWaterMarkBytes: SCAN_PAGE_BYTES,
    });
  }

  /** The next rows (keys and values in turn) from `from` on, inclusive; from the scan's last position if it is known. */
  read(user: RocksdbScan, from: Uint8Array | undefined, count: number): Uint8Array[] {
    if (this.#closed) throw new PartitaError('ENGINE_CLOSED', 'The snapshot of the database is closed.');
    try {
      this.#first ??= this.#native._nextvSync(1).rows[0] ?? 'none';
      if (this.#first === 'none') return [];
      if (this.#user !== user) this.#native._seekSync(from ?? this.#first);
      this.#user = user;
      return this.#native._nextvSync(count).rows;
    } catch (error) {
      throw this.#error(error);
    }
  }

  isAt(user: RocksdbScan): boolean {
    return this.#user === user;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#native.close();
  }
}

class RocksdbScan implements EngineScan {
  readonly #range: ResolvedRange;
  readonly #iterator: SharedIterator;
  #remaining: number;
  #pageEntries = SCAN_PAGE_FIRST;
  #last: Uint8Array | undefined;
  #closed = false;

  constructor(range: ResolvedRange, iterator: SharedIterator) {
    this.#range = range;
    this.#iterator = iterator;
    this.#remaining = range.empty ? 0 : range.limit;
  }

  async next(): Promise<readonly Entry[]> {
    if (this.#closed) throw new PartitaError('ENGINE_CLOSED', 'The scan of the database is closed.');
    if (this.#remaining === 0) return [];
    const page = this.#read();
    if (page.length === 0) this.#remaining = 0;
    else this.#remaining -= page.length;
    this.#last = page.at(-1)?.[0] ?? this.#last;
    return page;
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #read(): Entry[] {
    const { gte, lt, reverse } = this.#range;
    const resumes = this.#last !== undefined && this.#iterator.isAt(this);
    // A seek is inclusive: after another's turn it finds the key that was read last, and backwards it finds `lt` itself.
    const skip = resumes ? undefined : (this.#last ?? (reverse ? lt : undefined));
    const count = Math.min(this.#pageEntries, this.#remaining);
    this.#pageEntries = SCAN_PAGE;
    const rows = this.#iterator.read(this, this.#last ?? (reverse ? lt : gte), count);
    if (skip !== undefined && rows[0] !== undefined && Buffer.compare(rows[0], skip) === 0) {
      rows.splice(0, 2);
      if (rows.length === 0) rows.push(...this.#iterator.read(this, undefined, count));
    }
    return this.#within(rows);
  }

  /** The rows up to the far bound of the range. */
  #within(rows: readonly Uint8Array[]): Entry[] {
    const { gte, lt, reverse } = this.#range;
    const page: Entry[] = [];
    for (let i = 0; i + 1 < rows.length; i += 2) {
      const key = rows[i]!;
      if (reverse && gte !== undefined && Buffer.compare(key, gte) < 0) break;
      if (!reverse && lt !== undefined && Buffer.compare(key, lt) >= 0) break;
      page.push([key, rows[i + 1]!]);
    }
    return page;
  }
}

async function openDatabase(
  directory: string,
  options: EngineOptions,
  createIfMissing: boolean,
): Promise<NativeDatabase> {
  const { RocksLevel } = await loadRocksdb();
  const family = {
    cacheSize: options.blockCacheBytes,
    compaction: 'level',
    memtableMemoryBudget: options.writeBufferBytes,
    compression: false,
  };
  try {
    const { damage } = await findDamage(directory, 'rocksdb');
    if (damage !== undefined)
      throw new PartitaError('CORRUPT', `The database in ${directory} is damaged: ${damage}.`, {
        details: { directory, damage },
      });
    const db = new RocksLevel(directory, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      ...family,
      walCompression: false,
      parallelism: 1,
      createIfMissing,
      columns: { default: family },
    });
    await db.open();
    return db;
  } catch (error) {
    throw storageError(classifyRocksdbError, 'opening it', directory, error);
  }
}

async function loadRocksdb(): Promise<RocksdbModule> {
  try {
    // Through a variable, since the optional package has no typings and may be absent at compile time.
    const name: string = ENGINE_PACKAGES.rocksdb;
    const loaded = (await import(name)) as RocksdbModule & { readonly default?: RocksdbModule };
    return loaded.default ?? loaded;
  } catch (cause) {
    throw engineUnavailable('rocksdb', cause);
  }
}

/** The binding can't destroy: opening says whether somebody has it open, then the files go. */
async function destroyRocksdb(directory: string): Promise<void> {
  try {
    const db = await openDatabase(directory, DESTROY_OPTIONS, false);
    await db.close();
  } catch (error) {
    if (isPartitaError(error, 'LOCKED') || isPartitaError(error, 'ENGINE_UNAVAILABLE')) throw error;
    // Damaged, or not there: nobody holds it, and there is nothing to be kept.
  }
  await rm(directory, { recursive: true, force: true });
}

/** @see RocksdbEngine */
export const rocksdbEngineFactory: EngineFactory = {
  kind: 'rocksdb',
  open: (directory, options) => RocksdbEngine.open(directory, options),
  destroy: destroyRocksdb,
};
