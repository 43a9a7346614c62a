/**
 * One layer of changes of an actor, from its first write to its flush: which entries it touched, how many bytes, and
 * where it stands in its lifecycle. It holds no values (the entries do) and decides nothing; `state-layers.ts` stacks
 * the live one upon the frozen one.
 */
import { Lifecycle } from '../core/lifecycle.js';
import { transactionLifecycle, type TransactionState } from '../core/lifecycles.js';
import type { Entry } from './entry.js';
import { LayerIndex } from './layer-index.js';

export class StateTransaction {
  readonly #lifecycle: Lifecycle<TransactionState>;
  /** Rises by one with each transaction of a StateStore, from 1. */
  readonly generation: number;
  /** Every entry touched, once, in the order of first writes. */
  readonly entries: Entry[] = [];
  /** Sorted keys for scans, made when a scan first asks. */
  readonly index: LayerIndex = new LayerIndex();
  /** Estimated bytes that its entries hold in memory. */
  bytes = 0;

  /** @param what names it in errors: "transaction of payments-3" */
  constructor(generation: number, what: string) {
    this.generation = generation;
    this.#lifecycle = new Lifecycle(transactionLifecycle, what);
  }

  get status(): TransactionState {
    return this.#lifecycle.state;
  }

  get count(): number {
    return this.entries.length;
  }

  /** @throws PartitaError ILLEGAL_STATE for a move that the lifecycle does not know */
  move(to: TransactionState): void {
    this.#lifecycle.move(to);
  }

  /** Ends it, if it has not ended: `discarded` or `failed`. */
  end(as: 'discarded' | 'failed'): void {
    if (!this.#lifecycle.final) this.#lifecycle.move(as);
  }
}
