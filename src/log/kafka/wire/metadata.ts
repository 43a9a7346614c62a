/**
 * Metadata, version 12: brokers, leaders, and the topic ids that kafkajs' own versions of it don't carry. A topic that
 * does not exist is answered with its error; none is created by asking. Shapes: KIP-516 and Kafka's MetadataRequest.json.
 */
import type { WireRequest } from '../kafkajs-internals.js';
import { ByteReader } from './byte-reader.js';
import { ByteWriter } from './byte-writer.js';

export interface MetadataAnswer {
  readonly brokers: readonly { readonly nodeId: number; readonly host: string; readonly port: number }[];
  readonly controllerId: number;
  readonly topics: readonly TopicAnswer[];
}

export interface TopicAnswer {
  readonly errorCode: number;
  readonly topic: string;
  readonly topicId: string;
  readonly partitions: readonly {
    readonly errorCode: number;
    readonly partition: number;
    /** −1: none at present. */
    readonly leader: number;
    readonly leaderEpoch: number;
    readonly replicas: number;
  }[];
}

/** @param topics none: brokers only */
export function metadataRequest(topics: readonly string[]): WireRequest<MetadataAnswer> {
  const writer = new ByteWriter();
  writer
    .tags()
    .compactArray(topics, (topic) => writer.noUuid().compactString(topic).tags())
    // No automatic creation, no list of authorised operations.
    .bool(false)
    .bool(false)
    .tags();
  return { apiKey: 3, apiVersion: 12, apiName: 'Metadata', body: writer.finish(), decode };
}

function decode(payload: Buffer): MetadataAnswer {
  const reader = new ByteReader(payload);
  reader.tags();
  reader.int32();
  const brokers = reader.compactArray(() => {
    const broker = { nodeId: reader.int32(), host: reader.compactString(), port: reader.int32() };
    reader.nullableCompactString();
    reader.tags();
    return broker;
  });
  reader.nullableCompactString();
  const controllerId = reader.int32();
  const topics = reader.compactArray(() => {
    const topic = {
      errorCode: reader.int16(),
      topic: reader.compactString(),
      topicId: reader.uuid(),
      internal: reader.int8(),
      partitions: reader.compactArray(() => decodePartition(reader)),
      operations: reader.int32(),
    };
    reader.tags();
    return topic;
  });
  return { brokers, controllerId, topics };
}

function decodePartition(reader: ByteReader): TopicAnswer['partitions'][number] {
  const errorCode = reader.int16();
  const partition = reader.int32();
  const leader = reader.int32();
  const leaderEpoch = reader.int32();
  const replicas = reader.compactArray(() => reader.int32()).length;
  reader.compactArray(() => reader.int32());
  reader.compactArray(() => reader.int32());
  reader.tags();
  return { errorCode, partition, leader, leaderEpoch, replicas };
}
