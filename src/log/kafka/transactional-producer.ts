/**
 * The holder of one transactional id: who it is to the brokers since its last init, and whether it may commit. One commit
 * at a time; the steps of a transaction are `transaction-attempt.ts`. Only `init`, which the caller precedes by asking
 * who owns the partition, ever fences another holder: what the producer renews by itself fails if it has been fenced.
 */
import { Deadline } from '../../core/deadline.js';
import { PartitaError } from '../../core/errors.js';
import type { CommitOutcome, CommitRequest } from '../../core/log-types.js';
import type { TransactionalProducer } from '../log-client.js';
import type { Cluster } from './cluster.js';
import type { Sequences } from './transaction-append.js';
import { TransactionAttempt } from './transaction-attempt.js';
import { TransactionCalls, type CallBounds } from './transaction-calls.js';
import type { ProducerEpoch } from './wire/transactions.js';

export interface TransactionalProducerOptions {
  readonly transactionalId: string;
  readonly transactionTimeoutMs: number;
}

/** What an init has given. It is replaced as a whole, so that what is still under way for an older one harms nothing. */
interface Holder {
  producer: Sequences;
  /** Sequences are not certain any more: the next epoch starts them anew. */
  renew: boolean;
  /** Why it was fenced. Whatever its transaction left open must not be committed by a later one. */
  fenced: string | undefined;
  committing: boolean;
  readonly ended: AbortController;
}

export class KafkaTransactionalProducer implements TransactionalProducer {
  readonly #cluster: Cluster;
  readonly #options: TransactionalProducerOptions;
  readonly #calls: TransactionCalls;
  readonly #closing = new AbortController();
  #holder: Holder | undefined;

  constructor(cluster: Cluster, options: TransactionalProducerOptions) {
    this.#cluster = cluster;
    this.#options = options;
    this.#calls = new TransactionCalls(cluster, options.transactionalId);
  }

  async init(): Promise<void> {
    this.#check();
    this.#holder?.ended.abort();
    this.#holder = undefined;
    const bounds = {
      deadline: Deadline.after(this.#cluster.clock, this.#cluster.options.retryTimeoutMs),
      signal: this.#closing.signal,
    };
    const epoch = await this.#calls.init(this.#options.transactionTimeoutMs, bounds);
    this.#check();
    this.#holder = {
      producer: fresh(epoch),
      renew: false,
      fenced: undefined,
      committing: false,
      ended: new AbortController(),
    };
  }

  async commitTransaction(request: CommitRequest): Promise<CommitOutcome> {
    const holder = this.#held();
    if (holder.committing) throw this.#illegal('commits another transaction');
    if (holder.fenced !== undefined) return { kind: 'fenced', reason: holder.fenced };
    if (request.batches.length === 0 && request.offsets.length === 0)
      return { kind: 'committed', baseOffsets: [], lastOffsets: [] };
    holder.committing = true;
    try {
      return await this.#attempt(holder, request);
    } finally {
      holder.committing = false;
    }
  }

  /** Leaves an open transaction to the next init of the id. */
  close(): Promise<void> {
    this.#closing.abort();
    this.#holder?.ended.abort();
    return Promise.resolve();
  }

  async #attempt(holder: Holder, request: CommitRequest): Promise<CommitOutcome> {
    const attempt = new TransactionAttempt(this.#cluster, this.#calls, request, {
      transactionTimeoutMs: this.#options.transactionTimeoutMs,
      signal: holder.ended.signal,
    });
    const { outcome, renew } = await attempt.run((bounds) => this.#current(holder, bounds));
    holder.renew ||= renew;
    if (outcome.kind === 'fenced') holder.fenced = outcome.reason;
    if (outcome.kind === 'inDoubt' && this.#holder === holder) this.#holder = undefined;
    return outcome;
  }

  /** Who commits: the next epoch of the same producer where its sequences are not certain. Rejects if it was fenced. */
  async #current(holder: Holder, bounds: CallBounds): Promise<Sequences> {
    if (holder.renew) {
      const { transactionTimeoutMs } = this.#options;
      holder.producer = fresh(await this.#calls.init(transactionTimeoutMs, bounds, holder.producer));
      holder.renew = false;
    }
    return holder.producer;
  }

  #held(): Holder {
    this.#check();
    if (this.#holder === undefined) throw this.#illegal('must be initialised first');
    return this.#holder;
  }

  #illegal(problem: string): PartitaError {
    const { transactionalId } = this.#options;
    return new PartitaError('ILLEGAL_STATE', `The producer of ${transactionalId} ${problem}.`, {
      details: { transactionalId },
    });
  }

  #check(): void {
    this.#cluster.expectOpen();
    if (!this.#closing.signal.aborted) return;
    const { transactionalId } = this.#options;
    throw new PartitaError('LOG_CLOSED', `The producer of ${transactionalId} has been closed.`, {
      details: { transactionalId },
    });
  }
}

function fresh({ producerId, epoch }: ProducerEpoch): Sequences {
  return { producerId, epoch, sequences: new Map() };
}
