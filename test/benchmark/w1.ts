/**
 * W1 on the embedded in-memory log, the whole runtime included: fetch, thread crossing, decode, state, emit, a checkpoint
 * per second. The input is in the log before the clock starts; records processed before the first look don't count.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { changelogTopic } from '../../src/core/names.js';
import type { EngineKind } from '../../src/core/engine-kind.js';
import { EmbeddedLog, processorAt, StateManager } from '../../src/index.js';
import { coreLoop } from './core-loop.js';
import { report } from './report.js';
import { load, PARTITIONS } from './w1-load.js';
import type w1 from './w1-processor.js';

const MEBIBYTE = 1024 * 1024;
const GROUP = 'bench';
const POLL_MS = 25;
const PAGE_BYTES = 4 * MEBIBYTE;

export interface W1Options {
  readonly records: number;
  readonly keys: number;
  readonly workers: number;
  readonly guarantee: 'exactly-once' | 'at-least-once';
  readonly engine: EngineKind;
  /** Another processor over the same input. @default `w1-processor.ts` */
  readonly processor?: URL;
}

export interface W1Result {
  readonly recordsPerSecond: number;
  readonly cpuSecondsPerMillion: number;
  /** Resident memory beyond the bytes that the log itself holds, at its largest. */
  readonly rssBeyondLogMb: number;
  readonly checkpoints: number;
}

export async function runW1(options: W1Options): Promise<W1Result> {
  const dir = await mkdtemp(join(tmpdir(), 'partita-w1-'));
  const log = await EmbeddedLog.open();
  const inputBytes = await load(log, options);
  const manager = await StateManager.start({
    group: GROUP,
    log,
    stateDir: dir,
    workers: options.workers,
    guarantee: options.guarantee,
    engine: options.engine,
    checkpoint: { intervalMs: 1_000 },
    createTopics: { partitions: PARTITIONS },
    streams: {
      w1: processorAt<typeof w1>(options.processor ?? new URL('./w1-processor.js', import.meta.url)),
    },
  });
  let checkpoints = 0;
  manager.on('checkpoint', () => checkpoints++);
  await manager.ready();
  const seen = async (): Promise<number> => {
    let sum = 0;
    for (const part of (await manager.streams.w1.queryAll('seen', {})).values()) sum += part;
    return sum;
  };
  const samples: { readonly done: number; readonly rss: number }[] = [];
  const before = await seen();
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  let done = before;
  while (done < options.records) {
    await sleep(POLL_MS);
    done = await seen();
    samples.push({ done, rss: process.memoryUsage.rss() });
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  await manager.stop();
  const writtenBytes = (await bytesOf(log, 'aggregates')) + (await bytesOf(log, changelogTopic(GROUP, 'w1')));
  // What the log holds grows with what has been processed.
  const beyond = samples.map(
    (sample) => sample.rss - inputBytes - (writtenBytes * sample.done) / options.records,
  );
  await log.close();
  await rm(dir, { recursive: true, force: true });
  const measured = options.records - before;
  return {
    recordsPerSecond: measured / seconds,
    cpuSecondsPerMillion: (user + system) / measured,
    rssBeyondLogMb: Math.max(0, ...beyond) / MEBIBYTE,
    checkpoints,
  };
}

/** Bytes of all batches of a topic. */
export async function bytesOf(log: EmbeddedLog, topic: string): Promise<number> {
  const client = await log.connect({ clientId: 'bytes' });
  let bytes = 0;
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const [bounds] = await client.topics.bounds([{ topic, partition }]);
    let from = bounds!.start;
    for (;;) {
      const request = {
        topic,
        partition,
        from,
        maxBytes: PAGE_BYTES,
        isolation: 'read_uncommitted',
      } as const;
      const page = await client.read(request);
      bytes += page.bytes.byteLength;
      if (page.next === from) break;
      from = page.next;
    }
  }
  await client.close();
  return bytes;
}

export async function benchW1(options: W1Options): Promise<void> {
  const before = coreLoop();
  const result = await runW1(options);
  // Of the moment: the mean of just before and just after.
  const core = (before + coreLoop()) / 2;
  const { records, keys, workers, guarantee, engine } = options;
  const figure = (metric: string, value: number, unit: string) => {
    report({ bench: 'w1', metric, value, unit, with: { records, keys, workers, engine, guarantee } });
  };
  figure('throughput', result.recordsPerSecond, 'records/s');
  figure('bare loop on one thread', core, 'records/s');
  figure('throughput / bare loop', result.recordsPerSecond / core, 'ratio');
  figure('cpu', result.cpuSecondsPerMillion, 'CPU-s per million');
  figure('memory beyond the log', result.rssBeyondLogMb, 'MB');
  figure('checkpoints', result.checkpoints, 'checkpoints');
}
