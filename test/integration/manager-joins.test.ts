/** Tables, timestamped stores and joins through a whole job: routers, threads, a durable engine, and a second start. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { processorAt } from '../../src/index.js';
import type joins from '../fixtures/joins-processor.js';
import { ManagerDesk } from '../support/manager-desk.js';
import { PATIENCE_MS } from '../support/waiting.js';

const joinsStream = {
  joins: processorAt<typeof joins>(new URL('../fixtures/joins-processor.js', import.meta.url)),
};

let desk: ManagerDesk;

beforeEach(async () => {
  desk = await ManagerDesk.open();
  for (const topic of ['products', 'orders', 'payments', 'results'])
    await desk.log.createTopic({ topic, partitions: 2 });
});

afterEach(() => desk.close());

async function results(count: number): Promise<unknown[]> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const found: unknown[] = [];
    for await (const { value } of desk.log.read('results'))
      found.push(JSON.parse(Buffer.from(value ?? []).toString()));
    if (found.length >= count) return found;
    assert.ok(performance.now() < end, `only ${found.length} results within ${PATIENCE_MS} ms`);
    await sleep(10);
  }
}

test('a table, an as-of join and a stream join work in a job, whose table is its first input and is there after a restart', async () => {
  const now = Date.now();
  // Before the start, and the job starts from the latest: a table is read from its beginning all the same.
  await desk.log.produce('products', [
    { key: 'a', value: '{"name":"old"}', timestamp: now - 100 },
    { key: 'a', value: '{"name":"chair"}', timestamp: now - 90 },
    { key: 'b', value: '{"name":"desk"}', timestamp: now - 90 },
  ]);
  await desk.log.produce('orders', [{ key: 'a', value: '{"n":0}', timestamp: now - 50 }]);
  const manager = await desk.start(joinsStream, { startFrom: 'latest', workers: 1 });
  await manager.ready();
  const { joins: router } = manager.streams;
  await router.send('products', { key: 'b', value: null, timestamp: now });
  await router.send('payments', { key: 'a', value: { amount: 7 }, timestamp: now + 5 });
  await router.send('orders', { key: 'a', value: { n: 1 }, timestamp: now + 5 });
  await router.send('orders', { key: 'b', value: { n: 2 }, timestamp: now + 5 });
  const found = await results(5);
  const of = (join: string) => found.filter((one) => (one as { join: string }).join === join);
  assert.deepEqual(of('stream'), [{ join: 'stream', n: 1, amount: 7 }]);
  assert.equal(of('asOf').length, 2);
  assert.deepEqual(
    of('lookup').sort((x, y) => (x as { n: number }).n - (y as { n: number }).n),
    [
      { join: 'lookup', n: 1, name: 'chair' },
      { join: 'lookup', n: 2, name: null },
    ],
  );
  await manager.stop();
  const again = await desk.start(joinsStream, { startFrom: 'latest', workers: 1 });
  await again.ready();
  const { joins: second } = again.streams;
  assert.deepEqual(await second.query('product', { key: 'a' }), { name: 'chair' });
  assert.equal(await second.query('product', { key: 'b' }), undefined);
  assert.deepEqual(await second.query('payments', { key: 'a', read: 'committed' }), [[now + 5, 7]]);
});
