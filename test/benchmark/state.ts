/**
 * What state costs a record, on one thread without log and changelog: get, set and savepoint of hot keys, the same over
 * more keys than the cache holds, freezing, encoding, memory a key. Keys are decoded from bytes for each record, as in
 * the processing loop. Run it built: `node --expose-gc dist/test/benchmark/state.js [--keys 1000000] [--engine memory]`.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { json, string } from '../../src/codec/serdes.js';
import type { EngineKind } from '../../src/core/engine-kind.js';
import { keyValue, type KeyValue } from '../../src/processor/declarations.js';
import { RecordScope, StateStore } from '../../src/state/state-store.js';
import { engineFactory } from '../../src/storage/engines.js';
import type { StorageEngine } from '../../src/storage/storage-engine.js';
import { median, printTable, report } from './report.js';

interface Total {
  readonly count: number;
  readonly sum: number;
  readonly last: number;
}

const HOT_KEYS = 10_000;
const HOT_RECORDS = 500_000;
const ROUNDS = 9;
const CHECKPOINT_RECORDS = 300_000;

const { values: options } = parseArgs({
  options: {
    keys: { type: 'string', default: '1000000' },
    engine: { type: 'string', default: 'memory' },
    cacheMb: { type: 'string', default: '256' },
  },
});

function openState(engine: StorageEngine, cacheBytes: number) {
  const state = new StateStore({
    stores: { totals: keyValue({ key: string(), value: json<Total>() }) },
    partition: engine,
    cacheBytes,
    maxRecordBytes: 8 << 20,
    stream: 'bench',
    partitionNumber: 0,
  });
  const scope = new RecordScope();
  const views = state.views(scope) as { readonly totals: KeyValue<string, Total> };
  return { state, scope, totals: views.totals };
}
type Opened = ReturnType<typeof openState>;

/** One record of W1: count, sum and last of a value. */
function record({ state, scope, totals }: Opened, key: string, v: number): void {
  scope.open = true;
  state.savepoint();
  const old = totals.get(key);
  totals.set(
    key,
    old === undefined ? { count: 1, sum: v, last: v } : { count: old.count + 1, sum: old.sum + v, last: v },
  );
  scope.open = false;
}

function keysOf(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => Buffer.from(`customer-${i}`));
}

function nanosOf(run: () => void): number {
  const start = process.hrtime.bigint();
  run();
  return Number(process.hrtime.bigint() - start);
}

async function hot(): Promise<void> {
  const engine = await engineFactory('memory').open('', { blockCacheBytes: 0, writeBufferBytes: 0 });
  const opened = openState(engine, 256 << 20);
  const keys = keysOf(HOT_KEYS);
  const figures: Record<string, number[]> = {};
  const add = (metric: string, nanos: number): void => void (figures[metric] ??= []).push(nanos);
  for (let round = 0; round < ROUNDS + 3; round++) {
    const measure = round < 3 ? (): void => undefined : add;
    let length = 0;
    const decoding = nanosOf(() => {
      for (let i = 0; i < HOT_RECORDS; i++) length += keys[i % HOT_KEYS]!.toString('latin1').length;
    });
    const all = nanosOf(() => {
      for (let i = 0; i < HOT_RECORDS; i++) record(opened, keys[i % HOT_KEYS]!.toString('latin1'), i);
    });
    measure('key decoded', decoding / HOT_RECORDS);
    measure('key decoded, savepoint, get, set', all / HOT_RECORDS);
    opened.scope.open = true;
    const gets = nanosOf(() => {
      for (let i = 0; i < HOT_RECORDS; i++)
        length += opened.totals.get(keys[i % HOT_KEYS]!.toString('latin1'))!.count;
    });
    measure('key decoded, get', gets / HOT_RECORDS);
    measure(
      'savepoint alone',
      nanosOf(() => {
        for (let i = 0; i < HOT_RECORDS; i++) opened.state.savepoint();
      }) / HOT_RECORDS,
    );
    let frozen = opened.state.freeze();
    const freezing = frozen.count;
    const encoding = nanosOf(() => frozen.encode());
    measure('encoded at a checkpoint, per key', encoding / freezing);
    await engine.write(frozen.encode(), { sync: false });
    frozen.complete();
    measure(
      'freeze',
      nanosOf(() => {
        frozen = opened.state.freeze();
      }),
    );
    frozen.complete();
    if (length < 0) throw new Error('unreachable');
  }
  for (const [metric, nanos] of Object.entries(figures))
    report({ bench: 'state', metric, unit: 'ns', with: { keys: HOT_KEYS }, ...median(nanos) });
  opened.state.close();
  await engine.close();
}

async function many(keyCount: number, kind: EngineKind, cacheBytes: number): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'partita-bench-'));
  const engine = await engineFactory(kind).open(directory, {
    blockCacheBytes: 8 << 20,
    writeBufferBytes: 4 << 20,
  });
  const opened = openState(engine, cacheBytes);
  const keys = keysOf(keyCount);
  const settings = { keys: keyCount, engine: kind, cacheMb: cacheBytes >> 20 };
  globalThis.gc?.();
  const heapBefore = process.memoryUsage().heapUsed;
  const rates: number[] = [];
  const cpuSeconds: number[] = [];
  let flushing: Promise<void> | undefined;
  const checkpoint = (): Promise<void> => {
    const frozen = opened.state.freeze();
    return engine.write(frozen.encode(), { sync: false }).then(() => {
      frozen.complete();
    });
  };
  let random = 1;
  for (let done = 0; done < 3 * keyCount; done += CHECKPOINT_RECORDS) {
    const start = process.hrtime.bigint();
    const cpu = process.cpuUsage();
    for (let i = 0; i < CHECKPOINT_RECORDS; i++) {
      // Numerical Recipes' generator: every run reads the same keys.
      random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
      record(opened, keys[Math.floor((random / 2 ** 32) * keyCount)]!.toString('latin1'), i);
    }
    await flushing;
    flushing = checkpoint();
    if (done < 2 * keyCount) continue;
    rates.push(CHECKPOINT_RECORDS / (Number(process.hrtime.bigint() - start) / 1e9));
    const { user, system } = process.cpuUsage(cpu);
    cpuSeconds.push((user + system) / CHECKPOINT_RECORDS);
  }
  await flushing;
  report({
    bench: 'state',
    metric: 'records with checkpoints',
    unit: '1/s',
    with: settings,
    ...median(rates),
  });
  report({ bench: 'state', metric: 'CPU-s per M records', unit: 's', with: settings, ...median(cpuSeconds) });
  if (globalThis.gc !== undefined && kind !== 'memory') {
    globalThis.gc();
    const held = (process.memoryUsage().heapUsed - heapBefore) / (1 << 20);
    report({ bench: 'state', metric: 'heap grown', unit: 'MB', with: settings, value: held });
    report({
      bench: 'state',
      metric: 'held by estimate',
      unit: 'MB',
      with: settings,
      value: opened.state.heldBytes / (1 << 20),
    });
  }
  opened.state.close();
  await engine.close();
  await rm(directory, { recursive: true, force: true });
}

await hot();
await many(Number(options.keys), options.engine as EngineKind, Number(options.cacheMb) * (1 << 20));
printTable();
