/**
 * What the others notice of a partition that blocks its thread, eats its memory or ends it, for ever: nothing on other
 * threads, pauses on its own, and no rebalance. Detection and return are printed, since they are what an operator asks for.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { Deed } from '../fixtures/deadly.js';
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
  const deeds: readonly Deed[] = ['block', 'memory', 'exit'];
  const healthy = [3, 4, 5];
  const topics = await DeadlyTopics.create(desk.log, 6);
  // Three threads, each with one that kills it and one that does not.
  const manager = await desk.start(deadlyStream('fail'), { workers: 3 });
  await manager.ready();
  await topics.fill(5);
  await until(() => topics.settled(), 'the records before');
  const { generation } = await desk.log.describeGroup('g');
  const sentAt = new Map<number, number>();
  const deaths = new Map<number, number[]>();
  const returns = new Map<number, number[]>();
  const failedAt = new Map<number, number>();
  let rebalances = 0;
  const note = (map: Map<number, number[]>, partition: number) => {
    map.set(partition, [...(map.get(partition) ?? []), performance.now()]);
  };
  manager
    .on('restarting', ({ partition }) => {
      note(deaths, partition);
    })
    .on('recovered', ({ partition }) => {
      note(returns, partition);
    })
    .on('partitionFailed', ({ partition, error }) => {
      assert.deepEqual(codesOf(error), ['ACTOR_FAILED', 'POISON_RECORD']);
      failedAt.set(partition, performance.now());
    })
    .on('revoked', () => rebalances++)
    .on('lost', () => rebalances++);
  for (const [partition, deed] of deeds.entries()) {
    sentAt.set(partition, performance.now());
    await topics.deed(partition, deed);
  }
  // Traffic goes on until all three are known for what they are.
  for (let round = 0; failedAt.size < deeds.length; round++) {
    assert.ok(round < 3_000, 'they were not found in a minute');
    await topics.fill(1, ...healthy);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const foundAt = Math.max(...failedAt.values());
  const untilThen = (await topics.outputs()).map((outputs) => outputs.length);
  await until(() => topics.settled(healthy), 'the healthy ones');
  for (const partition of healthy)
    assert.ok(untilThen[partition]! > 5, `${partition} has not got on: ${untilThen.join()}`);
  assert.deepEqual(
    [...failedAt.keys()].sort((a, b) => a - b),
    [0, 1, 2],
  );
  assert.deepEqual(await topics.outputs(), topics.expected().outputs);
  assert.equal(rebalances, 0);
  assert.equal((await desk.log.describeGroup('g')).generation, generation);
  for (const [partition, deed] of deeds.entries()) {
    const [first] = deaths.get(partition)!;
    const back = (returns.get(partition) ?? []).find((at) => at > first!);
    t.diagnostic(
      `${deed}: noticed after ${ms(first! - sentAt.get(partition)!)}, back after ${ms(back! - first!)}, given up after ${ms(failedAt.get(partition)! - sentAt.get(partition)!)}`,
    );
  }
  t.diagnostic(
    `the last was given up ${ms(foundAt - sentAt.get(0)!)} after the first record; outputs by then: ${untilThen.join(', ')}`,
  );
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

function ms(time: number): string {
  return `${Math.round(time)} ms`;
}
