/** Produces good and bad orders, and reads the dead letters with the headers that tell where they came from. */
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, processorAt, StateManager } from 'partita';
import type orders from './processor.js';

const log = await embeddedLog();
await log.createTopic({ topic: 'orders', partitions: 1 });
await log.createTopic({ topic: 'orders.dead', partitions: 1 });
const timestamp = Date.UTC(2026, 0, 31);
await log.produce('orders', [
  { key: 'alice', value: '{"quantity":2}', timestamp },
  { key: 'alice', value: '{"quantity":-5}', timestamp },
  { key: 'alice', value: 'this is not JSON', timestamp },
  { key: 'alice', value: '{"quantity":3}', timestamp },
]);
const manager = await StateManager.start({
  group: 'shop',
  log,
  stateDir: '.state',
  engine: 'memory',
  streams: { orders: processorAt<typeof orders>(new URL('./processor.js', import.meta.url)) },
});
let ordered: number | undefined;
while (ordered !== 5) {
  await sleep(20);
  ordered = await manager.streams.orders.query('ordered', { key: 'alice' });
}
console.log('alice ordered', ordered);
await manager.stop();

for await (const { key, value, headers } of log.read('orders.dead')) {
  console.log(text(key), text(value));
  for (const [name, bytes] of headers) console.log(' ', name, text(bytes));
}
await log.close();

function text(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString();
}
