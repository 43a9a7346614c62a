/** The topics of the embedded log with their partitions. It answers look-ups; it never writes to disk or to a partition. */
import { PartitaError } from '../../core/errors.js';
import type { TopicDescription, TopicPartition } from '../../core/log-types.js';
import type { TopicRow } from './log-storage.js';
import { PartitionLog } from './partition-log.js';
import type { TopicConfig } from './topic-config.js';

export interface Topic {
  readonly row: TopicRow;
  readonly config: TopicConfig;
  readonly logs: readonly PartitionLog[];
}

export class TopicRegistry {
  readonly #topics = new Map<string, Topic>();

  get all(): readonly Topic[] {
    return [...this.#topics.values()];
  }

  find(topic: string): Topic | undefined {
    return this.#topics.get(topic);
  }

  /** @throws PartitaError TOPIC_MISSING */
  topic(name: string): Topic {
    const topic = this.#topics.get(name);
    if (topic === undefined)
      throw new PartitaError('TOPIC_MISSING', `The topic ${name} does not exist.`, {
        details: { topic: name },
      });
    return topic;
  }

  /** @throws PartitaError TOPIC_MISSING, also for a partition beyond the topic's */
  partition({ topic, partition }: TopicPartition): PartitionLog {
    const log = this.topic(topic).logs[partition];
    if (log === undefined)
      throw new PartitaError('TOPIC_MISSING', `The topic ${topic} has no partition ${partition}.`, {
        details: { topic, partition },
      });
    return log;
  }

  /** Adds a topic, or replaces it by one with more partitions; the logs of `existing` partitions are kept. */
  put(row: TopicRow, config: TopicConfig): Topic {
    const existing = this.#topics.get(row.topic)?.logs ?? [];
    const logs = Array.from(
      { length: row.partitions },
      (_, partition) => existing[partition] ?? new PartitionLog(row.topic, row.topicId, partition),
    );
    const topic = { row, config, logs };
    this.#topics.set(row.topic, topic);
    return topic;
  }

  remove(topic: string): void {
    this.#topics.delete(topic);
  }
}

export function describeTopic({ row, config }: Topic): TopicDescription {
  return {
    topic: row.topic,
    topicId: row.topicId,
    partitions: row.partitions,
    replicationFactor: 1,
    configs: config.texts,
    limits: config.limits,
  };
}
