/**
 * `npm run bench`: every benchmark in turn, each measurement in a process of its own; figures as JSON lines, then a table.
 * One alone: `node dist/test/benchmark/run.js w1 --keys 10000 --workers 1 --records 3000000`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { benchBoundary } from './boundary.js';
import { benchRecovery, benchRestart } from './recovery.js';
import { median, printTable, report, type Figure } from './report.js';
import { runW1, type W1Options } from './w1.js';

const SELF = fileURLToPath(import.meta.url);
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    keys: { type: 'string', default: '10000' },
    workers: { type: 'string', default: '1' },
    records: { type: 'string', default: '3000000' },
    engine: { type: 'string', default: 'level' },
    guarantee: { type: 'string', default: 'exactly-once' },
    interval: { type: 'string', default: '1000' },
    pairs: { type: 'string', default: '7' },
  },
});

const engine = values.engine as W1Options['engine'];
const number = (text: string): number => Number(text.replaceAll('_', ''));

switch (positionals[0]) {
  case undefined:
    await everything();
    break;
  case 'boundary':
    await benchBoundary();
    break;
  case 'w1':
    await oneW1();
    break;
  case 'recovery':
    await benchRecovery(engine, number(values.records));
    break;
  case 'restart':
    await benchRestart(engine as 'level' | 'rocksdb', number(values.keys));
    break;
  case 'guarantees':
    await guarantees(number(values.pairs));
    break;
  default:
    console.error(`There is no benchmark ${String(positionals[0])}.`);
    process.exitCode = 2;
}

async function everything(): Promise<void> {
  await child(['codec.js']);
  await child(['engines.js']);
  await child(['state.js']);
  await own('boundary');
  for (const workers of ['1', '2']) await own('w1', '--workers', workers, '--records', '5000000');
  for (const workers of ['1', '2'])
    await own('w1', '--keys', '1000000', '--workers', workers, '--records', '5000000');
  for (const name of ['memory', 'level', 'rocksdb'])
    await own('recovery', '--engine', name, '--records', '2000000');
  for (const name of ['level', 'rocksdb']) await own('restart', '--engine', name, '--keys', '1000000');
  await own('guarantees');
  printTable();
}

async function oneW1(): Promise<void> {
  const options: W1Options = {
    keys: number(values.keys),
    workers: number(values.workers),
    records: number(values.records),
    engine,
    guarantee: values.guarantee as W1Options['guarantee'],
    intervalMs: number(values.interval),
  };
  const result = await runW1(options);
  const { keys, workers, guarantee } = options;
  const common = { bench: 'w1', with: { keys, workers, engine, guarantee } };
  report({ ...common, metric: 'rate', value: result.recordsPerSecond, unit: 'records/s' });
  report({ ...common, metric: 'cpu', value: result.cpuSecondsPerMillion, unit: 'CPU-s per million' });
  report({ ...common, metric: 'memory beyond the log', value: result.memoryBeyondLogMb, unit: 'MB' });
  report({ ...common, metric: 'checkpoints', value: result.checkpoints, unit: 'checkpoints' });
}

/** Alternating pairs, so that a machine that slows down burdens both sides alike. */
async function guarantees(pairs: number): Promise<void> {
  const ratios: number[] = [];
  for (let i = 0; i < pairs; i++) {
    const rates: number[] = [];
    for (const guarantee of ['exactly-once', 'at-least-once']) {
      const figures = await own('w1', '--guarantee', guarantee, '--records', '3000000');
      rates.push(figures.find(({ metric }) => metric === 'rate')!.value);
    }
    ratios.push(rates[0]! / rates[1]!);
  }
  report({ bench: 'guarantees', metric: 'exactly-once / at-least-once', unit: 'ratio', ...median(ratios) });
}

function own(...args: readonly string[]): Promise<readonly Figure[]> {
  return child(['run.js', ...args]);
}

/** Runs a benchmark of this folder; what it reports is reported here too. */
async function child([file, ...args]: readonly string[]): Promise<readonly Figure[]> {
  const path = fileURLToPath(new URL(file!, import.meta.url));
  const running = spawn(process.execPath, ['--expose-gc', path, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const figures: Figure[] = [];
  for await (const line of createInterface({ input: running.stdout })) {
    if (!line.startsWith('{')) continue;
    const figure = JSON.parse(line) as Figure;
    figures.push(figure);
    if (positionals[0] !== 'guarantees' || path !== SELF) report(figure);
  }
  if (running.exitCode === null) await once(running, 'exit');
  if (running.exitCode !== 0) throw new Error(`${file!} ${args.join(' ')} ended with ${String(running.exitCode)}`);
  return figures;
}
