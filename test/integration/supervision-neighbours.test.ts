/**
 * What the others notice of a partition that blocks its thread, eats its memory or ends it, for ever: nothing on other
 * threads, pauses on its own, and no rebalance. Detection and return are printed, since they are what an operator asks for.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { endSomeForEver } from '../support/deadly-neighbours.js';
import { codesOf, DeadlyTopics, deadlyStream } from '../support/deadly-run.js';
import { until } from '../support/waiting.js';
import { ManagerDesk } from '../support/manager-desk.js';

const WATCHDOG_MS = 1_000;

let desk: ManagerDesk;

beforeEach(async () => {
  desk = await ManagerDesk.open({
    watchdogMs: WATCHDOG_MS,
    memory: { threadHeapMb: 48 },
    restarts: { max: 8, firstMs: 20, maxMs: 100 },
    onPartitionFailed: 'isolate',
  });
});

afterEach(() => desk.close());

test('one partition blocks for ever, one is out of memory, one exits: the others advance meanwhile, without a rebalance', async (t) => {
  const topics = await DeadlyTopics.create(desk.log, 6);
  // Three threads, each with one that kills it and one that does not.
  const manager = await desk.start(deadlyStream('fail'), { workers: 3 });
  await endSomeForEver({
    topics,
    manager,
    deeds: ['block', 'memory', 'exit'],
    generation: async () => (await desk.log.describeGroup('g')).generation,
    tell: (line) => {
      t.diagnostic(line);
    },
  });
});

test('a partition on the thread of one that blocks it again and again gets on in between', async () => {
  const topics = await DeadlyTopics.create(desk.log, 2);
  const manager = await desk.start(deadlyStream('fail'), { workers: 1, checkpoint: { intervalMs: 500 } });
  let deaths = 0;
  let failed = false;
  manager
    .on('restarting', ({ partition }) => {
      if (partition === 1) deaths++;
    })
    .on('partitionFailed', () => (failed = true));
  await topics.deed(1, 'block');
  await topics.fill(20, 0);
  await until(() => topics.settled([0]), 'the other one');
  assert.ok(deaths <= 1 && !failed, `${deaths} deaths`);
  await until(() => failed, 'the end of the one that blocks');
  assert.equal(deaths, 3);
  assert.deepEqual(await topics.outputs(), topics.expected().outputs);
});

test('a handler that takes its time, but less than the watchdog gives it, is left alone', async () => {
  const topics = await DeadlyTopics.create(desk.log, 1);
  for (let i = 0; i < 6; i++) await topics.deed(0, 'slow');
  const manager = await desk.start(deadlyStream('fail'), { workers: 1 });
  let restarts = 0;
  manager.on('restarting', () => restarts++);
  await until(() => topics.settled(), 'the slow records');
  await new Promise((resolve) => setTimeout(resolve, 2 * WATCHDOG_MS));
  assert.equal(restarts, 0, 'idle is not stuck either');
});

test('a handler that settles after its actor was given up changes nothing any more', async () => {
  const topics = await DeadlyTopics.create(desk.log, 1);
  await topics.fill(5);
  await topics.deed(0, 'late');
  await topics.fill(5);
  const manager = await desk.start(deadlyStream('fail'), { workers: 1 });
  const ends: string[][] = [];
  manager.on('restarting', ({ error }) => ends.push(codesOf(error)));
  await until(() => topics.settled(), 'the records');
  // It has gone on by then.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  await topics.fill(5);
  await until(() => topics.settled(), 'the records after');
  await topics.assertEqual(manager);
  assert.deepEqual(ends, [['ACTOR_STUCK']]);
});

test('with the watchdog off a handler that never settles is waited for', async () => {
  const topics = await DeadlyTopics.create(desk.log, 1);
  await topics.deed(0, 'hang');
  const manager = await desk.start(deadlyStream('skip'), { workers: 1, watchdogMs: 0 });
  let restarts = 0;
  manager.on('restarting', () => restarts++);
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  assert.equal(restarts, 0);
  await manager.stop({ deadlineMs: 1_000 }).catch(() => undefined);
});
