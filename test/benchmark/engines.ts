/**
 * How fast the engines load and read. Rates of one thread, on
 * keys of 20 bytes and values of 100; take them as ratios. Usage: node dist/test/benchmark/engines.js [keys]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isPartitaError } from '../../src/core/errors.js';
import { engineFactory } from '../../src/storage/engines.js';
import type { EngineKind, EngineWrite, StorageEngine } from '../../src/storage/storage-engine.js';
import { printTable, report } from './report.js';

const KEYS = Number(process.argv[2] ?? 300_000);
const BATCH = 5_000;
const READS = 200_000;
const HOT_KEYS = 1_000;
const OPTIONS = { blockCacheBytes: 32 << 20, writeBufferBytes: 16 << 20 };

const VALUE = Buffer.alloc(100, 'v');
/** Spread over the keyspace, so that neither loading nor reading is sequential. */
const keyOf = (i: number): Buffer =>
  Buffer.from(`k${String((i * 7_919) % KEYS).padStart(10, '0')}-padding-`, 'latin1');

function figure(engine: EngineKind, metric: string, value: number, unit: string): void {
  report({
    bench: 'engine',
    metric,
    value: Number(value.toPrecision(3)),
    unit,
    with: { engine, keys: KEYS },
  });
}

/** Thousands per second. */
async function rate(count: number, run: () => Promise<void> | void): Promise<number> {
  const started = performance.now();
  await run();
  return count / (performance.now() - started);
}

function batches(): EngineWrite[][] {
  const all: EngineWrite[][] = [];
  for (let from = 0; from < KEYS; from += BATCH)
    all.push(
      Array.from({ length: Math.min(BATCH, KEYS - from) }, (_, i) => ({
        key: keyOf(from + i),
        value: VALUE,
      })),
    );
  return all;
}

function readAll(engine: StorageEngine, keys: readonly Uint8Array[], found: boolean): void {
  for (let i = 0; i < READS; i++)
    if ((engine.get(keys[i % keys.length]!) !== undefined) !== found) throw new Error('a read went wrong');
}

async function measure(kind: EngineKind, directory: string): Promise<void> {
  const loads = batches();
  const engine = await engineFactory(kind).open(directory, OPTIONS);
  const write = async (): Promise<void> => {
    for (const batch of loads) await engine.write(batch, { sync: false });
  };
  figure(kind, 'load', await rate(KEYS, write), 'k/s');
  figure(kind, 'overwrite', await rate(KEYS, write), 'k/s');
  const hot = Array.from({ length: HOT_KEYS }, (_, i) => keyOf(i));
  const cold = Array.from({ length: Math.min(KEYS, READS) }, (_, i) => keyOf(i * 31));
  const missing = hot.map((key) => Buffer.concat([key, Buffer.from('?')]));
  readAll(engine, hot, true);
  for (const [metric, keys, found] of [
    ['get hot', hot, true],
    ['get spread', cold, true],
    ['get missing', missing, false],
  ] as const)
    figure(
      kind,
      metric,
      await rate(READS, () => {
        readAll(engine, keys, found);
      }),
      'k/s',
    );
  // The second scan: the memory engine sorts its keys for the first one.
  await scan(engine);
  figure(kind, 'scan', await rate(KEYS, () => scan(engine)), 'k/s');
  figure(kind, 'size', (await engine.stats()).bytes / 2 ** 20, 'MiB');
  await engine.close();
  const opened = performance.now();
  const again = await engineFactory(kind).open(directory, OPTIONS);
  figure(kind, 'open', performance.now() - opened, 'ms');
  await again.close();
}

async function scan(engine: StorageEngine): Promise<void> {
  const snapshot = engine.snapshot();
  const entries = snapshot.scan({});
  let count = 0;
  for (let page = await entries.next(); page.length > 0; page = await entries.next()) count += page.length;
  if (count !== KEYS) throw new Error(`a scan found ${String(count)} of ${String(KEYS)} keys`);
  await snapshot.close();
}

for (const kind of ['memory', 'level', 'rocksdb'] as const) {
  const directory = await mkdtemp(join(tmpdir(), 'partita-bench-'));
  try {
    await measure(kind, join(directory, 'db'));
  } catch (error) {
    if (!isPartitaError(error, 'ENGINE_UNAVAILABLE')) throw error;
    console.log(JSON.stringify({ bench: `engine ${kind}`, unavailable: error.message }));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
printTable();
