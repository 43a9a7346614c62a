/**
 * OffsetFetch, version 7: the group's committed offsets, and only stable ones (KIP-447): while a transaction over an
 * offset is being completed the answer is UNSTABLE_OFFSET_COMMIT, which kafkajs' versions can't ask for.
 */
import type { TopicPartition } from '../../../core/log-types.js';
import { byTopic } from '../../by-topic.js';
import type { WireRequest } from '../kafkajs-internals.js';
import { ByteReader } from './byte-reader.js';
import { ByteWriter } from './byte-writer.js';

export interface OffsetFetchAnswer {
  readonly errorCode: number;
  readonly offsets: readonly {
    readonly topic: string;
    readonly partition: number;
    /** −1: nothing committed. */
    readonly offset: number;
    readonly metadata: string;
    readonly errorCode: number;
  }[];
}

export function offsetFetchRequest(
  group: string,
  partitions: readonly TopicPartition[],
): WireRequest<OffsetFetchAnswer> {
  const writer = new ByteWriter();
  writer
    .tags()
    .compactString(group)
    .compactArray([...byTopic(partitions)], ([topic, of]) => {
      writer
        .compactString(topic)
        .compactArray(of, ({ partition }) => writer.int32(partition))
        .tags();
    })
    // Stable ones only.
    .bool(true)
    .tags();
  return { apiKey: 9, apiVersion: 7, apiName: 'OffsetFetch', body: writer.finish(), decode };
}

function decode(payload: Buffer): OffsetFetchAnswer {
  const reader = new ByteReader(payload);
  reader.tags();
  reader.int32();
  const offsets = reader
    .compactArray(() => {
      const topic = reader.compactString();
      const partitions = reader.compactArray(() => {
        const partition = reader.int32();
        const offset = reader.int64();
        reader.int32();
        const metadata = reader.compactString();
        const errorCode = reader.int16();
        reader.tags();
        return { topic, partition, offset, metadata, errorCode };
      });
      reader.tags();
      return partitions;
    })
    .flat();
  return { offsets, errorCode: reader.int16() };
}
