/** Restarts over a long time, on a clock that is moved: only failures in a row count against a partition. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { embeddedLog, processorAt } from '../../src/index.js';
import { StateManager } from '../../src/manager/state-manager.js';
import type totals from '../fixtures/totals-processor.js';
import { OneThread } from '../support/one-thread.js';
import { seededRandom } from '../support/seeded-random.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const streams = {
  totals: processorAt<typeof totals>(new URL('../fixtures/totals-processor.js', import.meta.url)),
};

test('a partition without traffic outlives any number of thread deaths that are minutes apart', async () => {
  const world = new OneThread(seededRandom(1));
  const log = await embeddedLog({ clock: world.clock });
  await log.createTopic({ topic: 'amounts', partitions: 1 });
  await log.createTopic({ topic: 'totals', partitions: 1 });
  const restarts = { max: 2, firstMs: 5, maxMs: 5 };
  const stateDir = temporaryDirectory('backoff');
  // In memory: a disk would take the machine's time, and the clock that is moved would not wait for it.
  const options = { group: 'g', streams, log, stateDir, engine: 'memory', workers: 1, restarts } as const;
  const manager = await world.drive(StateManager.startIn(options, world.environment));
  try {
    for (let death = 0; death < 5; death++) {
      await world.drive(manager.ready());
      await world.clock.advanceAsync(120_000);
      await world.kill(0);
    }
    await world.drive(manager.ready());
    assert.equal(manager.state, 'running');
    for (let death = 0; death < 3; death++) {
      await world.kill(0);
      await world.clock.advanceAsync(50);
    }
    await assert.rejects(world.drive(manager.ready()), /can't go on/);
  } finally {
    await world.drive(manager.stop());
    await log.close();
  }
});
