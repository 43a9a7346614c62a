/** The main job: a year of flights becomes a logbook per aircraft. `--help` of it is the README beside this file. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { embeddedLog, processorAt, StateManager } from 'partita';
import { fillTopic, PARTITIONS } from './produce.js';
import { byMiles, type default as flights } from './processor.js';

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    workers: { type: 'string', default: '1' },
    state: { type: 'string' },
    engine: { type: 'string', default: 'level' },
    crash: { type: 'boolean', default: false },
  },
});
const engine = (['level', 'rocksdb', 'memory'] as const).find((kind) => kind === options.engine);
if (engine === undefined) throw new Error(`There is no engine ${options.engine}.`);
const say = (text: string) => {
  if (!options.json) process.stdout.write(text);
};

const dir = options.state ?? (await mkdtemp(join(tmpdir(), 'partita-flights-')));
const log = await embeddedLog(options.state === undefined ? {} : { dir: join(dir, 'log') });
const { records, produced } = await fillTopic(log);
say(`${records} flights in the topic, ${produced} of them produced now\n`);

// What an earlier run has committed: its state is restored, its records are not processed again.
const committed = await log.committed('logbooks');
const restored = committed.reduce((sum, { offset }) => sum + offset, 0);
const startedAt = performance.now();
const manager = await StateManager.start({
  group: 'logbooks',
  log,
  stateDir: join(dir, 'state'),
  workers: Number(options.workers),
  engine,
  createTopics: { partitions: PARTITIONS },
  streams: { flights: processorAt<typeof flights>(new URL('./processor.js', import.meta.url)) },
});
const router = manager.streams.flights;
let checkpoints = 0;
manager.on('checkpoint', () => checkpoints++);

// How far the state is: all that was counted in it, whenever and by whichever run.
const counted = async () => {
  const sum = { flown: 0, cancelled: 0, unidentified: 0, records: 0 };
  for (const { flown, cancelled, unidentified } of (await router.queryAll('tally', {})).values()) {
    sum.flown += flown;
    sum.cancelled += cancelled;
    sum.unidentified += unidentified;
    sum.records += flown + cancelled + unidentified;
  }
  return sum;
};
await manager.ready();
let tally = await counted();
let crash = options.crash;
while (tally.records < records) {
  const share = tally.records / records;
  say(`\r[${'#'.repeat(Math.floor(share * 40)).padEnd(40)}] ${(share * 100).toFixed(0)} %`);
  if (crash && share > 0.5) {
    crash = false;
    const lost = await router.command('crash', { partition: 0 }).catch((error: unknown) => String(error));
    say(`\na worker thread died: ${lost}\n`);
  }
  await sleep(20);
  tally = await counted();
}
const seconds = (performance.now() - startedAt) / 1000;
const results = [...(await router.queryAll('top', { args: [10] })).values()];
const summary = {
  records,
  flown: tally.flown,
  aircraft: results.reduce((sum, { aircraft }) => sum + aircraft, 0),
  top: results
    .flatMap(({ top }) => top)
    .sort(byMiles)
    .slice(0, 10)
    .map(({ tailnum, flights, miles, delayMin, last }) => ({ tailnum, flights, miles, delayMin, last })),
  recordsPerSecond: Math.round((records - restored) / seconds),
};
await manager.stop();
await log.close();
if (options.state === undefined) await rm(dir, { recursive: true });

if (options.json) console.log(JSON.stringify(summary));
else {
  say(`\r[${'#'.repeat(40)}] 100 %\n${summary.recordsPerSecond} records/s in ${seconds.toFixed(1)} s; `);
  say(`state restored from ${restored} of ${records} records; ${checkpoints} checkpoints\n`);
  say(`${tally.flown} flown, ${tally.cancelled} cancelled, ${tally.unidentified} without an aircraft; `);
  say(`${summary.aircraft} aircraft. Those with most miles:\n`);
  console.table(summary.top);
}
