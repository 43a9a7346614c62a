/**
 * What a timestamped store costs: as-of reads and writes of hot keys, with few and with many entries a key, on one thread
 * without log and changelog. Run it built: `node --expose-gc dist/test/benchmark/asof.js [--keys 1000] [--entries 1000]`.
 */
import { parseArgs } from 'node:util';
import { json, string } from '../../src/codec/serdes.js';
import { timestamped, type Timestamped } from '../../src/processor/timestamped.js';
import { RecordScope, StateStore } from '../../src/state/state-store.js';
import { engineFactory } from '../../src/storage/engines.js';
import { median, printTable, report } from './report.js';

interface Rate {
  readonly of: number;
}

const ROUNDS = 7;
const CALLS = 200_000;
const STEP_MS = 10;

const { values: options } = parseArgs({
  options: { keys: { type: 'string', default: '1000' }, entries: { type: 'string' } },
});

async function bench(keyCount: number, entryCount: number): Promise<void> {
  const engine = await engineFactory('memory').open('', { blockCacheBytes: 0, writeBufferBytes: 0 });
  const state = new StateStore({
    stores: { rates: timestamped({ key: string(), value: json<Rate>(), graceMs: entryCount * STEP_MS }) },
    partition: engine,
    cacheBytes: 1 << 30,
    maxRecordBytes: 8 << 20,
    stream: 'bench',
    partitionNumber: 0,
  });
  const scope = new RecordScope();
  const { rates } = state.views(scope) as { readonly rates: Timestamped<string, Rate> };
  scope.open = true;
  const keys = Array.from({ length: keyCount }, (_, i) => `key-${i}`);
  const checkpoint = async (): Promise<void> => {
    const frozen = state.freeze();
    await engine.write(frozen.encode(), { sync: false });
    frozen.complete();
  };
  for (let i = 0; i < entryCount; i++) for (const key of keys) rates.set(key, { of: i }, i * STEP_MS);
  await checkpoint();
  let now = (entryCount - 1) * STEP_MS;
  let random = 1;
  const next = (below: number): number => {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    return random % below;
  };
  const figures: Record<string, number[]> = { 'as-of reads': [], writes: [], 'join: read and write': [] };
  const rateOf = (name: string, round: number, calls: number, run: () => void): void => {
    const start = process.hrtime.bigint();
    run();
    const seconds = Number(process.hrtime.bigint() - start) / 1e9;
    if (round >= 2) figures[name]!.push(calls / seconds);
  };
  let found = 0;
  for (let round = 0; round < ROUNDS + 2; round++) {
    rateOf('as-of reads', round, CALLS, () => {
      for (let i = 0; i < CALLS; i++) {
        const at = Math.max(0, now - next(entryCount * STEP_MS));
        if (rates.getAsOf(keys[i % keyCount]!, at) !== undefined) found++;
      }
    });
    rateOf('writes', round, CALLS, () => {
      for (let i = 0; i < CALLS; i++) {
        const turn = i % keyCount;
        if (turn === 0) now += STEP_MS;
        state.savepoint();
        rates.set(keys[turn]!, { of: i }, now);
      }
    });
    rateOf('join: read and write', round, CALLS, () => {
      for (let i = 0; i < CALLS; i++) {
        const turn = i % keyCount;
        if (turn === 0) now += STEP_MS;
        state.savepoint();
        if (rates.getAsOf(keys[turn]!, now - 5 * STEP_MS) !== undefined) found++;
        rates.set(keys[turn]!, { of: i }, now);
      }
    });
    await checkpoint();
  }
  if (found === 0) throw new Error('Nothing was found.');
  for (const [metric, rates_] of Object.entries(figures))
    report({
      bench: 'asof',
      metric,
      unit: '1/s',
      with: { keys: keyCount, entries: entryCount },
      ...median(rates_),
    });
  state.close();
  await engine.close();
}

const keyCount = Number(options.keys);
for (const entryCount of options.entries === undefined ? [10, 1_000] : [Number(options.entries)])
  await bench(keyCount, entryCount);
printTable();
