/**
 * What a transactional producer asks coordinators: InitProducerId (version 4, which renews an id only for who still holds
 * it, KIP-360), AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit and EndTxn (version 1). kafkajs' own decoders throw
 * the first code they find, which may be that of a partition to which nothing happened. Produce is `produce.ts`.
 */
import type { OffsetCommit, TopicPartition } from '../../../core/log-types.js';
import { byTopic } from '../../by-topic.js';
import type { WireRequest } from '../kafkajs-internals.js';
import { ByteReader } from './byte-reader.js';
import { ByteWriter } from './byte-writer.js';

/** Who a producer is to the brokers. */
export interface ProducerEpoch {
  readonly producerId: number;
  readonly epoch: number;
}

export interface InitProducerIdAnswer extends ProducerEpoch {
  readonly errorCode: number;
}

export interface PartitionAnswer extends TopicPartition {
  readonly errorCode: number;
}

const NOBODY: ProducerEpoch = { producerId: -1, epoch: -1 };

/** @param holder who asks for the next epoch of the same id; without it whoever holds the id is fenced */
export function initProducerIdRequest(
  transactionalId: string | null,
  timeoutMs: number,
  { producerId, epoch }: ProducerEpoch = NOBODY,
): WireRequest<InitProducerIdAnswer> {
  const writer = new ByteWriter().tags();
  if (transactionalId === null) writer.uvarint(0);
  else writer.compactString(transactionalId);
  writer.int32(timeoutMs).int64(producerId).int16(epoch).tags();
  return {
    apiKey: 22,
    apiVersion: 4,
    apiName: 'InitProducerId',
    body: writer.finish(),
    decode(payload) {
      const reader = new ByteReader(payload);
      reader.tags();
      reader.int32();
      return { errorCode: reader.int16(), producerId: reader.int64(), epoch: reader.int16() };
    },
  };
}

export function addPartitionsRequest(
  transactionalId: string,
  { producerId, epoch }: ProducerEpoch,
  partitions: readonly TopicPartition[],
): WireRequest<readonly PartitionAnswer[]> {
  const writer = new ByteWriter();
  writer
    .string(transactionalId)
    .int64(producerId)
    .int16(epoch)
    .array([...byTopic(partitions)], ([topic, of]) => {
      writer.string(topic).array(of, ({ partition }) => writer.int32(partition));
    });
  return {
    apiKey: 24,
    apiVersion: 1,
    apiName: 'AddPartitionsToTxn',
    body: writer.finish(),
    decode: decodePartitions,
  };
}

export function addOffsetsRequest(
  transactionalId: string,
  { producerId, epoch }: ProducerEpoch,
  group: string,
): WireRequest<number> {
  const writer = new ByteWriter().string(transactionalId).int64(producerId).int16(epoch).string(group);
  return {
    apiKey: 25,
    apiVersion: 1,
    apiName: 'AddOffsetsToTxn',
    body: writer.finish(),
    decode: decodeErrorCode,
  };
}

export function transactionOffsetsRequest(
  transactionalId: string,
  { producerId, epoch }: ProducerEpoch,
  group: string,
  offsets: readonly OffsetCommit[],
): WireRequest<readonly PartitionAnswer[]> {
  const writer = new ByteWriter();
  writer
    .string(transactionalId)
    .string(group)
    .int64(producerId)
    .int16(epoch)
    .array([...byTopic(offsets)], ([topic, of]) => {
      writer.string(topic).array(of, ({ partition, offset, metadata }) => {
        writer.int32(partition).int64(offset).string(metadata);
      });
    });
  return {
    apiKey: 28,
    apiVersion: 1,
    apiName: 'TxnOffsetCommit',
    body: writer.finish(),
    decode: decodePartitions,
  };
}

export function endTransactionRequest(
  transactionalId: string,
  { producerId, epoch }: ProducerEpoch,
  isCommit: boolean,
): WireRequest<number> {
  const writer = new ByteWriter().string(transactionalId).int64(producerId).int16(epoch).bool(isCommit);
  return { apiKey: 26, apiVersion: 1, apiName: 'EndTxn', body: writer.finish(), decode: decodeErrorCode };
}

function decodeErrorCode(payload: Buffer): number {
  const reader = new ByteReader(payload);
  reader.int32();
  return reader.int16();
}

function decodePartitions(payload: Buffer): readonly PartitionAnswer[] {
  const reader = new ByteReader(payload);
  reader.int32();
  return reader
    .array(() => {
      const topic = reader.string();
      return reader.array(() => ({ topic, partition: reader.int32(), errorCode: reader.int16() }));
    })
    .flat();
}
