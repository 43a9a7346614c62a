/**
 * The port to a database of one actor. Three implementations (`memory-engine`, `level-engine`, `rocksdb-engine`) pass
 * `test/contract/storage-engine.ts`; memory is also the reference model of property tests. Keys and values are bytes,
 * ordered bytewise; families are key prefixes in the one keyspace (`codec/keys.ts`). An engine knows nothing of stores,
 * offsets or changelogs: that is `store-partition.ts`.
 */

import type { EngineKind } from '../core/engine-kind.js';
import type { PartitaError } from '../core/errors.js';
export type { EngineKind };

/** One change; `value: null` deletes. */
export interface EngineWrite {
  readonly key: Uint8Array;
  readonly value: Uint8Array | null;
}

export interface ScanRange {
  /** Inclusive lower bound; absent: from the first key. */
  readonly gte?: Uint8Array;
  /** Exclusive upper bound; absent: to the last key. */
  readonly lt?: Uint8Array;
  readonly reverse?: boolean;
  /** Entries at most. */
  readonly limit?: number;
}

/** A consistent view of the moment in which it was taken. Must be closed; closing the engine closes it too. */
export interface EngineSnapshot {
  /** Pages of entries in the order of keys (reversed if asked). An empty page ends the scan. */
  scan(range: ScanRange): EngineScan;
  close(): Promise<void>;
}

export interface EngineScan {
  /** The next entries, some hundreds at a time; empty at the end. */
  next(): Promise<readonly (readonly [key: Uint8Array, value: Uint8Array])[]>;
  close(): Promise<void>;
}

export interface EngineStats {
  /** Estimated bytes on disk (or in memory for the memory engine). */
  readonly bytes: number;
}

export interface StorageEngine {
  readonly kind: EngineKind;
  /** The damage that a read, a scan or a write has met since the opening. Absent in engines without files. */
  readonly damage?: PartitaError | undefined;
  /** Synchronous point read; the bytes belong to the caller. ENGINE_CLOSED after close. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** Synchronous: the view is of this very moment. */
  snapshot(): EngineSnapshot;
  /** One atomic batch, in order; off-thread where the engine can. Calls may not overlap. */
  write(batch: readonly EngineWrite[], options: { readonly sync: boolean }): Promise<void>;
  stats(): Promise<EngineStats>;
  /** Idempotent. Waits for a write under way. */
  close(): Promise<void>;
}

/** Opens and destroys databases of one kind. Errors are LOCKED, CORRUPT, DISK_FULL, ENGINE_UNAVAILABLE or ENGINE_FAILED. */
export interface EngineFactory {
  readonly kind: EngineKind;
  open(directory: string, options: EngineOptions): Promise<StorageEngine>;
  /** Deletes the database's files; fine if there are none; LOCKED if somebody has it open. */
  destroy(directory: string): Promise<void>;
}

export interface EngineOptions {
  readonly blockCacheBytes: number;
  readonly writeBufferBytes: number;
}
