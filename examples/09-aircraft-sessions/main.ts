/** Prints the longest duties of aircraft in January, of sessions that are over. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, processorAt, StateManager } from 'partita';
import { flights } from '../01-flights/produce.js';
import { byLegs, type default as processor, type Leg } from './processor.js';

const FEBRUARY_MS = Date.UTC(2013, 1, 1);
const PARTITIONS = 2;

const dir = await mkdtemp(join(tmpdir(), 'partita-duties-'));
const log = await embeddedLog();
await log.createTopic({ topic: 'legs', partitions: PARTITIONS, configs: { 'retention.ms': '-1' } });
const legs: { readonly key: string; readonly value: string; readonly timestamp: number }[] = [];
for await (const { tailnum, flight, timestamp } of flights(FEBRUARY_MS)) {
  const { dest, depDelayMin, distanceMi } = flight;
  if (tailnum === null || depDelayMin === null) continue;
  const leg: Leg = { dest, delayMin: depDelayMin, miles: distanceMi };
  legs.push({ key: tailnum, value: JSON.stringify(leg), timestamp });
}
await log.produce('legs', legs);

const manager = await StateManager.start({
  group: 'duties',
  log,
  stateDir: dir,
  workers: 2,
  streams: { duties: processorAt<typeof processor>(new URL('./processor.js', import.meta.url)) },
});
await manager.ready();
for (;;) {
  const { partitions } = await manager.stats();
  if (partitions.reduce((sum, { actor }) => sum + (actor?.records ?? 0), 0) === legs.length) break;
  await sleep(20);
}
const parts = [...(await manager.streams.duties.queryAll('longest', { args: [3] })).values()];
await manager.stop();
await log.close();
await rm(dir, { recursive: true });

console.log(`${legs.length} legs, ${parts.reduce((sum, { aircraft }) => sum + aircraft, 0)} aircraft`);
const longest = parts.flatMap(({ duties }) => duties).sort(byLegs);
for (const { tailnum, fromMs, legs, miles, worstDelayMin, route } of longest.slice(0, 3))
  console.log(
    `${tailnum} ${new Date(fromMs).toISOString()} ${legs} legs, ${miles} miles, worst delay ${worstDelayMin} min: ${route}`,
  );
