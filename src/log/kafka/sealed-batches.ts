/**
 * What actors hand to a producer, cut at the boundaries of record batches: Kafka takes exactly one per partition and
 * request. Only views, nothing is copied. Sequences count a producer's records of one partition; who stamps and sends
 * them are `transaction-append.ts` and `output-producer.ts`.
 */
import { corruptBatch, readBatchHeader, stampProducer } from '../../codec/record-batch-header.js';
import type { LogBatch, TopicPartition } from '../../core/log-types.js';
import { BrokerAnswerError } from './kafka-errors.js';
import type { ProducedPartition } from './wire/produce.js';
import type { ProducerEpoch } from './wire/transactions.js';

/** Exactly one record batch. */
export interface SealedBatch extends TopicPartition {
  readonly bytes: Buffer;
  /** How many offsets, and sequences, it takes. */
  readonly offsets: number;
}

/**
 * The record batches of `batch`, in order, at least one.
 * @throws PartitaError RECORD_BATCH_CORRUPT naming topic and partition
 */
export function sealedBatches(batch: LogBatch): readonly SealedBatch[] {
  const { topic, partition } = batch;
  const whole = Buffer.from(batch.bytes);
  const sealed: SealedBatch[] = [];
  for (let at = 0; at < whole.length || at === 0;) {
    const header = readBatchHeader(whole, at);
    if (header === undefined)
      throw corruptBatch(`is cut off: ${whole.length - at} bytes are left`, at, 0, { topic, partition });
    sealed.push({
      topic,
      partition,
      bytes: whole.subarray(header.start, header.end),
      offsets: header.nextOffset - header.baseOffset,
    });
    at = header.end;
  }
  return sealed;
}

/** Kafka's sequences start again at 0 after 2^31 − 1. */
export function sequenceAfter(sequence: number, offsets: number): number {
  return (sequence + offsets) & 0x7fffffff;
}

export function stampSealed(
  { bytes }: SealedBatch,
  { producerId, epoch }: ProducerEpoch,
  baseSequence: number,
  transactional: boolean,
): void {
  stampProducer(bytes, 0, { producerId, epoch, baseSequence, transactional });
}

/** What a broker said of one partition of a produce request, as an error; `undefined` if it has appended the batch. */
export function produceError(
  answer: ProducedPartition | undefined,
  errorType: (code: number) => string,
): BrokerAnswerError | undefined {
  if (answer === undefined)
    return new BrokerAnswerError('UNKNOWN_SERVER_ERROR', 'The broker has left the partition out.');
  const type = errorType(answer.errorCode);
  return type === 'NONE' ? undefined : new BrokerAnswerError(type, answer.message);
}
