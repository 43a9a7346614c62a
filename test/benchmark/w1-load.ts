/** Fills a topic with W1's input: JSON values of about 100 bytes, uniform random keys, the same for the same arguments. */
import { partitionForKey } from '../../src/codec/murmur2.js';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import type { EmbeddedLog } from '../../src/log/embedded/embedded-log.js';
import { seededRandom } from '../support/seeded-random.js';

export const INPUT = 'w1';
export const PARTITIONS = 4;
const BATCH_BYTES = 256 * 1024;
const RECORDS_PER_MS = 10;
const PAD = 'x'.repeat(60);

/** `sequential`: every key in turn instead of at random. Resolves to the bytes of the batches. */
export async function load(
  log: EmbeddedLog,
  options: {
    readonly records: number;
    readonly keys: number;
    readonly sequential?: boolean;
    readonly partitions?: number;
  },
): Promise<number> {
  const partitions = options.partitions ?? PARTITIONS;
  await log.createTopic({ topic: INPUT, partitions });
  const random = seededRandom(42);
  const startMs = Date.now() - Math.ceil(options.records / RECORDS_PER_MS);
  const writers = Array.from(
    { length: partitions },
    () => new RecordBatchWriter({ initialBytes: BATCH_BYTES }),
  );
  let bytes = 0;
  const flush = async (partition: number) => {
    const batch = writers[partition]!.seal();
    if (batch === undefined) return;
    bytes += batch.byteLength;
    await log.appendBatches([{ topic: INPUT, partition, bytes: batch }]);
  };
  for (let i = 0; i < options.records; i++) {
    const k = options.sequential === true ? i % options.keys : random.below(options.keys);
    const key = `k${String(k).padStart(7, '0')}`;
    const t = startMs + Math.floor(i / RECORDS_PER_MS);
    const partition = partitionForKey(Buffer.from(key), partitions);
    writers[partition]!.append(t, key, `{"t":${t},"v":${random.below(1000)},"pad":"${PAD}"}`);
    if (writers[partition]!.byteLength > BATCH_BYTES) await flush(partition);
  }
  for (let partition = 0; partition < partitions; partition++) await flush(partition);
  return bytes;
}
