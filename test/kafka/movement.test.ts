/**
 * `integration/movement.test.ts` on a broker: actors move between threads while records, commands and queries flow. Stock
 * clients fill the inputs and read the outputs; the generation is what the broker has written down.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeKafka } from '../support/describe-kafka.js';
import { atKafkaDesk } from '../support/kafka-manager-desk.js';
import { MovingLoad, movingStreams } from '../support/moving-load.js';
import { heatOneThread, scaleAndMove } from '../support/moving-run.js';
import { seededRandom } from '../support/seeded-random.js';

describeKafka('movement on a broker', { otherClient: true }, (broker) => {
  for (const [guarantee, moves] of [
    ['exactly-once', 100],
    ['at-least-once', 30],
  ] as const)
    test(`threads come and go, actors move ${moves} times, nothing is lost or out of order, and the group has no new generation (${guarantee})`, async (t) => {
      const random = seededRandom(1);
      const defaults = { guarantee, mailbox: { bytesMax: 32 * 1024 } };
      await atKafkaDesk('moves', broker().brokers, defaults, async ({ desk, topicsLog, of, generation }) => {
        const load = new MovingLoad(topicsLog, random);
        await load.begin();
        const manager = await desk.start(movingStreams(of));
        await manager.ready();
        const before = await generation();
        const pauses = await scaleAndMove(load, manager, { random, moves, guarantee, everyMs: 40 });
        assert.equal(await generation(), before);
        const at = (share: number) => Math.round(pauses[Math.floor(share * (pauses.length - 1))]!);
        t.diagnostic(
          `${pauses.length} pauses: ${at(0.5)} ms in the median, ${at(1)} ms at most; ` +
            `${load.records} records, ${load.commands} commands, ${load.queries} queries`,
        );
      });
    });

  test('with rebalance auto an actor leaves a thread that is hot for one that is idle', async () => {
    const defaults = { workers: 2, rebalance: 'auto' } as const;
    await atKafkaDesk('auto', broker().brokers, defaults, async ({ desk, topicsLog, of, generation }) => {
      const load = new MovingLoad(topicsLog, seededRandom(1));
      await load.begin();
      const manager = await desk.start(movingStreams(of));
      await manager.ready();
      const before = await generation();
      await heatOneThread(topicsLog, manager);
      assert.equal(await generation(), before);
    });
  });
});
