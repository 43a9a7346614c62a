/** Prints, for carriers in January, how many late flights followed a late one and how many cancellations had no alternative. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, processorAt, StateManager, type ProducedRecord } from 'partita';
import { flights } from '../01-flights/produce.js';
import type { Cancelled, default as processor, Departure } from './processor.js';

const FEBRUARY_MS = Date.UTC(2013, 1, 1);
const PARTITIONS = 2;
const NAMES = {
  AA: 'American',
  B6: 'JetBlue',
  DL: 'Delta',
  EV: 'ExpressJet',
  UA: 'United',
  US: 'US Airways',
};

const dir = await mkdtemp(join(tmpdir(), 'partita-joins-'));
const log = await embeddedLog();
const departures: ProducedRecord[] = [];
const cancellations: ProducedRecord[] = [];
for await (const { tailnum, flight, timestamp } of flights(FEBRUARY_MS)) {
  const { carrier: key, dest, depDelayMin: delayMin, flight: number } = flight;
  const value: Departure | Cancelled =
    delayMin === null ? { flight: number, dest } : { tailnum: tailnum ?? 'unknown', dest, delayMin };
  (delayMin === null ? cancellations : departures).push({ key, value: JSON.stringify(value), timestamp });
}
const carriers = Object.entries(NAMES).map(([key, value]) => ({ key, value, timestamp: 0 }));
const topics = { carriers, departures, cancellations };
for (const [topic, records] of Object.entries(topics)) {
  await log.createTopic({ topic, partitions: PARTITIONS, configs: { 'retention.ms': '-1' } });
  await log.produce(topic, records);
}

const manager = await StateManager.start({
  group: 'joins',
  log,
  stateDir: dir,
  workers: 2,
  streams: { joins: processorAt<typeof processor>(new URL('./processor.js', import.meta.url)) },
});
await manager.ready();
const sent = carriers.length + departures.length + cancellations.length;
for (;;) {
  const { partitions } = await manager.stats();
  if (partitions.reduce((sum, { actor }) => sum + (actor?.records ?? 0), 0) >= sent) break;
  await sleep(20);
}
// What the last record has made due comes after it.
await sleep(200);
console.log(`${departures.length} departures, ${cancellations.length} cancellations`);
for (const key of Object.keys(NAMES)) {
  const { name, flights, late, knockOn, alternatives, stranded } = await manager.streams.joins.query(
    'carrier',
    { key },
  );
  console.log(
    `${name}: ${flights} flights, ${late} an hour late, ${knockOn} of them after another late one; ` +
      `cancelled: ${stranded} without an alternative, ${alternatives} alternatives to the others`,
  );
}
await manager.stop();
await log.close();
await rm(dir, { recursive: true });
