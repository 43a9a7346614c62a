/**
 * The log's answers to commits come late, get lost, or the commit never arrives: `init` settles each, and the result is
 * that of a plain loop. Once with the whole runtime, and, by seed, in one thread.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog } from '../../src/index.js';
import type { LogFaults } from '../../src/log/embedded/log-faults.js';
import { TestDriver } from '../../src/testing/index.js';
import oracle from '../fixtures/oracle-fail.js';
import { createTopics, readAll, settled, startJob } from '../support/oracle-job.js';
import { assertTotals, byPartition, expectedOf, randomEvents } from '../support/oracle-model.js';
import { seededRandom, type SeededRandom } from '../support/seeded-random.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { PATIENCE_MS } from '../support/waiting.js';

const PARTITIONS = 4;

type Fault = 'never arrived' | 'torn' | 'lost' | 'late';

/** Faults of commits at random while it is on; counts them by kind. */
class CommitFaults implements LogFaults {
  on = true;
  readonly counts: Record<Fault, number> = { 'never arrived': 0, torn: 0, lost: 0, late: 0 };
  readonly #random: SeededRandom;
  readonly #share: number;
  readonly #late: () => Promise<unknown>;

  constructor(random: SeededRandom, share: number, late: () => Promise<unknown>) {
    this.#random = random;
    this.#share = share;
    this.#late = late;
  }

  before(operation: string): 'torn' | undefined {
    if (operation !== 'commit' || !this.on || !this.#random.chance(this.#share)) return undefined;
    if (this.#random.chance(0.5)) return this.#count('torn', 'torn' as const);
    this.#count('never arrived', undefined);
    throw new Error('the commit never arrived');
  }

  async after(operation: string): Promise<'lost' | undefined> {
    if (operation !== 'commit' || !this.on || !this.#random.chance(this.#share)) return undefined;
    if (this.#random.chance(0.5)) return this.#count('lost', 'lost' as const);
    this.#count('late', undefined);
    await this.#late();
    return undefined;
  }

  #count<T>(fault: Fault, answer: T): T {
    this.counts[fault]++;
    return answer;
  }
}

for (const seed of [1, 2, 3])
  test(`commits whose answer is late or lost lose nothing and repeat nothing (threads, seed ${seed})`, async (t) => {
    const random = seededRandom(seed);
    const faults = new CommitFaults(random, 0.15, () => sleep(random.between(1, 150)));
    const log = await embeddedLog({ faults });
    await createTopics(log, PARTITIONS);
    const stateDir = temporaryDirectory('lost');
    const job = await startJob({
      log,
      stateDir,
      policy: 'fail',
      workers: 2,
      engine: seed % 2 === 0 ? 'memory' : 'level',
      guarantee: 'exactly-once',
      intervalMs: 15,
      cacheMb: 16,
    });
    for (let step = 0; step < 60; step++) {
      await log.produce('events', randomEvents(random, 'skip', 50, 100).map(healthy));
      await sleep(20);
    }
    faults.on = false;
    const expected = expectedOf(await readAll(log, 'events'), PARTITIONS);
    const dumps = await settled(job, expected.processed, PATIENCE_MS);
    await job.stop();
    t.diagnostic(JSON.stringify(faults.counts));
    for (const [fault, count] of Object.entries(faults.counts))
      assert.ok(count > 0, `no commit was ${fault}`);
    assertTotals(dumps, expected);
    assert.deepEqual(byPartition(await readAll(log, 'totals'), PARTITIONS), expected.outputs);
    await log.close();
  });

test('commits whose answer is lost are settled by the next actor (one thread, 20 seeds)', async () => {
  const counts: Record<string, number> = {};
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededRandom(seed);
    const faults = new CommitFaults(random, 0.3, () => Promise.resolve());
    faults.on = false;
    await using driver = await TestDriver.start(oracle, { partitions: 2, faults });
    faults.on = true;
    for (let step = 0; step < 25; step++) {
      await driver.log.produce('events', randomEvents(random, 'skip', 20, 10).map(healthy));
      // An actor that is left in doubt ends; the next one finds out what became of the commit.
      await attempt(() => driver.drain());
      await attempt(() => driver.checkpoint());
      if (random.chance(0.2)) await attempt(() => driver.command('adjust', { key: 'key-1' }, 1));
      await attempt(() => driver.restart({ wipe: random.chance(0.2) }));
    }
    faults.on = false;
    await driver.restart();
    await driver.drain();
    await driver.checkpoint();
    const expected = expectedOf(await readAll(driver.log, 'events'), 2);
    assertTotals(
      [await driver.query('dump', { partition: 0 }), await driver.query('dump', { partition: 1 })],
      expected,
    );
    assert.deepEqual(byPartition(await readAll(driver.log, 'totals'), 2), expected.outputs, `seed ${seed}`);
    for (const [fault, count] of Object.entries(faults.counts)) counts[fault] = (counts[fault] ?? 0) + count;
  }
  for (const fault of ['never arrived', 'torn', 'lost', 'late']) assert.ok((counts[fault] ?? 0) > 0, fault);
});

async function attempt(step: () => Promise<unknown>): Promise<void> {
  await step().catch((error: unknown) => {
    assert.match(
      String((error as { code?: unknown }).code),
      /COMMIT_IN_DOUBT|ACTOR_RESTARTED|ACTOR_FAILED|FENCED/,
    );
  });
}

/** Without poison. */
function healthy({ key, value }: { readonly key: string; readonly value: string }) {
  return { key, value: JSON.stringify({ n: (JSON.parse(value) as { n: number }).n }) };
}
