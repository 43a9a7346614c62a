/**
 * The stack that all stores of an actor share: the live transaction upon at most one frozen one upon the flushed state
 * (the cache's clean entries and the engine). It owns savepoints, freezing and the end of it all. It never encodes and
 * never reads the engine.
 *
 * Each key has one Entry. Its `value` is what the live layer sees. `base` is what lies below the live layer, and counts
 * only if the entry was written in it. So "as of the frozen layer" is `base` if written since, else `value`, and a
 * checkpoint copies nothing. Generations number the layers: at or below `flushed`, an entry is clean.
 */
import { PartitaError } from '../core/errors.js';
import type { Entry } from './entry.js';
import { StateCache } from './state-cache.js';
import { StateTransaction } from './state-transaction.js';
import { UndoLog } from './undo-log.js';

/** A scan under way: ended when the layers are, since what it saw is gone. */
export interface OpenScan {
  end(error: PartitaError): void;
}

export class StateLayers {
  readonly cache: StateCache;
  /** Savepoints so far: who notes it knows later whether a rollback reaches back to before. */
  savepoints = 0;
  readonly #what: string;
  readonly #undo = new UndoLog();
  readonly #scans = new Set<OpenScan>();
  #live: StateTransaction;
  #frozen: StateTransaction | undefined;
  #flushed = 0;
  #savedCount = 0;
  #savedBytes = 0;
  #ended: (() => PartitaError) | undefined;

  /** @param what names the actor in errors: "payments-3" */
  constructor(what: string, cacheBytes: number) {
    this.#what = what;
    this.cache = new StateCache(cacheBytes);
    this.#live = new StateTransaction(1, `transaction of ${what}`);
  }

  get live(): StateTransaction {
    return this.#live;
  }

  get frozen(): StateTransaction | undefined {
    return this.#frozen;
  }

  /** The generation up to which everything is in the engine. */
  get flushed(): number {
    return this.#flushed;
  }

  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** What every use is answered with since the layers ended; `undefined` while they live. */
  get failure(): PartitaError | undefined {
    return this.#ended?.();
  }

  /** The guard of every read and write. @throws PartitaError TRANSACTION_CLOSED, or what failed the transaction */
  check(): void {
    if (this.#ended !== undefined) throw this.#ended();
  }

  /** Stages a value in the live layer. `bytes` is the entry's new size in memory; it is permanent without an expiry. */
  write(entry: Entry, value: unknown, bytes: number, expiryMs = Infinity): void {
    const live = this.#live;
    if (!entry.undoable) this.#undo.push(entry);
    if (entry.generation !== live.generation) {
      entry.base = entry.value;
      if (entry.life !== undefined) entry.life.baseMs = entry.life.valueMs;
      entry.generation = live.generation;
      live.entries.push(entry);
      live.bytes += bytes;
    } else live.bytes += bytes - entry.bytes;
    this.cache.bytes += bytes - entry.bytes;
    entry.bytes = bytes;
    entry.value = value;
    entry.expiryMs = expiryMs;
    entry.used = true;
  }

  savepoint(): void {
    this.savepoints++;
    this.#undo.forget();
    this.#savedCount = this.#live.entries.length;
    this.#savedBytes = this.#live.bytes;
  }

  /** Back to the savepoint; or, without one since the last freeze, to the beginning of the live layer. */
  rollback(): void {
    const live = this.#live;
    this.cache.bytes += this.#undo.undo(live.generation);
    live.entries.length = this.#savedCount;
    live.bytes = this.#savedBytes;
    live.index.cut(this.#savedCount);
  }

  /** live → frozen; a fresh live transaction begins. */
  freeze(): StateTransaction {
    this.check();
    if (this.#frozen !== undefined)
      throw new PartitaError(
        'ILLEGAL_STATE',
        `The state of ${this.#what} has a frozen layer already; the next freeze waits for its flush.`,
      );
    const frozen = this.#live;
    frozen.move('prepared');
    this.#frozen = frozen;
    this.#live = new StateTransaction(frozen.generation + 1, `transaction of ${this.#what}`);
    this.savepoint();
    return frozen;
  }

  /** The held value of an entry of the frozen layer, whatever was written since. */
  frozenValue(entry: Entry): unknown {
    return entry.generation === this.#live.generation ? entry.base : entry.value;
  }

  /** When that value expires; Infinity: never. */
  frozenExpiryMs({ life, generation }: Entry): number {
    if (life === undefined) return Infinity;
    return generation === this.#live.generation ? life.baseMs : life.valueMs;
  }

  /** The frozen layer is in the engine: its entries are clean. */
  complete(transaction: StateTransaction): void {
    transaction.move('complete');
    this.#frozen = undefined;
    this.#flushed = transaction.generation;
    if (!this.ended) this.cache.unpin(this.#flushed);
  }

  /** Drops everything. `error` is what every later use gets. The frozen layer ends only when all is dropped. */
  end(as: 'discarded' | 'failed', error: () => PartitaError): void {
    if (this.#ended !== undefined && as === 'failed') return;
    this.#ended ??= error;
    this.#live.end(as);
    if (as === 'discarded') this.#frozen?.end(as);
    for (const scan of this.#scans) scan.end(this.#ended());
    this.#scans.clear();
  }

  addScan(scan: OpenScan): void {
    this.#scans.add(scan);
  }

  removeScan(scan: OpenScan): void {
    this.#scans.delete(scan);
  }
}
