/** What goes wrong around the manager: lost answers, handlers that throw or hang, starts that can't, late stops. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isPartitaError, processorAt, type EmbeddedLog } from '../../src/index.js';
import type { LogFaults } from '../../src/log/embedded/log-faults.js';
import { heldDirectories } from '../../src/manager/directory-registry.js';
import type totals from '../fixtures/totals-processor.js';
import type unruly from '../fixtures/unruly-processor.js';
import { code, ManagerDesk } from '../support/manager-desk.js';
import { PATIENCE_MS, until } from '../support/waiting.js';

const totalsStream = {
  totals: processorAt<typeof totals>(new URL('../fixtures/totals-processor.js', import.meta.url)),
};
const unrulyStream = {
  orders: processorAt<typeof unruly>(new URL('../fixtures/unruly-processor.js', import.meta.url)),
};

let desk: ManagerDesk;
let log: EmbeddedLog;
let stateDir: string;
/** What the next commit that carries records meets. */
let nextCommit: 'fine' | 'lost' | 'never' = 'fine';
const faults: LogFaults = {
  before: (operation) => {
    if (operation !== 'commit' || nextCommit !== 'never') return;
    nextCommit = 'fine';
    throw new Error('the connection broke');
  },
  after: (operation) => {
    if (operation !== 'commit' || nextCommit !== 'lost') return undefined;
    nextCommit = 'fine';
    return 'lost';
  },
};

beforeEach(async () => {
  nextCommit = 'fine';
  desk = await ManagerDesk.open({ workers: 2, restarts: { max: 3, firstMs: 5, maxMs: 20 } }, { faults });
  ({ log, stateDir } = desk);
  for (const [topic, partitions] of [
    ['amounts', 2],
    ['totals', 1],
    ['orders', 2],
  ] as const)
    await log.createTopic({ topic, partitions });
});

afterEach(() => desk.close());

const start: ManagerDesk['start'] = (streams, options) => desk.start(streams, options);

test('a command whose commit happened but was never answered is acknowledged, not repeated', async () => {
  const manager = await start(totalsStream);
  await manager.ready();
  assert.equal(await manager.streams.totals.command('add', { key: 'a', args: [1] }), 1);
  nextCommit = 'lost';
  assert.equal(await manager.streams.totals.command('add', { key: 'a', args: [10] }), 11);
  assert.equal((await manager.streams.totals.query('total', { key: 'a' }))?.sum, 11);
});

test('a command whose commit never reached the log is rejected as not applied, and is not', async () => {
  const manager = await start(totalsStream);
  await manager.ready();
  assert.equal(await manager.streams.totals.command('add', { key: 'a', args: [1] }), 1);
  nextCommit = 'never';
  await assert.rejects(manager.streams.totals.command('add', { key: 'a', args: [10] }), (error: unknown) => {
    assert.ok(isPartitaError(error, 'ACTOR_RESTARTED'), String(error));
    assert.equal(error.details['outcome'], 'notApplied');
    return true;
  });
  assert.equal((await manager.streams.totals.query('total', { key: 'a' }))?.sum, 1);
});

test('a handler that throws under the policy fail ends the manager, which says why and frees everything', async () => {
  const manager = await start(unrulyStream);
  await manager.ready();
  const failed = new Promise<unknown>((resolve) => {
    manager.on('failed', ({ error }) => {
      resolve(error);
    });
  });
  await log.produce('orders', [{ key: 'a', value: 'throw' }]);
  const error = await failed;
  assert.ok(isPartitaError(error, 'ACTOR_FAILED'));
  assert.match(JSON.stringify(error.details), /orders/);
  assert.ok(isPartitaError(error.cause, 'HANDLER_FAILED'), String(error.cause));
  await assert.rejects(manager.ready(), code('ACTOR_FAILED'));
  await assert.rejects(manager.streams.orders.query('count', { key: 'a' }), code('STOPPED'));
  await until(() => manager.state === 'stopped');
  assert.deepEqual(heldDirectories(), []);
});

test('a record that always kills its thread fails the manager after the bound, and never before', async () => {
  const manager = await start(unrulyStream);
  await manager.ready();
  let restarts = 0;
  let failed = false;
  manager.on('restarting', () => restarts++).on('failed', () => (failed = true));
  await log.produce('orders', [{ key: 'a', value: 'exit' }]);
  await until(() => failed && manager.state === 'stopped');
  assert.ok(restarts >= 3, `${restarts} restarts`);
});

test('a start that finds a topic missing says which and releases everything', async () => {
  await log.deleteTopic('totals');
  await assert.rejects(start(totalsStream), (error: unknown) => {
    assert.ok(isPartitaError(error, 'TOPIC_MISSING'));
    assert.match(error.message, /totals/);
    return true;
  });
  const manager = await start(totalsStream, { createTopics: { partitions: 3 } });
  await manager.ready();
  assert.equal((await log.describeTopic('totals'))?.partitions, 3);
});

test('a changelog that would lose state is refused, with what it has and what it needs', async () => {
  await log.createTopic({
    topic: 'changelog__g--totals',
    partitions: 2,
    configs: { 'cleanup.policy': 'delete' },
  });
  await assert.rejects(start(totalsStream), (error: unknown) => {
    assert.ok(isPartitaError(error, 'CHANGELOG_INVALID'));
    assert.match(error.message, /cleanup\.policy delete, but needs compact/);
    return true;
  });
});

test('a topic that belongs to two streams is refused', async () => {
  await assert.rejects(
    start({ one: totalsStream.totals, two: totalsStream.totals }),
    code('INVALID_OPTIONS'),
  );
});

for (const value of ['hang', 'block'] as const)
  test(`a handler that ${value}s for ever can't keep the manager from stopping by its deadline`, async () => {
    const manager = await start(unrulyStream);
    await manager.ready();
    await log.produce('orders', [{ key: 'a', value }]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const startedAt = performance.now();
    await manager.stop({ deadlineMs: 1_000 }).catch(code('STOP_DEADLINE'));
    assert.ok(performance.now() - startedAt < PATIENCE_MS);
    assert.equal(manager.state, 'stopped');
    assert.deepEqual(heldDirectories(), []);
  });

test('calls to an actor that is busy for long time out or are aborted, one by one', async () => {
  const manager = await start(totalsStream);
  await manager.ready();
  const { totals: router } = manager.streams;
  const slow = router.command('slow', { key: 'a', args: [400], ack: 'processed' });
  await assert.rejects(router.query('total', { key: 'a', timeoutMs: 50 }), code('CALL_TIMEOUT'));
  await assert.rejects(
    router.query('total', { key: 'a', signal: AbortSignal.timeout(50) }),
    code('CALL_ABORTED'),
  );
  assert.equal(await slow, 'slow');
});

test('more calls than a partition takes wait, and then are told that it is full', async () => {
  const manager = await start(totalsStream, { mailbox: { callsMax: 2, waitMs: 30 } });
  await manager.ready();
  const { totals: router } = manager.streams;
  const slow = router.command('slow', { key: 'a', args: [300], ack: 'processed' });
  const add = (): Promise<number> => router.command('add', { key: 'a', args: [1] });
  const second = add();
  await assert.rejects(add(), code('MAILBOX_FULL'));
  await slow;
  assert.equal(await second, 0);
  assert.equal(await add(), 1);
});

test('what is with a slow actor stays within its bound, and everything is processed in the end', async () => {
  const manager = await start(totalsStream, { mailbox: { bytesMax: 64 * 1024 }, chunkBytes: 16 * 1024 });
  await manager.ready();
  const slow = manager.streams.totals.command('slow', { partition: 0, args: [300], ack: 'processed' });
  const value = Buffer.alloc(8);
  value.writeBigInt64BE(1n);
  const records = Array.from({ length: 500 }, (_, i) => ({ key: `k${i % 50}`, value }));
  for (let batch = 0; batch < 40; batch++) await log.produce('amounts', records);
  let most = 0;
  const all = async (): Promise<number> => {
    most = Math.max(most, (await manager.stats()).outstandingBytes);
    const results = await manager.streams.totals.queryAll('all', { timeoutMs: 5_000 });
    return [...results.values()].flat().reduce((sum, { n }) => sum + n, 0);
  };
  const sampling = setInterval(() => {
    void manager.stats().then(({ outstandingBytes }) => (most = Math.max(most, outstandingBytes)));
  }, 10);
  await slow.catch(() => undefined);
  await until(async () => (await all()) === 20_000);
  clearInterval(sampling);
  // Two actors, each a chunk over its bound at most; a chunk is at least one batch of 500 records.
  assert.ok(most > 0 && most <= 2 * (64 + 32) * 1024, `${most} bytes`);
});

test('after stop nothing keeps the process alive', async () => {
  const program = fileURLToPath(new URL('../fixtures/start-and-stop.js', import.meta.url));
  const child = spawn(process.execPath, [program, stateDir], { stdio: ['ignore', 'pipe', 'inherit'] });
  const killed = setTimeout(() => child.kill('SIGKILL'), 10_000);
  const [output, exit] = await Promise.all([
    text(child.stdout),
    new Promise((resolve) => child.once('exit', resolve)),
  ]);
  clearTimeout(killed);
  assert.equal(output, 'stopped stopped\n');
  assert.equal(exit, 0);
});
