/**
 * A client's view of the embedded log: the `LogClient` port over a `Broker`. It owns the sessions and producers made
 * through it and ends them when it is closed; it never touches a partition itself.
 */
import { PartitaError } from '../../core/errors.js';
import type {
  CommitOutcome,
  CommitRequest,
  CommittedOffset,
  LogBatch,
  LogPage,
  PartitionBounds,
  TopicDescription,
  TopicPartition,
} from '../../core/log-types.js';
import type {
  GroupMember,
  GroupSession,
  JoinOptions,
  LogClient,
  LogTopics,
  OutputProducer,
  ReadRequest,
  TopicSpec,
  TransactionalProducer,
} from '../log-client.js';
import type { GroupLink } from '../group/group-link.js';
import { LogGroupSession } from '../group/group-session.js';
import type { Broker } from './broker.js';
import { EmbeddedFetcher } from './embedded-fetcher.js';
import { describeTopic } from './topic-registry.js';
import type { TransactionHolder } from './transaction-coordinator.js';

export class EmbeddedClient implements LogClient {
  readonly kind = 'embedded';
  readonly topics: LogTopics;
  readonly #broker: Broker;
  readonly #clientId: string;
  readonly #linkTo: (group: string) => GroupLink;
  readonly #sessions = new Set<LogGroupSession>();
  #closed = false;

  /** @param linkTo the way to a group's coordinator */
  constructor(broker: Broker, clientId: string, linkTo: (group: string) => GroupLink) {
    this.#broker = broker;
    this.#clientId = clientId;
    this.#linkTo = linkTo;
    this.topics = {
      describe: async (topics) => this.#describe(topics),
      ensure: async (spec) => this.#ensure(spec),
      bounds: async (partitions) => this.#bounds(partitions),
    };
  }

  async committed(
    group: string,
    partitions: readonly TopicPartition[],
  ): Promise<readonly (CommittedOffset | undefined)[]> {
    this.#expectOpen();
    return partitions.map((partition) => this.#broker.offsets.get(group, partition));
  }

  async join(options: JoinOptions, member: GroupMember): Promise<GroupSession> {
    this.#expectOpen();
    for (const topic of options.topics) this.#broker.topics.topic(topic);
    const { clock, storage, topics } = this.#broker;
    const partition = (id: TopicPartition) => topics.find(id.topic)?.logs[id.partition];
    const chunkBytesMax = options.maxBytesPerPartition;
    const session = new LogGroupSession(
      {
        clock,
        link: this.#linkTo(options.group),
        clientId: this.#clientId,
        fetcher: (sink) => new EmbeddedFetcher({ clock, storage, partition, chunkBytesMax }, sink),
        onEnd: () => this.#sessions.delete(session),
      },
      options,
      member,
    );
    this.#sessions.add(session);
    session.start();
    return session;
  }

  async read(request: ReadRequest): Promise<LogPage> {
    this.#expectOpen();
    return this.#broker.read(request);
  }

  producer(options: {
    readonly transactionalId: string;
    readonly transactionTimeoutMs: number;
  }): EmbeddedProducer {
    this.#expectOpen();
    return new EmbeddedProducer(this.#broker, options, () => {
      this.#expectOpen();
    });
  }

  outputs(): OutputProducer {
    this.#expectOpen();
    let producerId: Promise<number> | undefined;
    let closed = false;
    return {
      produce: async (batches, options) => {
        this.#expectOpen();
        if (closed) throw new PartitaError('LOG_CLOSED', 'The output producer has been closed.');
        if (options?.signal?.aborted === true)
          throw new PartitaError(
            'CALL_ABORTED',
            'Outputs were given up by their signal before they were sent.',
          );
        producerId ??= this.#broker.transactions.newProducerId();
        return this.#broker.appendIdempotent({ producerId: await producerId, epoch: 0 }, batches);
      },
      close: async () => {
        closed = true;
      },
    };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#sessions].map((session) => session.abandon()));
  }

  async #describe(topics: readonly string[]): Promise<readonly (TopicDescription | undefined)[]> {
    this.#expectOpen();
    return topics.map((name) => {
      const topic = this.#broker.topics.find(name);
      return topic && describeTopic(topic);
    });
  }

  async #ensure(spec: TopicSpec): Promise<TopicDescription> {
    this.#expectOpen();
    const existing = this.#broker.topics.find(spec.topic);
    return describeTopic(existing ?? (await this.#broker.createTopic(spec, true)));
  }

  async #bounds(partitions: readonly TopicPartition[]): Promise<readonly PartitionBounds[]> {
    this.#expectOpen();
    return partitions.map((partition) => this.#broker.topics.partition(partition).bounds);
  }

  #expectOpen(): void {
    if (this.#closed) throw new PartitaError('LOG_CLOSED', `The client ${this.#clientId} has been closed.`);
    this.#broker.expectOpen();
  }
}

/** The holder of one transactional id. `append` beyond the port leaves a transaction open, as a dying producer does. */
export class EmbeddedProducer implements TransactionalProducer {
  readonly #broker: Broker;
  readonly #options: { readonly transactionalId: string; readonly transactionTimeoutMs: number };
  readonly #expectOpen: () => void;
  #holder: TransactionHolder | undefined;
  #closed = false;

  constructor(
    broker: Broker,
    options: { readonly transactionalId: string; readonly transactionTimeoutMs: number },
    expectOpen: () => void,
  ) {
    this.#broker = broker;
    this.#options = options;
    this.#expectOpen = expectOpen;
  }

  async init(): Promise<void> {
    this.#check();
    const { transactionalId, transactionTimeoutMs } = this.#options;
    this.#holder = await this.#broker.transactions.init(transactionalId, transactionTimeoutMs);
  }

  async commitTransaction(request: CommitRequest): Promise<CommitOutcome> {
    return this.sent(request)();
  }

  /** A commit on its way: it arrives with what its producer held when it was sent, even if that has been closed since. */
  sent(request: CommitRequest): () => Promise<CommitOutcome> {
    const holder = this.#held();
    return async () => {
      const outcome = await this.#broker.transactions.commit(holder, request);
      if (outcome.kind === 'inDoubt' && this.#holder === holder) this.#holder = undefined;
      return outcome;
    };
  }

  /** Appends to a transaction that stays open until the id's next `init`, or its timeout, aborts it. */
  async append(batches: readonly LogBatch[]): Promise<void> {
    await this.#broker.transactions.append(this.#held(), batches);
  }

  /** Ends the transaction that `append` opened. */
  async end(type: 'commit' | 'abort', offsets?: Pick<CommitRequest, 'group' | 'offsets'>): Promise<void> {
    await this.#broker.transactions.end(this.#held(), type, offsets?.group ?? '', offsets?.offsets ?? []);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #held(): TransactionHolder {
    this.#check();
    if (this.#holder === undefined)
      throw new PartitaError(
        'ILLEGAL_STATE',
        `The producer of ${this.#options.transactionalId} must be initialised first.`,
      );
    return this.#holder;
  }

  #check(): void {
    this.#expectOpen();
    if (this.#closed)
      throw new PartitaError(
        'LOG_CLOSED',
        `The producer of ${this.#options.transactionalId} has been closed.`,
      );
  }
}
