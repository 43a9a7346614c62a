/**
 * Owns what tests see of a partition as it lies on the broker: every record, aborted and control ones too, decoded by
 * kafkajs and not by our codec, and the wait until compaction has removed earlier duplicates. It never writes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { KafkaBroker } from './kafka-broker.js';
import { fetchBytes } from './kafka-wire.js';
import { kafkajsDecode, plainRecords, type PlainRecord } from './kafkajs-codec.js';

/** Broker configs of a topic that is compacted within a second of a segment's end, for `createTopics`. */
export const QUICK_COMPACTION: readonly { readonly name: string; readonly value: string }[] = [
  { name: 'cleanup.policy', value: 'compact' },
  { name: 'segment.ms', value: '100' },
  { name: 'min.cleanable.dirty.ratio', value: '0.01' },
];

export interface StoredRecord extends PlainRecord {
  readonly control: boolean;
  readonly transactional: boolean;
}

/** All records of the partition up to its high watermark, whether committed or not; keys and values in hexadecimal. */
export async function storedRecords(
  broker: KafkaBroker,
  topic: string,
  partition = 0,
): Promise<readonly StoredRecord[]> {
  const address = await broker.leaderAddress(topic, partition);
  const records: StoredRecord[] = [];
  for (let position = 0; ;) {
    const { bytes, highWatermark } = await fetchBytes(address, topic, partition, position);
    const batches = await kafkajsDecode(wholeBatches(bytes));
    for (const batch of batches) {
      const kind = { control: batch.isControlBatch, transactional: batch.inTransaction };
      records.push(...plainRecords(batch).map((record) => ({ ...record, ...kind })));
    }
    const last = batches.at(-1);
    // Compaction leaves batches without records, so a position comes from the header.
    if (last !== undefined) position = Number(last.firstOffset) + last.lastOffsetDelta + 1;
    if (last === undefined || position >= highWatermark) return records;
  }
}

/**
 * Resolves with the records of the partition once no two records below `below` have the same key. The broker never
 * compacts the segment it writes to, and ends a segment only when it appends: with `QUICK_COMPACTION`, append one more
 * record 100 ms after the others, and pass its offset.
 */
export async function compactionSettled(
  broker: KafkaBroker,
  topic: string,
  below: number,
  { partition = 0, budgetMs = 20_000 }: { readonly partition?: number; readonly budgetMs?: number } = {},
): Promise<readonly StoredRecord[]> {
  const deadline = Date.now() + budgetMs;
  for (;;) {
    const records = await storedRecords(broker, topic, partition);
    const keys = records.filter(({ offset, control }) => offset < below && !control).map(({ key }) => key);
    if (new Set(keys).size === keys.length) return records;
    if (Date.now() > deadline)
      throw new Error(`${topic}/${partition} is not compacted below ${below} after ${budgetMs} ms.`);
    await sleep(100);
  }
}

function wholeBatches(bytes: Buffer): Buffer {
  let end = 0;
  while (end + 12 <= bytes.length) {
    const next = end + 12 + bytes.readInt32BE(end + 8);
    if (next > bytes.length) break;
    end = next;
  }
  return bytes.subarray(0, end);
}
