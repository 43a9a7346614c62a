/**
 * A broker as an operator has it in hand: topics, records, offsets and groups by stock kafkajs, under the moves that the
 * embedded log offers itself, so that the same tests of recovery run on both. It never starts a broker.
 */
import assert from 'node:assert/strict';
import kafkajs, { type Admin, type Kafka } from 'kafkajs';
import { setTimeout as sleep } from 'node:timers/promises';
import { kafka, type LogFactory } from '../../src/index.js';
import type { CommittedOffset, PartitionBounds, TopicPartition } from '../../src/core/log-types.js';
import { relayTo } from './kafka-relay.js';
import type { Fate } from '../contract/resets.js';
import type { LedgerLog, LedgerRecord } from './ledger-desk.js';
import { leaveTransactionOpen } from './open-transaction.js';
import type { TcpProxy } from './tcp-proxy.js';

const PATIENCE_MS = 20_000;
const LOOK_EVERY_MS = 30;
const INIT_PRODUCER_ID = 22;
const END_TRANSACTION = 26;
export class KafkaLedgerLog implements LedgerLog {
  readonly kind = 'kafka';
  readonly connect: LogFactory['connect'];
  readonly #brokers: readonly string[];
  readonly #kafka: Kafka;
  readonly #admin: Admin;
  /** Between managers and the broker; the operator goes beside it. */
  readonly #relay: TcpProxy;
  /** A fate that no transaction has met yet. */
  #awaited: Fate | undefined;

  private constructor(relay: TcpProxy, brokers: readonly string[], client: Kafka, admin: Admin) {
    const factory = kafka({ brokers: [relay.address] });
    this.connect = (given) => factory.connect(given);
    this.#relay = relay;
    this.#brokers = brokers;
    this.#kafka = client;
    this.#admin = admin;
  }

  static async open(brokers: readonly string[]): Promise<KafkaLedgerLog> {
    const client = new kafkajs.Kafka({
      brokers: [...brokers],
      logLevel: kafkajs.logLevel.NOTHING,
      retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 20 },
    });
    const admin = client.admin();
    await admin.connect();
    return new KafkaLedgerLog(await relayTo(brokers), brokers, client, admin);
  }

  /**
   * What becomes of the end of a transaction, after so many that go well: it is asked for and the answer is lost, or it never
   * leaves; until its producer gives up and asks for its id anew.
   */
  meet(fate: Fate, after: number): void {
    let ends = 0;
    this.#awaited = fate;
    this.#relay.onRequest = (apiKey) => {
      if (ends > after) this.#awaited = undefined;
      if (apiKey === INIT_PRODUCER_ID && ends > after) this.#relay.onRequest = () => true;
      if (apiKey !== END_TRANSACTION || ++ends <= after) return true;
      return fate === 'lost' && ends === after + 1 ? 'unanswered' : 'cut';
    };
  }

  /** Without retention: records of tests are of 1970. */
  async createTopic({ topic, partitions }: { readonly topic: string; readonly partitions: number }) {
    const configEntries = [{ name: 'retention.ms', value: '-1' }];
    await patiently(() =>
      this.#admin.createTopics({
        waitForLeaders: true,
        topics: [{ topic, numPartitions: partitions, configEntries }],
      }),
    );
  }

  async describeTopic(topic: string): Promise<unknown> {
    return (await this.#admin.listTopics()).includes(topic) ? topic : undefined;
  }

  /** Kafka replaces all configs by the new ones, so those that the topic has are given again. */
  async alterTopic(topic: string, configs: Readonly<Record<string, string>>): Promise<void> {
    const { resources } = await this.#admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic }],
    });
    const entries = new Map(
      resources[0]!.configEntries
        .filter(({ configSource }) => configSource === kafkajs.ConfigSource.TOPIC_CONFIG)
        .map(({ configName, configValue }) => [configName, configValue]),
    );
    for (const [name, value] of Object.entries(configs)) entries.set(name, value);
    const configEntries = [...entries].map(([name, value]) => ({ name, value }));
    await this.#admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configEntries }],
    });
  }

  async deleteTopic(topic: string): Promise<void> {
    await this.#admin.deleteTopics({ topics: [topic] });
    await patiently(async () => {
      if ((await this.describeTopic(topic)) !== undefined) throw new Error(`${topic} is still there.`);
    });
  }

  /** The broker takes a changed policy of the topic a moment after it was told. */
  async deleteRecords(topic: string, partition: number, before: number): Promise<void> {
    await this.#admin.fetchTopicOffsets(topic);
    const partitions = [{ partition, offset: String(before) }];
    await patiently(() => this.#admin.deleteTopicRecords({ topic, partitions }));
  }

  async produce(topic: string, records: readonly LedgerRecord[]): Promise<void> {
    const producer = this.#kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    try {
      const messages = records.map(({ timestamp, ...rest }) => ({ ...rest, timestamp: String(timestamp) }));
      await producer.send({ topic, messages });
    } finally {
      await producer.disconnect();
    }
  }

  async bounds(topic: string): Promise<readonly PartitionBounds[]> {
    const client = await this.connect({ clientId: 'ledger-desk' });
    try {
      const [description] = await client.topics.describe([topic]);
      const { partitions = 0 } = description ?? {};
      return await client.topics.bounds(
        Array.from({ length: partitions }, (_, partition) => ({ topic, partition })),
      );
    } finally {
      await client.close();
    }
  }

  async committed(group: string): Promise<readonly (TopicPartition & CommittedOffset)[]> {
    return (await this.#admin.fetchOffsets({ groupId: group })).flatMap(({ topic, partitions }) =>
      partitions
        .filter(({ offset }) => Number(offset) >= 0)
        .map(({ partition, offset, metadata }) => ({
          topic,
          partition,
          offset: Number(offset),
          metadata: metadata ?? '',
        })),
    );
  }

  /** As a member of the group that processes nothing: kafkajs' own `setOffsets` waits for a fetch, for seconds. */
  async setOffset(groupId: string, { topic, partition }: TopicPartition, offset: number): Promise<void> {
    const consumer = this.#kafka.consumer({ groupId, maxWaitTimeInMs: 50 });
    await consumer.connect();
    try {
      await consumer.subscribe({ topic });
      const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
      await consumer.run({ autoCommit: false, eachMessage: () => Promise.resolve() });
      await joined;
      await consumer.commitOffsets([{ topic, partition, offset: String(offset) }]);
    } finally {
      await consumer.disconnect();
    }
  }

  async resetGroup(group: string): Promise<void> {
    await patiently(() => this.#admin.deleteGroups([group]));
  }

  leaveTransactionOpen(transaction: Parameters<LedgerLog['leaveTransactionOpen']>[0]): Promise<void> {
    return leaveTransactionOpen(this.#brokers, transaction);
  }

  async close(): Promise<void> {
    await this.#admin.disconnect();
    await this.#relay.close();
    assert.equal(this.#awaited, undefined, 'no transaction has met its fate');
  }
}

/** What a broker does a moment later is tried until then. */
async function patiently(move: () => Promise<unknown>): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  for (;;)
    try {
      await move();
      return;
    } catch (error) {
      if (Date.now() > end) throw error;
      await sleep(LOOK_EVERY_MS);
    }
}
