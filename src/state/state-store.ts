/**
 * All stores of one actor and the transaction through which everything reads and writes them: views for handlers and
 * queries, savepoints, freezing for a checkpoint, and its end. It knows neither log nor changelog: the actor takes the
 * encoded changes from `frozen-layer.ts` and brings them there. `state-layers.ts` holds the rules of the layers.
 */
import { PartitaError } from '../core/errors.js';
import type { AnyStoreDeclaration, Stores } from '../processor/declarations.js';
import type { DeclaredStore, IdleStore, StoreParts, TableWriter } from './declared-store.js';
import type { DueSource } from './due-source.js';
import { EventClock } from './event-clock.js';
import { FrozenLayer } from './frozen-layer.js';
import { declaredKeyValue, declaredTable } from './key-value-view.js';
import { RecordScope } from './record-scope.js';
import { StateLayers } from './state-layers.js';
import type { StatePartition } from './state-partition.js';
import type { StateTransaction } from './state-transaction.js';
import { declaredTimestamped } from './timestamped/timestamped-view.js';
import { TimerStore, type TimersDeclaration } from './timers/timer-store.js';
import { WindowEvents } from './window-events.js';
import { declaredWindowed } from './windowed/windowed-view.js';

export { EventClock, RecordScope };
export type { FrozenLayer, StatePartition, StateTransaction };

export interface StateStoreOptions {
  readonly stores: Stores;
  /** @default none */
  readonly timers?: TimersDeclaration;
  readonly partition: StatePartition;
  /** Bound of the estimated bytes of clean entries; dirty and frozen ones are kept beyond it. */
  readonly cacheBytes: number;
  /** The changelog's limit for one record batch with one record. */
  readonly maxRecordBytes: number;
  /** For messages. */
  readonly stream: string;
  readonly partitionNumber: number;
  /** @default one that begins with nothing processed */
  readonly clock?: EventClock;
  /** Wall-clock ms since 1970. @default one that stands at 0 */
  readonly wallNow?: () => number;
}

/** Makes the store of one kind. */
type MakeStore = (declaration: AnyStoreDeclaration, parts: StoreParts) => DeclaredStore;

const KINDS: Readonly<Record<string, MakeStore>> = {
  keyValue: declaredKeyValue,
  table: declaredTable,
  windowed: declaredWindowed,
  timestamped: declaredTimestamped,
};

export class StateStore {
  readonly #layers: StateLayers;
  readonly #what: string;
  readonly #stores: readonly (readonly [name: string, store: DeclaredStore])[];
  readonly #timers: readonly TimerStore[];
  /** What windowed stores have to tell handlers about the record under way. */
  readonly events = new WindowEvents();
  /** Everything that comes due with time. */
  readonly sources: readonly DueSource[];
  /** What closes when nothing comes any more. */
  readonly idle: readonly IdleStore[];
  readonly #clock: EventClock;

  /** @throws PartitaError INVALID_PROCESSOR for a store of a kind that this version can't run */
  constructor(options: StateStoreOptions) {
    this.#what = `${options.stream}-${String(options.partitionNumber)}`;
    this.#layers = new StateLayers(this.#what, options.cacheBytes);
    const { partition, maxRecordBytes, clock = new EventClock(-1), wallNow = () => 0 } = options;
    const { events } = this;
    const parts = { layers: this.#layers, partition, maxRecordBytes, clock, wallNow, events };
    this.#stores = Object.entries(options.stores).map(([name, declaration]) => {
      const make = KINDS[declaration.kind];
      if (make === undefined)
        throw new PartitaError(
          'INVALID_PROCESSOR',
          `The store ${name} of the stream ${options.stream} is of kind ${declaration.kind}, which this version can't run.`,
        );
      return [name, make(declaration, { ...parts, name })];
    });
    const { timers } = options;
    this.#timers =
      timers === undefined
        ? []
        : Object.keys(timers.handlers).map((name) => new TimerStore(name, timers, parts));
    this.#clock = clock;
    this.idle = this.#stores.flatMap(([, { idle }]) => idle ?? []);
    this.sources = [...this.#stores.map(([, store]) => store), ...this.#timers].flatMap(
      ({ sources }) => sources,
    );
  }

  /** Stores by name, as handlers see them while `scope` is open. */
  views(scope: RecordScope): Readonly<Record<string, unknown>> {
    return Object.freeze(Object.fromEntries(this.#stores.map(([name, store]) => [name, store.view(scope)])));
  }

  /** What schedules and cancels each timer while `scope` is open, by name. */
  schedules(scope: RecordScope): Readonly<Record<string, unknown>> {
    return Object.freeze(Object.fromEntries(this.#timers.map((timer) => [timer.name, timer.view(scope)])));
  }

  /** Stores by name, as queries see them while `scope` is open: `latest` through the live layer, `committed` below it. */
  queryViews(read: 'latest' | 'committed', scope: RecordScope): Readonly<Record<string, unknown>> {
    return Object.freeze(
      Object.fromEntries(this.#stores.map(([name, store]) => [name, store.queryView(read, scope)])),
    );
  }

  /** What fills the table of this name; `undefined`: it is none. */
  table(name: string): TableWriter | undefined {
    return this.#stores.find(([store]) => store === name)?.[1].table;
  }

  /** Where `rollback` goes back to; forgets the previous one. */
  savepoint(): void {
    this.#layers.savepoint();
    this.events.savepoint();
  }

  rollback(): void {
    this.#layers.rollback();
    this.events.rollback();
    for (const source of this.sources) source.rolledBack();
  }

  /** The live one. */
  get transaction(): StateTransaction {
    return this.#layers.live;
  }

  /** Keys that the live layer touched. */
  get dirtyCount(): number {
    return this.#layers.live.count;
  }

  /** Estimated bytes of the live layer. */
  get dirtyBytes(): number {
    return this.#layers.live.bytes;
  }

  /** Estimated bytes of everything held in memory. */
  get heldBytes(): number {
    return this.#layers.cache.bytes;
  }

  /**
   * What stores want to do before a freeze, bounded, in parts between which the event loop runs; `undefined`: nothing.
   * Called between two records, and the freeze follows before the next one.
   */
  settle(): Promise<void> | undefined {
    const settling = this.#stores.flatMap(([, store]) => store.settle?.() ?? []);
    return settling.length === 0 ? undefined : Promise.all(settling).then(() => undefined);
  }

  /** live → frozen, at once; a fresh live transaction begins. @throws PartitaError ILLEGAL_STATE if one is frozen already */
  freeze(): FrozenLayer {
    for (const [, store] of this.#stores) store.prepare?.();
    for (const timer of this.#timers) timer.prepare();
    this.#clock.frozenMs = this.#clock.ms;
    return new FrozenLayer(this.#layers, this.#layers.freeze());
  }

  /** Drops both layers and the cache: from now on every use throws TRANSACTION_CLOSED. */
  discard(): void {
    const what = this.#what;
    this.#layers.end('discarded', () => {
      return new PartitaError('TRANSACTION_CLOSED', `The transaction of ${what} is discarded.`, {
        details: { status: 'discarded' },
      });
    });
    for (const [, store] of this.#stores) store.clear();
    for (const timer of this.#timers) timer.clear();
    this.#layers.cache.clear();
  }

  /** Engine and fencing errors: from now on every read and write throws `error`, whatever the handler does with it. */
  fail(error: PartitaError): void {
    this.#layers.end('failed', () => error);
  }

  /** What failed or discarded it, if anything did: the actor must end, whatever its handler made of the error. */
  get failure(): PartitaError | undefined {
    return this.#layers.failure;
  }

  setCacheBytes(bytes: number): void {
    this.#layers.cache.setLimit(bytes, this.#layers.flushed);
  }

  get cacheBytes(): number {
    return this.#layers.cache.limit;
  }

  /** Idempotent. */
  close(): void {
    this.discard();
  }
}
