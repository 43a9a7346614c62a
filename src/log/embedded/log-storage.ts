/**
 * The port to where the embedded log keeps what must survive: `directory-storage.ts` on a database, or memory, which
 * keeps nothing beyond the objects themselves. A batch of changes is written atomically and before it is applied to the
 * objects that readers see.
 */
import type { CommittedOffset, TopicPartition } from '../../core/log-types.js';
import type { AbortedRange, BatchEntry, PartitionLog } from './partition-log.js';

export interface TopicRow {
  readonly topic: string;
  readonly topicId: string;
  readonly partitions: number;
  /** As given at creation, without defaults. */
  readonly configs: Readonly<Record<string, string>>;
}

export interface PartitionRow {
  readonly start: number;
  readonly end: number;
  readonly cleanedTo: number;
}

export interface OffsetRow extends TopicPartition, CommittedOffset {
  readonly group: string;
}

export interface TransactionalRow {
  readonly transactionalId: string;
  readonly producerId: number;
  readonly epoch: number;
  readonly timeoutMs: number;
  readonly usedAt: number;
  /** Partitions that an unfinished transaction has written to. */
  readonly open: readonly (TopicPartition & { readonly firstOffset: number })[];
  readonly openedAt: number;
}

/** Changes that become durable together, in the order in which they were made. */
export interface StorageBatch {
  putEntry(log: PartitionLog, entry: BatchEntry): void;
  deleteEntry(log: PartitionLog, entry: BatchEntry): void;
  putPartition(log: PartitionLog, row: PartitionRow): void;
  putAborted(log: PartitionLog, range: AbortedRange): void;
  deleteAborted(log: PartitionLog, range: AbortedRange): void;
  putTopic(row: TopicRow): void;
  /** The topic's row; its partitions are removed with `deletePartition`. */
  deleteTopic(row: TopicRow): void;
  deletePartition(log: PartitionLog): void;
  putOffset(row: OffsetRow): void;
  deleteOffset(row: OffsetRow): void;
  putTransactional(row: TransactionalRow): void;
  deleteTransactional(transactionalId: string): void;
  putNextProducerId(producerId: number): void;
  /** `undefined` when there is nothing to wait for. Rejects LOG_UNAVAILABLE. */
  write(): Promise<void> | undefined;
}

/** What an earlier run left. */
export interface StoredLog {
  readonly topics: readonly TopicRow[];
  readonly offsets: readonly OffsetRow[];
  readonly transactionals: readonly TransactionalRow[];
  readonly nextProducerId: number;
  restore(log: PartitionLog): Promise<void>;
}

export interface LogStorage {
  readonly directory: string | undefined;
  stored(): Promise<StoredLog>;
  batch(): StorageBatch;
  /** The bytes of entries that are only on disk, in their order; `undefined` for one that compaction has removed. */
  load(log: PartitionLog, entries: readonly BatchEntry[]): Promise<readonly (Uint8Array | undefined)[]>;
  close(): Promise<void>;
}

const NOTHING: StorageBatch = {
  putEntry: () => undefined,
  deleteEntry: () => undefined,
  putPartition: () => undefined,
  putAborted: () => undefined,
  deleteAborted: () => undefined,
  putTopic: () => undefined,
  deleteTopic: () => undefined,
  deletePartition: () => undefined,
  putOffset: () => undefined,
  deleteOffset: () => undefined,
  putTransactional: () => undefined,
  deleteTransactional: () => undefined,
  putNextProducerId: () => undefined,
  write: () => undefined,
};

/** Keeps nothing: entries hold their bytes. */
export const memoryStorage: LogStorage = {
  directory: undefined,
  stored: async () => ({
    topics: [],
    offsets: [],
    transactionals: [],
    nextProducerId: 0,
    restore: async () => undefined,
  }),
  batch: () => NOTHING,
  load: async (_log, entries) => entries.map((entry) => entry.bytes),
  close: async () => undefined,
};

/** Copies the entries' bytes into one fresh buffer of exactly their size; at once if all are in memory. */
export function copyOut(
  storage: LogStorage,
  log: PartitionLog,
  entries: readonly BatchEntry[],
): ArrayBuffer | Promise<ArrayBuffer> {
  for (const entry of entries)
    if (entry.bytes === undefined) return storage.load(log, entries).then((loaded) => concat(loaded));
  return concat(entries.map((entry) => entry.bytes));
}

function concat(parts: readonly (Uint8Array | undefined)[]): ArrayBuffer {
  let size = 0;
  for (const part of parts) size += part?.byteLength ?? 0;
  // Not from the pool, so that the buffer can be transferred, and not zeroed, since it is filled at once.
  const whole = Buffer.allocUnsafeSlow(size);
  let at = 0;
  for (const part of parts) {
    if (part === undefined) continue;
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole.buffer;
}
