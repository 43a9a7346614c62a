/**
 * Managers of one group on a real broker that join, leave, and freeze past their session and wake: each behind a relay of
 * its own that holds back what it says and hears, in the middle of whatever the seed says; or each in a process of its own
 * that is stopped and woken by signals. `SEED=n` repeats one life, `SEEDS=n` makes more of them; the life itself is
 * `../support/freeze-run.ts`, the same as on the embedded log.
 */
import assert from 'node:assert/strict';
import { after, describe, test, type TestContext } from 'node:test';
import { describeKafka } from '../support/describe-kafka.js';
import { freezeRun } from '../support/freeze-run.js';
import { ProcessFreezeWorld } from '../support/frozen-process.js';
import { RelayFreezeWorld } from '../support/kafka-freeze.js';

const FIRST = Number(process.env['SEED'] ?? 1);
const SEEDS = Number(process.env['SEEDS'] ?? (process.env['SEED'] === undefined ? 3 : 1));

const LIVES = Array.from({ length: SEEDS }, (_, i) => FIRST + i);

describeKafka('managers that freeze', { otherClient: true }, (broker) => {
  let evictions = 0;
  const live = async (t: TestContext, seed: number, kind: 'relay' | 'process'): Promise<void> => {
    const of = `freeze-${kind}-${seed}-${Date.now().toString(36)}`;
    const World = kind === 'relay' ? RelayFreezeWorld : ProcessFreezeWorld;
    const report = await freezeRun(seed, new World(broker().brokers, of));
    evictions += report.evictions;
    const held = [...report.held].filter(([, times]) => times > 0);
    t.diagnostic(
      `${report.freezes} freezes, ${report.evictions} evictions, ${report.acknowledged} commands acknowledged` +
        `; held: ${held.map(([moment, times]) => `${times} ${moment}`).join(', ')}`,
    );
  };

  after(() => {
    // One seed alone may be spared.
    if (SEEDS > 1) assert.ok(evictions > 0, 'no freeze was longer than the session');
  });

  describe('at once', { concurrency: 2 }, () => {
    for (const seed of LIVES)
      test(`behind relays that hold everything back leave no partition unserved and never write twice (seed ${seed})`, (t) =>
        live(t, seed, 'relay'));

    test(`in processes that are stopped and woken leave no partition unserved and never write twice (seed ${FIRST})`, (t) =>
      live(t, FIRST, 'process'));
  });
});
