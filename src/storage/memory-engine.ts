/**
 * The engine that keeps everything in memory: for tests, as the model other engines are compared with, and for state
 * that may always be rebuilt from the changelog. Nothing is ever written to disk and every open is a new, empty
 * database, so no two can meet; keys and values are held as latin1 strings, which cost a fraction of byte arrays.
 */
import { PartitaError } from '../core/errors.js';
import { OrderedKeys, walkRuns } from './ordered-keys.js';
import { resolveRange, SCAN_PAGE, type ResolvedRange } from './scan-range.js';
import type {
  EngineFactory,
  EngineScan,
  EngineSnapshot,
  EngineStats,
  EngineWrite,
  ScanRange,
  StorageEngine,
} from './storage-engine.js';

/** A Map holds at most 2^24 entries; beyond this a partition needs an engine on disk. */
const KEYS_MAX = 16_000_000;

/** A method of Buffer that works on any Uint8Array without wrapping it; the typings omit it. */
const { latin1Slice } = Buffer.prototype as unknown as { latin1Slice: (this: Uint8Array) => string };

const toText = (bytes: Uint8Array): string => latin1Slice.call(bytes);
const toBytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

type Entry = readonly [key: Uint8Array, value: Uint8Array];

export class MemoryEngine implements StorageEngine {
  readonly kind = 'memory';
  readonly #data = new Map<string, string>();
  readonly #order = new OrderedKeys();
  readonly #snapshots = new Set<MemorySnapshot>();
  #bytes = 0;
  #closed = false;

  get(key: Uint8Array): Uint8Array | undefined {
    this.#expectOpen();
    const value = this.#data.get(toText(key));
    return value === undefined ? undefined : toBytes(value);
  }

  snapshot(): EngineSnapshot {
    this.#expectOpen();
    const snapshot = new MemorySnapshot(this.#data, this.#order, (closed) => this.#snapshots.delete(closed));
    this.#snapshots.add(snapshot);
    return snapshot;
  }

  async write(batch: readonly EngineWrite[]): Promise<void> {
    this.#expectOpen();
    if (this.#data.size + batch.length > KEYS_MAX)
      throw new PartitaError(
        'ENGINE_FAILED',
        `The memory engine holds ${this.#data.size} keys and takes at most ${KEYS_MAX}; use the engine "level" or "rocksdb", or more partitions.`,
      );
    for (const { key, value } of batch) this.#set(toText(key), value === null ? undefined : toText(value));
  }

  async stats(): Promise<EngineStats> {
    this.#expectOpen();
    return { bytes: this.#bytes };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const snapshot of this.#snapshots) await snapshot.close();
    this.#data.clear();
  }

  #set(key: string, value: string | undefined): void {
    const before = this.#data.get(key);
    for (const snapshot of this.#snapshots) snapshot.keep(key, before);
    if (before !== undefined) this.#bytes -= key.length + before.length;
    if (value === undefined) {
      this.#data.delete(key);
      return;
    }
    this.#data.set(key, value);
    this.#bytes += key.length + value.length;
    if (before === undefined) this.#order.added(key, this.#data.size);
  }

  #expectOpen(): void {
    if (this.#closed) throw new PartitaError('ENGINE_CLOSED', 'The memory engine is closed.');
  }
}

/** The live data, and beneath it what writes since have replaced; taking one costs nothing. */
class MemorySnapshot implements EngineSnapshot {
  readonly #data: ReadonlyMap<string, string>;
  readonly #order: OrderedKeys;
  readonly #onClose: (snapshot: MemorySnapshot) => void;
  /** What was there (undefined: nothing) before the first write since the snapshot, by key. */
  readonly #replaced = new Map<string, string | undefined>();
  /** The keys of `#replaced`, sorted; the index of the live data may have lost them. */
  #replacedKeys: readonly string[] = [];
  #closed = false;

  constructor(
    data: ReadonlyMap<string, string>,
    order: OrderedKeys,
    onClose: (snapshot: MemorySnapshot) => void,
  ) {
    this.#data = data;
    this.#order = order;
    this.#onClose = onClose;
  }

  keep(key: string, before: string | undefined): void {
    if (!this.#replaced.has(key)) this.#replaced.set(key, before);
  }

  scan(range: ScanRange): EngineScan {
    this.#expectOpen();
    return new MemoryScan(resolveRange(range), (bounds, count) => this.#page(bounds, count));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#replaced.clear();
    this.#onClose(this);
  }

  #page(range: TextRange, count: number): [string, string][] {
    this.#expectOpen();
    if (count === 0) return [];
    if (this.#replacedKeys.length !== this.#replaced.size)
      this.#replacedKeys = [...this.#replaced.keys()].sort();
    const found: [string, string][] = [];
    const runs = [...this.#order.runs(this.#data.keys()), this.#replacedKeys];
    walkRuns(runs, range, range.reverse, (key) => {
      const value = this.#replaced.has(key) ? this.#replaced.get(key) : this.#data.get(key);
      if (value !== undefined) found.push([key, value]);
      return found.length < count;
    });
    return found;
  }

  #expectOpen(): void {
    if (this.#closed) throw new PartitaError('ENGINE_CLOSED', 'The snapshot of the memory engine is closed.');
  }
}

interface TextRange {
  readonly gte: string | undefined;
  readonly afterGte: boolean;
  readonly lt: string | undefined;
  readonly reverse: boolean;
}

class MemoryScan implements EngineScan {
  readonly #page: (range: TextRange, count: number) => [string, string][];
  #range: TextRange;
  #remaining: number;
  #closed = false;

  constructor(range: ResolvedRange, page: (range: TextRange, count: number) => [string, string][]) {
    this.#page = page;
    this.#remaining = range.empty ? 0 : range.limit;
    this.#range = {
      gte: range.gte === undefined ? undefined : toText(range.gte),
      afterGte: false,
      lt: range.lt === undefined ? undefined : toText(range.lt),
      reverse: range.reverse,
    };
  }

  async next(): Promise<readonly Entry[]> {
    if (this.#closed) throw new PartitaError('ENGINE_CLOSED', 'The scan of the memory engine is closed.');
    const count = Math.min(SCAN_PAGE, this.#remaining);
    const found = this.#page(this.#range, count);
    this.#remaining = found.length < count ? 0 : this.#remaining - found.length;
    const last = found.at(-1)?.[0];
    if (last !== undefined)
      this.#range = this.#range.reverse
        ? { ...this.#range, lt: last }
        : { ...this.#range, gte: last, afterGte: true };
    return found.map(([key, value]): Entry => [toBytes(key), toBytes(value)]);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}

/** @see MemoryEngine */
export const memoryEngineFactory: EngineFactory = {
  kind: 'memory',
  open: async () => new MemoryEngine(),
  destroy: async () => undefined,
};
