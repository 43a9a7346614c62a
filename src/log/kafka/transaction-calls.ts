/**
 * One transactional id's questions to its coordinators, each asked until it is answered: coordinators that move, load or
 * are gone are looked for again, and a transaction before that is still being completed is waited for. It decides
 * nothing: what an error means for a transaction is said by `verdictOf`, what follows from it by `transaction-attempt.ts`.
 */
import { Backoff } from '../../core/backoff.js';
import type { Deadline } from '../../core/deadline.js';
import { isPartitaError, PartitaError } from '../../core/errors.js';
import type { OffsetCommit, TopicPartition } from '../../core/log-types.js';
import { type Cluster, type RetryOptions, UNKNOWN_TOPIC_GRACE_MS } from './cluster.js';
import { BrokerAnswerError, isRetriable, kafkaType, toPartitaError } from './kafka-errors.js';
import type { WireRequest } from './kafkajs-internals.js';
import {
  addOffsetsRequest,
  addPartitionsRequest,
  endTransactionRequest,
  initProducerIdRequest,
  transactionOffsetsRequest,
  type PartitionAnswer,
  type ProducerEpoch,
} from './wire/transactions.js';

/** How long, and until when at the latest, it is tried. */
export interface CallBounds {
  readonly deadline: Deadline;
  readonly signal: AbortSignal;
}

/**
 * `fenced`: another holder, or the coordinator has given the transaction up. `refused`: for good. `unanswered`: whether it
 * was carried out is not known, or it was tried for too long.
 */
export type Verdict = 'fenced' | 'refused' | 'unanswered';

const FENCING: ReadonlySet<string> = new Set([
  'INVALID_PRODUCER_EPOCH',
  'PRODUCER_FENCED',
  'INVALID_PRODUCER_ID_MAPPING',
  'INVALID_TXN_STATE',
  'TRANSACTION_COORDINATOR_FENCED',
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'UNKNOWN_PRODUCER_ID',
  'TRANSACTION_ABORTABLE',
]);

export function verdictOf(error: unknown): Verdict {
  const type = answeredType(error);
  if (type !== undefined && FENCING.has(type)) return 'fenced';
  if (isPartitaError(error, 'CALL_ABORTED') || isPartitaError(error, 'LOG_CLOSED')) return 'unanswered';
  if (isPartitaError(error) && !error.retryable) return 'refused';
  // Answers without a code of their own become LOG_UNAVAILABLE, whatever they mean.
  const isPassing = type === undefined ? isRetriable(error) : isRetriable(new BrokerAnswerError(type, ''));
  return isPassing ? 'unanswered' : 'refused';
}

/** What the broker answered, also below the PartitaError that was made of it. */
export function answeredType(error: unknown): string | undefined {
  if (!isPartitaError(error)) return kafkaType(error);
  const { kafka } = error.details;
  return typeof kafka === 'string' ? kafka : undefined;
}

/** The answer says that nothing was done: a transaction before is being completed, or the coordinator still loads. */
const NOTHING_DONE: ReadonlySet<string> = new Set(['CONCURRENT_TRANSACTIONS', 'GROUP_LOAD_IN_PROGRESS']);
/** Completing a transaction takes some milliseconds. */
const CONCURRENT_BACKOFF = { firstMs: 2, maxMs: 50, factor: 1.5, attemptsMax: Infinity } as const;

type Check<T> = (answer: T) => BrokerAnswerError | undefined;

export class TransactionCalls {
  readonly transactionalId: string;
  readonly #cluster: Cluster;

  constructor(cluster: Cluster, transactionalId: string) {
    this.#cluster = cluster;
    this.transactionalId = transactionalId;
  }

  /** @param holder asks for its next epoch, and is told if it has been fenced; without it every holder is fenced */
  async init(timeoutMs: number, bounds: CallBounds, holder?: ProducerEpoch): Promise<ProducerEpoch> {
    const request = initProducerIdRequest(this.transactionalId, timeoutMs, holder);
    const what = `Initialising the producer of ${this.transactionalId}`;
    const { producerId, epoch } = await this.#askOwn(what, request, bounds, (answer) =>
      this.#error(answer.errorCode),
    );
    return { producerId, epoch };
  }

  async addPartitions(
    holder: ProducerEpoch,
    partitions: readonly TopicPartition[],
    bounds: CallBounds,
  ): Promise<void> {
    const request = addPartitionsRequest(this.transactionalId, holder, partitions);
    const what = `Adding partitions to the transaction of ${this.transactionalId}`;
    await this.#askOwn(what, request, bounds, (answer) => this.#partitionError(answer));
  }

  async addOffsets(holder: ProducerEpoch, group: string, bounds: CallBounds): Promise<void> {
    const request = addOffsetsRequest(this.transactionalId, holder, group);
    const what = `Adding offsets of the group ${group} to the transaction of ${this.transactionalId}`;
    await this.#askOwn(what, request, bounds, (code) => this.#error(code));
  }

  async commitOffsets(
    holder: ProducerEpoch,
    group: string,
    offsets: readonly OffsetCommit[],
    bounds: CallBounds,
  ): Promise<void> {
    const request = transactionOffsetsRequest(this.transactionalId, holder, group, offsets);
    const what = `Committing offsets of the group ${group} in the transaction of ${this.transactionalId}`;
    await this.#ask('group', group, what, request, bounds, (answer) => this.#partitionError(answer));
  }

  /** @param onUnanswered called each time when it may have been carried out although nobody said so */
  async end(
    holder: ProducerEpoch,
    isCommit: boolean,
    bounds: CallBounds,
    onUnanswered: () => void = () => undefined,
  ): Promise<void> {
    const request = endTransactionRequest(this.transactionalId, holder, isCommit);
    const what = `${isCommit ? 'Committing' : 'Aborting'} the transaction of ${this.transactionalId}`;
    await this.#askOwn(what, request, bounds, (code) => this.#error(code), onUnanswered);
  }

  #askOwn<T>(
    what: string,
    request: WireRequest<T>,
    bounds: CallBounds,
    check: Check<T>,
    onUnanswered?: () => void,
  ): Promise<T> {
    return this.#ask('transaction', this.transactionalId, what, request, bounds, check, onUnanswered);
  }

  async #ask<T>(
    kind: 'group' | 'transaction',
    id: string,
    what: string,
    request: WireRequest<T>,
    bounds: CallBounds,
    check: Check<T>,
    onUnanswered?: () => void,
  ): Promise<T> {
    const { deadline, signal } = bounds;
    const patience = new Patience(this.#cluster, bounds, what);
    const options: RetryOptions = {
      budgetMs: deadline.remainingMs,
      signal,
      details: { transactionalId: this.transactionalId },
    };
    return this.#cluster.onCoordinator(
      kind,
      id,
      'transactions',
      what,
      async (connection) => {
        for (;;) {
          throwIfAborted(signal);
          let error: unknown;
          try {
            const answer = await connection.send(request);
            error = check(answer);
            if (error === undefined) return answer;
          } catch (thrown) {
            error = thrown;
          }
          if (verdictOf(error) === 'unanswered' && !NOTHING_DONE.has(kafkaType(error) ?? ''))
            onUnanswered?.();
          await patience.wait(error);
        }
      },
      options,
    );
  }

  #error(code: number): BrokerAnswerError | undefined {
    const type = this.#cluster.errorType(code);
    return type === 'NONE' ? undefined : new BrokerAnswerError(type, undefined);
  }

  /** The first partition that was refused; where one is, nothing was attempted for the others. */
  #partitionError(answers: readonly PartitionAnswer[]): BrokerAnswerError | undefined {
    const refused = answers
      .map((answer) => ({ ...answer, type: this.#cluster.errorType(answer.errorCode) }))
      .filter(({ type }) => type !== 'NONE');
    const first = refused.find(({ type }) => type !== 'OPERATION_NOT_ATTEMPTED') ?? refused[0];
    if (first === undefined) return undefined;
    const { topic, partition, type } = first;
    return new BrokerAnswerError(type, `the broker answered ${type} for ${topic}-${partition}`);
  }
}

/** Waits where the same broker will do in a moment, with a shorter back-off than for brokers that are gone. */
class Patience {
  readonly #cluster: Cluster;
  readonly #bounds: CallBounds;
  readonly #what: string;
  readonly #backoff = new Backoff(CONCURRENT_BACKOFF);
  #topicGrace: Deadline | undefined;

  constructor(cluster: Cluster, bounds: CallBounds, what: string) {
    this.#cluster = cluster;
    this.#bounds = bounds;
    this.#what = what;
  }

  /** Resolves when it is time to ask again; rejects with the error if this is not what it waits for. */
  async wait(error: unknown): Promise<void> {
    const { deadline, signal } = this.#bounds;
    const type = kafkaType(error);
    if (type === 'UNKNOWN_TOPIC_OR_PARTITION') {
      this.#topicGrace ??= deadline.within(UNKNOWN_TOPIC_GRACE_MS);
      if (this.#topicGrace.expired) throw toPartitaError(error, this.#what);
    } else if (type !== 'CONCURRENT_TRANSACTIONS') throw asError(error);
    if (deadline.expired) throw asError(error);
    await this.#cluster.clock.sleep(Math.min(this.#backoff.next()!, deadline.remainingMs), signal);
  }
}

export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw givenUpError(signal);
}

/** As a sleep that the signal has ended rejects. */
export function givenUpError(signal: AbortSignal): PartitaError {
  return new PartitaError('CALL_ABORTED', 'The transaction was given up.', { cause: signal.reason });
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error), { cause: error });
}
