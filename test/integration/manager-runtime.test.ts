/** The whole runtime on the embedded log, with worker threads: start, process, ask, die, restart, stop. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { afterEach, beforeEach, test } from 'node:test';
import {
  embeddedLog,
  isPartitaError,
  processorAt,
  StateManager,
  type EmbeddedLog,
  type ManagerOptions,
} from '../../src/index.js';
import { heldDirectories } from '../../src/manager/directory-registry.js';
import type totals from '../fixtures/totals-processor.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { PATIENCE_MS } from '../support/waiting.js';

const PARTITIONS = 4;
const url = new URL('../fixtures/totals-processor.js', import.meta.url);
const streams = { totals: processorAt<typeof totals>(url) };
type Manager = StateManager<typeof streams>;

let log: EmbeddedLog;
let stateDir: string;
const managers: Manager[] = [];

beforeEach(async () => {
  stateDir = temporaryDirectory('manager');
  log = await embeddedLog();
  await log.createTopic({ topic: 'amounts', partitions: PARTITIONS });
  await log.createTopic({ topic: 'totals', partitions: 2 });
});

afterEach(async () => {
  await Promise.allSettled(managers.splice(0).map((manager) => manager.stop({ deadlineMs: 5_000 })));
  await log.close();
  assert.deepEqual(heldDirectories(), []);
});

async function start(options: Partial<ManagerOptions<typeof streams>> = {}): Promise<Manager> {
  const manager = await StateManager.start({
    group: 'g',
    streams,
    log,
    stateDir,
    workers: 2,
    checkpoint: { intervalMs: 50 },
    restarts: { firstMs: 10, maxMs: 100 },
    ...options,
  });
  managers.push(manager);
  return manager;
}

function int64Bytes(value: number): Uint8Array {
  const buffer = Buffer.alloc(8);
  buffer.writeBigInt64BE(BigInt(value));
  return buffer;
}

/** Appends `rounds` amounts for each of `keys` keys; returns the expected sums by key. */
async function produce(rounds: number, keys = 50): Promise<Map<string, number>> {
  const expected = new Map<string, number>();
  const records = [];
  for (let round = 0; round < rounds; round++)
    for (let k = 0; k < keys; k++) {
      const key = `key-${k}`;
      const amount = round * k + 1;
      expected.set(key, (expected.get(key) ?? 0) + amount);
      records.push({ key, value: int64Bytes(amount) });
    }
  await log.produce('amounts', records);
  return expected;
}

async function sums(manager: Manager): Promise<Map<string, number>> {
  const all = await manager.streams.totals.queryAll('all', {});
  return new Map([...all.values()].flat().map(({ key, sum }) => [key, sum]));
}

/** Until the sums are as expected; the last answer if they never are. */
async function eventually(manager: Manager, expected: Map<string, number>): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  let found = await sums(manager);
  while (performance.now() < until && !same(found, expected)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    found = await sums(manager);
  }
  assert.deepEqual(sorted(found), sorted(expected));
}

function same(a: Map<string, number>, b: Map<string, number>): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
}

function sorted(map: Map<string, number>): [string, number][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}

test('records become state that queries see, and outputs that readers of committed records see', async () => {
  const expected = await produce(20);
  const manager = await start();
  await manager.ready();
  await eventually(manager, expected);
  await manager.checkpoint();
  const outputs = new Map<string, number>();
  let count = 0;
  for await (const { key, value } of log.read('totals')) {
    count++;
    const { sum } = JSON.parse(Buffer.from(value!).toString()) as { sum: number };
    outputs.set(Buffer.from(key!).toString(), Math.max(outputs.get(Buffer.from(key!).toString()) ?? 0, sum));
  }
  assert.equal(count, 1_000);
  assert.deepEqual(sorted(outputs), sorted(expected));
  const { sum } = (await manager.streams.totals.query('total', { key: 'key-7' }))!;
  assert.equal(sum, expected.get('key-7'));
});

test('a second start goes on where the first one stopped, with its state', async () => {
  const first = await produce(5);
  const manager = await start();
  await eventually(manager, first);
  await manager.stop();
  assert.equal(manager.state, 'stopped');
  const second = await produce(3);
  const again = await start();
  await eventually(again, new Map([...first].map(([key, sum]) => [key, sum + second.get(key)!])));
});

test('a start without the local databases recovers them from the changelog', async () => {
  const expected = await produce(10);
  const manager = await start();
  await eventually(manager, expected);
  await manager.stop();
  await rm(stateDir, { recursive: true });
  const again = await start();
  await again.ready();
  assert.deepEqual(sorted(await sums(again)), sorted(expected));
  const { partitions } = await again.stats();
  const restored = partitions.reduce((sum, { actor }) => sum + (actor?.restoredRecords ?? 0), 0);
  assert.ok(restored >= 50, `only ${restored} records were restored`);
});

test('a thread that dies takes nothing with it: its partitions come back elsewhere with what is committed', async () => {
  const expected = await produce(10);
  const manager = await start();
  await eventually(manager, expected);
  let restarts = 0;
  manager.on('restarting', () => restarts++);
  const fatal = manager.streams.totals.command('exit', { partition: 1 });
  await assert.rejects(fatal, (error: unknown) => {
    assert.ok(isPartitaError(error, 'ACTOR_RESTARTED'), String(error));
    assert.equal(error.details['outcome'], 'notApplied');
    return true;
  });
  const more = await produce(4);
  await eventually(manager, new Map([...expected].map(([key, sum]) => [key, sum + more.get(key)!])));
  assert.ok(restarts >= 1);
  assert.equal(manager.state, 'running');
});

test('a committed command survives a restart, one that throws changes nothing', async () => {
  const manager = await start();
  assert.equal(await manager.streams.totals.command('add', { key: 'a', args: [5] }), 5);
  assert.equal(await manager.streams.totals.command('add', { key: 'a', args: [6] }), 11);
  await assert.rejects(manager.streams.totals.command('refuse', { key: 'a' }), /refused/);
  await manager.stop();
  await assert.rejects(manager.streams.totals.query('total', { key: 'a' }), (error: unknown) =>
    isPartitaError(error, 'STOPPED'),
  );
  const again = await start();
  assert.deepEqual(await again.streams.totals.query('total', { key: 'a' }), { sum: 11, n: 0 });
});

test('commands that had not started when their thread died run in the next one, once', async () => {
  const manager = await start({ workers: 1 });
  await manager.ready();
  const key = 'a';
  const { partition } = manager.locate('totals', key);
  const slow = manager.streams.totals.command('slow', { key, args: [200] });
  const fatal = manager.streams.totals.command('exit', { partition });
  const adds = Array.from({ length: 20 }, () => manager.streams.totals.command('add', { key, args: [1] }));
  const outcomes = await Promise.allSettled([slow, fatal]);
  for (const outcome of outcomes) {
    assert.equal(outcome.status, 'rejected');
    assert.ok(isPartitaError(outcome.reason, 'ACTOR_RESTARTED'), String(outcome.reason));
  }
  assert.deepEqual(
    await Promise.all(adds),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
});

test('two managers share the partitions, and each says who owns a key', async () => {
  const expected = await produce(5);
  const first = await start({ advertise: 'first', instanceId: 'one' });
  const second = await start({ advertise: 'second', instanceId: 'two' });
  await Promise.all([first.ready(), second.ready()]);
  const until = performance.now() + PATIENCE_MS;
  let merged = new Map<string, number>();
  while (performance.now() < until && !same(merged, expected)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    merged = new Map([...(await sums(first)), ...(await sums(second))]);
  }
  assert.deepEqual(sorted(merged), sorted(expected));
  const location = first.locate('totals', 'key-1');
  const [owner, other] = location.local ? [first, second] : [second, first];
  assert.equal((await owner.streams.totals.query('total', { key: 'key-1' }))?.sum, expected.get('key-1'));
  await assert.rejects(other.streams.totals.query('total', { key: 'key-1' }), (error: unknown) => {
    assert.ok(isPartitaError(error, 'PARTITION_NOT_OWNED'));
    assert.equal(error.details['owner'], location.local ? 'first' : 'second');
    return true;
  });
  await first.stop();
  await second.ready();
  await eventually(second, expected);
});

test('a sent record arrives in the partition of its key and is processed', async () => {
  const manager = await start();
  const sent = await manager.streams.totals.send('amounts', { key: 'key-9', value: 7 });
  assert.equal(sent.partition, manager.locate('totals', 'key-9').partition);
  await eventually(manager, new Map([['key-9', 7]]));
});
