/**
 * What becomes of the others when a partition can't go on: it stays down alone and is tried again, or the manager gives all
 * of them back and leaves the group. Real threads on the embedded log.
 */
import assert from 'node:assert/strict';
import { writeFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { isPartitaError, type PartitaError } from '../../src/index.js';
import { codesOf, DeadlyTopics, deadlyStream, keyOf, type DeadlyManager } from '../support/deadly-run.js';
import { until } from '../support/waiting.js';
import { code, ManagerDesk } from '../support/manager-desk.js';

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

/** Everything of partition 1 is committed, and then it meets a record that no attempt survives. */
async function failOne(manager: DeadlyManager): Promise<PartitaError> {
  await topics.fill(10);
  await until(() => topics.settled(), 'what came before');
  const failed = new Promise<PartitaError>((resolve) => {
    manager.once('partitionFailed', (event) => {
      assert.deepEqual([event.stream, event.partition], ['deadly', 1]);
      resolve(event.error);
    });
  });
  await topics.deed(1, 'throw');
  return failed;
}

test('an isolated partition is down alone: its calls are told why at once, the others go on', async () => {
  const manager = await desk.start(deadlyStream('fail'));
  let failures = 0;
  let revocations = 0;
  manager
    .on('partitionFailed', () => failures++)
    .on('failed', () => failures++)
    .on('revoked', () => revocations++);
  const error = await failOne(manager);
  assert.deepEqual(codesOf(error), ['ACTOR_FAILED', 'HANDLER_FAILED', 'Error']);
  const { deadly } = manager.streams;
  for (const call of [
    deadly.query('all', { partition: 1 }),
    deadly.command('add', { key: keyOf(1, 3), args: [1] }),
  ])
    await assert.rejects(call, (refusal: unknown) => {
      assert.deepEqual(codesOf(refusal), ['ACTOR_FAILED', 'HANDLER_FAILED', 'Error']);
      return true;
    });
  await manager.ready();
  await topics.fill(10, 0, 2);
  await until(() => topics.settled([0, 2]), 'the others');
  assert.equal(await deadly.command('add', { key: keyOf(2, 3, 9), args: [5] }), 5);
  const { partitions } = await manager.stats();
  const states = partitions.map(({ partition, state, failure }) => [partition, state, failure !== undefined]);
  assert.deepEqual(states.sort(), [
    [0, 'running', false],
    [1, 'failed', true],
    [2, 'running', false],
  ]);
  // Of what came after its last commit nothing is out.
  assert.deepEqual(await topics.outputs(), topics.expected().outputs);
  assert.deepEqual([failures, revocations, manager.state], [1, 0, 'running']);
});

test('reopening tries again: it fails again for the same cause, and serves once that is gone', async () => {
  const manager = await desk.start(deadlyStream('decide'));
  const error = await failOne(manager);
  assert.deepEqual(codesOf(error), ['ACTOR_FAILED', 'TOPIC_MISSING', 'Error']);
  const again = new Promise<PartitaError>((resolve) => {
    manager.once('partitionFailed', (event) => {
      resolve(event.error);
    });
  });
  // It serves, and then comes to the same record; it may fail before its serving is noticed.
  await manager.reopen('deadly', 1).catch(code('ACTOR_FAILED'));
  assert.deepEqual(codesOf(await again), ['ACTOR_FAILED', 'TOPIC_MISSING', 'Error']);
  await desk.log.createTopic({ topic: 'graves', partitions: 3 });
  const waiting = manager.reopen('deadly', 1);
  // Calls wait for it again.
  assert.equal(await manager.streams.deadly.command('add', { key: keyOf(1, 3, 9), args: [3] }), 3);
  await waiting;
  await manager.reopen('deadly', 1);
  await topics.fill(5);
  await until(() => topics.settled(), 'all of them');
  assert.deepEqual(await topics.outputs(), topics.expected().outputs);
  assert.equal((await topics.deadLetters('graves')).length, 1);
  await assert.rejects(manager.reopen('deadly', 7), code('PARTITION_NOT_OWNED'));
});

test('a manager starts with the partitions that can be opened, and says which can not', async () => {
  await topics.fill(5);
  const directory = join(desk.stateDir, 'g', 'deadly');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, '1'), 'a file where the database should be');
  const manager = await desk.start(deadlyStream('fail'));
  await manager.ready();
  await until(() => topics.settled([0, 2]), 'the others');
  await until(
    async () =>
      (await manager.stats()).partitions.some(
        ({ partition, state }) => partition === 1 && state === 'failed',
      ),
    'the failure',
  );
  await rm(join(directory, '1'));
  await manager.reopen('deadly', 1);
  await until(() => topics.settled(), 'all of them');
  await topics.assertEqual(manager);
});

test('a manager whose partition fails gives the others back, committed, and leaves; another takes over', async () => {
  const leaver = await desk.start(deadlyStream('fail'), {
    onPartitionFailed: 'leaveGroup',
    instanceId: 'a',
    advertise: 'a:1',
    checkpoint: { intervalMs: 60_000 },
  });
  await leaver.ready();
  await leaver.streams.deadly.command('add', { key: keyOf(0, 3, 9), args: [4], ack: 'processed' });
  const left = new Promise<{ readonly committed: boolean; readonly error: PartitaError }>((resolve) => {
    leaver.once('left', resolve);
  });
  await topics.fill(5, 0, 2);
  const { deadly } = leaver.streams;
  await until(
    async () => [...(await deadly.queryAll('all', {})).values()].some((state) => state.length > 3),
    'the records',
  );
  await topics.deed(1, 'throw');
  const { committed, error } = await left;
  assert.equal(committed, true);
  assert.deepEqual(codesOf(error), ['ACTOR_FAILED', 'HANDLER_FAILED', 'Error']);
  assert.equal(leaver.state, 'left');
  // What had been processed is committed, also that which no checkpoint was due for.
  await assert.rejects(deadly.query('all', { partition: 0 }), code('PARTITION_NOT_OWNED'));
  await assert.rejects(deadly.query('all', { partition: 1 }), code('PARTITION_NOT_OWNED'));
  await assert.rejects(leaver.ready(), code('ACTOR_FAILED'));
  const next = await desk.start(deadlyStream('skip'), { instanceId: 'b', advertise: 'b:1' });
  await next.ready();
  await topics.fill(5);
  await until(() => topics.settled(), 'all of them');
  assert.equal(await next.streams.deadly.command('add', { key: keyOf(0, 3, 9), args: [0] }), 4);
  assert.deepEqual(await topics.outputs(), topics.expected().outputs);
  // The one that left still sends and locates.
  const key = keyOf(2, 3);
  assert.deepEqual(leaver.locate('deadly', key).partition, 2);
  assert.equal(leaver.locate('deadly', key).local, false);
  const sent = await deadly.send('events', { key, value: { n: 0 } });
  assert.equal(sent.partition, 2);
  await leaver.stop();
  assert.equal(leaver.state, 'stopped');
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
