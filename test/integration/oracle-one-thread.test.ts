/**
 * The actor in one thread, on a manual clock, against a plain loop: the same seed gives the same run. `ORACLE_SEED`
 * repeats one.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import decide from '../fixtures/oracle-decide.js';
import deadLetter from '../fixtures/oracle-dead-letter.js';
import fail from '../fixtures/oracle-fail.js';
import merge, { type Priced, type Trade } from '../fixtures/oracle-merge.js';
import skip from '../fixtures/oracle-skip.js';
import { TestDriver } from '../../src/testing/index.js';
import {
  assertSuperset,
  assertTotals,
  byPartition,
  expectedOf,
  randomEvents,
  type Policy,
  type RawRecord,
} from '../support/oracle-model.js';
import { seeds } from '../support/oracle-run.js';
import { seededRandom } from '../support/seeded-random.js';

const PROCESSORS = { fail, skip, 'dead-letter': deadLetter, decide };
const POLICIES: readonly Policy[] = ['fail', 'skip', 'dead-letter', 'decide'];
const SEEDS = seeds(24);

for (const seed of SEEDS)
  test(`crashes, throws and commands at random leave what a plain loop leaves (seed ${seed})`, async () => {
    const random = seededRandom(seed);
    const policy = POLICIES[seed % POLICIES.length]!;
    const guarantee = random.chance(0.7) ? 'exactly-once' : 'at-least-once';
    const partitions = random.between(1, 4);
    await using driver = await TestDriver.start(PROCESSORS[policy], {
      partitions,
      guarantee,
      checkpoint: { intervalMs: random.between(10, 500), recordsMax: random.between(5, 500) },
      cacheBytes: random.pick([2_000, 50_000, 10_000_000]),
      deadLetters: ['dead'],
    });
    const keys = random.pick([3, 50, 1_000]);
    const adjustments = new Adjustments();
    const recover = async (wipe: boolean) => {
      await driver.restart({ wipe });
      for (let partition = 0; partition < partitions; partition++) {
        const { adjustments: found } = await driver.query('dump', { partition });
        adjustments.cutTo(new Map(found), (key) => driver.partitionOf(key), partition);
      }
    };
    /** A handler that throws under `fail` ends its actor; the next one tries again. */
    const drain = async () => {
      for (let attempts = 0; attempts < 50; attempts++)
        try {
          await driver.drain();
          return;
        } catch (error) {
          assert.match(String((error as Error).cause ?? error), /not yet/);
          await recover(random.chance(0.3));
        }
      assert.fail('the actor did not get past a record that throws once');
    };
    for (let step = 0; step < 40; step++)
      switch (random.below(6)) {
        case 0:
        case 1:
        case 2: {
          const events = randomEvents(random, policy, random.between(1, 300), keys);
          await driver.log.produce('events', events);
          await drain();
          break;
        }
        case 3: {
          const key = `key-${random.below(keys)}`;
          const by = random.between(1, 9);
          adjustments.add(key, await driver.command('adjust', { key }, by));
          await assert.rejects(driver.command('refuse', { key }));
          break;
        }
        case 4:
          await driver.advance(random.between(1, 400));
          break;
        default:
          await driver.crash();
          await recover(random.chance(0.3));
          await drain();
      }
    await driver.checkpoint();

    const input: RawRecord[] = [];
    for await (const record of driver.log.read('events')) input.push(record);
    const expected = expectedOf(input, partitions);
    const dumps = [];
    for (let partition = 0; partition < partitions; partition++)
      dumps.push(await driver.query('dump', { partition }));
    assertTotals(dumps, expected);
    const outputs = byPartition(await read(driver, 'totals'), partitions);
    if (guarantee === 'exactly-once') assert.deepEqual(outputs, expected.outputs);
    else assertSuperset(outputs, expected.outputs);
    if (policy === 'dead-letter' || policy === 'decide') {
      const dead = byPartition(await read(driver, 'dead'), partitions);
      if (guarantee === 'exactly-once') assert.deepEqual(dead, expected.dead);
      else assertSuperset(dead, expected.dead);
    }
    // What commands emit is in their transaction under both guarantees.
    const adjusted = await driver.outputs<string, number>('adjusted');
    assert.deepEqual(Adjustments.of(adjusted), adjustments.committed());
  });

for (const seed of SEEDS.slice(0, 8))
  test(`two inputs are merged by timestamp, whatever crashes (seed ${seed})`, async () => {
    const random = seededRandom(seed);
    await using driver = await TestDriver.start(merge, {
      checkpoint: { intervalMs: random.between(5, 50), recordsMax: random.between(3, 100) },
    });
    type Line = { at: number; key: string } & ({ price: number } | { trade: Trade });
    const lines: Line[] = Array.from({ length: 2_000 }, (_, id) => {
      const line = { at: driver.clock.now() + random.below(5_000), key: `k${random.below(5)}` };
      return random.chance(0.3)
        ? { ...line, price: random.between(1, 100) }
        : { ...line, trade: { id, quantity: random.between(1, 9) } };
    }).sort((a, b) => a.at - b.at);
    for (const line of lines)
      if ('price' in line)
        await driver.append('prices', [{ key: line.key, value: line.price, timestamp: line.at }]);
      else await driver.append('trades', [{ key: line.key, value: line.trade, timestamp: line.at }]);
    const crashes = random.between(0, 3);
    for (let crash = 0; crash < crashes; crash++) {
      await Promise.race([driver.drain().catch(() => undefined), driver.advance(random.below(40))]);
      await driver.restart({ wipe: random.chance(0.5) });
    }
    await driver.drain();
    await driver.checkpoint();

    const prices = new Map<string, number>();
    // The same moment: by topic name, so prices come first; within a topic, in its order.
    const merged = [
      ...lines.map((line, index) => ({ line, index, topic: 'price' in line ? 'prices' : 'trades' })),
    ].sort(
      (a, b) => a.line.at - b.line.at || (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.index - b.index),
    );
    const expected: Priced[] = [];
    for (const { line } of merged)
      if ('price' in line) prices.set(line.key, line.price);
      else expected.push({ id: line.trade.id, amount: line.trade.quantity * (prices.get(line.key) ?? 0) });
    const found = (await driver.outputs<string, Priced>('priced')).map(({ value }) => value);
    assert.deepEqual(found, expected);
  });

/** What adjust commands have answered, per key in order; a crash takes the uncommitted end of it. */
class Adjustments {
  readonly #values = new Map<string, number[]>();

  static of(outputs: readonly { readonly key: string; readonly value: number }[]): Map<string, number[]> {
    const values = new Map<string, number[]>();
    for (const { key, value } of outputs) values.set(key, [...(values.get(key) ?? []), value]);
    return sortKeys(values);
  }

  add(key: string, value: number): void {
    this.#values.set(key, [...(this.#values.get(key) ?? []), value]);
  }

  /** After a crash the state of a partition must be one that was answered; what was answered later is gone. */
  cutTo(found: ReadonlyMap<string, number>, partitionOf: (key: string) => number, partition: number): void {
    for (const [key, values] of this.#values) {
      if (partitionOf(key) !== partition) continue;
      const value = found.get(key);
      const index = value === undefined ? -1 : values.indexOf(value);
      if (value !== undefined) assert.ok(index >= 0, `${key} holds ${value}, which no command has answered`);
      this.#values.set(key, values.slice(0, index + 1));
    }
  }

  committed(): Map<string, number[]> {
    return sortKeys(new Map([...this.#values].filter(([, values]) => values.length > 0)));
  }
}

function sortKeys(values: Map<string, number[]>): Map<string, number[]> {
  return new Map([...values].sort(([a], [b]) => (a < b ? -1 : 1)));
}

async function read(driver: TestDriver<typeof fail>, topic: string): Promise<readonly RawRecord[]> {
  const records: RawRecord[] = [];
  for await (const record of driver.log.read(topic)) records.push(record);
  return records.sort((a, b) => a.partition - b.partition || a.offset - b.offset);
}
