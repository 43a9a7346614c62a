/**
 * The runs of `oracle-threads.test.ts` with manager and actors in one thread, on a manual clock: more of them, faster, and
 * the same for the same seed. `ORACLE_SEED` repeats one.
 */
import test from 'node:test';
import { EmbeddedLog } from '../../src/index.js';
import { startJob } from '../support/oracle-job.js';
import type { Policy } from '../support/oracle-model.js';
import { runOracle, seeds } from '../support/oracle-run.js';
import { OneThread } from '../support/one-thread.js';
import { WatchedLog } from '../support/watched-log.js';
import { seededRandom } from '../support/seeded-random.js';

const POLICIES: readonly Policy[] = ['fail', 'skip', 'dead-letter', 'decide'];

for (const seed of seeds(16))
  test(`manager and actors in one thread leave what a plain loop leaves (seed ${seed})`, async () => {
    const random = seededRandom(seed);
    const thread = new OneThread(random);
    const log = await EmbeddedLog.open({ clock: thread.clock, backgroundMs: 0 });
    const watched = new WatchedLog(log);
    const policy = POLICIES[seed % POLICIES.length]!;
    const guarantee = random.chance(0.7) ? 'exactly-once' : 'at-least-once';
    const workers = random.between(1, 3);
    const job = {
      log,
      stateDir: 'one-thread',
      policy,
      workers,
      engine: 'memory',
      guarantee,
      intervalMs: random.between(10, 200),
      cacheMb: random.pick([1, 64]),
    } as const;
    const keys = random.pick([5, 200, 5_000]);
    await runOracle(
      random,
      { policy, guarantee, keys, steps: 40 },
      {
        log,
        start: () => {
          watched.withheld = 0;
          return startJob({ ...job, log: watched }, thread.environment);
        },
        deaf: () => !watched.told || watched.withheld > 0,
        join: () => {
          if (random.chance(0.4)) watched.withheld = 1;
          const apart = random.chance(0.5) ? 'beside' : job.stateDir;
          return startJob({ ...job, stateDir: apart }, thread.environment);
        },
        pause: (ms) => thread.drive(thread.clock.sleep(ms)),
        breathe: () => thread.clock.sleep(5),
        drive: (promise) => thread.drive(promise),
        wipe: async () => {
          thread.wipe();
        },
        killThread: () => thread.kill(random.below(workers)),
        disturb: () => log.compact('changelog__oracle--oracle'),
      },
    );
    await log.close();
  });
