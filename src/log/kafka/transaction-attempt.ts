/**
 * One transaction from its first request to its outcome: partitions added, batches appended while offsets are added and
 * committed, then the end. What each failure means is decided here, for the one producer that asked; ids, epochs and who
 * may try again are `transactional-producer.ts`'.
 */
import { Deadline } from '../../core/deadline.js';
import { describeError } from '../../core/errors.js';
import type { CommitOutcome, CommitRequest, RejectionCode } from '../../core/log-types.js';
import type { Cluster } from './cluster.js';
import { toPartitaError } from './kafka-errors.js';
import { TransactionAppend, type Sequences } from './transaction-append.js';
import {
  answeredType,
  givenUpError,
  verdictOf,
  type CallBounds,
  type TransactionCalls,
  type Verdict,
} from './transaction-calls.js';

/** Time to abort what can't be committed, beyond the transaction's own; the next init does it otherwise. */
const ABORT_BUDGET_MS = 1_000;

const REJECTION_CODES: readonly RejectionCode[] = [
  'LOG_AUTHORIZATION_FAILED',
  'TOPIC_MISSING',
  'CHANGELOG_INVALID',
];

export interface AttemptOptions {
  readonly transactionTimeoutMs: number;
  /** Given up from outside, by a close or a new init: ends `inDoubt` soon. */
  readonly signal: AbortSignal;
}

/** `renew`: the producer needs its next epoch before another transaction. */
export interface AttemptResult {
  readonly outcome: CommitOutcome;
  readonly renew: boolean;
}

export class TransactionAttempt {
  readonly #cluster: Cluster;
  readonly #calls: TransactionCalls;
  readonly #request: CommitRequest;
  readonly #options: AttemptOptions;
  readonly #deadline: Deadline;
  /** Ends whatever is still tried. */
  readonly #over = new AbortController();
  /** Something was asked of the coordinator: the transaction may be open. */
  #begun = false;
  #endAsked = false;
  #endUnanswered = false;

  constructor(cluster: Cluster, calls: TransactionCalls, request: CommitRequest, options: AttemptOptions) {
    this.#cluster = cluster;
    this.#calls = calls;
    this.#request = request;
    this.#options = options;
    this.#deadline = Deadline.after(cluster.clock, options.transactionTimeoutMs);
  }

  /** @param producer resolves to who commits, which may have to be asked for. Never rejects. */
  async run(producer: (bounds: CallBounds) => Promise<Sequences>): Promise<AttemptResult> {
    const bounds: CallBounds = {
      deadline: this.#deadline,
      signal: AbortSignal.any([this.#options.signal, this.#over.signal]),
    };
    let holder: Sequences | undefined;
    try {
      const append = new TransactionAppend(this.#cluster, this.#calls.transactionalId, this.#request.batches);
      holder = await this.#inTime(producer(bounds));
      await this.#inTime(this.#fill(holder, append, bounds));
      append.expectBeyond();
      const offsets = append.offsets();
      await this.#inTime(this.#commit(holder, bounds));
      return { outcome: { kind: 'committed', ...offsets }, renew: false };
    } catch (error) {
      this.#over.abort();
      return await this.#failed(error, holder);
    }
  }

  /** Rejects when time is over, or the producer was closed, whatever is still under way. */
  async #inTime<T>(step: Promise<T>): Promise<T> {
    const { signal } = this.#options;
    const ended = new AbortController();
    const givenUp = new Promise<never>((_, reject) => {
      const onAbort = (): void => {
        reject(givenUpError(signal));
      };
      if (signal.aborted) onAbort();
      signal.addEventListener('abort', onAbort, { signal: ended.signal });
    });
    try {
      const what = `The transaction of ${this.#calls.transactionalId}`;
      return await this.#deadline.race(Promise.race([step, givenUp]), what);
    } finally {
      ended.abort();
    }
  }

  /** Rejects with what was worst when nothing is under way any more, so that an abort ends everything. */
  async #fill(holder: Sequences, append: TransactionAppend, bounds: CallBounds): Promise<void> {
    const { batches } = this.#request;
    if (batches.length > 0) {
      await append.findLeaders(bounds);
      this.#begun = true;
      await this.#calls.addPartitions(holder, append.partitions, bounds);
    }
    this.#begun = true;
    const stop = new AbortController();
    const until = { deadline: bounds.deadline, signal: AbortSignal.any([bounds.signal, stop.signal]) };
    const errors: unknown[] = [];
    const stopping = (error: unknown): void => {
      errors.push(error);
      stop.abort();
    };
    await Promise.all([
      append.run(holder, until).catch(stopping),
      this.#addOffsets(holder, until).catch(stopping),
    ]);
    if (errors.length > 0) throw worst(errors);
  }

  async #addOffsets(holder: Sequences, bounds: CallBounds): Promise<void> {
    const { group, offsets } = this.#request;
    if (offsets.length === 0) return;
    await this.#calls.addOffsets(holder, group, bounds);
    await this.#calls.commitOffsets(holder, group, offsets, bounds);
  }

  async #commit(holder: Sequences, bounds: CallBounds): Promise<void> {
    this.#endAsked = true;
    await this.#calls.end(holder, true, bounds, () => {
      this.#endUnanswered = true;
    });
  }

  async #failed(error: unknown, holder: Sequences | undefined): Promise<AttemptResult> {
    const reason = describeError(error);
    // An end that was asked for and not answered may have happened, whatever a later one was told.
    const verdict: Verdict = this.#endUnanswered ? 'unanswered' : verdictOf(error);
    if (verdict === 'fenced')
      return { outcome: { kind: 'fenced', reason: fencedReason(error) }, renew: true };
    const isOpen = this.#begun && holder !== undefined;
    if (isOpen && (verdict === 'refused' || !this.#endAsked)) await this.#abort(holder);
    if (verdict !== 'refused') return { outcome: { kind: 'inDoubt', reason }, renew: isOpen };
    const { code } = toPartitaError(error, '');
    const known = REJECTION_CODES.find((one) => one === code);
    return {
      outcome: { kind: 'rejected', reason, ...(known === undefined ? {} : { code: known }) },
      renew: isOpen,
    };
  }

  /** What can't be aborted now is by the producer's next epoch, or by the coordinator when the transaction times out. */
  async #abort(holder: Sequences): Promise<void> {
    const bounds = {
      deadline: Deadline.after(this.#cluster.clock, ABORT_BUDGET_MS),
      signal: this.#options.signal,
    };
    try {
      await bounds.deadline.race(this.#calls.end(holder, false, bounds), 'Aborting');
    } catch (error) {
      this.#cluster.logger.debug(
        { err: error, transactionalId: this.#calls.transactionalId },
        'A transaction that can not be committed was not aborted either.',
      );
    }
  }
}

const BY_SEVERITY: readonly Verdict[] = ['fenced', 'refused', 'unanswered'];

function worst(errors: readonly unknown[]): unknown {
  return BY_SEVERITY.flatMap((verdict) => errors.filter((error) => verdictOf(error) === verdict))[0];
}

function fencedReason(error: unknown): string {
  const type = answeredType(error);
  const said = describeError(error);
  return type === undefined || said.includes(type) ? said : `${said} (${type})`;
}
