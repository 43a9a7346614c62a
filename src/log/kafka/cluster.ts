/**
 * The brokers of one Kafka cluster as one client sees them: which there are, who leads which partition, who coordinates
 * which group or transactional id, and the connections to them, apart by purpose, since a broker answers a connection's
 * requests in order. Asks again where brokers were lost or roles have moved; what is asked is not its business.
 */
import { Backoff } from '../../core/backoff.js';
import type { Clock } from '../../core/clock.js';
import { Deadline } from '../../core/deadline.js';
import { isPartitaError, PartitaError } from '../../core/errors.js';
import type { TopicPartition } from '../../core/log-types.js';
import type { Logger } from '../../core/logger.js';
import {
  BrokerAnswerError,
  isAuthenticationError,
  isConnectionError,
  isCoordinatorError,
  isCutOff,
  isRetriable,
  toPartitaError,
} from './kafka-errors.js';
import { parseAddress, type BrokerAddress, type ResolvedKafkaOptions } from './kafka-options.js';
import type { BrokerConnection, Kafkajs, KafkajsLogger } from './kafkajs-internals.js';
import { metadataRequest, type MetadataAnswer, type TopicAnswer } from './wire/metadata.js';

/** Which connection to a broker: `group/…` and `fetch/…` are one session's own, since joining and long polls block them. */
export type Purpose = 'control' | 'read' | 'produce' | 'transactions' | `fetch/${string}` | `group/${string}`;

export interface TopicMetadata {
  readonly topic: string;
  readonly topicId: string;
  readonly partitions: readonly { readonly leader: number; readonly replicas: number }[];
}

export interface RetryOptions {
  /** How long it is tried. @default the options' `retryTimeoutMs` */
  readonly budgetMs?: number;
  /** Ends the trying: rejects LOG_CLOSED. */
  readonly signal?: AbortSignal;
  /** For the details of errors. */
  readonly details?: Readonly<Record<string, unknown>>;
}

type CoordinatorKind = 'group' | 'transaction';

/** AddPartitionsToTxn's version 4 is how brokers verify transactions (KIP-890); it came with 3.6. */
const ADD_PARTITIONS_TO_TXN_KEY = 24;
const VERIFYING_VERSION = 4;
/** A topic that was just created is not known to every broker at once. */
export const UNKNOWN_TOPIC_GRACE_MS = 2_000;
/** What a broker answers from memory; a frozen one is given up sooner. Joining a group has a time-out of its own. */
const QUICK_REQUEST_TIMEOUT_MS = 10_000;
const BACKOFF = { firstMs: 10, maxMs: 1_000, attemptsMax: Infinity } as const;

export interface ClusterParts {
  readonly kafkajs: Kafkajs;
  readonly options: ResolvedKafkaOptions;
  readonly clientId: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class Cluster {
  readonly options: ResolvedKafkaOptions;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly #parts: ClusterParts;
  readonly #kafkajsLogger: KafkajsLogger;
  readonly #brokers = new Map<number, BrokerAddress>();
  readonly #topics = new Map<string, TopicMetadata>();
  readonly #coordinators = new Map<string, number>();
  readonly #connections = new Map<string, BrokerConnection>();
  /** Connecting takes its turn: a second caller waits for the first one's attempt. */
  readonly #connecting = new Map<string, Promise<void>>();
  readonly #closing = new AbortController();
  #controller = -1;
  #refreshing: { readonly topics: ReadonlySet<string>; readonly answer: Promise<void> } | undefined;

  constructor(parts: ClusterParts) {
    this.#parts = parts;
    this.options = parts.options;
    this.clock = parts.clock;
    this.logger = parts.logger;
    this.#kafkajsLogger = kafkajsLogger(parts.logger);
  }

  /**
   * Reaches some broker within `connectTimeoutMs`. Rejects LOG_UNAVAILABLE naming the brokers that were tried,
   * LOG_AUTHENTICATION_FAILED, or LOG_UNSUPPORTED for brokers before 3.6.
   */
  async connect(): Promise<void> {
    const deadline = Deadline.after(this.clock, this.options.connectTimeoutMs);
    const backoff = new Backoff(BACKOFF);
    let last: unknown;
    for (;;)
      try {
        await deadline.race(this.#refresh([]), 'Connecting to Kafka');
        return;
      } catch (error) {
        if (isPartitaError(error) && !error.retryable) throw error;
        // That time is over says less than what an earlier attempt met.
        const isOver = isPartitaError(error, 'CALL_TIMEOUT');
        if (!isOver) last = error;
        if (isOver || deadline.expired) throw await this.#unreachable(last ?? error);
        await this.#sleep(Math.min(backoff.next()!, deadline.remainingMs), {});
      }
  }

  get closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** @throws PartitaError LOG_CLOSED */
  expectOpen(): void {
    if (this.closed)
      throw new PartitaError('LOG_CLOSED', `The client ${this.#parts.clientId} has been closed.`);
  }

  /** Kafka's name of an error code; `NONE` for none. */
  errorType(code: number): string {
    return this.#parts.kafkajs.errorType(code);
  }

  /** What brokers say of these topics now; `undefined` for one that does not exist. */
  async metadata(
    topics: readonly string[],
    options: RetryOptions = {},
  ): Promise<readonly (TopicMetadata | undefined)[]> {
    if (topics.length > 0) await this.#trying('Asking for metadata', options, () => this.#refresh(topics));
    return topics.map((topic) => this.#topics.get(topic));
  }

  /** What was last heard of the topic. */
  known(topic: string): TopicMetadata | undefined {
    return this.#topics.get(topic);
  }

  /** Who leads the partition as far as is known. */
  leaderOf({ topic, partition }: TopicPartition): number | undefined {
    const leader = this.#topics.get(topic)?.partitions[partition]?.leader;
    return leader === undefined || leader < 0 ? undefined : leader;
  }

  /** A connected connection to a broker. Rejects with kafkajs' connection error, or LOG_CLOSED. */
  async connection(node: number, purpose: Purpose): Promise<BrokerConnection> {
    this.expectOpen();
    const address = this.#brokers.get(node);
    if (address === undefined)
      throw new BrokerAnswerError('BROKER_NOT_AVAILABLE', `Broker ${node} is not known.`);
    return this.#connected(purpose, address);
  }

  /** Gives up the connections of one purpose. */
  async disconnect(purpose: Purpose): Promise<void> {
    const ended = [...this.#connections].filter(([key]) => key.startsWith(`${purpose} `));
    for (const [key] of ended) this.#connections.delete(key);
    await Promise.all(ended.map(([, connection]) => connection.close()));
  }

  /** Asks the partition's leader, whoever that becomes. Rejects TOPIC_MISSING, LOG_UNAVAILABLE, or what it answered. */
  async onLeader<T>(
    at: TopicPartition,
    purpose: Purpose,
    what: string,
    ask: (connection: BrokerConnection, node: number) => Promise<T>,
    options: RetryOptions = {},
  ): Promise<T> {
    const details = { topic: at.topic, partition: at.partition, ...options.details };
    return this.#trying(what, { ...options, details }, async (attempt) => {
      if (attempt > 0 || this.leaderOf(at) === undefined) await this.#refreshTopic(at);
      const node = this.leaderOf(at);
      if (node === undefined)
        throw new BrokerAnswerError('LEADER_NOT_AVAILABLE', `${at.topic}-${at.partition} has no leader.`);
      return ask(await this.connection(node, purpose), node);
    });
  }

  /** Asks the coordinator of a group or transactional id, whoever that becomes. */
  async onCoordinator<T>(
    kind: CoordinatorKind,
    id: string,
    purpose: Purpose,
    what: string,
    ask: (connection: BrokerConnection) => Promise<T>,
    options: RetryOptions = {},
  ): Promise<T> {
    return this.#trying(what, options, async () => ask(await this.coordinator(kind, id, purpose)));
  }

  /** A connection to the coordinator, found if it is not known. Rejects with what can be retried, or for good. */
  async coordinator(kind: CoordinatorKind, id: string, purpose: Purpose): Promise<BrokerConnection> {
    const key = `${kind}/${id}`;
    let node = this.#coordinators.get(key);
    if (node === undefined) {
      const any = await this.#any();
      const { coordinator } = await any.requests.findGroupCoordinator({
        groupId: id,
        coordinatorType: kind === 'group' ? 0 : 1,
      });
      node = coordinator.nodeId;
      this.#brokers.set(node, { host: coordinator.host, port: coordinator.port });
      this.#coordinators.set(key, node);
    }
    try {
      return await this.connection(node, purpose);
    } catch (error) {
      this.#coordinators.delete(key);
      throw error;
    }
  }

  /** After an answer that the coordinator has moved, or none: it is looked for again. */
  forgetCoordinator(kind: CoordinatorKind, id: string): void {
    this.#coordinators.delete(`${kind}/${id}`);
  }

  /** Asks the controller. */
  async onController<T>(
    what: string,
    ask: (connection: BrokerConnection) => Promise<T>,
    options: RetryOptions = {},
  ): Promise<T> {
    return this.#trying(what, options, async (attempt) => {
      if (attempt > 0 || this.#controller < 0) await this.#refresh([]);
      return ask(await this.connection(this.#controller, 'control'));
    });
  }

  /** Asks any broker. */
  async onAny<T>(
    what: string,
    ask: (connection: BrokerConnection) => Promise<T>,
    options: RetryOptions = {},
  ): Promise<T> {
    return this.#trying(what, options, async () => ask(await this.#any()));
  }

  /** What is under way rejects. Idempotent. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.#closing.abort();
    const connections = [...this.#connections.values()];
    this.#connections.clear();
    await Promise.all(connections.map((connection) => connection.close()));
  }

  // ── retries ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #trying<T>(what: string, options: RetryOptions, ask: (attempt: number) => Promise<T>): Promise<T> {
    const deadline = Deadline.after(this.clock, options.budgetMs ?? this.options.retryTimeoutMs);
    const backoff = new Backoff(BACKOFF);
    for (let attempt = 0; ; attempt++) {
      this.expectOpen();
      try {
        return await ask(attempt);
      } catch (error) {
        this.expectOpen();
        this.#learn(error);
        if (!isRetriable(error)) throw toPartitaError(error, what, options.details);
        if (deadline.expired) throw await this.#givenUp(what, error, options);
        this.logger.debug({ attempt, err: error }, `${what} is tried again.`);
        await this.#sleep(Math.min(backoff.next()!, deadline.remainingMs), options);
      }
    }
  }

  /** Roles that may have moved are looked up again at the next attempt. */
  #learn(error: unknown): void {
    if (isCoordinatorError(error) || isConnectionError(error)) this.#coordinators.clear();
    if (isCoordinatorError(error)) this.#controller = -1;
  }

  async #givenUp(what: string, error: unknown, options: RetryOptions): Promise<PartitaError> {
    if (isPartitaError(error)) return error;
    const failed = toPartitaError(error, what, options.details);
    return isConnectionError(error) ? this.#unreachable(error, failed) : failed;
  }

  async #unreachable(error: unknown, failed?: PartitaError): Promise<PartitaError> {
    const known = [...this.#brokers.values()].map(({ host, port }) => `${host}:${port}`);
    const brokers = known.length > 0 ? known : [...(await this.options.brokers())];
    const why = failed?.message ?? toPartitaError(error, 'Connecting to Kafka').message;
    const hint =
      isCutOff(error) || isPartitaError(error)
        ? ' If they listen there, `ssl` or `sasl` of kafka() may not be what this listener expects.'
        : '';
    return new PartitaError(
      'LOG_UNAVAILABLE',
      `None of the brokers ${brokers.join(', ')} answers: ${why}${hint}`,
      { cause: error, details: { ...failed?.details, brokers } },
    );
  }

  async #sleep(ms: number, options: RetryOptions): Promise<void> {
    const signals = [this.#closing.signal, ...(options.signal === undefined ? [] : [options.signal])];
    try {
      await this.clock.sleep(ms, AbortSignal.any(signals));
    } catch (error) {
      this.expectOpen();
      throw error;
    }
  }

  // ── metadata ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #refreshTopic({ topic, partition }: TopicPartition): Promise<void> {
    const until = this.clock.monotonic() + UNKNOWN_TOPIC_GRACE_MS;
    for (;;) {
      await this.#refresh([topic]);
      const known = this.#topics.get(topic);
      if (known !== undefined && partition < known.partitions.length) return;
      if (this.clock.monotonic() >= until)
        throw new PartitaError(
          'TOPIC_MISSING',
          known === undefined
            ? `The topic ${topic} does not exist.`
            : `The topic ${topic} has no partition ${partition}, only ${known.partitions.length}.`,
          { details: { topic, partition } },
        );
      await this.#sleep(50, {});
    }
  }

  /** Who comes while a question that covers its topics is under way shares its answer. */
  async #refresh(topics: readonly string[]): Promise<void> {
    const under = this.#refreshing;
    if (under !== undefined && topics.every((topic) => under.topics.has(topic))) return under.answer;
    const answer = this.#askMetadata(topics);
    const mine = { topics: new Set(topics), answer };
    this.#refreshing = mine;
    try {
      await answer;
    } finally {
      if (this.#refreshing === mine) this.#refreshing = undefined;
    }
  }

  async #askMetadata(topics: readonly string[]): Promise<void> {
    const any = await this.#any();
    this.#adopt(await any.send(metadataRequest(topics)), topics);
  }

  #adopt(answer: MetadataAnswer, topics: readonly string[]): void {
    // A broker that is only starting may list none, not even itself.
    if (answer.brokers.length > 0) this.#brokers.clear();
    for (const { nodeId, host, port } of answer.brokers) this.#brokers.set(nodeId, { host, port });
    this.#controller = answer.controllerId;
    const answered = new Map(answer.topics.map((topic) => [topic.topic, topic]));
    for (const topic of topics) {
      const metadata = answered.get(topic);
      const type = this.#parts.kafkajs.errorType(metadata?.errorCode ?? 3);
      if (metadata !== undefined && type === 'NONE') this.#topics.set(topic, describe(metadata));
      else if (type === 'UNKNOWN_TOPIC_OR_PARTITION') this.#topics.delete(topic);
      else throw new BrokerAnswerError(type, `The brokers answered ${type} for the topic ${topic}.`);
    }
  }

  /** A connection to some broker that answers: known ones first, then the addresses that were given. */
  async #any(): Promise<BrokerConnection> {
    this.expectOpen();
    const known = [...this.#brokers.values()];
    for (const address of known) {
      const connection = this.#connections.get(`control ${address.host}:${address.port}`);
      if (connection?.isConnected === true) return connection;
    }
    const given = (await this.options.brokers()).map(parseAddress);
    let last: unknown;
    for (const address of [...shuffled(known), ...given])
      try {
        return await this.#connected('control', address);
      } catch (error) {
        last = error;
        if (isPartitaError(error) && !error.retryable) throw error;
      }
    throw last;
  }

  // ── connections ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #connected(purpose: Purpose, address: BrokerAddress): Promise<BrokerConnection> {
    const key = `${purpose} ${address.host}:${address.port}`;
    let connection = this.#connections.get(key);
    if (connection === undefined) {
      connection = this.#open(purpose, address);
      this.#connections.set(key, connection);
    }
    if (connection.isConnected) return connection;
    let attempt = this.#connecting.get(key);
    if (attempt === undefined) {
      attempt = this.#connect(connection, address).finally(() => this.#connecting.delete(key));
      this.#connecting.set(key, attempt);
    }
    await attempt;
    if (this.closed) {
      await connection.close();
      this.expectOpen();
    }
    return connection;
  }

  #open(purpose: Purpose, { host, port }: BrokerAddress): BrokerConnection {
    const { options } = this;
    const isQuick = purpose === 'control' || purpose.startsWith('group/');
    return this.#parts.kafkajs.connection({
      host,
      port,
      clientId: this.#parts.clientId,
      ssl: options.ssl,
      sasl: options.sasl,
      connectionTimeoutMs: options.connectionTimeoutMs,
      authenticationTimeoutMs: options.authenticationTimeoutMs,
      requestTimeoutMs: isQuick
        ? Math.min(QUICK_REQUEST_TIMEOUT_MS, options.requestTimeoutMs)
        : options.requestTimeoutMs,
      // A fetcher copies out at once, and sends its next poll afterwards.
      reusesAnswers: purpose.startsWith('fetch/'),
      logger: this.#kafkajsLogger,
    });
  }

  /** By what it is authenticated, never with what. */
  #how(): string {
    const { sasl, ssl } = this.options;
    const means = [
      ...(sasl === undefined ? [] : [`SASL ${sasl.mechanism.toUpperCase()}`]),
      ...(ssl === undefined ? [] : ['TLS']),
    ];
    return means.length === 0 ? ' without `sasl` and `ssl`' : ` by ${means.join(' over ')}`;
  }

  async #connect(connection: BrokerConnection, { host, port }: BrokerAddress): Promise<void> {
    const details = { broker: `${host}:${port}` };
    try {
      await connection.connect();
    } catch (error) {
      if (isAuthenticationError(error))
        throw toPartitaError(error, `Authenticating at the broker ${host}:${port}${this.#how()}`, details);
      throw error;
    }
    const version = connection.versions[ADD_PARTITIONS_TO_TXN_KEY]?.maxVersion ?? 0;
    if (version < VERIFYING_VERSION)
      throw new PartitaError(
        'LOG_UNSUPPORTED',
        `The broker ${host}:${port} is older than Kafka 3.6: it does not verify transactions (KIP-890) and can leave hanging ones.`,
        { details },
      );
  }
}

function describe({ topic, topicId, partitions }: TopicAnswer): TopicMetadata {
  const sorted = [...partitions].sort((a, b) => a.partition - b.partition);
  return { topic, topicId, partitions: sorted.map(({ leader, replicas }) => ({ leader, replicas })) };
}

/** Spreads the first questions of many clients over the brokers. */
function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

/** Sentences only, and as debugging: what matters reaches the caller as an error. */
function kafkajsLogger(logger: Logger): KafkajsLogger {
  const say = (message: string): void => {
    logger.debug(`kafkajs: ${message}`);
  };
  const adapted: KafkajsLogger = {
    namespace: () => adapted,
    debug: () => undefined,
    info: say,
    warn: say,
    error: say,
  };
  return adapted;
}
