/** Counts how often aircraft rested for a day in January, and shows the first rests. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, processorAt, StateManager, type ProducedRecord } from 'partita';
import { flights } from '../01-flights/produce.js';
import type { default as processor, Leg } from './processor.js';

const FEBRUARY_MS = Date.UTC(2013, 1, 1);

const dir = await mkdtemp(join(tmpdir(), 'partita-timers-'));
const log = await embeddedLog();
await log.createTopic({ topic: 'legs', partitions: 2, configs: { 'retention.ms': '-1' } });
const legs: ProducedRecord[] = [];
for await (const { tailnum, flight, timestamp } of flights(FEBRUARY_MS)) {
  const leg: Leg = { dest: flight.dest };
  if (tailnum !== null && flight.depDelayMin !== null)
    legs.push({ key: tailnum, value: JSON.stringify(leg), timestamp });
}
await log.produce('legs', legs);

const manager = await StateManager.start({
  group: 'rests',
  log,
  stateDir: dir,
  workers: 2,
  createTopics: { partitions: 2 },
  streams: { rests: processorAt<typeof processor>(new URL('./processor.js', import.meta.url)) },
});
await manager.ready();
for (;;) {
  const { partitions } = await manager.stats();
  if (partitions.reduce((sum, { actor }) => sum + (actor?.records ?? 0), 0) === legs.length) break;
  await sleep(20);
}
// Commits what was emitted.
await manager.stop();
const rests: { readonly tailnum: string; readonly dest: string; readonly sinceMs: number }[] = [];
for await (const { key, value } of log.read('rests')) {
  const leg = JSON.parse(Buffer.from(value!).toString()) as Leg & { readonly sinceMs: number };
  rests.push({ tailnum: Buffer.from(key!).toString(), ...leg });
}
await log.close();
await rm(dir, { recursive: true });

console.log(`${legs.length} departures, ${rests.length} rests`);
rests.sort((a, b) => a.sinceMs - b.sinceMs || (a.tailnum < b.tailnum ? -1 : 1));
for (const { tailnum, dest, sinceMs } of rests.slice(0, 3))
  console.log(`${tailnum} left for ${dest} at ${new Date(sinceMs).toISOString()} and rested`);
