/**
 * A log as tests use it beside the runtime: topics, records in, committed records out. The embedded log is one as it
 * stands; on brokers kafka-topics-log.ts, which comes next, has stock clients do it. It knows nothing of groups.
 */

export interface TopicRecord {
  readonly partition: number;
  readonly offset: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: readonly (readonly [name: string, value: Uint8Array | null])[];
}

export interface RecordToSend {
  readonly key: string | null;
  readonly value: string | Buffer;
  /** @default what Kafka's partitioner says of the key */
  readonly partition?: number;
  readonly timestamp?: number;
}

export interface TopicsLog {
  createTopic(spec: { readonly topic: string; readonly partitions: number }): Promise<unknown>;
  /** Resolves when all are appended; those of one partition in their order. */
  produce(topic: string, records: readonly RecordToSend[]): Promise<unknown>;
  /** Everything committed, each partition in its order. */
  read(topic: string): AsyncIterable<TopicRecord>;
}
