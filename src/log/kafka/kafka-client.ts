/**
 * A client of a Kafka cluster: the `LogClient` port over `cluster.ts`. It owns the sessions, producers and connections
 * made through it and ends them when it is closed; who fetches, joins and commits are their own files.
 */
import { PartitaError } from '../../core/errors.js';
import type { CommittedOffset, LogPage, TopicPartition } from '../../core/log-types.js';
import { LogGroupSession } from '../group/group-session.js';
import type {
  GroupMember,
  GroupSession,
  JoinOptions,
  LogClient,
  LogTopics,
  OutputProducer,
  ReadRequest,
  TransactionalProducer,
} from '../log-client.js';
import type { Cluster } from './cluster.js';
import { KafkaFetcher } from './fetcher.js';
import { HEARTBEATS_PER_SESSION, KafkaGroupLink } from './group-link.js';
import { KafkaTopics } from './kafka-topics.js';
import { OffsetsReader } from './offsets-reader.js';
import { KafkaOutputProducer } from './output-producer.js';
import { PageReader } from './page-reader.js';
import { KafkaTransactionalProducer } from './transactional-producer.js';

/** What sessions that are still there get to leave their groups at the close. */
const LEAVE_MS = 1_000;

export class KafkaClient implements LogClient {
  readonly kind = 'kafka';
  readonly topics: LogTopics;
  readonly #cluster: Cluster;
  readonly #clientId: string;
  readonly #offsets: OffsetsReader;
  readonly #pages: PageReader;
  readonly #sessions = new Set<LogGroupSession>();
  readonly #producers = new Set<{ close(): Promise<void> }>();
  #joins = 0;
  #closing: Promise<void> | undefined;

  constructor(cluster: Cluster, clientId: string) {
    this.#cluster = cluster;
    this.#clientId = clientId;
    this.#offsets = new OffsetsReader(cluster);
    this.#pages = new PageReader(cluster, this.#offsets);
    const topics = new KafkaTopics(cluster);
    this.topics = {
      describe: (names) => topics.describe(names),
      ensure: (spec) => topics.ensure(spec),
      bounds: (partitions) => this.#offsets.bounds(partitions),
    };
  }

  committed(
    group: string,
    partitions: readonly TopicPartition[],
  ): Promise<readonly (CommittedOffset | undefined)[]> {
    return this.#offsets.committed(group, partitions);
  }

  async join(options: JoinOptions, member: GroupMember): Promise<GroupSession> {
    this.#cluster.expectOpen();
    const found = await this.#cluster.metadata(options.topics);
    // Closed meanwhile: nobody would end the session.
    this.#cluster.expectOpen();
    const missing = options.topics.filter((_, i) => found[i] === undefined);
    if (missing.length > 0)
      throw new PartitaError('TOPIC_MISSING', `The topic ${missing.join(', ')} does not exist.`, {
        details: { topics: missing },
      });
    const { clock, logger, options: settings } = this.#cluster;
    const session = new LogGroupSession(
      {
        clock,
        logger,
        link: new KafkaGroupLink(this.#cluster, options.group),
        clientId: this.#clientId,
        heartbeatsPerSession: HEARTBEATS_PER_SESSION,
        fetcher: (sink) =>
          new KafkaFetcher(sink, {
            cluster: this.#cluster,
            offsets: this.#offsets,
            name: `fetch-${++this.#joins}`,
            maxBytesPerPartition: options.maxBytesPerPartition ?? settings.fetch.maxBytesPerPartition,
          }),
        onEnd: () => this.#sessions.delete(session),
      },
      options,
      member,
    );
    this.#sessions.add(session);
    session.start();
    return session;
  }

  read(request: ReadRequest): Promise<LogPage> {
    return this.#pages.read(request);
  }

  producer(options: {
    readonly transactionalId: string;
    readonly transactionTimeoutMs: number;
  }): TransactionalProducer {
    this.#cluster.expectOpen();
    return new KafkaTransactionalProducer(this.#cluster, options);
  }

  outputs(): OutputProducer {
    this.#cluster.expectOpen();
    const outputs = new KafkaOutputProducer(this.#cluster);
    this.#producers.add(outputs);
    return outputs;
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    // A coordinator that does not answer must not hold up the end: the connections are closed below.
    const left = Promise.all([...this.#sessions].map((session) => session.abandon()));
    await Promise.race([left, this.#cluster.clock.sleep(LEAVE_MS)]);
    await this.#cluster.close();
    await Promise.all([left, ...[...this.#producers].map((producer) => producer.close())]);
  }
}
