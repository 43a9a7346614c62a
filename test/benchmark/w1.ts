/**
 * W1 on the embedded log: fills a topic, runs the manager over it until everything is committed, and measures rate, CPU
 * and memory. Each measurement is a process of its own (`run.ts`), so that none warms or burdens the next.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { partitionForText } from '../../src/codec/murmur2.js';
import { EmbeddedLog, StateManager, processorAt } from '../../src/index.js';
import type w1 from './w1-processor.js';

export interface W1Options {
  readonly keys: number;
  readonly workers: number;
  readonly records: number;
  readonly engine: 'memory' | 'level' | 'rocksdb';
  readonly guarantee: 'exactly-once' | 'at-least-once';
  readonly intervalMs: number;
}

export interface W1Result {
  readonly recordsPerSecond: number;
  readonly cpuSecondsPerMillion: number;
  /** Largest resident size seen, less the bytes that the log itself holds, in MB. */
  readonly memoryBeyondLogMb: number;
  readonly checkpoints: number;
}

const PARTITIONS = 4;
const GROUP = 'w1';
const PROCESSOR = new URL('./w1-processor.js', import.meta.url);

export async function runW1(options: W1Options): Promise<W1Result> {
  const stateDir = mkdtempSync(join(tmpdir(), 'partita-w1-'));
  const log = await EmbeddedLog.open();
  try {
    await log.createTopic({ topic: 'w1-out', partitions: PARTITIONS });
    const inputBytes = await fill(log, options);
    return await measure(log, options, stateDir, inputBytes);
  } finally {
    await log.close();
    rmSync(stateDir, { recursive: true, force: true });
  }
}

export interface FillOptions {
  readonly keys: number;
  readonly records: number;
  readonly partitions?: number;
  /** Every key once in turn, instead of at random. */
  readonly sequential?: boolean;
}

/** Deterministic: the same keys and values for the same arguments. Resolves to the bytes appended. */
export async function fill(log: EmbeddedLog, options: FillOptions): Promise<number> {
  const { keys, records, partitions = PARTITIONS, sequential = false } = options;
  await log.createTopic({ topic: 'w1-in', partitions });
  const writers = Array.from({ length: partitions }, () => new RecordBatchWriter());
  const pad = 'x'.repeat(60);
  const t0 = Date.UTC(2026, 0, 1);
  let seed = 42;
  let bytes = 0;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 0x1_0000_0000) * below);
  };
  const append = async (partition: number): Promise<void> => {
    const batch = writers[partition]!.seal();
    if (batch === undefined) return;
    bytes += batch.byteLength;
    await log.appendBatches([{ topic: 'w1-in', partition, bytes: batch }]);
  };
  for (let i = 0; i < records; i++) {
    const key = `k${String(sequential ? i % keys : random(keys)).padStart(7, '0')}`;
    const t = t0 + Math.floor(i / 10);
    const partition = partitionForText(key, partitions);
    const writer = writers[partition]!;
    writer.append(t, key, `{"t":${t},"v":${random(1000)},"pad":"${pad}"}`);
    if (writer.byteLength > 200_000) await append(partition);
  }
  for (let partition = 0; partition < partitions; partition++) await append(partition);
  return bytes;
}

async function measure(
  log: EmbeddedLog,
  options: W1Options,
  stateDir: string,
  inputBytes: number,
): Promise<W1Result> {
  let checkpoints = 0;
  let changelogBytes = 0;
  let peak = 0;
  globalThis.gc?.();
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const manager = await StateManager.start({
    group: GROUP,
    log,
    stateDir,
    workers: options.workers,
    engine: options.engine,
    guarantee: options.guarantee,
    checkpoint: { intervalMs: options.intervalMs },
    streams: { w1: processorAt<typeof w1>(PROCESSOR) },
  });
  manager.on('checkpoint', (event) => {
    checkpoints++;
    changelogBytes += event.bytes;
  });
  const client = await log.connect({ clientId: 'bench' });
  const partitions = Array.from({ length: PARTITIONS }, (_, partition) => ({ topic: 'w1-in', partition }));
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const committed = await client.committed(GROUP, partitions);
    peak = Math.max(peak, process.memoryUsage.rss());
    const done = committed.reduce((sum, offset) => sum + (offset?.offset ?? 0), 0);
    if (done >= options.records) break;
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  const outputs = await client.topics.bounds(partitions.map(({ partition }) => ({ topic: 'w1-out', partition })));
  await manager.stop();
  await client.close();
  const outputRecords = outputs.reduce((sum, { end }) => sum + end, 0);
  // An output of W1 is some 60 bytes a record: the log holds them beside the input and the changelog.
  const logBytes = inputBytes + changelogBytes + outputRecords * 60;
  return {
    recordsPerSecond: options.records / seconds,
    cpuSecondsPerMillion: (cpu.user + cpu.system) / 1e6 / (options.records / 1e6),
    memoryBeyondLogMb: (peak - logBytes) / 1e6,
    checkpoints,
  };
}
