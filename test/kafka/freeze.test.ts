/**
 * Managers of one group on a real broker that join, leave, and freeze past their session and wake: each behind a relay of
 * its own that holds back what it says and hears, in the middle of whatever the seed says. `SEED=n` repeats one life,
 * `SEEDS=n` makes more of them; the life itself is `../support/freeze-run.ts`, the same as on the embedded log.
 */
import { describe, test } from 'node:test';
import { describeKafka } from '../support/describe-kafka.js';
import { freezeRun } from '../support/freeze-run.js';
import { KafkaFreezeWorld } from '../support/kafka-freeze.js';

const FIRST = Number(process.env['SEED'] ?? 1);
const SEEDS = Number(process.env['SEEDS'] ?? (process.env['SEED'] === undefined ? 4 : 1));

describeKafka('managers that freeze', { otherClient: true }, (broker) => {
  describe('behind a relay', { concurrency: 2 }, () => {
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++)
      test(`leave no partition unserved and never write twice (seed ${seed})`, async (t) => {
        const of = `freeze-${seed}-${Date.now().toString(36)}`;
        const world = await KafkaFreezeWorld.connect(broker().brokers, of);
        const { freezes, evictions, acknowledged, held } = await freezeRun(seed, world);
        const all = [...held].map(([moment, times]) => `${times} ${moment}`).join(', ');
        t.diagnostic(
          `${freezes} freezes, ${evictions} evictions, ${acknowledged} commands acknowledged; held: ${all}`,
        );
      });
  });
});
