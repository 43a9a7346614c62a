/**
 * One atomic append to any number of partitions: batches are checked, stamped with offsets, producer and append time,
 * written in one storage batch, and only then shown to readers. It runs inside the sequencer and never decodes a record
 * unless a topic limits how old timestamps may be.
 */
import {
  type BatchHeader,
  checkBatch,
  controlBatch,
  readBatchHeader,
  stampLogAppendTime,
  stampOffset,
  stampProducer,
} from '../../codec/record-batch-header.js';
import { RecordReader } from '../../codec/record-batch-reader.js';
import { PartitaError } from '../../core/errors.js';
import type { LogBatch } from '../../core/log-types.js';
import type { StorageBatch } from './log-storage.js';
import type { BatchEntry, PartitionLog, ProducerStamp } from './partition-log.js';
import type { Topic } from './topic-registry.js';

/** One batch that has passed the checks of its topic. */
export interface CheckedBatch {
  readonly topic: Topic;
  readonly log: PartitionLog;
  readonly header: BatchHeader;
  readonly bytes: Buffer;
}

export interface Appended {
  readonly baseOffset: number;
  readonly lastOffset: number;
}

const LEADER_EPOCH = 0;

/**
 * The batches in `bytes`, each checked: CRC, size, timestamps, not a control batch.
 * @throws PartitaError RECORD_BATCH_CORRUPT, RECORD_TOO_LARGE, TIMESTAMP_OUT_OF_RANGE or POLICY_VIOLATION
 */
export function checkBatches(
  topic: Topic,
  log: PartitionLog,
  batch: LogBatch,
  now: number,
): readonly CheckedBatch[] {
  const whole = Buffer.from(batch.bytes);
  const checked: CheckedBatch[] = [];
  for (let at = 0; at < whole.length;) {
    const header = checkBatch(whole, at);
    const bytes = whole.subarray(header.start, header.end);
    checkLimits(topic, log, header, bytes, now);
    checked.push({ topic, log, header, bytes });
    at = header.end;
  }
  return checked;
}

export class AppendPlan {
  readonly #storage: StorageBatch;
  readonly #now: number;
  readonly #ends = new Map<PartitionLog, number>();
  readonly #sequences = new Map<PartitionLog, number>();
  readonly #effects: (() => void)[] = [];

  constructor(storage: StorageBatch, now: number) {
    this.#storage = storage;
    this.#now = now;
  }

  /** The partition's next offset as this plan leaves it. */
  endOf(log: PartitionLog): number {
    return this.#ends.get(log) ?? log.bounds.end;
  }

  /** Stamps the batch with the producer and its next sequence. */
  addStamped(batch: CheckedBatch, stamp: ProducerStamp, transactional: boolean): Appended {
    const { log, header, bytes } = batch;
    const baseSequence = this.#sequences.get(log) ?? log.nextSequence(stamp);
    stampProducer(bytes, 0, { ...stamp, baseSequence, transactional });
    this.#sequences.set(log, (baseSequence + header.recordCount) & 0x7fffffff);
    const appended = this.#add(batch, stamp.producerId);
    this.#noteSequence(log, stamp, baseSequence, header.recordCount, appended.baseOffset);
    return appended;
  }

  /** Takes the batch with the producer and sequence that it carries, if any; a repetition is not appended again. */
  addRaw(batch: CheckedBatch): Appended {
    const { log, header } = batch;
    if (header.producerId < 0) return this.#add(batch, -1);
    const stamp = { producerId: header.producerId, epoch: header.producerEpoch };
    const repeated = log.checkSequence(stamp, header.baseSequence, header.recordCount);
    if (repeated !== undefined)
      return { baseOffset: repeated, lastOffset: repeated + header.lastOffset - header.baseOffset };
    const appended = this.#add(batch, header.producerId);
    this.#noteSequence(log, stamp, header.baseSequence, header.recordCount, appended.baseOffset);
    return appended;
  }

  addMarker(log: PartitionLog, type: 'commit' | 'abort', stamp: ProducerStamp): Appended {
    const baseOffset = this.endOf(log);
    const bytes = controlBatch({ type, ...stamp, baseOffset, timestamp: this.#now });
    const header = readBatchHeader(bytes, 0)!;
    return this.#put(log, {
      baseOffset,
      lastOffset: baseOffset + header.lastOffset - header.baseOffset,
      size: bytes.length,
      maxTimestamp: header.maxTimestamp,
      isControl: true,
      producerId: stamp.producerId,
      deleteHorizon: undefined,
      bytes,
    });
  }

  /** Something that is to happen when the plan has become durable, in order with its appends. */
  also(effect: () => void): void {
    this.#effects.push(effect);
  }

  /** Makes everything durable, then visible. Rejects LOG_UNAVAILABLE, with nothing visible. */
  commit(): Promise<void> | undefined {
    if (this.#effects.length === 0) return undefined;
    for (const [log, end] of this.#ends)
      this.#storage.putPartition(log, { start: log.bounds.start, end, cleanedTo: log.cleanedTo });
    const written = this.#storage.write();
    if (written !== undefined)
      return written.then(() => {
        this.#apply();
      });
    this.#apply();
    return undefined;
  }

  #apply(): void {
    for (const effect of this.#effects) effect();
  }

  #add({ topic, log, header, bytes }: CheckedBatch, producerId: number): Appended {
    const baseOffset = this.endOf(log);
    if (topic.config.logAppendTime) stampLogAppendTime(bytes, 0, this.#now);
    stampOffset(bytes, 0, baseOffset, LEADER_EPOCH);
    return this.#put(log, {
      baseOffset,
      lastOffset: baseOffset + header.lastOffset - header.baseOffset,
      size: bytes.length,
      maxTimestamp: topic.config.logAppendTime ? this.#now : header.maxTimestamp,
      isControl: false,
      producerId,
      deleteHorizon: undefined,
      bytes,
    });
  }

  #put(log: PartitionLog, entry: BatchEntry): Appended {
    this.#ends.set(log, entry.lastOffset + 1);
    this.#storage.putEntry(log, entry);
    this.#effects.push(() => {
      log.append(entry);
    });
    return entry;
  }

  #noteSequence(
    log: PartitionLog,
    stamp: ProducerStamp,
    baseSequence: number,
    recordCount: number,
    baseOffset: number,
  ) {
    this.#effects.push(() => {
      log.noteSequence(stamp, { baseSequence, recordCount, baseOffset }, this.#now);
    });
  }
}

function checkLimits(topic: Topic, log: PartitionLog, header: BatchHeader, bytes: Buffer, now: number): void {
  const { maxBatchBytes, timestampAfterMaxMs, timestampBeforeMaxMs } = topic.config.limits;
  const refuse = (
    code: 'RECORD_TOO_LARGE' | 'TIMESTAMP_OUT_OF_RANGE' | 'POLICY_VIOLATION',
    why: string,
  ): never => {
    throw new PartitaError(code, `A batch for ${log.topic}/${log.partition} was refused: ${why}.`, {
      details: { topic: log.topic, partition: log.partition },
    });
  };
  if (header.isControl) refuse('POLICY_VIOLATION', 'only the log itself writes control batches');
  if (bytes.length > maxBatchBytes)
    refuse('RECORD_TOO_LARGE', `it has ${bytes.length} bytes and max.message.bytes is ${maxBatchBytes}`);
  if (topic.config.logAppendTime) return;
  if (header.maxTimestamp - now > timestampAfterMaxMs)
    refuse(
      'TIMESTAMP_OUT_OF_RANGE',
      `its timestamp ${header.maxTimestamp} is more than ${timestampAfterMaxMs} ms after the log's clock`,
    );
  // Only the largest timestamp stands in the header, so that this limit, which is off by default, costs a walk.
  if (timestampBeforeMaxMs >= Number.MAX_SAFE_INTEGER) return;
  const reader = new RecordReader({ checkCrc: false });
  reader.load(bytes, { from: header.baseOffset, topic: log.topic, partition: log.partition });
  while (reader.next())
    if (now - reader.timestamp > timestampBeforeMaxMs)
      refuse(
        'TIMESTAMP_OUT_OF_RANGE',
        `a timestamp of ${reader.timestamp} is more than ${timestampBeforeMaxMs} ms before the log's clock`,
      );
}
