/** Deposits arrive as records; transfers are commands, acknowledged when committed; statements are queries. */
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, isPartitaError, processorAt, StateManager } from 'partita';
import type accounts from './processor.js';

const log = await embeddedLog();
await log.createTopic({ topic: 'deposits', partitions: 4 });
const manager = await StateManager.start({
  group: 'bank',
  log,
  stateDir: '.state',
  engine: 'memory',
  createTopics: { partitions: 4 },
  streams: { accounts: processorAt<typeof accounts>(new URL('./processor.js', import.meta.url)) },
});
const bank = manager.streams.accounts;
await manager.ready();

await bank.send('deposits', { key: 'alice', value: { account: 'giro', cents: 10_000 } });
await bank.send('deposits', { key: 'alice', value: { account: 'savings', cents: 500 } });
// Records are processed soon, commands and queries at once: wait until both deposits have arrived.
while (Object.keys(await bank.query('statement', { key: 'alice' })).length < 2) await sleep(20);
console.log('at first', await bank.query('statement', { key: 'alice' }));

const toSavings = { from: 'giro', to: 'savings', cents: 7_000 };
console.log('first transfer', await bank.command('transfer', { key: 'alice', args: [toSavings] }));
console.log('second transfer', await bank.command('transfer', { key: 'alice', args: [toSavings] }));
try {
  await bank.command('empty', { key: 'alice', args: ['savings'] });
} catch (error) {
  if (!isPartitaError(error, 'HANDLER_FAILED')) throw error;
  console.log('refused', error.cause instanceof Error ? error.cause.message : error.cause);
}
// What the last checkpoint has committed; `latest`, the default, would include what is processed but not committed.
console.log('at last', await bank.query('statement', { key: 'alice', read: 'committed' }));
console.log('unknown', await bank.query('statement', { key: 'bob' }));

await manager.stop();
for await (const { value } of log.read('transfers'))
  console.log('emitted', Buffer.from(value ?? []).toString());
await log.close();
