/**
 * The embedded log as users and tests hold it: a factory of clients for `StateManager`, and what an operator's tools do
 * with Kafka (topics, records in and out, offsets, compaction). For one process at a time; not a replacement of Kafka.
 * The work is done by `broker.ts`; clients are `embedded-client.ts`.
 */
import { RecordReader } from '../../codec/record-batch-reader.js';
import { type Clock, systemClock } from '../../core/clock.js';
import type {
  CommittedOffset,
  LogBatch,
  PartitionBounds,
  TopicDescription,
  TopicPartition,
} from '../../core/log-types.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import type { LogClient, LogFactory, TopicSpec } from '../log-client.js';
import type { Appended } from './append-plan.js';
import { Broker } from './broker.js';
import { EmbeddedClient } from './embedded-client.js';
import type { GroupDescription } from './group-coordinator.js';
import { type LogFaults, linkWithFaults, withFaults } from './log-faults.js';
import { LogCleaner } from './log-cleaner.js';
import { type LogStorage, memoryStorage } from './log-storage.js';
import { type ProducedRecord, routeRecords } from './record-router.js';
import { describeTopic } from './topic-registry.js';

const READ_PAGE_BYTES = 1024 * 1024;
const BACKGROUND_MS_DEFAULT = 1000;

export interface EmbeddedLogOptions {
  /** Where everything acknowledged survives the process. @default in memory */
  readonly dir?: string;
  /** Whether an acknowledgement waits for the disk, so that it survives a power failure too. @default false */
  readonly sync?: boolean;
  /** How often retention, compaction and expiry are looked after, in ms; 0: only when asked. @default 1000 */
  readonly backgroundMs?: number;
  /** @default the machine's clock */
  readonly clock?: Clock;
  /** @default silent */
  readonly logger?: Logger;
  /** Faults that clients meet; for tests. */
  readonly faults?: LogFaults;
  /** Kafka topic configs that new topics have unless they say otherwise. */
  readonly topicDefaults?: Readonly<Record<string, string>>;
}

/** A record as `read` yields it; its bytes are the caller's. */
export interface ReadRecord {
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: readonly (readonly [string, Uint8Array])[];
}

/** Opens an embedded log, in memory or in `dir`. */
export async function embeddedLog(options: EmbeddedLogOptions = {}): Promise<EmbeddedLog> {
  return EmbeddedLog.open(options);
}

export class EmbeddedLog implements LogFactory, AsyncDisposable {
  readonly kind = 'embedded';
  readonly #broker: Broker;
  readonly #cleaner: LogCleaner;
  readonly #faults: LogFaults | undefined;
  readonly #clients = new Set<EmbeddedClient>();
  readonly #sticky = new Map<string, number>();

  private constructor(broker: Broker, options: EmbeddedLogOptions) {
    this.#broker = broker;
    this.#faults = options.faults;
    this.#cleaner = new LogCleaner(broker, options.logger ?? silentLogger);
  }

  /** Rejects LOG_LOCKED while another process (or another log of this one) has the directory open. */
  static async open(options: EmbeddedLogOptions = {}): Promise<EmbeddedLog> {
    const clock = options.clock ?? systemClock;
    const storage =
      options.dir === undefined ? memoryStorage : await directoryStorage(options.dir, options.sync ?? false);
    const broker = new Broker(clock, storage, options.topicDefaults ?? {});
    try {
      await broker.restore();
    } catch (error) {
      await storage.close();
      throw error;
    }
    const log = new EmbeddedLog(broker, options);
    log.#cleaner.start(options.backgroundMs ?? BACKGROUND_MS_DEFAULT);
    return log;
  }

  /** A client; any number share the log. */
  async connect({ clientId }: { readonly clientId: string }): Promise<LogClient> {
    this.#broker.expectOpen();
    const faults = this.#faults;
    const client = new EmbeddedClient(this.#broker, clientId, (group) => {
      const coordinator = this.#broker.group(group);
      return faults === undefined ? coordinator : linkWithFaults(coordinator, group, clientId, faults);
    });
    this.#clients.add(client);
    return faults === undefined ? client : withFaults(client, clientId, faults);
  }

  /** Rejects TOPIC_EXISTS or TOPIC_INVALID. */
  async createTopic(spec: TopicSpec): Promise<TopicDescription> {
    return describeTopic(await this.#broker.createTopic(spec, false));
  }

  /** Rejects TOPIC_MISSING. Offsets committed for the topic go with it. */
  async deleteTopic(topic: string): Promise<void> {
    await this.#broker.deleteTopic(topic);
  }

  /** Raises the number of partitions; keys then belong elsewhere, as in Kafka. */
  async addPartitions(topic: string, partitions: number): Promise<TopicDescription> {
    return describeTopic(await this.#broker.addPartitions(topic, partitions));
  }

  /** Changes configs of a topic by their Kafka names. */
  async alterTopic(topic: string, configs: Readonly<Record<string, string>>): Promise<TopicDescription> {
    return describeTopic(await this.#broker.alterTopic(topic, configs));
  }

  /** `undefined` for a topic that does not exist. */
  async describeTopic(topic: string): Promise<TopicDescription | undefined> {
    this.#broker.expectOpen();
    const found = this.#broker.topics.find(topic);
    return found && describeTopic(found);
  }

  /** Names of all topics, sorted. */
  async listTopics(): Promise<readonly string[]> {
    this.#broker.expectOpen();
    return this.#broker.topics.all.map(({ row }) => row.topic).sort();
  }

  /** Bounds of each partition of a topic. */
  async bounds(topic: string): Promise<readonly PartitionBounds[]> {
    this.#broker.expectOpen();
    return this.#broker.topics.topic(topic).logs.map((log) => log.bounds);
  }

  /**
   * Appends records, each partition's in the order given; resolves, in the order given, when all are durable. Keys are
   * partitioned as Kafka's Java client does. Rejects TOPIC_MISSING, RECORD_TOO_LARGE, TIMESTAMP_OUT_OF_RANGE,
   * POLICY_VIOLATION (a null key for a compacted topic).
   */
  async produce(
    topic: string,
    records: readonly ProducedRecord[],
  ): Promise<readonly { readonly partition: number; readonly offset: number }[]> {
    this.#broker.expectOpen();
    const { config, logs } = this.#broker.topics.topic(topic);
    const { batches, sticky } = routeRecords(records, {
      topic,
      partitions: logs.length,
      maxBatchBytes: config.limits.maxBatchBytes,
      now: this.#broker.clock.now(),
      sticky: this.#sticky.get(topic) ?? 0,
      keyed: config.compacts,
    });
    this.#sticky.set(topic, sticky);
    const appended = await this.#broker.append(batches);
    const offsets = new Array<{ partition: number; offset: number }>(records.length);
    batches.forEach(({ partition, records: indexes }, at) => {
      const { baseOffset } = appended[at]!;
      indexes.forEach((index, delta) => (offsets[index] = { partition, offset: baseOffset + delta }));
    });
    return offsets;
  }

  /** Appends sealed batches as they are, as the Produce API does; the log owns their bytes afterwards. */
  async appendBatches(batches: readonly LogBatch[]): Promise<readonly Appended[]> {
    return this.#broker.append(batches);
  }

  /**
   * Leaves a transaction open that holds `batches`, as a producer does that dies before its end: what follows is hidden
   * from read_committed until the id's next `init`, or the timeout, aborts it.
   */
  async leaveTransactionOpen(transaction: {
    readonly transactionalId: string;
    readonly transactionTimeoutMs: number;
    readonly batches: readonly LogBatch[];
  }): Promise<void> {
    this.#broker.expectOpen();
    const { transactionalId, transactionTimeoutMs, batches } = transaction;
    const holder = await this.#broker.transactions.init(transactionalId, transactionTimeoutMs);
    await this.#broker.transactions.append(holder, batches);
  }

  /** The records that are there now, partition by partition, each in the order of offsets. */
  async *read(
    topic: string,
    options: {
      readonly partition?: number;
      readonly from?: number;
      readonly isolation?: 'read_committed' | 'read_uncommitted';
    } = {},
  ): AsyncGenerator<ReadRecord, void, undefined> {
    const { isolation = 'read_committed' } = options;
    this.#broker.expectOpen();
    const { logs } = this.#broker.topics.topic(topic);
    const ends = logs.map(({ bounds }) => (isolation === 'read_committed' ? bounds.lastStable : bounds.end));
    for (const { partition, bounds } of logs) {
      if (options.partition !== undefined && options.partition !== partition) continue;
      const end = ends[partition]!;
      let from = Math.max(options.from ?? 0, bounds.start);
      while (from < end) {
        const page = await this.#broker.read({
          topic,
          partition,
          from,
          maxBytes: READ_PAGE_BYTES,
          isolation,
        });
        if (page.next === from) break;
        const reader = new RecordReader();
        reader.load(page.bytes, { from, aborted: page.aborted, topic, partition });
        while (reader.next() && reader.offset < end)
          yield {
            partition,
            offset: reader.offset,
            timestamp: reader.timestamp,
            key: copy(reader.key()),
            value: copy(reader.value()),
            headers: reader.headers(),
          };
        from = page.next;
      }
    }
  }

  /** Committed offsets of a group, by topic and partition. */
  async committed(group: string): Promise<readonly (TopicPartition & CommittedOffset)[]> {
    this.#broker.expectOpen();
    return this.#broker.offsets
      .ofGroup(group)
      .map(({ topic, partition, offset, metadata }) => ({ topic, partition, offset, metadata }));
  }

  /** Moves a group without members, as an operator does: the offset's metadata is empty. Rejects ILLEGAL_STATE. */
  async setOffset(group: string, partition: TopicPartition, offset: number): Promise<void> {
    await this.#broker.setOffsets(group, [{ ...pick(partition), offset, metadata: '' }]);
  }

  /** Forgets everything that a group without members has committed. Rejects ILLEGAL_STATE. */
  async resetGroup(group: string): Promise<void> {
    const offsets = await this.committed(group);
    await this.#broker.setOffsets(
      group,
      offsets.map((row) => ({ ...pick(row), offset: undefined, metadata: '' })),
    );
  }

  /** Members, generation and assignment of a group. */
  async describeGroup(group: string): Promise<GroupDescription> {
    this.#broker.expectOpen();
    return this.#broker.group(group).describe();
  }

  /** Compacts a topic now, as far as it is stable. Rejects POLICY_VIOLATION unless its policy says compact. */
  async compact(topic: string): Promise<void> {
    await this.#cleaner.compact(topic);
  }

  /** Applies `retention.ms` and `retention.bytes` of all topics now. */
  async applyRetention(): Promise<void> {
    await this.#cleaner.applyRetention();
  }

  /** Aborts transactions past their timeout and forgets ids and producers long unused, now. */
  async expireTransactions(): Promise<void> {
    this.#broker.expectOpen();
    await this.#broker.transactions.expire();
  }

  /**
   * Removes the records of a partition below an offset. Rejects POLICY_VIOLATION, as Kafka does, for a topic that only
   * compacts, and OFFSET_OUT_OF_RANGE beyond the end.
   */
  async deleteRecords(topic: string, partition: number, before: number): Promise<void> {
    await this.#cleaner.deleteRecords(topic, partition, before);
  }

  /** Ends all clients and closes the files. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([...this.#clients].map((client) => client.close()));
    this.#clients.clear();
    await this.#cleaner.stop();
    await this.#broker.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function directoryStorage(directory: string, sync: boolean): Promise<LogStorage> {
  const { openDirectory } = await import('./directory-storage.js');
  return openDirectory(directory, { sync });
}

function pick({ topic, partition }: TopicPartition): TopicPartition {
  return { topic, partition };
}

function copy(bytes: Uint8Array | null): Uint8Array | null {
  return bytes === null ? null : new Uint8Array(bytes);
}
