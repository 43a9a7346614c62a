/**
 * What becomes of the others when a partition can't go on, on whatever log: it stays down alone, it is tried again, or the
 * manager gives all of them back and another takes over; and records that kill, each in its own way, in the dead letters.
 * State and outputs are the plain loop's in the end.
 */
import assert from 'node:assert/strict';
import { isPartitaError, type ManagerOptions, type PartitaError } from '../../src/index.js';
import type { Deed } from '../fixtures/deadly.js';
import { codesOf, keyOf, type DeadlyManager, type DeadlyPolicy, type DeadlyTopics } from './deadly-run.js';
import { until } from './waiting.js';
import { code } from './manager-desk.js';
import type { TopicsLog } from './topics-log.js';

export interface DeadlyPlace {
  readonly log: TopicsLog;
  /** Of three partitions, without records yet. */
  readonly topics: DeadlyTopics;
  /** Few restarts. */
  readonly start: (
    policy: DeadlyPolicy,
    options: Partial<Omit<ManagerOptions, 'streams'>>,
  ) => Promise<DeadlyManager>;
}

/** Everything of partition 1 is committed, and then it meets a record that no attempt survives. */
async function failOne(topics: DeadlyTopics, manager: DeadlyManager): Promise<PartitaError> {
  await topics.fill(10);
  await until(() => topics.settled(), 'what came before');
  const failed = failureOfOne(manager);
  await topics.deed(1, 'throw');
  return failed;
}

function failureOfOne(manager: DeadlyManager): Promise<PartitaError> {
  return new Promise((resolve) => {
    manager.once('partitionFailed', (event) => {
      assert.deepEqual([event.stream, event.partition], ['deadly', 1]);
      resolve(event.error);
    });
  });
}

/** It is down alone: its calls are told why at once, the others go on. */
export async function isolateOne({ topics, start }: DeadlyPlace): Promise<void> {
  const manager = await start('fail', { onPartitionFailed: 'isolate' });
  let failures = 0;
  let revocations = 0;
  manager
    .on('partitionFailed', () => failures++)
    .on('failed', () => failures++)
    .on('revoked', () => revocations++);
  const error = await failOne(topics, manager);
  assert.deepEqual(codesOf(error), ['ACTOR_FAILED', 'HANDLER_FAILED', 'Error']);
  const { deadly } = manager.streams;
  const startedAt = performance.now();
  for (const call of [
    deadly.query('all', { partition: 1 }),
    deadly.command('add', { key: keyOf(1, 3), args: [1] }),
  ])
    await assert.rejects(call, (refusal: unknown) => {
      assert.deepEqual(codesOf(refusal), ['ACTOR_FAILED', 'HANDLER_FAILED', 'Error']);
      return true;
    });
  assert.ok(performance.now() - startedAt < 5_000, 'they wait for nothing');
  await manager.ready();
  await topics.fill(10, 0, 2);
  await until(() => topics.settled([0, 2]), 'the others');
  assert.equal(await add(topics, manager, keyOf(2, 3, 9), 5), 5);
  const { partitions } = await manager.stats();
  const states = partitions.map(({ partition, state, failure }) => [partition, state, failure !== undefined]);
  assert.deepEqual(states.sort(), [
    [0, 'running', false],
    [1, 'failed', true],
    [2, 'running', false],
  ]);
  // Of what came after its last commit nothing is out.
  assert.deepEqual(await topics.outputs(), topics.expected().outputs);
  await topics.assertState(manager, [0, 2]);
  assert.deepEqual([failures, revocations, manager.state], [1, 0, 'running']);
}

/** Reopened it fails again for the same cause, and serves once that is gone. */
export async function reopenOne({ log, topics, start }: DeadlyPlace): Promise<void> {
  const manager = await start('decide', { onPartitionFailed: 'isolate' });
  const error = await failOne(topics, manager);
  assert.deepEqual(codesOf(error), ['ACTOR_FAILED', 'TOPIC_MISSING', 'Error']);
  const again = failureOfOne(manager);
  // It serves, and then comes to the same record; it may fail before its serving is noticed.
  await manager.reopen('deadly', 1).catch(code('ACTOR_FAILED'));
  assert.deepEqual(codesOf(await again), ['ACTOR_FAILED', 'TOPIC_MISSING', 'Error']);
  await log.createTopic({ topic: 'graves', partitions: 3 });
  const waiting = manager.reopen('deadly', 1);
  // Calls wait for it again.
  assert.equal(await add(topics, manager, keyOf(1, 3, 9), 3), 3);
  await waiting;
  await manager.reopen('deadly', 1);
  await topics.fill(5);
  await until(() => topics.settled(), 'all of them');
  await topics.assertEqual(manager);
  assert.equal((await topics.deadLetters('graves')).length, 1);
  await assert.rejects(manager.reopen('deadly', 7), code('PARTITION_NOT_OWNED'));
}

/** A manager whose partition fails gives the others back, committed, and leaves; another takes over. */
export async function leaveAndHandOver({ topics, start }: DeadlyPlace): Promise<void> {
  const leaver = await start('fail', {
    onPartitionFailed: 'leaveGroup',
    instanceId: 'a',
    advertise: 'a:1',
    checkpoint: { intervalMs: 60_000 },
  });
  await leaver.ready();
  await add(topics, leaver, keyOf(0, 3, 9), 4, 'processed');
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
  const next = await start('skip', { instanceId: 'b', advertise: 'b:1' });
  await next.ready();
  await topics.fill(5);
  await until(() => topics.settled(), 'all of them');
  await topics.assertEqual(next);
  // The one that left still sends and locates.
  const key = keyOf(2, 3);
  assert.deepEqual(leaver.locate('deadly', key).partition, 2);
  assert.equal(leaver.locate('deadly', key).local, false);
  const sent = await deadly.send('events', { key, value: { n: 0 } });
  assert.equal(sent.partition, 2);
  await leaver.stop();
  assert.equal(leaver.state, 'stopped');
}

/** One partition per deed, and one without: each deadly record goes to the dead letters, once, and none beside them. */
export async function buryTheDeadly(
  topics: DeadlyTopics,
  deeds: readonly Deed[],
  start: DeadlyPlace['start'],
): Promise<void> {
  await topics.fill(30);
  for (const [partition, deed] of deeds.entries()) await topics.deed(partition, deed);
  await topics.fill(30);
  const manager = await start('dead-letter', {});
  let failed: unknown;
  manager.on('failed', ({ error }) => (failed = error));
  await until(async () => failed !== undefined || (await topics.settled()), 'every partition', 60_000);
  assert.equal(failed, undefined, codesOf(failed).join(' '));
  await topics.assertEqual(manager);
  const found = (await topics.deadLetters()).map(({ code, event }) => [code, event.deed] as const);
  const inOrder = found.sort(([, a], [, b]) => deeds.indexOf(a!) - deeds.indexOf(b!));
  assert.deepEqual(
    inOrder,
    deeds.map((deed) => [deed === 'throw' ? 'HANDLER_FAILED' : 'POISON_RECORD', deed]),
  );
}

/** A command that kills is rejected and not run again, and its partition serves on. */
export async function refuseDeadlyCommand(
  topics: DeadlyTopics,
  deed: 'exit' | 'block' | 'hang',
  start: DeadlyPlace['start'],
): Promise<void> {
  await topics.fill(5);
  const manager = await start('fail', { workers: 1 });
  await until(() => topics.settled(), 'the records');
  let restarts = 0;
  manager.on('restarting', () => restarts++);
  const died = manager.streams.deadly.command('die', { partition: 0, args: [deed] });
  await assert.rejects(died, (error: unknown) => {
    assert.ok(isPartitaError(error, 'ACTOR_RESTARTED'), String(error));
    assert.equal(error.details['outcome'], 'notApplied');
    return true;
  });
  await manager.ready();
  await topics.assertEqual(manager);
  assert.equal(restarts, 1);
}

async function add(
  topics: DeadlyTopics,
  manager: DeadlyManager,
  key: string,
  n: number,
  ack: 'processed' | 'committed' = 'committed',
): Promise<number> {
  const total = await manager.streams.deadly.command('add', { key, args: [n], ack });
  topics.added(key, n);
  return total;
}
