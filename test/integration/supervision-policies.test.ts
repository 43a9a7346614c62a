/**
 * What becomes of the others when a partition can't go on: it stays down alone and is tried again, or the manager gives all
 * of them back and leaves the group. Real threads on the embedded log.
 */
import assert from 'node:assert/strict';
import { writeFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { MemoryMetrics } from '../../src/core/metrics.js';
import { isPartitaError } from '../../src/index.js';
import { isolateOne, leaveAndHandOver, reopenOne, type DeadlyPlace } from '../support/deadly-policies.js';
import { codesOf, DeadlyTopics, deadlyStream } from '../support/deadly-run.js';
import { until } from '../support/waiting.js';
import { ManagerDesk } from '../support/manager-desk.js';

let desk: ManagerDesk;
let topics: DeadlyTopics;

beforeEach(async () => {
  desk = await ManagerDesk.open({
    workers: 2,
    restarts: { max: 2, firstMs: 5, maxMs: 20 },
    onPartitionFailed: 'isolate',
  });
  topics = await DeadlyTopics.create(desk.log, 3);
});

afterEach(() => desk.close());

function place(): DeadlyPlace {
  return {
    log: desk.log,
    topics,
    start: (policy, options) => desk.start(deadlyStream(policy), options),
  };
}

test('an isolated partition is down alone: its calls are told why at once, the others go on', async () => {
  await isolateOne(place());
});

test('reopening tries again: it fails again for the same cause, and serves once that is gone', async () => {
  await reopenOne(place());
});

test('a manager starts with the partitions that can be opened, and says which can not', async () => {
  await topics.fill(5);
  const directory = join(desk.stateDir, 'g', 'deadly');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, '1'), 'a file where the database should be');
  const manager = await desk.start(deadlyStream('fail'));
  // It failed before there was anybody who could listen.
  const failed: number[] = [];
  manager.on('partitionFailed', ({ partition }) => failed.push(partition));
  const { partitions } = await manager.stats();
  assert.equal(partitions.find(({ partition }) => partition === 1)?.state, 'failed');
  await manager.ready();
  await until(() => topics.settled([0, 2]), 'the others');
  assert.deepEqual(failed, [1]);
  await rm(join(directory, '1'));
  await manager.reopen('deadly', 1);
  await until(() => topics.settled(), 'all of them');
  await topics.assertEqual(manager);
});

test('a damaged database that is not to be rebuilt fails its partition at once, and serves once its files are gone', async () => {
  await topics.fill(5);
  const first = await desk.start(deadlyStream('fail'));
  await until(() => topics.settled(), 'what came before');
  await first.stop();
  const directory = join(desk.stateDir, 'g', 'deadly', '1');
  await writeFile(join(directory, 'level', 'CURRENT'), 'no manifest\n');
  const metrics = new MemoryMetrics();
  const manager = await desk.start(deadlyStream('fail'), { rebuildOnCorruption: false, metrics });
  await manager.ready();
  const { partitions } = await manager.stats();
  const failures = partitions.filter(({ state }) => state === 'failed').map(({ failure }) => failure);
  assert.deepEqual(failures.map(codesOf), [['CORRUPT']]);
  assert.equal(metrics.value('partita_restarts_total', { stream: 'deadly', partition: '1' }) ?? 0, 0);
  await rm(directory, { recursive: true });
  await manager.reopen('deadly', 1);
  await topics.assertEqual(manager);
});

test('a manager whose partition fails gives the others back, committed, and leaves; another takes over', async () => {
  await leaveAndHandOver(place());
});

test('a manager that leaves while a handler of another partition hangs still leaves, in bounded time', async () => {
  const manager = await desk.start(deadlyStream('fail'), {
    onPartitionFailed: 'leaveGroup',
    revokeBudgetMs: 300,
  });
  await manager.ready();
  await topics.deed(2, 'hang');
  await new Promise((resolve) => setTimeout(resolve, 100));
  const left = new Promise<{ readonly committed: boolean }>((resolve) => {
    manager.once('left', resolve);
  });
  await topics.deed(1, 'throw');
  assert.equal((await left).committed, false);
  assert.equal(manager.state, 'left');
});

test('a start under leaveGroup that finds a partition which can not be opened rejects, and holds nothing', async () => {
  const directory = join(desk.stateDir, 'g', 'deadly');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, '1'), 'a file where the database should be');
  await assert.rejects(
    desk.start(deadlyStream('fail'), { onPartitionFailed: 'leaveGroup' }),
    (error: unknown) => {
      assert.ok(isPartitaError(error, 'ACTOR_FAILED'), String(error));
      return true;
    },
  );
});

test('an output whose limit is lowered costs one restart: the limit is read again, and nothing is lost', async () => {
  const manager = await desk.start(deadlyStream('fail'), { checkpoint: { intervalMs: 300 } });
  await manager.ready();
  const errors: unknown[] = [];
  manager.on('restarting', ({ error }) => errors.push(error));
  await topics.fill(20);
  await desk.log.alterTopic('totals', { 'max.message.bytes': '200' });
  await until(() => topics.settled(), 'all of them');
  assert.ok(errors.length >= 1 && errors.length <= 3, `${errors.length} restarts of three partitions`);
  for (const error of errors) assert.ok(isPartitaError(error, 'COMMIT_REJECTED'), String(error));
  await topics.assertEqual(manager);
});
