/**
 * Encodes records that a user hands to the embedded log into batches per partition: keys go where Kafka's Java client
 * puts them, null keys stay with one partition per batch. It knows limits of sizes, not what the log does with batches.
 */
import { partitionForKey } from '../../codec/murmur2.js';
import { RecordBatchWriter } from '../../codec/record-batch-writer.js';
import { PartitaError } from '../../core/errors.js';
import type { LogBatch } from '../../core/log-types.js';

/** Bytes at which a batch is sealed: small enough for a fetch to hold several partitions. */
const BATCH_BYTES = 128 * 1024;

export interface ProducedRecord {
  readonly key: Uint8Array | string | null;
  readonly value: Uint8Array | string | null;
  /** Default: the log's clock. */
  readonly timestamp?: number;
  readonly headers?: Iterable<readonly [string, Uint8Array | string | null]>;
  readonly partition?: number;
}

export interface RoutedBatch extends LogBatch {
  /** Which of the given records it holds, in order. */
  readonly records: readonly number[];
}

interface Filling {
  readonly writer: RecordBatchWriter;
  records: number[];
}

/**
 * @param sticky the partition for null keys of the first batch; later ones take the next
 * @throws PartitaError RECORD_TOO_LARGE, POLICY_VIOLATION or INVALID_ARGUMENT
 */
export function routeRecords(
  records: readonly ProducedRecord[],
  to: {
    readonly topic: string;
    readonly partitions: number;
    readonly maxBatchBytes: number;
    readonly now: number;
    readonly sticky: number;
    /** Whether the topic is compacted, which needs keys. */
    readonly keyed: boolean;
  },
): { readonly batches: readonly RoutedBatch[]; readonly sticky: number } {
  const { topic, partitions, maxBatchBytes, now } = to;
  const limit = Math.min(BATCH_BYTES, maxBatchBytes);
  const filling = new Map<number, Filling>();
  const batches: RoutedBatch[] = [];
  let sticky = to.sticky % partitions;

  const seal = (partition: number, of: Filling): void => {
    const bytes = of.writer.seal();
    if (bytes !== undefined) batches.push({ topic, partition, bytes, records: of.records });
    of.records = [];
  };
  const put = (index: number, record: ProducedRecord, partition: number): boolean => {
    const of = filling.get(partition) ?? { writer: new RecordBatchWriter(), records: [] };
    filling.set(partition, of);
    const { writer } = of;
    let sealed = false;
    writer.mark();
    writer.append(record.timestamp ?? now, record.key, record.value, record.headers);
    if (writer.byteLength > limit && of.records.length > 0) {
      writer.rollback();
      seal(partition, of);
      sealed = true;
      writer.append(record.timestamp ?? now, record.key, record.value, record.headers);
    }
    if (writer.byteLength > maxBatchBytes)
      throw new PartitaError(
        'RECORD_TOO_LARGE',
        `Record ${index} for ${topic} makes a batch of ${writer.byteLength} bytes and max.message.bytes is ${maxBatchBytes}.`,
        { details: { topic, partition, index } },
      );
    of.records.push(index);
    return sealed;
  };

  records.forEach((record, index) => {
    const { key, partition } = record;
    if (key === null && to.keyed)
      throw new PartitaError(
        'POLICY_VIOLATION',
        `Record ${index} for the compacted topic ${topic} has no key.`,
        {
          details: { topic, index },
        },
      );
    if (partition !== undefined) {
      if (!Number.isInteger(partition) || partition < 0 || partition >= partitions)
        throw new PartitaError('INVALID_ARGUMENT', `The topic ${topic} has no partition ${partition}.`, {
          details: { topic, partition },
        });
      put(index, record, partition);
    } else if (key !== null) {
      put(index, record, partitionForKey(typeof key === 'string' ? Buffer.from(key) : key, partitions));
    } else if (put(index, record, sticky)) sticky = (sticky + 1) % partitions;
  });
  for (const [partition, of] of filling) seal(partition, of);
  return { batches, sticky: (sticky + 1) % partitions };
}
