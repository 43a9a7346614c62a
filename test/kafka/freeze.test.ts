/**
 * Managers of one group on a real broker that join, leave, and freeze past their session and wake: each behind a relay of
 * its own that holds back what it says and hears, in the middle of whatever the seed says; or each in a process of its own
 * that is stopped and woken by signals. `SEED=n` repeats one life, `SEEDS=n` makes more of them; the life itself is
 * `../support/freeze-run.ts`, the same as on the embedded log.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test, type TestContext } from 'node:test';
import { topicOf } from '../fixtures/oracle.js';
import { describeKafka } from '../support/describe-kafka.js';
import type { FreezeMember } from '../support/freeze-member.js';
import { freezeRun } from '../support/freeze-run.js';
import { ProcessFreezeWorld } from '../support/frozen-process.js';
import { until } from '../support/kafka-desk.js';
import { RelayFreezeWorld } from '../support/kafka-freeze.js';
import { expectOneWriter, expectPositionsRise } from '../support/one-writer.js';

const FIRST = Number(process.env['SEED'] ?? 1);
const SEEDS = Number(process.env['SEEDS'] ?? (process.env['SEED'] === undefined ? 3 : 1));

/** On a machine that is busy with other things; on a quiet one it is less than a minute. */
const BUDGET_MS = 240_000;
const PARTITIONS = 4;
const KEYS = Array.from({ length: 16 }, (_, i) => `key-${i}`);
const LIVES = Array.from({ length: SEEDS }, (_, i) => FIRST + i);

describeKafka('managers that freeze', { otherClient: true }, (broker) => {
  let [lives, evictions] = [0, 0];
  const live = async (t: TestContext, seed: number, kind: 'relay' | 'process'): Promise<void> => {
    const of = `freeze-${kind}-${seed}-${Date.now().toString(36)}`;
    const World = kind === 'relay' ? RelayFreezeWorld : ProcessFreezeWorld;
    const report = await freezeRun(seed, new World(broker().brokers, of));
    lives++;
    evictions += report.evictions;
    const held = [...report.held].filter(([, times]) => times > 0);
    t.diagnostic(
      `${report.freezes} freezes, ${report.evictions} evictions, ${report.acknowledged} commands acknowledged` +
        `; held: ${held.map(([moment, times]) => `${times} ${moment}`).join(', ')}`,
    );
  };

  after(() => {
    // One seed alone may be spared.
    if (lives > 1) assert.ok(evictions > 0, 'no freeze was longer than the session');
  });

  describe('at once', { concurrency: 2, timeout: BUDGET_MS }, () => {
    for (const seed of LIVES)
      test(`behind relays that hold everything back leave no partition unserved and never write twice (seed ${seed})`, (t) =>
        live(t, seed, 'relay'));

    test(`in processes that are stopped and woken leave no partition unserved and never write twice (seed ${FIRST})`, (t) =>
      live(t, FIRST, 'process'));

    test('a member whose heartbeats alone are held back goes on until it is fenced, never takes its ids again, and returns when it is heard', async (t) => {
      const world = new RelayFreezeWorld(broker().brokers, `deaf-${Date.now().toString(36)}`);
      const stateDir = await mkdtemp(join(tmpdir(), 'partita-deaf-'));
      const running: FreezeMember[] = [];
      const member = async (clientId: string): Promise<FreezeMember> => {
        const { of, sessionMs } = world;
        const directory = join(stateDir, clientId);
        const settings = { of, sessionMs, stateDir: directory, engine: 'level', parkMs: 30_000 } as const;
        const started = await world.start(clientId, settings);
        running.push(started);
        return started;
      };
      try {
        await world.createTopic('amounts', PARTITIONS);
        await world.createTopic('totals', 1);
        const first = await member('first');
        await produce(world);
        await until('the first records', () => counts(first, 1));
        world.freeze('first', 'heartbeats', undefined);
        const inits = world.asked('first', 'init');
        const second = await member('second');
        await until('the eviction', () => counts(second, 1));
        assert.equal((await first.all()).length, PARTITIONS, 'it has not heard of it');
        const fencedFrom = performance.now();
        await produce(world);
        await until('the records of the new owner', () => counts(second, 2));
        await until('the fence', async () => (await first.all().catch(() => [])).length === 0);
        assert.equal(world.asked('first', 'init'), inits);
        t.diagnostic(`it gave up ${Math.round(performance.now() - fencedFrom)} ms after it could be fenced`);
        world.thaw('first');
        await until('its return', async () => (await first.all().catch(() => [])).length === PARTITIONS / 2);
        await produce(world);
        await until('everything', () => counts([first, second], 3));
        for (const one of running.splice(0)) await one.stop();
        await expectOneWriter(world.log, `changelog__${world.of}--totals`);
        expectPositionsRise(await world.read(`changelog__${world.of}--totals`));
        const outputs = await world.read(topicOf(world.of, 'totals'));
        assert.equal(outputs.length, 3 * KEYS.length);
      } finally {
        world.thaw('first');
        await Promise.allSettled(running.map((one) => one.stop({ deadlineMs: 5_000 })));
        await world.close();
        await rm(stateDir, { recursive: true, force: true });
      }
    });
  });
});

/** One record of each key, worth 1. */
async function produce(world: RelayFreezeWorld): Promise<void> {
  const value = Buffer.alloc(8);
  value.writeBigInt64BE(1n);
  await world.produce(
    'amounts',
    KEYS.map((key) => ({ key, value })),
  );
}

/** Whether the members together hold every key, each with this sum. */
async function counts(members: FreezeMember | readonly FreezeMember[], sum: number): Promise<boolean> {
  const sums: number[] = [];
  for (const member of [members].flat())
    for (const [, rows] of await member.all().catch(() => [])) sums.push(...rows.map((row) => row.sum));
  return sums.length === KEYS.length && sums.every((each) => each === sum);
}
