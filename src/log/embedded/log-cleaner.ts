/**
 * What a broker does in the background: retention, compaction with expiry of tombstones, removal of records on request,
 * and expiry of transactions. One piece of work at a time, with pauses for the event loop; each batch that compaction has
 * shortened keeps its base offset, its timestamps and the bytes of the records that stay.
 */
import { decompress } from '../../codec/compression.js';
import {
  BATCH_HEADER_BYTES,
  readBatchHeader,
  stampOffset,
  writeBatchHeader,
} from '../../codec/record-batch-header.js';
import type { BatchHeader } from '../../codec/record-batch-header.js';
import type { Timer } from '../../core/clock.js';
import { PartitaError } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import type { Broker } from './broker.js';
import { copyOut } from './log-storage.js';
import type { BatchEntry, PartitionLog } from './partition-log.js';
import { Sequencer } from './sequencer.js';
import type { Topic } from './topic-registry.js';

/** Work between two turns of the event loop. */
const SLICE_MS = 5;
const DECOMPRESSED_BYTES_MAX = 128 * 1024 * 1024;
const COMPRESSION_BITS = 0x07;
/** Kafka's `producer.id.expiration.ms`. */
const PRODUCER_EXPIRATION_MS = 86_400_000;

/** The last offset of each key, by the key's bytes as latin-1 text. */
type LastOffsets = ReadonlyMap<string, number>;

interface WalkedRecord {
  readonly offset: number;
  readonly timestampDelta: number;
  /** `undefined`: a null key. */
  readonly key: string | undefined;
  readonly isTombstone: boolean;
  /** The whole record, its length included. */
  readonly start: number;
  readonly end: number;
}

export class LogCleaner {
  readonly #broker: Broker;
  readonly #logger: Logger;
  /** Keeps cleanings apart from each other, not from appends. */
  readonly #work = new Sequencer();
  #timer: Timer | undefined;
  #stopped = false;
  #sliceEnds = 0;

  constructor(broker: Broker, logger: Logger) {
    this.#broker = broker;
    this.#logger = logger;
  }

  /** Looks after everything every `everyMs`; 0: never. */
  start(everyMs: number): void {
    if (everyMs <= 0 || this.#stopped) return;
    this.#timer = this.#broker.clock.setTimer(
      everyMs,
      () => {
        void this.#lookAfterAll().finally(() => {
          this.start(everyMs);
        });
      },
      { ref: false },
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#work.settled();
  }

  async compact(name: string): Promise<void> {
    this.#broker.expectOpen();
    const topic = this.#broker.topics.topic(name);
    if (!topic.config.compacts)
      throw new PartitaError(
        'POLICY_VIOLATION',
        `The topic ${name} is not compacted: its cleanup.policy says delete.`,
        {
          details: { topic: name },
        },
      );
    await this.#work.run(async () => {
      for (const log of topic.logs) await this.#compact(topic, log);
    });
  }

  async applyRetention(): Promise<void> {
    this.#broker.expectOpen();
    await this.#work.run(async () => {
      for (const topic of this.#broker.topics.all)
        for (const log of topic.logs) await this.#retain(topic, log);
    });
  }

  async deleteRecords(name: string, partition: number, before: number): Promise<void> {
    this.#broker.expectOpen();
    const { config } = this.#broker.topics.topic(name);
    const log = this.#broker.topics.partition({ topic: name, partition });
    if (!config.deletes)
      throw new PartitaError(
        'POLICY_VIOLATION',
        `Records of ${name} can't be deleted: its cleanup.policy is ${config.texts['cleanup.policy']!}.`,
        { details: { topic: name, partition } },
      );
    await this.#work.run(async () => {
      if (before > log.bounds.end) log.plan(before, 0, 'read_uncommitted');
      await this.#broker.moveStart(log, Math.min(before, log.bounds.lastStable));
    });
  }

  async #lookAfterAll(): Promise<void> {
    await this.#work.run(async () => {
      await this.#attempt('expiry of transactions', () => this.#broker.transactions.expire());
      for (const topic of this.#broker.topics.all)
        for (const log of topic.logs) {
          if (this.#stopped) return;
          await this.#attempt(`upkeep of ${log.topic}/${log.partition}`, () => this.#lookAfter(topic, log));
        }
    });
  }

  async #lookAfter(topic: Topic, log: PartitionLog): Promise<void> {
    log.expireProducers(this.#broker.clock.now() - PRODUCER_EXPIRATION_MS);
    await this.#retain(topic, log);
    if (topic.config.compacts && this.#isWorthCompacting(topic, log)) await this.#compact(topic, log);
  }

  /** A failure is told and ends this piece of work only: the next round meets it again. */
  async #attempt(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!this.#stopped)
        this.#logger.warn({ error }, `The embedded log's ${what} failed; it is tried again.`);
    }
  }

  #isWorthCompacting(topic: Topic, log: PartitionLog): boolean {
    const dirty = log.bytesFrom(log.cleanedTo);
    return (
      dirty >= topic.config.cleanableBytesMin && dirty >= topic.config.minCleanableDirtyRatio * log.byteLength
    );
  }

  async #retain({ config }: Topic, log: PartitionLog): Promise<void> {
    if (!config.deletes) return;
    const now = this.#broker.clock.now();
    let { start } = log.bounds;
    let excess = config.retentionBytes < 0 ? 0 : log.byteLength - config.retentionBytes;
    for (const entry of log.entries) {
      const old = config.retentionMs >= 0 && now - entry.maxTimestamp > config.retentionMs;
      if ((!old && excess < entry.size) || entry.lastOffset >= log.bounds.lastStable) break;
      excess -= entry.size;
      start = entry.lastOffset + 1;
    }
    await this.#broker.moveStart(log, start);
  }

  // ---- compaction

  /** Keeps, below the first record that is too young or not stable, only the last record of each key. */
  async #compact({ config }: Topic, log: PartitionLog): Promise<void> {
    const now = this.#broker.clock.now();
    const young = log.entries.find((entry) => now - entry.maxTimestamp < config.minCompactionLagMs);
    const limit = Math.min(log.bounds.lastStable, young?.baseOffset ?? Number.MAX_SAFE_INTEGER);
    const last = await this.#lastOffsets(log, limit);
    if (last === undefined) return;
    const aborted = log.aborted;
    for (const entry of log.entries.filter((candidate) => candidate.lastOffset < limit)) {
      if (this.#stopped) return;
      await this.#pause();
      const cleaned = await this.#clean(log, entry, last, now, config.deleteRetentionMs);
      if (cleaned !== entry) await this.#replace(log, entry, cleaned);
    }
    await this.#broker.sequencer.run(async () => {
      const gone = aborted.filter((range) => range.markerOffset < limit);
      const batch = this.#broker.storage.batch();
      for (const range of gone) batch.deleteAborted(log, range);
      batch.putPartition(log, { start: log.bounds.start, end: log.bounds.end, cleanedTo: limit });
      await batch.write();
      log.dropAborted(limit);
      log.cleanedTo = limit;
    });
  }

  /** The keys written since the last compaction; `undefined` if stopped meanwhile. */
  async #lastOffsets(log: PartitionLog, limit: number): Promise<LastOffsets | undefined> {
    const last = new Map<string, number>();
    for (const entry of log.entries.slice(log.indexOf(log.cleanedTo))) {
      if (this.#stopped) return undefined;
      if (entry.isControl || entry.lastOffset >= limit || log.isAborted(entry)) continue;
      await this.#pause();
      for (const { key, offset } of walk(await this.#bytesOf(log, entry)))
        if (key !== undefined) last.set(key, offset);
    }
    return last;
  }

  /** What is left of a batch: itself, less, or (`undefined`) nothing. The last batch of a log is never removed. */
  async #clean(
    log: PartitionLog,
    entry: BatchEntry,
    last: LastOffsets,
    now: number,
    deleteRetentionMs: number,
  ): Promise<BatchEntry | undefined> {
    const isLast = entry.lastOffset + 1 === log.bounds.end;
    // A marker has done its work once the records before it are cleaned; the aborted ones are dropped below.
    if (entry.isControl) return isLast ? entry : undefined;
    const bytes = await this.#bytesOf(log, entry);
    const dropsTombstones = entry.deleteHorizon !== undefined && now >= entry.deleteHorizon;
    const isAborted = log.isAborted(entry);
    const records = walk(bytes);
    const kept = records.filter(({ key, offset, isTombstone }) => {
      if (key === undefined || isAborted || (isTombstone && dropsTombstones)) return false;
      const newest = last.get(key);
      return newest === undefined || newest <= offset;
    });
    if (kept.length === 0 && !isLast) return undefined;
    const horizon = kept.some((record) => record.isTombstone)
      ? (entry.deleteHorizon ?? now + deleteRetentionMs)
      : undefined;
    if (kept.length === records.length && horizon === entry.deleteHorizon) return entry;
    const rest = kept.length === records.length ? bytes : rebuild(bytes, kept);
    const { maxTimestamp } = readBatchHeader(rest, 0)!;
    return { ...entry, size: rest.length, maxTimestamp, deleteHorizon: horizon, bytes: rest };
  }

  async #replace(log: PartitionLog, entry: BatchEntry, cleaned: BatchEntry | undefined): Promise<void> {
    await this.#broker.sequencer.run(async () => {
      if (log.entries[log.indexOf(entry.lastOffset)] !== entry) return;
      const batch = this.#broker.storage.batch();
      if (cleaned === undefined) batch.deleteEntry(log, entry);
      else batch.putEntry(log, cleaned);
      await batch.write();
      log.replace(entry, cleaned);
    });
  }

  async #bytesOf(log: PartitionLog, entry: BatchEntry): Promise<Buffer> {
    const { bytes } = entry;
    if (bytes !== undefined) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return Buffer.from(await copyOut(this.#broker.storage, log, [entry]));
  }

  async #pause(): Promise<void> {
    const now = performance.now();
    if (now < this.#sliceEnds) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#sliceEnds = performance.now() + SLICE_MS;
  }
}

// ---- records of one batch, as bytes

function recordsOf(bytes: Buffer, header: BatchHeader): Buffer {
  const records = bytes.subarray(BATCH_HEADER_BYTES, header.end);
  if (header.compression === 'none') return records;
  const plain = decompress(header.compression, records, DECOMPRESSED_BYTES_MAX);
  return Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength);
}

/** Where each record of a batch lies within its (decompressed) records. The batch has been checked when it came in. */
function walk(bytes: Buffer): readonly WalkedRecord[] {
  const header = readBatchHeader(bytes, 0)!;
  const data = recordsOf(bytes, header);
  const records: WalkedRecord[] = [];
  const varint = { at: 0 };
  const read = (): number => {
    // Multiplied, not shifted: timestamps go beyond 32 bits.
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = data[varint.at++];
      if (byte === undefined || scale > Number.MAX_SAFE_INTEGER)
        throw new PartitaError(
          'RECORD_BATCH_CORRUPT',
          `A record of the batch at ${header.baseOffset} is cut off.`,
          {
            details: { offset: header.baseOffset, position: varint.at },
          },
        );
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      scale *= 128;
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  };
  for (let index = 0; index < header.recordCount; index++) {
    const start = varint.at;
    const length = read();
    const end = varint.at + length;
    varint.at++;
    const timestampDelta = read();
    const offset = header.baseOffset + read();
    const keyLength = read();
    const key = keyLength < 0 ? undefined : data.toString('latin1', varint.at, varint.at + keyLength);
    varint.at += Math.max(keyLength, 0);
    const isTombstone = read() < 0;
    records.push({ offset, timestampDelta, key, isTombstone, start, end });
    varint.at = end;
  }
  return records;
}

/** The batch with only `kept` of its records, byte for byte, uncompressed. */
function rebuild(bytes: Buffer, kept: readonly WalkedRecord[]): Buffer {
  const header = readBatchHeader(bytes, 0)!;
  const data = recordsOf(bytes, header);
  const size = kept.reduce((sum, record) => sum + record.end - record.start, 0);
  const rest = Buffer.allocUnsafeSlow(BATCH_HEADER_BYTES + size);
  let at = BATCH_HEADER_BYTES;
  for (const { start, end } of kept) at += data.copy(rest, at, start, end);
  const newest = kept.reduce(
    (max, record) => Math.max(max, header.baseTimestamp + record.timestampDelta),
    -1,
  );
  writeBatchHeader(rest, {
    attributes: header.attributes & ~COMPRESSION_BITS,
    lastOffsetDelta: header.lastOffset - header.baseOffset,
    baseTimestamp: header.baseTimestamp,
    maxTimestamp: header.isLogAppendTime
      ? header.maxTimestamp
      : kept.length === 0
        ? header.maxTimestamp
        : newest,
    producerId: header.producerId,
    producerEpoch: header.producerEpoch,
    baseSequence: header.baseSequence,
    recordCount: kept.length,
  });
  stampOffset(rest, 0, header.baseOffset, 0);
  return rest;
}
