/**
 * Owns the oracle's topics on real brokers: made and filled by stock kafkajs, read by confluent-kafka, so that nothing of
 * ours stands between the runtime and the plain loop. It never starts a broker.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel, type Admin, type Producer } from 'kafkajs';
import { topicOf } from '../fixtures/oracle.js';
import type { OracleLog } from './oracle-job.js';
import type { RawRecord } from './oracle-model.js';
import { otherRead } from './other-client.js';

const CREATE_BUDGET_MS = 10_000;

export class KafkaOracleLog implements OracleLog {
  readonly #brokers: readonly string[];
  readonly #of: string;
  readonly #admin: Admin;
  readonly #producer: Producer;

  private constructor(brokers: readonly string[], of: string, admin: Admin, producer: Producer) {
    this.#brokers = brokers;
    this.#of = of;
    this.#admin = admin;
    this.#producer = producer;
  }

  /** @param of what stands before the names of the topics */
  static async connect(brokers: readonly string[], of: string): Promise<KafkaOracleLog> {
    const client = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING });
    const log = new KafkaOracleLog(
      brokers,
      of,
      client.admin(),
      client.producer({ idempotent: true, maxInFlightRequests: 1 }),
    );
    await log.#admin.connect();
    await log.#producer.connect();
    return log;
  }

  async createTopic({ topic, partitions }: { readonly topic: string; readonly partitions: number }) {
    const topics = [{ topic: topicOf(this.#of, topic), numPartitions: partitions }];
    // kafkajs' wait for leaders gives up at once where the broker has not heard of the topic yet.
    const end = Date.now() + CREATE_BUDGET_MS;
    for (;;)
      try {
        await this.#admin.createTopics({ waitForLeaders: true, topics });
        return;
      } catch (error) {
        if (Date.now() > end) throw error;
        await sleep(50);
      }
  }

  async produce(
    topic: string,
    records: readonly { readonly key: string; readonly value: string | Buffer }[],
  ): Promise<void> {
    await this.#producer.send({ topic: topicOf(this.#of, topic), messages: [...records] });
  }

  async *read(topic: string): AsyncGenerator<RawRecord> {
    yield* await otherRead(this.#brokers, topicOf(this.#of, topic));
  }

  async close(): Promise<void> {
    await this.#producer.disconnect();
    await this.#admin.disconnect();
  }
}
