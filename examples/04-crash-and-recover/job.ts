/** One life of the job, on the log and the state in the directory given; it ends when all readings are in the state. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, processorAt, StateManager } from 'partita';
import type sums from './processor.js';

const [dir = '.state/crash', expected = '0'] = process.argv.slice(2);
const log = await embeddedLog({ dir: join(dir, 'log') });
const manager = await StateManager.start({
  group: 'sensors',
  log,
  stateDir: join(dir, 'state'),
  createTopics: { partitions: 4 },
  checkpoint: { intervalMs: 100 },
  streams: { sums: processorAt<typeof sums>(new URL('./processor.js', import.meta.url)) },
});
await manager.ready();

const total = async () => {
  const sum = { count: 0, sum: 0 };
  for (const part of (await manager.streams.sums.queryAll('total', { read: 'committed' })).values()) {
    sum.count += part.count;
    sum.sum += part.sum;
  }
  return sum;
};
let now = await total();
while (now.count < Number(expected)) {
  process.send?.(now);
  await sleep(20);
  now = await total();
}
await manager.stop();
let outputs = 0;
for await (const { value } of log.read('sums')) outputs += value === null ? 0 : 1;
await log.close();
process.send?.({ ...now, outputs });
process.disconnect();
