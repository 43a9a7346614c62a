/**
 * What every kind of declared store is to `state-store.ts`: views for handlers and queries, and what it has to do with
 * time. Stores that need several families of keys (windows, as-of entries, timers) are built of internal key-value stores,
 * so that layers, cache, changelog and recovery are one thing for all.
 */
import type { DueSource } from './due-source.js';
import type { EventClock } from './event-clock.js';
import { KeyValueStore, type ReadLevel } from './key-value-store.js';
import type { RecordScope } from './record-scope.js';
import type { StateLayers } from './state-layers.js';
import type { StatePartition } from './state-partition.js';
import type { Serde } from '../processor/serde.js';
import type { WindowEvents } from './window-events.js';

export interface DeclaredStore {
  /** As handlers see it while the scope is open. */
  view(scope: RecordScope): unknown;
  /** As queries see it. */
  queryView(read: ReadLevel, scope: RecordScope): unknown;
  /** Its work that comes due with time. */
  readonly sources: readonly DueSource[];
  /** Before `prepare`, where there is time: reads what that needs, and does most of it in parts. `undefined`: no need. */
  settle?(): Promise<void> | undefined;
  /** Stages what a checkpoint takes along, in the live layer that is about to be frozen. Bounded. */
  prepare?(): void;
  /** Of a table: what its input's records do. */
  readonly table?: TableWriter;
  /** Windows that close when nothing comes any more. */
  readonly idle?: IdleStore | undefined;
  /** Drops what it holds in memory. */
  clear(): void;
}

/** A store whose time goes on by itself while all inputs are at their end. */
export interface IdleStore {
  /** After how many ms of idleness something would come due; Infinity: nothing would. */
  readonly idleDueMs: number;
  raiseIdle(idleMs: number): void;
}

/** Keeps the latest value of each key. */
export interface TableWriter {
  set(key: unknown, value: unknown): void;
  delete(key: unknown): void;
}

/** What a store is made over. */
export interface StoreParts {
  readonly name: string;
  readonly layers: StateLayers;
  readonly partition: StatePartition;
  /** The changelog's limit for one record batch with one record. */
  readonly maxRecordBytes: number;
  readonly clock: EventClock;
  /** Wall-clock ms since 1970. */
  readonly wallNow: () => number;
  /** Where windowed stores leave what handlers are to be told. */
  readonly events: WindowEvents;
}

/**
 * An internal family of the store `parts.name`. `suffix` begins with `$`, which no store's name may hold, so that no
 * declared store collides.
 */
export function family(
  parts: StoreParts,
  suffix: `$${string}`,
  key: Serde<unknown>,
  value: Serde<unknown>,
): KeyValueStore {
  const { layers, partition, maxRecordBytes } = parts;
  const declaration = { kind: 'keyValue', key, value } as const;
  return new KeyValueStore(`${parts.name}${suffix}`, declaration, layers, partition, maxRecordBytes);
}
