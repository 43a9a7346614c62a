/** Hourly departures and delays per airport over a year of flights. The options are in the README beside this file. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { embeddedLog, processorAt, StateManager, type EmbeddedLog } from 'partita';
import { fillTopic, PARTITIONS } from './produce.js';
import type { default as processor, Hour } from './processor.js';

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    workers: { type: 'string', default: '1' },
    state: { type: 'string' },
    'stop-after': { type: 'string' },
    engine: { type: 'string', default: 'level' },
    crash: { type: 'boolean', default: false },
  },
});
const engine = (['level', 'rocksdb', 'memory'] as const).find((kind) => kind === options.engine);
if (engine === undefined) throw new Error(`There is no engine ${options.engine}.`);

const dir = options.state ?? (await mkdtemp(join(tmpdir(), 'partita-hourly-')));
const log = await embeddedLog(options.state === undefined ? {} : { dir: join(dir, 'log') });
const records = await fillTopic(log);
const manager = await StateManager.start({
  group: 'delays',
  log,
  stateDir: join(dir, 'state'),
  workers: Number(options.workers),
  engine,
  createTopics: { partitions: PARTITIONS },
  streams: { hourly: processorAt<typeof processor>(new URL('./processor.js', import.meta.url)) },
});
await manager.ready();
const router = manager.streams.hourly;

/** Everything that the state says, of all partitions. */
async function progress(): Promise<{ flown: number; late: number; open: number }> {
  const sum = { flown: 0, late: 0, open: 0 };
  for (const part of (await router.queryAll('progress', {})).values()) {
    sum.flown += part.flown;
    sum.late += part.late;
    sum.open += part.open;
  }
  return sum;
}

let crash = options.crash;
const until = Math.min(records, Number(options['stop-after'] ?? Infinity));
let state = await progress();
while (state.flown < until) {
  if (crash && state.flown > records / 2) {
    crash = false;
    const lost = await router.command('crash', { key: 'JFK' }).catch((error: unknown) => error);
    if (!options.json) console.log(`A worker thread died: ${String(lost)}`);
  }
  await sleep(20);
  state = await progress();
}
// Commits what was processed, and with it the outputs.
await manager.stop();
const hours = await closedHours(log);
await log.close();
if (options.state === undefined) await rm(dir, { recursive: true });

const summary = {
  flown: state.flown,
  late: state.late,
  windows: hours.length,
  flights: hours.reduce((sum, { n }) => sum + n, 0),
  open: state.open,
  jfk: hours
    .filter(({ airport }) => airport === 'JFK')
    .sort((a, b) => a.start - b.start)
    .slice(0, 5)
    .map(({ start, n, delayMin }) => ({ start, n, delayMin })),
};
if (options.json) console.log(JSON.stringify(summary));
else {
  console.log(`${summary.flown} flights, of which ${summary.late} came too late for their hour.`);
  console.log(`${summary.windows} closed hours hold ${summary.flights} flights; ${summary.open} are open.`);
  console.table(summary.jfk.map((hour) => ({ ...hour, start: new Date(hour.start).toISOString() })));
}

/** What has been committed to the output. */
async function closedHours(from: EmbeddedLog): Promise<(Hour & { airport: string; start: number })[]> {
  const found: (Hour & { airport: string; start: number })[] = [];
  for await (const { key, value, headers } of from.read('hourly')) {
    const start = Number(Buffer.from(new Map(headers).get('partita.window.start')!).toString());
    const hour = JSON.parse(Buffer.from(value!).toString()) as Hour;
    found.push({ airport: Buffer.from(key!).toString(), start, ...hour });
  }
  return found;
}
