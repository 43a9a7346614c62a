/**
 * All stores of one actor and the transaction through which everything reads and writes them: views for handlers and
 * queries, savepoints, freezing for a checkpoint, and its end. It knows neither log nor changelog: the actor takes the
 * encoded changes from `frozen-layer.ts` and brings them there. `state-layers.ts` holds the rules of the layers.
 */
import { PartitaError } from '../core/errors.js';
import type { KeyValueDeclaration, Stores } from '../processor/declarations.js';
import { FrozenLayer } from './frozen-layer.js';
import { KeyValueStore } from './key-value-store.js';
import { KeyValueView, ReadonlyKeyValueView } from './key-value-view.js';
import { RecordScope } from './record-scope.js';
import { StateLayers } from './state-layers.js';
import type { StatePartition } from './state-partition.js';
import type { StateTransaction } from './state-transaction.js';

export { RecordScope };
export type { FrozenLayer, StatePartition, StateTransaction };

export interface StateStoreOptions {
  readonly stores: Stores;
  readonly partition: StatePartition;
  /** Bound of the estimated bytes of clean entries; dirty and frozen ones are kept beyond it. */
  readonly cacheBytes: number;
  /** The changelog's limit for one record batch with one record. */
  readonly maxRecordBytes: number;
  /** For messages. */
  readonly stream: string;
  readonly partitionNumber: number;
}

export class StateStore {
  readonly #layers: StateLayers;
  readonly #what: string;
  readonly #stores: readonly (readonly [name: string, store: KeyValueStore])[];

  /** @throws PartitaError INVALID_PROCESSOR for a store of a kind that this version can't run */
  constructor(options: StateStoreOptions) {
    this.#what = `${options.stream}-${String(options.partitionNumber)}`;
    this.#layers = new StateLayers(this.#what, options.cacheBytes);
    this.#stores = Object.entries(options.stores).map(([name, declaration]) => {
      if (declaration.kind !== 'keyValue')
        throw new PartitaError(
          'INVALID_PROCESSOR',
          `The store ${name} of the stream ${options.stream} is of kind ${declaration.kind}, which this version can't run.`,
        );
      const { partition, maxRecordBytes } = options;
      const keyValue = declaration as KeyValueDeclaration<unknown, unknown>;
      return [name, new KeyValueStore(name, keyValue, this.#layers, partition, maxRecordBytes)];
    });
  }

  /** Stores by name, as handlers see them while `scope` is open. */
  views(scope: RecordScope): Readonly<Record<string, unknown>> {
    return Object.freeze(
      Object.fromEntries(this.#stores.map(([name, store]) => [name, new KeyValueView(store, scope)])),
    );
  }

  /** Stores by name, as queries see them while `scope` is open: `latest` through the live layer, `committed` below it. */
  queryViews(read: 'latest' | 'committed', scope: RecordScope): Readonly<Record<string, unknown>> {
    return Object.freeze(
      Object.fromEntries(
        this.#stores.map(([name, store]) => [name, new ReadonlyKeyValueView(store, scope, read)]),
      ),
    );
  }

  /** Where `rollback` goes back to; forgets the previous one. */
  savepoint(): void {
    this.#layers.savepoint();
  }

  rollback(): void {
    this.#layers.rollback();
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

  /** live → frozen, at once; a fresh live transaction begins. @throws PartitaError ILLEGAL_STATE if one is frozen already */
  freeze(): FrozenLayer {
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
