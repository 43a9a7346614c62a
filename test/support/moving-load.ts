/**
 * Records, commands and queries that flow while actors move, and what must have become of them: each key's records once
 * and in order, each acknowledged command once, each rejected one not at all, or once where nobody can know.
 */
import assert from 'node:assert/strict';
import { isPartitaError, processorAt, type StateManager } from '../../src/index.js';
import type forward from '../fixtures/forward-processor.js';
import type merged from '../fixtures/merged-processor.js';
import type moved from '../fixtures/moved-processor.js';
import type { Walk } from '../fixtures/moved-processor.js';
import { fixtureOf } from '../fixtures/oracle.js';
import type { SeededRandom } from './seeded-random.js';
import type { TopicsLog } from './topics-log.js';

export const PARTITIONS = 6;
const KEYS = 40;
/** Of each side of the merge, per partition: a backlog that is worked off while actors move. */
const MERGED = 600;

/** @param of what stands before the names of their topics */
export function movingStreams(of = '') {
  return {
    moved: processorAt<typeof moved>(fixtureOf('moved-processor', of)),
    copied: processorAt<typeof forward>(fixtureOf('forward-processor', of)),
    merged: processorAt<typeof merged>(fixtureOf('merged-processor', of)),
  };
}

export const streams = movingStreams();
export type MovingManager = StateManager<typeof streams>;
export type MovingStream = keyof typeof streams;

export class MovingLoad {
  readonly #log: TopicsLog;
  readonly #random: SeededRandom;
  readonly #walks = new Map<string, { n: number; sum: number }>();
  readonly #acknowledged: string[] = [];
  readonly #refused: string[] = [];
  #letters = 0;
  #commands = 0;
  queries = 0;

  constructor(log: TopicsLog, random: SeededRandom) {
    this.#log = log;
    this.#random = random;
  }

  get records(): number {
    return [...this.#walks.values()].reduce((sum, { n }) => sum + n, 0);
  }

  get commands(): number {
    return this.#acknowledged.length;
  }

  async begin(): Promise<void> {
    for (const topic of ['steps', 'letters', 'left', 'right', 'walks', 'copies'])
      await this.#log.createTopic({ topic, partitions: PARTITIONS });
    for (const [side, topic] of ['left', 'right'].entries())
      for (let partition = 0; partition < PARTITIONS; partition++)
        await this.#log.produce(
          topic,
          Array.from({ length: MERGED }, (_, i) => {
            const timestamp = 2 * i + side;
            return { key: 'all', value: JSON.stringify(timestamp), timestamp, partition };
          }),
        );
  }

  /** A portion of records. */
  async produce(): Promise<void> {
    const portion = Array.from({ length: this.#random.between(1, 200) }, () => {
      const key = `k${this.#random.below(KEYS)}`;
      const amount = this.#random.below(100);
      const walk = this.#walks.get(key) ?? { n: 0, sum: 0 };
      walk.n++;
      walk.sum += amount;
      this.#walks.set(key, walk);
      return { key, value: JSON.stringify({ n: walk.n, amount }) };
    });
    await this.#log.produce('steps', portion);
    const letters = Array.from({ length: 20 }, () => {
      const n = this.#letters++;
      return { key: null, partition: n % PARTITIONS, value: String(n) };
    });
    await this.#log.produce('letters', letters);
  }

  /** Some calls at once; each settles within its timeout, whatever moves meanwhile. */
  async call(manager: MovingManager): Promise<void> {
    const { moved } = manager.streams;
    const applied = Array.from({ length: 4 }, async () => {
      const id = `c${this.#commands++}`;
      try {
        assert.equal(
          await moved.command('apply', { partition: this.#random.below(PARTITIONS), args: [id] }),
          1,
        );
        this.#acknowledged.push(id);
      } catch (error) {
        assert.ok(isPartitaError(error, 'ACTOR_RESTARTED'), String(error));
        assert.equal(error.details['outcome'], 'notApplied');
        this.#refused.push(id);
      }
    });
    const asked = Array.from({ length: 4 }, async () => {
      const key = `k${this.#random.below(KEYS)}`;
      const walk: Walk | undefined = await moved.query('walk', { key });
      assert.equal(walk?.wrong ?? 0, 0, key);
      this.queries++;
    });
    await Promise.all([...applied, ...asked]);
  }

  /** Commands that were rejected; none in a run in which nothing but moves happens. */
  get refused(): readonly string[] {
    return this.#refused;
  }

  /** Whether everything that went in has been processed. */
  async isDone(manager: MovingManager): Promise<boolean> {
    const walks = await this.#walksOf(manager);
    const n = [...walks.values()].reduce((sum, walk) => sum + walk.n, 0);
    const together = await manager.streams.merged.queryAll('merged', {});
    const all = [...together.values()].reduce((sum, one) => sum + (one?.n ?? 0), 0);
    return n >= this.records && all >= 2 * MERGED * PARTITIONS;
  }

  /** After everything has been processed, and committed. */
  async verify(manager: MovingManager, guarantee: 'exactly-once' | 'at-least-once'): Promise<void> {
    const walks = await this.#walksOf(manager);
    for (const [key, { n, sum }] of this.#walks) assert.deepEqual(walks.get(key), { n, sum, wrong: 0 }, key);
    const together = await manager.streams.merged.queryAll('merged', {});
    for (const one of together.values())
      assert.deepEqual(one, { n: 2 * MERGED, last: 2 * MERGED - 1, wrong: 0 });
    const times = new Map<string, number>();
    for (const applied of (await manager.streams.moved.queryAll('applied', {})).values())
      for (const [id, n] of applied) times.set(id, (times.get(id) ?? 0) + n);
    for (const id of this.#acknowledged) assert.equal(times.get(id), 1, `${id}, acknowledged`);
    for (const id of this.#refused) assert.equal(times.get(id), undefined, `${id}, not applied`);
    await this.#verifyOutputs(guarantee);
  }

  async #verifyOutputs(guarantee: 'exactly-once' | 'at-least-once'): Promise<void> {
    const seen = new Map<string, number>();
    for await (const { key, value } of this.#log.read('walks')) {
      const name = Buffer.from(key!).toString();
      const { n } = JSON.parse(Buffer.from(value!).toString()) as Walk;
      const last = seen.get(name) ?? 0;
      // At-least-once may tell again what it has told, but leaves nothing out.
      assert.ok(guarantee === 'exactly-once' ? n === last + 1 : n <= last + 1, `${name}: ${n} after ${last}`);
      seen.set(name, Math.max(last, n));
    }
    for (const [key, { n }] of this.#walks) assert.equal(seen.get(key), n, `outputs of ${key}`);
    const copies: number[] = [];
    for await (const { value } of this.#log.read('copies'))
      copies.push(Number(Buffer.from(value!).toString()));
    if (guarantee === 'exactly-once') assert.equal(copies.length, this.#letters);
    assert.equal(new Set(copies).size, this.#letters);
  }

  async #walksOf(manager: MovingManager): Promise<Map<string, Walk>> {
    const walks = await Promise.all(
      [...this.#walks.keys()].map(
        async (key) => [key, await manager.streams.moved.query('walk', { key })] as const,
      ),
    );
    return new Map(walks.flatMap(([key, walk]) => (walk === undefined ? [] : [[key, walk]])));
  }
}
