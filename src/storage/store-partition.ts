/**
 * The database of one actor: an engine, and in the same atomic batches how far the changelog has been applied. It opens
 * with patience where somebody else has the lock, reports why a database can't be used as it is, and destroys nothing
 * by itself: whether it may be rebuilt is the actor's decision (semantics.md 8.3), carried out by `rebuild`.
 *
 * On disk: `<directory>/partita.json` and the engine's files in `<directory>/level` or `<directory>/rocksdb`, so that no
 * engine ever meets another's files. The memory engine touches no disk at all.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../core/clock.js';
import { isPartitaError, PartitaError } from '../core/errors.js';
import { leaveDamageMark, readDamageMark } from './damage-mark.js';
import { holdsData } from './database-files.js';
import { compareFormat, type PartitionMismatch } from './database-mismatch.js';
import { engineFactory } from './engines.js';
import {
  FORMAT_VERSION,
  exists,
  fileError,
  readFormatFile,
  writeFormatFile,
  type DatabaseFormat,
  type FormatFound,
} from './format-file.js';
import { withLockPatience } from './lock-patience.js';
import {
  CHECKPOINT_KEY,
  decodePosition,
  encodePosition,
  expectForwards,
  isMetaKey,
  META_FAMILY,
  META_ROWS_MAX,
  POSITION_KEY,
  type AppliedPosition,
} from './position-rows.js';
import type {
  EngineFactory,
  EngineKind,
  EngineOptions,
  EngineSnapshot,
  EngineStats,
  EngineWrite,
  StorageEngine,
} from './storage-engine.js';

export interface OpenStorePartition {
  /** Holds the engine's files and the format file; nothing else belongs in it. */
  readonly directory: string;
  readonly engine: EngineKind;
  /** Empty where the log gives none: then it is not compared. */
  readonly changelogTopicId: string;
  /** How long a lock is waited for, in ms; it is tried once at least. */
  readonly openBudgetMs: number;
  readonly engineOptions: EngineOptions;
  readonly clock: Clock;
  /** Ends the waiting for a lock with CALL_ABORTED. */
  readonly signal?: AbortSignal;
  /** `true`: damage is reported as `mismatch`; `false`: it is thrown as CORRUPT. Either way the files are untouched. */
  readonly rebuildOnCorruption: boolean;
  /** Who makes engines; for tests that inject faults. Default: the three engines. */
  readonly factoryOf?: (kind: EngineKind) => EngineFactory;
}

/** Where a batch leaves the database. */
export interface ApplyPosition extends AppliedPosition {
  /** The checkpoint record of this batch; absent: the stored one stays. */
  readonly checkpointRecord?: Uint8Array;
  /** Wait until the disk has it. A lost tail is replayed, so that this is seldom worth its price. */
  readonly sync: boolean;
}

const NOTHING_APPLIED: AppliedPosition = { offset: -1, appendTime: -1 };
const FILE_ENGINES = ['level', 'rocksdb'] as const;

export class StorePartition {
  readonly #options: OpenStorePartition;
  #engine: StorageEngine | undefined;
  #mismatch: PartitionMismatch | undefined;
  #position = NOTHING_APPLIED;
  #checkpointRecord: Uint8Array | undefined;
  #applying = false;
  #rebuilding: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: OpenStorePartition) {
    this.#options = options;
  }

  /**
   * Opens the database, or reports as `mismatch` why it can't be used. A lock is retried with back-off within the budget.
   * @throws PartitaError LOCKED, CORRUPT (if not `rebuildOnCorruption`), DISK_FULL, ENGINE_UNAVAILABLE, ENGINE_FAILED,
   * CALL_ABORTED
   */
  static async open(options: OpenStorePartition): Promise<StorePartition> {
    const partition = new StorePartition(options);
    await withLockPatience(options, () => partition.#open());
    return partition;
  }

  get mismatch(): PartitionMismatch | undefined {
    return this.#mismatch;
  }

  /** Changelog offset up to which everything is applied; -1: nothing. */
  get offset(): number {
    return this.#position.offset;
  }

  /** The log's append time (ms) of the last applied record; -1: none. */
  get appendTime(): number {
    return this.#position.appendTime;
  }

  /** The checkpoint record that was stored last. */
  get checkpointRecord(): Uint8Array | undefined {
    return this.#checkpointRecord;
  }

  /** The damage that a read, a scan or a write has met since the opening: nothing more of the database is to be trusted. */
  get damage(): PartitaError | undefined {
    return this.#engine?.damage;
  }

  /** Nothing of a changelog has been applied yet. */
  get empty(): boolean {
    return this.offset === -1 && this.#checkpointRecord === undefined;
  }

  /** Whether there is a row of a store. */
  async holdsRows(): Promise<boolean> {
    const snapshot = this.snapshot();
    try {
      const scan = snapshot.scan({ limit: META_ROWS_MAX + 1 });
      for (let rows = await scan.next(); rows.length > 0; rows = await scan.next())
        if (rows.some(([key]) => !isMetaKey(key))) return true;
      return false;
    } finally {
      await snapshot.close();
    }
  }

  /** Synchronous point read; the bytes belong to the caller. */
  get(key: Uint8Array): Uint8Array | undefined {
    return this.#expectEngine().get(key);
  }

  /** The view of this very moment. Holds the position rows too, in a family that no store's prefix covers. */
  snapshot(): EngineSnapshot {
    return this.#expectEngine().snapshot();
  }

  /**
   * One atomic batch: the writes in order, the position, and the checkpoint record if one is given. Calls may not overlap.
   * @throws PartitaError OFFSET_BACKWARDS (nothing is written), DISK_FULL, CORRUPT, ENGINE_FAILED, ENGINE_CLOSED,
   * ILLEGAL_STATE. After a failed write the partition must be closed and opened anew.
   */
  async apply(writes: readonly EngineWrite[], position: ApplyPosition): Promise<void> {
    const engine = this.#expectUsable();
    expectForwards(this.#position, position, this.#options.directory);
    for (const { key } of writes) if (isMetaKey(key)) throw this.#reservedKey();
    const { offset, appendTime, checkpointRecord, sync } = position;
    const batch = [...writes, { key: POSITION_KEY, value: encodePosition(position) }];
    // Copied: the record is kept, while what it came from may be a large page.
    const record = checkpointRecord === undefined ? undefined : Uint8Array.from(checkpointRecord);
    if (record !== undefined) batch.push({ key: CHECKPOINT_KEY, value: record });
    this.#applying = true;
    try {
      await engine.write(batch, { sync });
    } finally {
      this.#applying = false;
    }
    this.#position = { offset, appendTime };
    if (record !== undefined) this.#checkpointRecord = record;
  }

  /** Destroys whatever is in the directory and opens an empty database for the present changelog. */
  async rebuild(): Promise<void> {
    this.#expectNotClosed();
    this.#rebuilding = this.#rebuild();
    await this.#rebuilding;
  }

  /**
   * Keeps the stores' contents and the checkpoint record of a database with mismatch `topicId` and makes it one of the
   * present changelog, of which nothing counts as applied yet (`onStateMissing: 'restoreFromDisk'`).
   */
  async adopt(): Promise<void> {
    this.#expectEngine();
    if (this.#mismatch?.kind !== 'topicId')
      throw new PartitaError(
        'ILLEGAL_STATE',
        `The database in ${this.#options.directory} is of this changelog already.`,
      );
    // The position first: were it the other way round, a crash in between would leave the old offset on the new log.
    await this.disown();
    await writeFormatFile(this.#options.directory, this.#format());
    this.#mismatch = undefined;
  }

  /** Keeps the contents and the checkpoint record, of which nothing counts as applied from the changelog any more. */
  async disown(): Promise<void> {
    await this.#expectEngine().write([{ key: POSITION_KEY, value: encodePosition(NOTHING_APPLIED) }], {
      sync: true,
    });
    this.#position = NOTHING_APPLIED;
  }

  /** Estimated bytes that the database takes. */
  stats(): Promise<EngineStats> {
    return this.#expectEngine().stats();
  }

  /** Idempotent; releases the lock. Waits for a write under way. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    // Whoever rebuilds hears of a failure; closing only has to wait for its end.
    await this.#rebuilding?.catch(() => undefined);
    const { directory, rebuildOnCorruption } = this.#options;
    const damage = this.#engine?.damage;
    // While the lock is held. The next opening would not see it, and the next read would end that one too.
    if (damage !== undefined && rebuildOnCorruption) await leaveDamageMark(directory, damage.message);
    await this.#engine?.close();
  }

  async #rebuild(): Promise<void> {
    const engine = this.#engine;
    this.#engine = undefined;
    await engine?.close();
    await withLockPatience(this.#options, async () => {
      // Who closes meanwhile gets what there is, not a new database.
      this.#expectNotClosed();
      await this.#destroy();
      await this.#open();
    });
  }

  async #open(): Promise<void> {
    this.#reset();
    const { engine: kind, directory } = this.#options;
    if (kind === 'memory') {
      this.#engine = await this.#factory('memory').open(directory, this.#options.engineOptions);
      // Always empty, but for one that a test keeps from one opening to the next.
      this.#readPosition(this.#engine);
      return;
    }
    const found = await readFormatFile(directory);
    if (found === 'invalid' || (found === undefined && (await holdsData(join(directory, kind))))) {
      const what = found === undefined ? 'is lost' : 'makes no sense';
      this.#damaged(`The partita.json of the database in ${directory} ${what}.`);
      return;
    }
    this.#mismatch = compareFormat(found, this.#format(), directory);
    if (this.#mismatch !== undefined && this.#mismatch.kind !== 'topicId') return;
    if (await this.#isMarkedDamaged()) return;
    await this.#openEngine(kind);
    if (this.#engine === undefined) return;
    await this.#settleFormat(found);
  }

  async #isMarkedDamaged(): Promise<boolean> {
    const { directory } = this.#options;
    const damage = await readDamageMark(directory);
    if (damage === undefined) return false;
    this.#damaged(`The database in ${directory} was found damaged while it was open: ${damage}`);
    return true;
  }

  #damaged(message: string): void {
    const { directory, rebuildOnCorruption } = this.#options;
    if (!rebuildOnCorruption) throw new PartitaError('CORRUPT', message, { details: { directory } });
    this.#reset({ kind: 'corrupt', message });
  }

  /** Opens the engine's files and reads the position; damage becomes the mismatch. */
  async #openEngine(kind: EngineKind): Promise<void> {
    const { directory, engineOptions, rebuildOnCorruption } = this.#options;
    let engine: StorageEngine | undefined;
    try {
      await mkdir(directory, { recursive: true });
      engine = await this.#factory(kind).open(join(directory, kind), engineOptions);
      this.#readPosition(engine);
      this.#engine = engine;
    } catch (error) {
      await engine?.close();
      if (!(error instanceof PartitaError)) throw fileError('creating', directory, error);
      if (error.code !== 'CORRUPT' || !rebuildOnCorruption) throw error;
      this.#reset();
      this.#mismatch = { kind: 'corrupt', message: error.message };
    }
  }

  /** The format file of a database that is open: written if it is missing, and now is the first that could be. */
  async #settleFormat(found: Exclude<FormatFound, 'invalid'>): Promise<void> {
    const { directory, changelogTopicId } = this.#options;
    if (found === undefined && !this.empty) {
      await this.#engine?.close();
      this.#damaged(`The database in ${directory} has lost its partita.json.`);
      return;
    }
    const learned = found?.engine !== undefined && found.changelogTopicId === '' && changelogTopicId !== '';
    if (found === undefined || learned) await this.#closeIfFails(writeFormatFile(directory, this.#format()));
  }

  async #closeIfFails(step: Promise<void>): Promise<void> {
    try {
      await step;
    } catch (error) {
      await this.#engine?.close();
      throw error;
    }
  }

  #readPosition(engine: StorageEngine): void {
    const position = engine.get(POSITION_KEY);
    if (position !== undefined) this.#position = decodePosition(position, this.#options.directory);
    this.#checkpointRecord = engine.get(CHECKPOINT_KEY);
  }

  async #destroy(): Promise<void> {
    const { directory, engine } = this.#options;
    if (engine === 'memory') return this.#factory(engine).destroy(directory);
    // Whatever partita.json says, if it says anything: no engine's files go while somebody has them open.
    for (const kind of FILE_ENGINES) await this.#destroyEngine(kind);
    try {
      await rm(directory, { recursive: true, force: true });
    } catch (error) {
      throw fileError('removing', directory, error);
    }
  }

  async #destroyEngine(kind: EngineKind): Promise<void> {
    const { directory, engine } = this.#options;
    const files = join(directory, kind);
    if (!(await exists(files))) return;
    try {
      await this.#factory(kind).destroy(files);
    } catch (error) {
      // Another engine that can't be loaded here any more: its files are of no use, and nobody here has them open.
      if (kind === engine || !isPartitaError(error, 'ENGINE_UNAVAILABLE')) throw error;
    }
  }

  #factory(kind: EngineKind): EngineFactory {
    return (this.#options.factoryOf ?? engineFactory)(kind);
  }

  #format(): DatabaseFormat {
    const { engine, changelogTopicId } = this.#options;
    return { engine, formatVersion: FORMAT_VERSION, changelogTopicId };
  }

  #reset(mismatch?: PartitionMismatch): void {
    this.#engine = undefined;
    this.#mismatch = mismatch;
    this.#position = NOTHING_APPLIED;
    this.#checkpointRecord = undefined;
  }

  #expectUsable(): StorageEngine {
    const engine = this.#expectEngine();
    if (this.#mismatch !== undefined) throw this.#unusable(this.#mismatch);
    if (this.#applying)
      throw new PartitaError(
        'ILLEGAL_STATE',
        `Two batches overlap in the database in ${this.#options.directory}.`,
      );
    return engine;
  }

  #expectEngine(): StorageEngine {
    this.#expectNotClosed();
    if (this.#engine !== undefined) return this.#engine;
    if (this.#mismatch !== undefined) throw this.#unusable(this.#mismatch);
    throw new PartitaError('ENGINE_CLOSED', `The database in ${this.#options.directory} is not open.`);
  }

  #expectNotClosed(): void {
    if (this.#closing !== undefined)
      throw new PartitaError('ENGINE_CLOSED', `The database in ${this.#options.directory} is closed.`);
  }

  #unusable(mismatch: PartitionMismatch): PartitaError {
    return new PartitaError('ILLEGAL_STATE', `${mismatch.message} It must be rebuilt before it is used.`);
  }

  #reservedKey(): PartitaError {
    return new PartitaError(
      'INVALID_ARGUMENT',
      `A key of the reserved family ${META_FAMILY} was to be written in ${this.#options.directory}.`,
    );
  }
}
