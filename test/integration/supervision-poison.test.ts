/**
 * Records that kill whoever processes them, in every way there is: they are found, the error policy is applied to them, and
 * state and outputs are those of a plain loop without them. Real threads on the embedded log.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { isPartitaError } from '../../src/index.js';
import { buryTheDeadly, refuseDeadlyCommand } from '../support/deadly-policies.js';
import { codesOf, DeadlyTopics, deadlyStream } from '../support/deadly-run.js';
import { until } from '../support/waiting.js';
import { ManagerDesk } from '../support/manager-desk.js';

const WATCHDOG_MS = 1_000;
/** How its actor ends, by what the record does. */
const ENDS: Readonly<Record<'exit' | 'memory' | 'block' | 'hang', RegExp>> = {
  exit: /Thread .* died: .*exited with code: 3/,
  memory: /Thread .* died: .*memory/,
  block: /Thread .* died: .*its event loop was blocked/,
  hang: /has not settled for/,
};
const DEEDS = Object.keys(ENDS) as (keyof typeof ENDS)[];

let desk: ManagerDesk;

beforeEach(async () => {
  desk = await ManagerDesk.open({
    workers: 2,
    watchdogMs: WATCHDOG_MS,
    memory: { threadHeapMb: 48 },
    restarts: { max: 6, firstMs: 5, maxMs: 20 },
    checkpoint: { intervalMs: 50 },
  });
});

afterEach(() => desk.close());

for (const deed of DEEDS)
  test(`a record whose handler does ${deed} is skipped after three deaths, and nothing else is`, async (t) => {
    const topics = await DeadlyTopics.create(desk.log, 3);
    await topics.fill(40);
    await topics.deed(1, deed);
    await topics.fill(40);
    // A heap that is nearly full is collected again and again, which may look like blocking.
    const options = deed === 'memory' ? { watchdogMs: 20_000 } : {};
    const manager = await desk.start(deadlyStream('skip'), options);
    const startedAt = performance.now();
    const skipped: unknown[] = [];
    manager.on('skipped', (event) => skipped.push(event));
    let revocations = 0;
    manager.on('revoked', () => revocations++).on('lost', () => revocations++);
    await until(() => topics.settled([0, 2]), 'the other partitions');
    t.diagnostic(`the others were done after ${Math.round(performance.now() - startedAt)} ms`);
    await until(() => topics.settled(), 'the partition of the poison');
    t.diagnostic(`the poisoned one was done after ${Math.round(performance.now() - startedAt)} ms`);
    await topics.assertEqual(manager);
    assert.equal(skipped.length, 1);
    const [{ partition, topic, offset, error }] = skipped as [Record<string, unknown>];
    assert.deepEqual([partition, topic, offset], [1, 'events', 40]);
    assert.ok(isPartitaError(error, 'POISON_RECORD'), String(error));
    const deaths = error.details['deaths'] as string[];
    assert.equal(deaths.length, 3, deaths.join('\n'));
    for (const death of deaths) assert.match(death, ENDS[deed]);
    assert.equal(revocations, 0);
  });

test('four partitions, each with a record that kills in another way, on two threads: each goes to the dead letters, once', async () => {
  const topics = await DeadlyTopics.create(desk.log, 5);
  await buryTheDeadly(topics, DEEDS, (policy, options) => desk.start(deadlyStream(policy), options));
});

test('three records in a row that kill are each found, and none beside them', async () => {
  const topics = await DeadlyTopics.create(desk.log, 2);
  await topics.fill(10);
  for (let i = 0; i < 3; i++) await topics.deed(0, 'exit');
  await topics.fill(10);
  const manager = await desk.start(deadlyStream('dead-letter'));
  const ready = manager.ready();
  await until(() => topics.settled(), 'every partition');
  await ready;
  await topics.assertEqual(manager);
  assert.equal((await topics.deadLetters()).length, 3);
});

test('a record that is slow on a thread that another record kills again and again is not taken for the poison', async () => {
  const topics = await DeadlyTopics.create(desk.log, 2);
  // Both wait when the thread ends, so that it could be either; and whenever the one kills, the other is under way.
  for (let i = 0; i < 10; i++) await topics.deed(0, 'slow');
  await topics.deed(1, 'exitLater');
  await topics.fill(5);
  const manager = await desk.start(deadlyStream('dead-letter'), { workers: 1 });
  await until(() => topics.settled(), 'every partition');
  await topics.assertEqual(manager);
  assert.deepEqual(
    (await topics.deadLetters()).map(({ event }) => event.deed),
    ['exitLater'],
  );
});

test('a poison record under the policy fail fails its partition, with the record and how its incarnations ended', async () => {
  const topics = await DeadlyTopics.create(desk.log, 1);
  await topics.fill(3);
  await topics.deed(0, 'exit');
  const manager = await desk.start(deadlyStream('fail'));
  const error = await new Promise<unknown>((resolve) => {
    manager.on('failed', (event) => {
      resolve(event.error);
    });
  });
  assert.deepEqual(codesOf(error), ['ACTOR_FAILED', 'POISON_RECORD']);
  const { cause } = error as Error;
  assert.ok(isPartitaError(cause, 'POISON_RECORD'));
  assert.equal(cause.details['offset'], 3);
  assert.match(cause.message, /events-0 offset 3 .* 3 times in a row: .*exited with code: 3/);
});

for (const deed of ['exit', 'block', 'hang'] as const)
  test(`a command that does ${deed} is rejected and not run again, and the partition serves on`, async () => {
    const topics = await DeadlyTopics.create(desk.log, 1);
    await refuseDeadlyCommand(topics, deed, (policy, options) => desk.start(deadlyStream(policy), options));
  });
