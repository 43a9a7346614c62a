/**
 * Owns the topics of one test on real brokers: made and filled by stock kafkajs, read by confluent-kafka, so that nothing
 * of ours stands between the runtime and the plain loop. It never starts a broker.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel, type Admin, type Producer } from 'kafkajs';
import { topicOf } from '../fixtures/oracle.js';
import { otherRead } from './other-client.js';
import type { RecordToSend, TopicRecord, TopicsLog } from './topics-log.js';

const NOT_YET_KNOWN = 'UNKNOWN_TOPIC_OR_PARTITION';
const TRIES_MAX = 100;

export class KafkaTopicsLog implements TopicsLog {
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
  static async connect(brokers: readonly string[], of: string): Promise<KafkaTopicsLog> {
    const client = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING });
    const log = new KafkaTopicsLog(
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
    for (let tries = 1; ; tries++)
      try {
        await this.#admin.createTopics({ waitForLeaders: true, topics });
        return;
      } catch (error) {
        // A broker may not have heard yet of what the controller has made; what is there is no error.
        if ((error as { type?: string }).type !== NOT_YET_KNOWN || tries === TRIES_MAX) throw error;
        await sleep(50);
      }
  }

  async produce(topic: string, records: readonly RecordToSend[]): Promise<void> {
    const messages = records.map(({ timestamp, ...record }) =>
      timestamp === undefined ? record : { ...record, timestamp: String(timestamp) },
    );
    await this.#producer.send({ topic: topicOf(this.#of, topic), messages });
  }

  async *read(topic: string): AsyncGenerator<TopicRecord> {
    yield* await otherRead(this.#brokers, topicOf(this.#of, topic));
  }

  async close(): Promise<void> {
    await this.#producer.disconnect();
    await this.#admin.disconnect();
  }
}
