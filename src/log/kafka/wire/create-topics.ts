/**
 * CreateTopics, version 4: with the broker's own words for a refusal, which kafkajs' versions drop, and −1 for the
 * cluster's default of replicas (KIP-464).
 */
import type { TopicSpec } from '../../log-client.js';
import type { WireRequest } from '../kafkajs-internals.js';
import { ByteReader } from './byte-reader.js';
import { ByteWriter } from './byte-writer.js';

export interface CreatedTopic {
  readonly topic: string;
  readonly errorCode: number;
  readonly message: string | null;
}

export function createTopicRequest(spec: TopicSpec, timeoutMs: number): WireRequest<readonly CreatedTopic[]> {
  const writer = new ByteWriter();
  writer
    .array([spec], ({ topic, partitions, replicationFactor, configs }) =>
      writer
        .string(topic)
        .int32(partitions)
        .int16(replicationFactor ?? -1)
        // No assignment of replicas: the controller chooses.
        .int32(0)
        .array(Object.entries(configs ?? {}), ([name, value]) => writer.string(name).nullableString(value)),
    )
    .int32(timeoutMs)
    // Not only validated.
    .bool(false);
  return { apiKey: 19, apiVersion: 4, apiName: 'CreateTopics', body: writer.finish(), decode };
}

function decode(payload: Buffer): readonly CreatedTopic[] {
  const reader = new ByteReader(payload);
  reader.int32();
  return reader.array(() => ({
    topic: reader.string(),
    errorCode: reader.int16(),
    message: reader.nullableString(),
  }));
}
