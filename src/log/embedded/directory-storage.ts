/**
 * The embedded log's storage in a directory, on classic-level: one row per batch, one per batch's index entry, and small
 * rows for the rest. Every write is one chained batch, so that a kill leaves whole transactions or none of them. Indexes
 * are read at start, bodies when they are fetched; the newest stay in memory within a bound.
 */
import type { ClassicLevel } from 'classic-level';

import { PartitaError, describeError } from '../../core/errors.js';
import type {
  LogStorage,
  OffsetRow,
  PartitionRow,
  StorageBatch,
  StoredLog,
  TopicRow,
  TransactionalRow,
} from './log-storage.js';
import type { AbortedRange, BatchEntry, PartitionLog } from './partition-log.js';

type Database = ClassicLevel<Buffer, Buffer>;
type ChainedBatch = ReturnType<Database['batch']>;

const FORMAT = 1;
/** The first byte of a key says what its row is. */
const ROW = {
  format: 0x01,
  nextProducerId: 0x02,
  topic: 0x03,
  offset: 0x04,
  transactional: 0x05,
  partition: 0x10,
  index: 0x11,
  body: 0x12,
  aborted: 0x13,
} as const;
const ENTRY_BYTES = 37;
const CONTROL_FLAG = 1;
const ROWS_PER_READ = 1000;
const RECENT_BYTES_MAX = 32 * 1024 * 1024;
const EMPTY = Buffer.alloc(0);

export interface DirectoryOptions {
  /** Whether a write waits until the disk has it: survives power failures, not only kills. */
  readonly sync: boolean;
}

/**
 * Opens or creates the directory.
 * @throws PartitaError LOG_LOCKED if any process, this one too, has it open; CORRUPT; LOG_UNAVAILABLE
 */
export async function openDirectory(directory: string, options: DirectoryOptions): Promise<LogStorage> {
  const { ClassicLevel: Level } = await import('classic-level');
  const db: Database = new Level<Buffer, Buffer>(directory, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    compression: false,
    writeBufferSize: 16 * 1024 * 1024,
    maxFileSize: 32 * 1024 * 1024,
  });
  try {
    await db.open();
  } catch (error) {
    throw openingError(directory, error);
  }
  try {
    await checkFormat(db, directory);
  } catch (error) {
    await db.close();
    throw error;
  }
  return new DirectoryStorage(directory, db, options);
}

class DirectoryStorage implements LogStorage {
  readonly directory: string;
  readonly #db: Database;
  readonly #options: DirectoryOptions;
  /** Entries whose bytes are still in memory, oldest first. */
  readonly #recent = new Set<BatchEntry>();
  #recentBytes = 0;
  #failed: PartitaError | undefined;

  constructor(directory: string, db: Database, options: DirectoryOptions) {
    this.directory = directory;
    this.#db = db;
    this.#options = options;
  }

  async stored(): Promise<StoredLog> {
    const next = await this.#db.get(Buffer.from([ROW.nextProducerId]));
    return {
      topics: await this.#rows<TopicRow>(ROW.topic),
      offsets: await this.#rows<OffsetRow>(ROW.offset),
      transactionals: await this.#rows<TransactionalRow>(ROW.transactional),
      nextProducerId: next === undefined ? 0 : (parse(next) as number),
      restore: (log) => this.#restore(log),
    };
  }

  batch(): StorageBatch {
    if (this.#failed !== undefined) throw this.#failed;
    return new DirectoryBatch(this.#db.batch(), (batch, entries) => this.#write(batch, entries));
  }

  async load(
    log: PartitionLog,
    entries: readonly BatchEntry[],
  ): Promise<readonly (Uint8Array | undefined)[]> {
    const missing = entries.filter((entry) => entry.bytes === undefined);
    const present = new Map(entries.map((entry) => [entry, entry.bytes]));
    const keys = missing.map((entry) => entryKey(ROW.body, log, entry.baseOffset));
    try {
      const loaded = await this.#db.getMany(keys);
      missing.forEach((entry, index) => present.set(entry, loaded[index]));
    } catch (error) {
      throw failure('reading from', this.directory, error);
    }
    return entries.map((entry) => present.get(entry));
  }

  async close(): Promise<void> {
    await this.#db.close();
  }

  async #write(batch: ChainedBatch, entries: readonly BatchEntry[]): Promise<void> {
    try {
      await batch.write({ sync: this.#options.sync });
    } catch (error) {
      // LevelDB would go on behind a record that is torn; what follows it would be lost at the next start.
      this.#failed = failure('writing to', this.directory, error);
      throw this.#failed;
    }
    for (const entry of entries) this.#remember(entry);
  }

  #remember(entry: BatchEntry): void {
    this.#recent.add(entry);
    this.#recentBytes += entry.size;
    for (const oldest of this.#recent) {
      if (this.#recentBytes <= RECENT_BYTES_MAX) return;
      this.#recent.delete(oldest);
      this.#recentBytes -= oldest.size;
      oldest.bytes = undefined;
    }
  }

  async #restore(log: PartitionLog): Promise<void> {
    const row = await this.#db.get(partitionKey(ROW.partition, log));
    if (row === undefined) return;
    const { start, end, cleanedTo } = parse(row) as PartitionRow;
    const entries: BatchEntry[] = [];
    await this.#scan(partitionKey(ROW.index, log), (key, value) => {
      entries.push(decodeEntry(Number(key.readBigUInt64BE(key.length - 8)), value));
    });
    const aborted: AbortedRange[] = [];
    await this.#scan(partitionKey(ROW.aborted, log), (_key, value) => {
      aborted.push(parse(value) as AbortedRange);
    });
    log.restore({ start, end }, entries, aborted);
    log.cleanedTo = cleanedTo;
  }

  async #rows<T>(kind: number): Promise<T[]> {
    const rows: T[] = [];
    await this.#scan(Buffer.from([kind]), (_key, value) => {
      rows.push(parse(value) as T);
    });
    return rows;
  }

  async #scan(prefix: Buffer, each: (key: Buffer, value: Buffer) => void): Promise<void> {
    const iterator = this.#db.iterator({ gte: prefix, lt: afterPrefix(prefix) });
    try {
      for (;;) {
        const rows = await iterator.nextv(ROWS_PER_READ);
        if (rows.length === 0) return;
        for (const [key, value] of rows) each(key, value);
      }
    } finally {
      await iterator.close();
    }
  }
}

class DirectoryBatch implements StorageBatch {
  readonly #batch: ChainedBatch;
  readonly #entries: BatchEntry[] = [];
  readonly #write: (batch: ChainedBatch, entries: readonly BatchEntry[]) => Promise<void>;

  constructor(
    batch: ChainedBatch,
    write: (batch: ChainedBatch, entries: readonly BatchEntry[]) => Promise<void>,
  ) {
    this.#batch = batch;
    this.#write = write;
  }

  putEntry(log: PartitionLog, entry: BatchEntry): void {
    this.#batch.put(entryKey(ROW.index, log, entry.baseOffset), encodeEntry(entry));
    this.#batch.put(entryKey(ROW.body, log, entry.baseOffset), asBuffer(entry.bytes ?? EMPTY));
    this.#entries.push(entry);
  }

  deleteEntry(log: PartitionLog, entry: BatchEntry): void {
    this.#batch.del(entryKey(ROW.index, log, entry.baseOffset));
    this.#batch.del(entryKey(ROW.body, log, entry.baseOffset));
  }

  putPartition(log: PartitionLog, row: PartitionRow): void {
    this.#batch.put(partitionKey(ROW.partition, log), json(row));
  }

  putAborted(log: PartitionLog, range: AbortedRange): void {
    this.#batch.put(entryKey(ROW.aborted, log, range.markerOffset), json(range));
  }

  deleteAborted(log: PartitionLog, range: AbortedRange): void {
    this.#batch.del(entryKey(ROW.aborted, log, range.markerOffset));
  }

  putTopic(row: TopicRow): void {
    this.#batch.put(textKey(ROW.topic, row.topic), json(row));
  }

  deleteTopic(row: TopicRow): void {
    this.#batch.del(textKey(ROW.topic, row.topic));
  }

  deletePartition(log: PartitionLog): void {
    for (const entry of log.entries) this.deleteEntry(log, entry);
    for (const range of log.aborted) this.deleteAborted(log, range);
    this.#batch.del(partitionKey(ROW.partition, log));
  }

  putOffset(row: OffsetRow): void {
    this.#batch.put(offsetKey(row), json(row));
  }

  deleteOffset(row: OffsetRow): void {
    this.#batch.del(offsetKey(row));
  }

  putTransactional(row: TransactionalRow): void {
    this.#batch.put(textKey(ROW.transactional, row.transactionalId), json(row));
  }

  deleteTransactional(transactionalId: string): void {
    this.#batch.del(textKey(ROW.transactional, transactionalId));
  }

  putNextProducerId(producerId: number): void {
    this.#batch.put(Buffer.from([ROW.nextProducerId]), json(producerId));
  }

  write(): Promise<void> {
    return this.#write(this.#batch, this.#entries);
  }
}

async function checkFormat(db: Database, directory: string): Promise<void> {
  const key = Buffer.from([ROW.format]);
  const stored = await db.get(key);
  if (stored === undefined) await db.put(key, json(FORMAT));
  else if (parse(stored) !== FORMAT)
    throw new PartitaError(
      'CORRUPT',
      `The directory ${directory} holds an embedded log of format ${stored.toString()}; this version reads ${FORMAT}.`,
      { details: { directory } },
    );
}

// ---- rows

/** 8 last offset, 8 largest timestamp, 8 producer id, 8 delete horizon (-1: none), 4 size, 1 flags. */
function encodeEntry(entry: BatchEntry): Buffer {
  const row = Buffer.alloc(ENTRY_BYTES);
  row.writeDoubleBE(entry.lastOffset, 0);
  row.writeDoubleBE(entry.maxTimestamp, 8);
  row.writeDoubleBE(entry.producerId, 16);
  row.writeDoubleBE(entry.deleteHorizon ?? -1, 24);
  row.writeUInt32BE(entry.size, 32);
  row[36] = entry.isControl ? CONTROL_FLAG : 0;
  return row;
}

function decodeEntry(baseOffset: number, row: Buffer): BatchEntry {
  const horizon = row.readDoubleBE(24);
  return {
    baseOffset,
    lastOffset: row.readDoubleBE(0),
    maxTimestamp: row.readDoubleBE(8),
    producerId: row.readDoubleBE(16),
    deleteHorizon: horizon < 0 ? undefined : horizon,
    size: row.readUInt32BE(32),
    isControl: (row[36]! & CONTROL_FLAG) !== 0,
    bytes: undefined,
  };
}

function partitionKey(kind: number, log: PartitionLog): Buffer {
  const key = Buffer.alloc(1 + 16 + 4);
  key[0] = kind;
  key.write(log.topicId.replaceAll('-', ''), 1, 16, 'hex');
  key.writeUInt32BE(log.partition, 17);
  return key;
}

function entryKey(kind: number, log: PartitionLog, offset: number): Buffer {
  const key = Buffer.alloc(1 + 16 + 4 + 8);
  partitionKey(kind, log).copy(key);
  key.writeBigUInt64BE(BigInt(offset), 21);
  return key;
}

/** The smallest key above all that begin with `prefix`, which begins with a row kind below 0xff. */
function afterPrefix(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  for (let at = end.length - 1; ; at--)
    if (end[at] !== 0xff) {
      end[at]!++;
      return end.subarray(0, at + 1);
    }
}

function textKey(kind: number, text: string): Buffer {
  return Buffer.concat([Buffer.from([kind]), Buffer.from(text)]);
}

function offsetKey({ group, topic, partition }: OffsetRow): Buffer {
  return textKey(ROW.offset, JSON.stringify([group, topic, partition]));
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function parse(row: Buffer): unknown {
  return JSON.parse(row.toString());
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

// ---- errors

function openingError(directory: string, error: unknown): PartitaError {
  const code = codeOf(error);
  if (code === 'LEVEL_LOCKED')
    return new PartitaError(
      'LOG_LOCKED',
      `The embedded log in ${directory} is open already: one process at a time can use it.`,
      { cause: error, details: { directory } },
    );
  if (code === 'LEVEL_CORRUPTION')
    return new PartitaError(
      'CORRUPT',
      `The embedded log in ${directory} is damaged: ${describeError(error)}.`,
      {
        cause: error,
        details: { directory },
      },
    );
  return failure('opening', directory, error);
}

function failure(what: string, directory: string, error: unknown): PartitaError {
  const full = /no space left|disk full/i.test(
    describeError(error instanceof Error ? (error.cause ?? error) : error),
  );
  return new PartitaError(
    full ? 'DISK_FULL' : 'LOG_UNAVAILABLE',
    `The embedded log failed while ${what} ${directory}: ${describeError(error)}.`,
    { cause: error, details: { directory } },
  );
}

/** The code of the database's own error, which is the cause of a failed open. */
function codeOf(error: unknown): unknown {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as { code?: unknown };
    if (code !== undefined && code !== 'LEVEL_DATABASE_NOT_OPEN') return code;
  }
  return undefined;
}
