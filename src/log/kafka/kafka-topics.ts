/**
 * Topics of a Kafka cluster as the port describes them: ids and counts from metadata, limits from the configs in force.
 * Creates a topic where asked, and waits until all its partitions have leaders; never changes an existing one.
 */
import { Deadline } from '../../core/deadline.js';
import { PartitaError } from '../../core/errors.js';
import type { TopicDescription } from '../../core/log-types.js';
import type { TopicSpec } from '../log-client.js';
import type { Cluster, TopicMetadata } from './cluster.js';
import { BrokerAnswerError, toPartitaError } from './kafka-errors.js';
import { createTopicRequest } from './wire/create-topics.js';

/** Kafka's number for topics among the resources that have configs. */
const TOPIC_RESOURCE = 2;
const CREATE_TIMEOUT_MS = 30_000;
const LEADERS_WAIT_MS = 20;

export class KafkaTopics {
  readonly #cluster: Cluster;
  /** Actors that start together ask the same. */
  readonly #describing = new Map<string, Promise<readonly (TopicDescription | undefined)[]>>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  async describe(topics: readonly string[]): Promise<readonly (TopicDescription | undefined)[]> {
    this.#cluster.expectOpen();
    const key = topics.join('\n');
    let describing = this.#describing.get(key);
    if (describing === undefined) {
      describing = this.#describe(topics).finally(() => this.#describing.delete(key));
      this.#describing.set(key, describing);
    }
    return describing;
  }

  async ensure(spec: TopicSpec): Promise<TopicDescription> {
    const [existing] = await this.#describe([spec.topic]);
    if (existing !== undefined) return existing;
    await this.#create(spec);
    await this.#untilLed(spec.topic);
    const [created] = await this.#describe([spec.topic]);
    if (created === undefined)
      throw new PartitaError('TOPIC_MISSING', `The topic ${spec.topic} was created and is gone again.`, {
        details: { topic: spec.topic },
      });
    return created;
  }

  async #describe(topics: readonly string[]): Promise<readonly (TopicDescription | undefined)[]> {
    const metadata = await this.#cluster.metadata(topics);
    const present = topics.filter((_, i) => metadata[i] !== undefined);
    const configs = await this.#configs(present);
    return metadata.map((topic) =>
      topic === undefined ? undefined : describeTopic(topic, configs.get(topic.topic) ?? {}),
    );
  }

  async #configs(topics: readonly string[]): Promise<ReadonlyMap<string, Record<string, string>>> {
    if (topics.length === 0) return new Map();
    const what = `Reading the configs of ${topics.join(', ')} (needs the ACL DescribeConfigs)`;
    const { resources } = await this.#cluster.onAny(
      what,
      (connection) =>
        connection.requests.describeConfigs({
          resources: topics.map((name) => ({ type: TOPIC_RESOURCE, name })),
          includeSynonyms: false,
        }),
      { details: { topics } },
    );
    return new Map(
      resources.map(({ resourceName, configEntries }) => [
        resourceName,
        Object.fromEntries(configEntries.map((entry) => [entry.configName, entry.configValue ?? ''])),
      ]),
    );
  }

  async #create(spec: TopicSpec): Promise<void> {
    const { topic } = spec;
    const what = `Creating the topic ${topic} (needs the ACL Create; or create it yourself)`;
    await this.#cluster.onController(
      what,
      async (connection) => {
        const [answer] = await connection.send(createTopicRequest(spec, CREATE_TIMEOUT_MS));
        const type = this.#cluster.errorType(answer?.errorCode ?? 0);
        // Another member was quicker, or an earlier try was carried out and its answer lost.
        if (type === 'NONE' || type === 'TOPIC_ALREADY_EXISTS') return;
        throw toRefusal(type, answer?.message ?? null, what, topic);
      },
      { details: { topic } },
    );
  }

  async #untilLed(topic: string): Promise<void> {
    const { clock, options } = this.#cluster;
    const deadline = Deadline.after(clock, options.retryTimeoutMs);
    for (;;) {
      const [metadata] = await this.#cluster.metadata([topic]);
      if (metadata?.partitions.every(({ leader }) => leader >= 0) === true) return;
      if (deadline.expired)
        throw new PartitaError(
          'LOG_UNAVAILABLE',
          `The topic ${topic} was created, but not all its partitions have a leader yet.`,
          { details: { topic } },
        );
      await clock.sleep(LEADERS_WAIT_MS);
    }
  }
}

/** What a controller can do in a moment stays as it is, to be tried again. */
function toRefusal(type: string, message: string | null, what: string, topic: string): Error {
  const error = new BrokerAnswerError(type, message);
  const passing = ['NOT_CONTROLLER', 'REQUEST_TIMED_OUT', 'KAFKA_STORAGE_ERROR'].includes(type);
  return passing ? error : toPartitaError(error, what, { topic });
}

function describeTopic(
  { topic, topicId, partitions }: TopicMetadata,
  configs: Readonly<Record<string, string>>,
): TopicDescription {
  const number = (name: string, byDefault: number): number => {
    const value = Number(configs[name]);
    return configs[name] === undefined || !Number.isFinite(value)
      ? byDefault
      : Math.min(value, Number.MAX_SAFE_INTEGER);
  };
  return {
    topic,
    topicId,
    partitions: partitions.length,
    replicationFactor: partitions[0]?.replicas ?? 0,
    configs,
    limits: {
      maxBatchBytes: number('max.message.bytes', 1_048_588),
      timestampBeforeMaxMs: number('message.timestamp.before.max.ms', Number.MAX_SAFE_INTEGER),
      timestampAfterMaxMs: number('message.timestamp.after.max.ms', Number.MAX_SAFE_INTEGER),
    },
  };
}
