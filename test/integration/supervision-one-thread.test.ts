/**
 * Supervision in one thread on a clock that is moved: minutes of hanging handlers and a thread that dies under the same
 * record, in no time and the same way each time.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { embeddedLog, isPartitaError, type EmbeddedLog } from '../../src/index.js';
import type { ManagerOptions } from '../../src/manager/options.js';
import { StateManager } from '../../src/manager/state-manager.js';
import { DeadlyTopics, deadlyStream, type DeadlyManager } from '../support/deadly-run.js';
import { OneThread } from '../support/one-thread.js';
import { seededRandom } from '../support/seeded-random.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

let world: OneThread;
let log: EmbeddedLog;
let stateDir: string;
let topics: DeadlyTopics;
let manager: DeadlyManager | undefined;

beforeEach(async () => {
  world = new OneThread(seededRandom(1));
  log = await embeddedLog({ clock: world.clock });
  stateDir = temporaryDirectory('one-thread');
  topics = await DeadlyTopics.create(log, 2);
});

afterEach(async () => {
  await world.drive(manager?.stop() ?? Promise.resolve());
  await log.close();
});

async function start(options: Partial<ManagerOptions> = {}): Promise<DeadlyManager> {
  const streams = deadlyStream('dead-letter');
  // In memory: a disk would take the machine's time, and the clock that is moved would not wait for it.
  const all = { group: 'g', log, stateDir, engine: 'memory', workers: 1, ...options, streams } as const;
  manager = await world.drive(StateManager.startIn(all, world.environment));
  await world.drive(manager.ready());
  return manager;
}

async function settled(partitions?: readonly number[]): Promise<void> {
  for (let step = 0; !(await topics.settled(partitions)); step++) {
    assert.ok(step < 1_000, 'it did not come about');
    await world.drive(world.clock.sleep(200));
  }
}

test('a handler that never settles is noticed after half a minute, each time, not before, and its record is given up after three', async () => {
  await topics.fill(4);
  await topics.deed(1, 'hang');
  await topics.fill(4);
  const running = await start();
  const stuckAt: number[] = [];
  running.on('restarting', ({ partition, error }) => {
    assert.equal(partition, 1);
    assert.ok(isPartitaError(error, 'ACTOR_STUCK'), String(error));
    assert.deepEqual([error.details['topic'], error.details['offset']], ['events', 4]);
    stuckAt.push(world.clock.monotonic());
  });
  await settled([0]);
  assert.equal(stuckAt.length, 0);
  await settled();
  assert.equal(stuckAt.length, 3);
  // Opening a database is real work, during which this clock runs on: there is no telling how far.
  const between = stuckAt.slice(1).map((at, i) => at - stuckAt[i]!);
  assert.ok(
    between.every((time) => time >= 30_000),
    between.join(),
  );
  assert.deepEqual(await topics.outputs(), topics.expected().outputs);
  assert.deepEqual(
    (await topics.deadLetters()).map(({ code }) => code),
    ['POISON_RECORD'],
  );
});

test('what lies before a suspect record is committed on the way to it, by few checkpoints, and not lost to the next death', async () => {
  await topics.fill(200, 0);
  await topics.deed(0, 'hang');
  const running = await start({ checkpoint: { intervalMs: 3_600_000 } });
  /** Outputs that are committed, and checkpoints that were taken, at each death. */
  const atDeath: (readonly [number, number])[] = [];
  let checkpoints = 0;
  let read: Promise<unknown> = Promise.resolve();
  running
    .on('checkpoint', ({ reason }) => {
      if (reason === 'suspect') checkpoints++;
    })
    .on('restarting', () => {
      const taken = checkpoints;
      read = topics.outputs().then(([outputs]) => atDeath.push([outputs!.length, taken]));
    });
  for (let step = 0; atDeath.length < 2; step++) {
    assert.ok(step < 1_000, 'it did not die twice');
    await world.drive(world.clock.sleep(1_000));
    await read;
  }
  const [first, second] = atDeath;
  assert.deepEqual(first, [0, 0]);
  assert.equal(second![0], 200);
  assert.ok(second![1] > 1 && second![1] <= 10, `${second![1]} checkpoints`);
});

test('a thread that dies three times while one of its partitions waits in the same record gives up that record', async () => {
  await topics.fill(3);
  await topics.deed(0, 'hang');
  await topics.fill(3);
  const running = await start({ watchdogMs: 0 });
  let restarts = 0;
  running.on('restarting', () => restarts++);
  for (let death = 0; death < 3; death++) {
    assert.equal((await topics.deadLetters()).length, 0);
    await world.drive(world.clock.sleep(5_000));
    await world.kill(0);
    await world.drive(running.ready());
  }
  await settled();
  assert.equal(restarts, 6, 'both partitions, three times');
  assert.deepEqual(await topics.outputs(), topics.expected().outputs);
  assert.equal((await topics.deadLetters()).length, 1);
});

test('deaths of a thread whose partitions are in no record give up nothing, however many', async () => {
  await start({ watchdogMs: 0, restarts: { max: 4, firstMs: 5, maxMs: 5 } });
  for (let death = 0; death < 6; death++) {
    await topics.fill(2);
    await settled();
    await world.kill(0);
    await world.drive(manager!.ready());
  }
  await settled();
  assert.deepEqual(await topics.outputs(), topics.expected().outputs);
  assert.equal((await topics.deadLetters()).length, 0);
});
