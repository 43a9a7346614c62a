/**
 * One member of a group on Kafka. Start it several times: the members share the partitions, and each takes over where
 * another stopped or died. Options and commands are in the README beside this file.
 */
import { parseArgs } from 'node:util';
import { consoleLogger, kafka, processorAt, StateManager } from 'partita';
import type shop from './processor.js';

const { values: options } = parseArgs({
  options: {
    brokers: { type: 'string', default: process.env['KAFKA_BROKERS'] ?? '127.0.0.1:9092' },
    group: { type: 'string', default: 'shop' },
    state: { type: 'string', default: '.state' },
    workers: { type: 'string', default: '2' },
    orders: { type: 'string', default: '0' },
    verbose: { type: 'boolean', default: false },
  },
});

const manager = await StateManager.start({
  group: options.group,
  log: kafka({ brokers: options.brokers.split(',') }),
  stateDir: options.state,
  workers: Number(options.workers),
  createTopics: { partitions: 8 },
  ...(options.verbose ? { logger: consoleLogger('info') } : {}),
  streams: { shop: processorAt<typeof shop>(new URL('./processor.js', import.meta.url)) },
});
manager.on('assigned', ({ partitions }) => {
  console.log(`assigned ${partitions.length} partitions`);
});
manager.on('failed', ({ error }) => {
  console.error(error);
  process.exitCode = 1;
});
const stop = async () => {
  await manager.stop();
  console.log('stopped');
};
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop());

await manager.ready();
console.log('ready');

const count = Number(options.orders);
if (count > 0) {
  const customers = ['ada', 'grace', 'edsger', 'barbara'];
  const revenues = new Map<string, number>();
  const sends: Promise<unknown>[] = [];
  for (let n = 0; n < count; n++) {
    const key = customers[n % customers.length]!;
    const cents = 100 + (n % 7) * 50;
    revenues.set(key, (revenues.get(key) ?? 0) + cents);
    sends.push(manager.streams.shop.send('orders', { key, value: { item: `item-${n % 10}`, cents } }));
  }
  await Promise.all(sends);
  console.log(`sent ${count} orders`);
  for (const customer of customers) {
    const { local, address } = manager.locate('shop', customer);
    if (!local) {
      console.log(`${customer} belongs to another member${address === undefined ? '' : ` at ${address}`}`);
      continue;
    }
    let revenue = await manager.streams.shop.query('revenue', { key: customer });
    while ((revenue?.cents ?? 0) < (revenues.get(customer) ?? 0)) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      revenue = await manager.streams.shop.query('revenue', { key: customer });
    }
    console.log(`${customer}: ${revenue?.orders ?? 0} orders, ${(revenue?.cents ?? 0) / 100}`);
  }
  await stop();
}
