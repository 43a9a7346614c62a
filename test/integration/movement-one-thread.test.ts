/**
 * `movement.test.ts` with manager and actors in one thread on a manual clock, seeded: records and calls flow while places
 * come and go, actors move and places die. `MOVE_SEED` repeats one.
 */
import test from 'node:test';
import { EmbeddedLog, StateManager } from '../../src/index.js';
import { MovingLoad, PARTITIONS, streams } from '../support/moving-load.js';
import { OneThread } from '../support/one-thread.js';
import { seededRandom } from '../support/seeded-random.js';
import { code } from '../support/manager-desk.js';

const only = process.env['MOVE_SEED'];
const seeds = only === undefined ? Array.from({ length: 8 }, (_, i) => i + 1) : [Number(only)];

for (const seed of seeds)
  test(`actors that move in one thread leave what a plain loop leaves (seed ${seed})`, async () => {
    const random = seededRandom(seed);
    const thread = new OneThread(random);
    const log = await EmbeddedLog.open({ clock: thread.clock, backgroundMs: 0 });
    const load = new MovingLoad(log, random);
    await load.begin();
    const guarantee = random.chance(0.7) ? 'exactly-once' : 'at-least-once';
    const manager = await thread.drive(
      StateManager.startIn(
        {
          group: 'g',
          streams,
          log,
          stateDir: 'one-thread',
          workers: random.between(1, 3),
          engine: 'memory',
          guarantee,
          checkpoint: { intervalMs: random.between(10, 200) },
          restarts: { max: 50, firstMs: 5, maxMs: 50 },
        },
        thread.environment,
      ),
    );
    const names = Object.keys(streams) as (keyof typeof streams)[];
    for (let step = 0; step < 25; step++) {
      const under: Promise<unknown>[] = [load.produce(), load.call(manager)];
      const { length } = (await thread.drive(manager.stats())).threads;
      for (let moves = random.below(4); moves > 0; moves--)
        under.push(
          manager
            .move(random.pick(names), random.below(PARTITIONS), random.below(length))
            // The place may go, by a scaling beside it.
            .catch(code('INVALID_ARGUMENT', 'THREAD_DIED')),
        );
      if (random.chance(0.2)) under.push(manager.scale(random.between(1, 4)));
      if (random.chance(0.15)) under.push(thread.kill(random.below(length)));
      await thread.drive(Promise.all(under));
    }
    while (!(await thread.drive(load.isDone(manager)))) await thread.drive(thread.clock.sleep(20));
    await thread.drive(manager.checkpoint());
    await thread.drive(load.verify(manager, guarantee));
    await thread.drive(manager.stop());
    await log.close();
  });
