/**
 * Produce, version 8: sealed batches as they are, and an answer per partition with the broker's own words. kafkajs'
 * versions decode no such words and throw at the first partition.
 */
import type { TopicPartition } from '../../../core/log-types.js';
import { byTopic } from '../../by-topic.js';
import type { WireRequest } from '../kafkajs-internals.js';
import { ByteReader } from './byte-reader.js';
import { ByteWriter } from './byte-writer.js';

export interface ProducedPartition extends TopicPartition {
  readonly errorCode: number;
  readonly baseOffset: number;
  readonly message: string | null;
}

/** One batch per partition: the broker refuses more in one request of version 3 and later. */
export interface ProduceBatch extends TopicPartition {
  readonly bytes: Uint8Array;
}

export function produceRequest(request: {
  readonly transactionalId: string | null;
  readonly timeoutMs: number;
  readonly batches: readonly ProduceBatch[];
}): WireRequest<readonly ProducedPartition[]> {
  const { transactionalId, timeoutMs, batches } = request;
  const writer = new ByteWriter();
  const pieces: Uint8Array[] = [];
  let at = 0;
  writer
    .nullableString(transactionalId)
    // Acknowledged by all in-sync replicas.
    .int16(-1)
    .int32(timeoutMs);
  // The batches themselves are not copied: each stands behind what was written before it.
  const cuts: { readonly at: number; readonly bytes: Uint8Array }[] = [];
  writer.array([...byTopic(batches)], ([topic, of]) =>
    writer.string(topic).array(of, ({ partition, bytes }) => {
      writer.int32(partition).int32(bytes.byteLength);
      cuts.push({ at: writer.length, bytes });
    }),
  );
  const written = writer.finish();
  for (const cut of cuts) {
    pieces.push(written.subarray(at, cut.at), cut.bytes);
    at = cut.at;
  }
  if (at < written.length) pieces.push(written.subarray(at));
  return { apiKey: 0, apiVersion: 8, apiName: 'Produce', body: pieces, decode };
}

function decode(payload: Buffer): readonly ProducedPartition[] {
  const reader = new ByteReader(payload);
  return reader
    .array(() => {
      const topic = reader.string();
      return reader.array(() => {
        const partition = reader.int32();
        const errorCode = reader.int16();
        const baseOffset = reader.int64();
        reader.int64();
        reader.int64();
        const details = reader.array(() => ({ index: reader.int32(), message: reader.nullableString() }));
        const message = reader.nullableString() ?? details[0]?.message ?? null;
        return { topic, partition, errorCode, baseOffset, message };
      });
    })
    .flat();
}
