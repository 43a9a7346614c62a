/**
 * `npm run bench`: every benchmark one after the other, each in a process of its own. One alone:
 * `node dist/test/benchmark/run.js w1 --keys 10000 --workers 1 --records 3000000`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { EngineKind } from '../../src/index.js';
import { benchCrossing } from './crossing.js';
import { benchManyWindows } from './many-windows.js';
import { benchRecovery, benchRestart } from './recovery.js';
import { benchMoves } from './moves.js';
import { adopt, median, printTable, report } from './report.js';
import { benchW1, runW1 } from './w1.js';
import { benchTtlOfW1, benchWindows } from './windows.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    keys: { type: 'string' },
    workers: { type: 'string' },
    records: { type: 'string' },
    guarantee: { type: 'string', default: 'exactly-once' },
    engine: { type: 'string' },
    windows: { type: 'string' },
    moves: { type: 'string' },
    /** `HOST:PORT,…`, for `moves` on Kafka; without them it runs on the embedded log. */
    brokers: { type: 'string' },
    pairs: { type: 'string', default: '7' },
  },
});
const number = (value: string | undefined, otherwise: number) =>
  value === undefined ? otherwise : Number(value);
const engine = values.engine as EngineKind | undefined;
const guarantee = values.guarantee === 'at-least-once' ? values.guarantee : 'exactly-once';

switch (positionals[0]) {
  case undefined:
    await all();
    break;
  case 'crossing':
    await benchCrossing();
    break;
  case 'w1':
    await benchW1({
      records: number(values.records, 3_000_000),
      keys: number(values.keys, 10_000),
      workers: number(values.workers, 1),
      engine: engine ?? 'level',
      guarantee,
    });
    break;
  case 'recovery':
    await benchRecovery(
      number(values.keys, 1_000_000),
      engine === undefined ? ['memory', 'level', 'rocksdb'] : [engine],
    );
    break;
  case 'restart':
    await benchRestart(number(values.keys, 1_000_000));
    break;
  case 'moves':
    await benchMoves(number(values.keys, 1_000_000), number(values.moves, 100), values.brokers?.split(','));
    break;
  case 'windows':
    await benchWindows(number(values.records, 1_000_000), number(values.workers, 1));
    break;
  case 'ttl-of-w1':
    await benchTtlOfW1(number(values.records, 1_000_000), number(values.pairs, 5));
    break;
  case 'many-windows':
    await benchManyWindows(number(values.windows, 10_000_000), engine ?? 'level');
    break;
  case 'guarantees':
    await guarantees(number(values.pairs, 7), number(values.records, 3_000_000));
    break;
  default:
    throw new Error(`There is no benchmark ${positionals[0]}.`);
}
if (positionals[0] !== undefined) printTable();

async function all(): Promise<void> {
  // These are files of their own, since they measure one layer alone.
  for (const layer of ['codec', 'engines', 'state', 'ttl', 'asof']) {
    const file = fileURLToPath(new URL(`./${layer}.js`, import.meta.url));
    if (existsSync(file)) await child(file, []);
  }
  const self = fileURLToPath(import.meta.url);
  await child(self, ['crossing']);
  for (const keys of ['10000', '1000000'])
    for (const workers of ['1', '2']) await child(self, ['w1', '--keys', keys, '--workers', workers]);
  await child(self, ['recovery']);
  await child(self, ['guarantees']);
  await child(self, ['restart']);
  await child(self, ['moves', '--keys', '1000']);
  await child(self, ['moves', '--keys', '1000000']);
  await child(self, ['windows']);
  await child(self, ['ttl-of-w1']);
  await child(self, ['many-windows']);
  printTable();
}

/** Exactly-once against at-least-once, alternating, so that what else the machine does falls on both. */
async function guarantees(pairs: number, records: number): Promise<void> {
  const rates = { 'exactly-once': [] as number[], 'at-least-once': [] as number[] };
  for (let pair = 0; pair < pairs; pair++)
    for (const kind of ['exactly-once', 'at-least-once'] as const) {
      const options = { records, keys: 10_000, workers: 1, engine: 'level', guarantee: kind } as const;
      rates[kind].push((await runW1(options)).recordsPerSecond);
    }
  const ratios = rates['exactly-once'].map((rate, i) => rate / rates['at-least-once'][i]!);
  const bench = { bench: 'guarantees', with: { pairs, records } };
  for (const kind of ['exactly-once', 'at-least-once'] as const)
    report({ ...bench, metric: kind, ...median(rates[kind]), unit: 'records/s' });
  report({ ...bench, metric: 'exactly-once to at-least-once', ...median(ratios), unit: 'ratio' });
}

/** Runs a benchmark in a process of its own and takes over its figures. */
async function child(file: string, args: readonly string[]): Promise<void> {
  const process_ = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const chunks: Buffer[] = [];
  process_.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  const [code] = (await once(process_, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${file} ${args.join(' ')} exited with ${code ?? 'a signal'}`);
  adopt(Buffer.concat(chunks).toString());
}
