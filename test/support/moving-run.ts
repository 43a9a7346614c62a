/**
 * Runs in which actors move between threads while records, commands and queries flow, on whatever log: `scale` up and
 * down with a hundred moves at random, and threads of which one is hot. moving-load.ts says what must have become of it all.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { PARTITIONS, type MovingLoad, type MovingManager, type MovingStream } from './moving-load.js';
import type { SeededRandom } from './seeded-random.js';
import type { TopicsLog } from './topics-log.js';

const DONE_MS = 60_000;
const BALANCE_MS = 60_000;
const STREAMS: readonly MovingStream[] = ['moved', 'copied', 'merged'];

/** Records and calls, again and again, until told to stop; rejects with the first thing that goes wrong. */
export function flow(load: MovingLoad, manager: MovingManager, everyMs = 5): { stop(): Promise<void> } {
  const state = { over: false };
  const running = Promise.all([
    (async () => {
      while (!state.over) {
        await load.produce();
        await sleep(everyMs);
      }
    })(),
    (async () => {
      while (!state.over) {
        await load.call(manager);
        await sleep(everyMs / 2);
      }
    })(),
  ]);
  running.catch(() => undefined);
  return {
    stop: async () => {
      state.over = true;
      await running;
    },
  };
}

export async function done(load: MovingLoad, manager: MovingManager): Promise<void> {
  const until = performance.now() + DONE_MS;
  while (!(await load.isDone(manager))) {
    assert.ok(performance.now() < until, `not everything was processed within ${DONE_MS} ms`);
    await sleep(20);
  }
  await manager.checkpoint();
}

/** Actors of each thread. */
export async function shares(manager: MovingManager): Promise<number[]> {
  const { threads, partitions } = await manager.stats();
  const counts = threads.map(() => 0);
  for (const { place } of partitions) counts[place!]!++;
  return counts;
}

/** Starts with one thread, goes to four, moves, and ends with two; nobody is told of a rebalance. */
export async function scaleAndMove(
  load: MovingLoad,
  manager: MovingManager,
  run: {
    readonly random: SeededRandom;
    readonly moves: number;
    readonly guarantee: 'exactly-once' | 'at-least-once';
    /** Between two portions of records. */
    readonly everyMs?: number;
  },
): Promise<readonly number[]> {
  const { random } = run;
  const generations: unknown[] = [];
  manager
    .on('assigned', (event) => generations.push(event))
    .on('revoked', (event) => generations.push(event))
    .on('lost', (event) => generations.push(event));
  const flowing = flow(load, manager, run.everyMs);
  await manager.scale(4);
  assert.equal((await manager.stats()).threads.length, 4);
  const most = await shares(manager);
  assert.ok(Math.max(...most) - Math.min(...most) <= 1, most.join());
  const outcomes = new Set<string>();
  const pauses: number[] = [];
  for (let i = 0; i < run.moves; i++) {
    const [stream, partition] = [random.pick(STREAMS), random.below(PARTITIONS)];
    const { how, pauseMs, to } = await manager.move(stream, partition, random.below(4));
    outcomes.add(how);
    if (how !== 'stayed') pauses.push(pauseMs);
    assert.ok(pauseMs >= 0 && to < 4);
  }
  assert.deepEqual([...outcomes].sort(), ['committed', 'stayed']);
  await manager.scale(2);
  assert.deepEqual(await shares(manager), [9, 9]);
  assert.deepEqual(
    (await manager.stats()).threads.map(({ state, actors }) => ({ state, actors })),
    [
      { state: 'ready', actors: 9 },
      { state: 'ready', actors: 9 },
    ],
  );
  await flowing.stop();
  await done(load, manager);
  assert.deepEqual(generations, []);
  assert.deepEqual(load.refused, []);
  assert.ok(load.records > 0 && load.commands > 0 && load.queries > 0);
  await load.verify(manager, run.guarantee);
  return pauses.sort((a, b) => a - b);
}

/** Two threads with `rebalance: 'auto'`: two keys keep the first one busy until an actor leaves it for the other. */
export async function heatOneThread(log: TopicsLog, manager: MovingManager): Promise<void> {
  for (let partition = 0; partition < PARTITIONS; partition++) await manager.move('moved', partition, 0);
  const balanced: number[] = [];
  manager.on('moved', ({ why, from, to }) => {
    if (why !== 'balance') return;
    assert.deepEqual([from, to], [0, 1]);
    balanced.push(to);
  });
  const until = performance.now() + BALANCE_MS;
  let n = 0;
  while (balanced.length === 0) {
    assert.ok(performance.now() < until, `nobody moved within ${BALANCE_MS} ms`);
    const value = JSON.stringify({ n: ++n, amount: 1, burnMs: 2 });
    await log.produce(
      'steps',
      [0, 1].map((partition) => ({ key: `hot${partition}`, value, partition })),
    );
    await sleep(3);
  }
  const expected = { n, sum: n, wrong: 0 };
  for (const partition of [0, 1])
    for (;;) {
      const walk = await manager.streams.moved.query('walk', { key: `hot${partition}`, partition });
      if (walk?.n === n) {
        assert.deepEqual(walk, expected);
        break;
      }
      assert.ok(performance.now() < until, `${JSON.stringify(walk)} instead of ${JSON.stringify(expected)}`);
      await sleep(20);
    }
}
