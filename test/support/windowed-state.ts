/**
 * One windowed store over an engine, without actor, log and changelog: adds records, closes what is due, makes checkpoints,
 * and counts the engine's reads and the bytes that are held. It judges nothing; the tests of limits and a benchmark do.
 */
import { json, string } from '../../src/codec/serdes.js';
import {
  windowed,
  type ReadonlyWindowed,
  type Window,
  type Windowed,
  type WindowResult,
} from '../../src/processor/windowed.js';
import { EventClock, RecordScope, StateStore } from '../../src/state/state-store.js';
import { engineFactory } from '../../src/storage/engines.js';
import type { EngineKind, EngineSnapshot, StorageEngine } from '../../src/storage/storage-engine.js';

export interface CountedResult {
  readonly n: number;
  /** With `collects`. */
  readonly values?: readonly number[];
}

export type CountedWindow = WindowResult<string, CountedResult>;

export interface WindowedStateOptions {
  readonly engine: EngineKind;
  readonly directory: string;
  readonly window: Window;
  readonly graceMs?: number;
  readonly closing?: 'key' | 'partition';
  readonly keyClockRetentionMs?: number;
  readonly cacheBytes: number;
  /** Windows hold what was added, not only how much. */
  readonly collects?: boolean;
}

/** Calls between two looks at whether the event loop may run. */
const CALLS_PER_TURN = 1_024;

export class WindowedState {
  /** Point reads and pages of scans that the engine has served. */
  reads = { gets: 0, pages: 0 };
  /** Windows that were closed. */
  closed = 0;
  /** Events in them. */
  closedEvents = 0;
  /** Entries and closings that were looked at, whatever came of them. */
  taken = 0;
  readonly #options: WindowedStateOptions;
  readonly #engine: StorageEngine;
  #clock = new EventClock(-1);
  #scope = new RecordScope();
  #state!: StateStore;
  #view!: Windowed<string, number, CountedResult>;
  #written = false;

  private constructor(options: WindowedStateOptions, engine: StorageEngine) {
    this.#options = options;
    this.#engine = engine;
    this.#openState();
  }

  static async open(options: WindowedStateOptions): Promise<WindowedState> {
    const engineOptions = { blockCacheBytes: 8 << 20, writeBufferBytes: 4 << 20 };
    return new WindowedState(
      options,
      await engineFactory(options.engine).open(options.directory, engineOptions),
    );
  }

  get heldBytes(): number {
    return this.#state.heldBytes;
  }

  get dirtyBytes(): number {
    return this.#state.dirtyBytes;
  }

  /** Adds 1 to the windows of the key at this time, and closes nothing yet. */
  add(key: string, timestamp: number): void {
    this.#state.savepoint();
    this.#clock.advance(timestamp);
    this.#scope.timestamp = timestamp;
    this.#scope.open = true;
    this.#view.add(key, 1);
    this.#scope.open = false;
    this.#state.events.clear();
  }

  /** Adds 1 for each key in one record, whose handler then fails. */
  addAndFail(keys: readonly string[], timestamp: number): void {
    this.#state.savepoint();
    const { ms } = this.#clock;
    this.#clock.advance(timestamp);
    this.#scope.timestamp = timestamp;
    this.#scope.open = true;
    for (const key of keys) this.#view.add(key, 1);
    this.#scope.open = false;
    this.#state.rollback();
    this.#clock.ms = ms;
  }

  /** Whether something may be due. */
  get pending(): boolean {
    return this.#state.sources.some(({ nextMs }) => nextMs <= this.#clock.ms);
  }

  /** Closes what the clocks have closed, as the actor does between two records. */
  async close(): Promise<void> {
    for (const source of this.#state.sources)
      while (source.nextMs <= this.#clock.ms) {
        const loading = source.load(this.#clock.ms);
        if (loading !== undefined) {
          await loading;
          continue;
        }
        if (source.head(this.#clock.ms) === undefined) break;
        this.#state.savepoint();
        const call = source.apply(this.#clock.ms);
        source.pop();
        call?.call?.({});
        if (++this.taken % CALLS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
      }
  }

  /** Writes what has changed. */
  async checkpoint(): Promise<void> {
    await this.#state.settle();
    const frozen = this.#state.freeze();
    await this.#engine.write(frozen.encode(), { sync: false });
    frozen.complete();
    this.#written = true;
  }

  /** All open windows, as a query reads them. */
  async *all(read: 'latest' | 'committed' = 'latest'): AsyncGenerator<CountedWindow, void> {
    const scope = new RecordScope();
    scope.open = true;
    try {
      const { w } = this.#state.queryViews(read, scope) as {
        readonly w: ReadonlyWindowed<string, CountedResult>;
      };
      yield* w.all(0, Number.MAX_SAFE_INTEGER);
    } finally {
      scope.open = false;
    }
  }

  /** The open windows of a key, as a query reads them. */
  current(key: string, read: 'latest' | 'committed' = 'latest'): readonly CountedWindow[] {
    const scope = new RecordScope();
    scope.open = true;
    const { w } = this.#state.queryViews(read, scope) as {
      readonly w: ReadonlyWindowed<string, CountedResult>;
    };
    const windows = w.current(key);
    scope.open = false;
    return windows;
  }

  /** A checkpoint, and a new state over what it wrote: nothing is in memory. */
  async reopen(): Promise<void> {
    await this.checkpoint();
    const { ms } = this.#clock;
    this.#state.close();
    this.#clock = new EventClock(ms);
    this.#openState();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#state.close();
    await this.#engine.close();
  }

  #openState(): void {
    const { window, graceMs, closing, keyClockRetentionMs, cacheBytes, collects } = this.#options;
    const stores = {
      w: windowed({
        key: string(),
        value: json<number>(),
        window,
        aggregate: (of) => ({ n: of.count(), ...(collects === true ? { values: of.collect() } : {}) }),
        ...(graceMs === undefined ? {} : { graceMs }),
        ...(closing === undefined ? {} : { closing }),
        ...(keyClockRetentionMs === undefined ? {} : { keyClockRetentionMs }),
      }),
    };
    this.#state = new StateStore({
      stores: stores,
      partition: {
        empty: !this.#written,
        get: (key) => {
          this.reads.gets++;
          return this.#engine.get(key);
        },
        snapshot: () => this.#counted(this.#engine.snapshot()),
      },
      cacheBytes,
      maxRecordBytes: 1 << 20,
      stream: 'windows',
      partitionNumber: 0,
      clock: this.#clock,
    });
    this.#state.events.handlerOf = () => (window) => {
      this.closed++;
      this.closedEvents += (window as CountedWindow).result.n;
    };
    this.#scope = new RecordScope();
    this.#view = this.#state.views(this.#scope)['w'] as Windowed<string, number, CountedResult>;
  }

  #counted(snapshot: EngineSnapshot): EngineSnapshot {
    return {
      scan: (range) => {
        const scan = snapshot.scan(range);
        return {
          next: () => {
            this.reads.pages++;
            return scan.next();
          },
          close: () => scan.close(),
        };
      },
      close: () => snapshot.close(),
    };
  }
}
