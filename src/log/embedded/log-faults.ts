/**
 * Faults for tests, by wrapping the ports: a client of the log and a member's way to its group. With them answers come
 * late, get lost, or never leave; without them nothing of this file is in the way. It never changes what the log does,
 * only what its callers learn of it.
 */
import { PartitaError, describeError } from '../../core/errors.js';
import type { CommitOutcome, CommitRequest } from '../../core/log-types.js';
import type { LogClient, OutputProducer, TransactionalProducer } from '../log-client.js';
import type { GroupLink, JoinAnswer } from '../group/group-link.js';
import type { EmbeddedClient, EmbeddedProducer } from './embedded-client.js';

/** `assign` is the answer to a member's join, `produce` what leaves outside transactions. */
export type LogOperation =
  | 'describe'
  | 'ensure'
  | 'bounds'
  | 'committed'
  | 'read'
  | 'init'
  | 'commit'
  | 'produce'
  | 'heartbeat'
  | 'assign'
  | 'leave'
  | 'owns';

/** What is known of the call, as far as it applies. */
export interface FaultInfo {
  readonly clientId: string;
  readonly transactionalId?: string;
  readonly group?: string;
  readonly memberId?: string;
  readonly generation?: number;
  readonly topic?: string;
  readonly partition?: number;
  readonly request?: unknown;
  readonly answer?: unknown;
}

export interface LogFaults {
  /**
   * Called before the log sees the call, and awaited. A throw keeps it from the log: a commit answers `inDoubt`
   * (nothing was written), anything else rejects with LOG_UNAVAILABLE, a heartbeat stays unanswered. `'torn'`, for a
   * commit only: its batches are appended, its end is not; the open transaction is left to the next `init`. A `LateArrival`,
   * for a commit only: its caller gives it up (`inDoubt`), and it reaches the log later, whoever holds the id by then.
   */
  before?(operation: LogOperation, info: FaultInfo): unknown;
  /**
   * Called when the log has done it, and awaited. `'lost'`, or a throw: the caller gets no answer, a
   * commit is `inDoubt` although it happened.
   */
  after?(operation: LogOperation, info: FaultInfo): unknown;
}

/** A request that outlives its caller's patience. */
export interface LateArrival {
  /** When it reaches the log. */
  readonly late: Promise<unknown>;
}

/** The same client, whose calls pass through `faults`. */
export function withFaults(client: EmbeddedClient, clientId: string, faults: LogFaults): LogClient {
  const call = caller(faults, clientId);
  return {
    kind: client.kind,
    topics: {
      describe: (topics) => call('describe', { request: topics }, () => client.topics.describe(topics)),
      ensure: (spec) => call('ensure', { topic: spec.topic }, () => client.topics.ensure(spec)),
      bounds: (partitions) => call('bounds', { request: partitions }, () => client.topics.bounds(partitions)),
    },
    committed: (group, partitions) =>
      call('committed', { group, request: partitions }, () => client.committed(group, partitions)),
    join: (options, member) => client.join(options, member),
    read: (request) =>
      call('read', { topic: request.topic, partition: request.partition, request }, () =>
        client.read(request),
      ),
    producer: (options) =>
      faultyProducer(client.producer(options), options.transactionalId, clientId, faults),
    outputs: () => faultyOutputs(client.outputs(), call),
    close: () => client.close(),
  };
}

/** The same way to a group, whose calls pass through `faults`. */
export function linkWithFaults(
  link: GroupLink,
  group: string,
  clientId: string,
  faults: LogFaults,
): GroupLink {
  const call = caller(faults, clientId);
  return {
    newMemberId: (id) => link.newMemberId(id),
    join: async (request) => {
      const { memberId } = request;
      const answer: JoinAnswer = await link.join(request);
      const generation = answer.kind === 'joined' ? answer.generation : -1;
      return call('assign', { group, memberId, generation, answer }, async () => answer);
    },
    heartbeat: (memberId, generation) =>
      call('heartbeat', { group, memberId, generation }, async () => link.heartbeat(memberId, generation)),
    revokeDeadline: () => link.revokeDeadline(),
    leave: (memberId) => call('leave', { group, memberId }, async () => link.leave(memberId)),
    owns: async (memberId, generation, partition) => {
      try {
        return await call('owns', { group, memberId, generation, ...partition }, async () =>
          link.owns(memberId, generation, partition),
        );
      } catch {
        // No answer to this question is one of its answers.
        return 'unknown';
      }
    },
    ownerOf: (partition) => link.ownerOf(partition),
  };
}

type Call = <T>(
  operation: LogOperation,
  info: Omit<FaultInfo, 'clientId'>,
  run: () => Promise<T>,
) => Promise<T>;

function caller(faults: LogFaults, clientId: string): Call {
  return async (operation, given, run) => {
    const info = { clientId, ...given };
    try {
      await faults.before?.(operation, info);
    } catch (error) {
      throw unavailable(operation, error);
    }
    const answer = await run();
    let lost: unknown;
    try {
      lost = await faults.after?.(operation, { ...info, answer });
    } catch (error) {
      throw unavailable(operation, error);
    }
    if (lost === 'lost') throw unavailable(operation, 'the answer was lost');
    return answer;
  };
}

function faultyProducer(
  producer: EmbeddedProducer,
  transactionalId: string,
  clientId: string,
  faults: LogFaults,
): TransactionalProducer {
  let inDoubt = false;
  const doubt = (reason: unknown): CommitOutcome => {
    inDoubt = true;
    return { kind: 'inDoubt', reason: describeError(reason) };
  };
  const commit = async (request: CommitRequest): Promise<CommitOutcome> => {
    const info = { clientId, transactionalId, group: request.group, request };
    const arrive = producer.sent(request);
    let before: unknown;
    try {
      before = await faults.before?.('commit', info);
    } catch (error) {
      return doubt(error);
    }
    if (before === 'torn') {
      await producer.append(request.batches);
      return doubt('the end of the transaction was not answered');
    }
    if (isLate(before)) {
      // Its outcome has nobody who waits for it, and a log that was closed before it came needs none.
      before.late.then(arrive).catch(() => undefined);
      return doubt('the request was given up');
    }
    const answer = await arrive();
    try {
      if ((await faults.after?.('commit', { ...info, answer })) === 'lost')
        return doubt('the answer was lost');
    } catch (error) {
      return doubt(error);
    }
    return answer;
  };
  return {
    init: async () => {
      await caller(faults, clientId)('init', { transactionalId }, () => producer.init());
      inDoubt = false;
    },
    commitTransaction: async (request) => {
      if (inDoubt)
        throw new PartitaError(
          'ILLEGAL_STATE',
          `The producer of ${transactionalId} must be initialised after a doubt.`,
        );
      return commit(request);
    },
    close: () => producer.close(),
  };
}

function isLate(before: unknown): before is LateArrival {
  return typeof before === 'object' && before !== null && 'late' in before;
}

function faultyOutputs(outputs: OutputProducer, call: Call): OutputProducer {
  return {
    produce: (batches) => {
      const first = batches[0];
      const where = first === undefined ? {} : { topic: first.topic, partition: first.partition };
      return call('produce', { ...where, request: batches }, () => outputs.produce(batches));
    },
    close: () => outputs.close(),
  };
}

function unavailable(operation: LogOperation, cause: unknown): PartitaError {
  return new PartitaError(
    'LOG_UNAVAILABLE',
    `The log did not answer (${operation}): ${describeError(cause)}.`,
    { cause },
  );
}
