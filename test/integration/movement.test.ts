/**
 * Actors that move between threads while records, commands and queries flow, against a plain loop: `scale` up and down, a
 * hundred moves at random, under both guarantees, with threads that die in the middle; and what a move refuses.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isPartitaError, type ManagerOptions } from '../../src/index.js';
import { code, ManagerDesk } from '../support/manager-desk.js';
import { MovingLoad, PARTITIONS, streams, type MovingManager } from '../support/moving-load.js';
import { done, flow, heatOneThread, scaleAndMove, shares } from '../support/moving-run.js';
import { seededRandom, type SeededRandom } from '../support/seeded-random.js';
import { WatchedLog } from '../support/watched-log.js';

let desk: ManagerDesk;
let random: SeededRandom;
let load: MovingLoad;

beforeEach(async () => {
  desk = await ManagerDesk.open();
  random = seededRandom(1);
  load = new MovingLoad(desk.log, random);
  await load.begin();
});

afterEach(() => desk.close());

async function started(options: Partial<ManagerOptions<typeof streams>> = {}): Promise<MovingManager> {
  const manager = await desk.start<typeof streams>(streams, options);
  await manager.ready();
  return manager;
}

for (const guarantee of ['exactly-once', 'at-least-once'] as const)
  test(`threads come and go, actors move a hundred times, and nothing is lost, doubled or out of order (${guarantee})`, async () => {
    const manager = await started({ guarantee, mailbox: { bytesMax: 32 * 1024 } });
    await scaleAndMove(load, manager, { random, moves: 100, guarantee });
    await manager.stop();
  });

test('threads die while actors move to and from them, and what was acknowledged counts once', async () => {
  const manager = await started({ workers: 3, restarts: { max: 50, firstMs: 5, maxMs: 20 } });
  const flowing = flow(load, manager);
  for (let i = 0; i < 12; i++) {
    const moves = Array.from({ length: 3 }, () =>
      manager.move('moved', random.below(PARTITIONS), random.below(3)).catch(code('THREAD_DIED')),
    );
    const killed = manager.streams.moved
      .command('die', { partition: random.below(PARTITIONS), ack: 'processed' })
      .catch(code('ACTOR_RESTARTED'));
    await Promise.all([...moves, killed]);
  }
  await flowing.stop();
  await done(load, manager);
  await load.verify(manager, 'exactly-once');
});

test('commands and queries that wait behind a long one travel with their actor; the long one is committed by the move', async () => {
  const manager = await started({ workers: 2 });
  const { moved } = manager.streams;
  const from = (await manager.stats()).partitions.find(
    ({ stream, partition }) => stream === 'moved' && partition === 0,
  );
  const slow = moved.command('slow', { partition: 0, args: [200] });
  const waiting = Array.from({ length: 5 }, (_, i) =>
    moved.command('apply', { partition: 0, args: [`w${i}`] }),
  );
  const asked = moved.queryAll('applied', {});
  const move = await manager.move('moved', 0, 1 - from!.place!);
  assert.equal(move.how, 'committed');
  assert.equal(move.from, from!.place);
  assert.equal(await slow, 'slow');
  assert.deepEqual(await Promise.all(waiting), [1, 1, 1, 1, 1]);
  assert.equal((await asked).size, PARTITIONS);
});

test('a move tells how long it was away, and everybody who listens', async () => {
  const manager = await started({ workers: 2 });
  const heard: unknown[] = [];
  manager.on('moved', (event) => heard.push(event));
  const { place } = (await manager.stats()).partitions.find(({ stream }) => stream === 'copied')!;
  const to = 1 - place!;
  const { pauseMs, ...moved } = await manager.move('copied', 0, to);
  assert.deepEqual(moved, { from: place, to, how: 'committed' });
  assert.deepEqual(heard, [
    { stream: 'copied', partition: 0, from: place, to, how: 'committed', pauseMs, why: 'asked' },
  ]);
  assert.deepEqual(await manager.move('copied', 0, to), { from: to, to, how: 'stayed', pauseMs: 0 });
  assert.equal(heard.length, 1);
});

test('a move to nowhere, or of nothing, is refused, and so is a number of threads that is none', async () => {
  const manager = await started();
  await assert.rejects(manager.move('moved', 0, 1), code('INVALID_ARGUMENT'));
  await assert.rejects(manager.move('moved', 0, 0.5), code('INVALID_ARGUMENT'));
  await assert.rejects(manager.move('moved', PARTITIONS, 0), code('INVALID_ARGUMENT'));
  await assert.rejects(manager.move('nobody' as 'moved', 0, 0), code('INVALID_ARGUMENT'));
  for (const workers of [0, 1.5, 257]) await assert.rejects(manager.scale(workers), code('INVALID_ARGUMENT'));
  await manager.stop();
  await assert.rejects(manager.move('moved', 0, 0), code('STOPPED'));
  await assert.rejects(manager.scale(2), code('STOPPED'));
});

test('of scalings that overlap the last one wins', async () => {
  const manager = await started();
  await Promise.all([3, 1, 4, 2].map((workers) => manager.scale(workers)));
  assert.equal((await manager.stats()).threads.length, 2);
  assert.deepEqual(await shares(manager), [9, 9]);
});

test('a partition that another member has is not moved, and a rebalance amid moves and scalings wins', async () => {
  const manager = await started({ workers: 2, parkMs: 100 });
  const flowing = flow(load, manager);
  const scaling = manager.scale(3);
  const other = await desk.start(streams, { instanceId: 'other' });
  const moves = await Promise.allSettled(
    Array.from({ length: PARTITIONS }, (_, partition) => manager.move('moved', partition, partition % 2)),
  );
  for (const move of moves)
    assert.ok(
      move.status === 'fulfilled' || isPartitaError(move.reason, 'PARTITION_NOT_OWNED'),
      JSON.stringify(move),
    );
  await scaling;
  await other.ready();
  const foreign = (await other.stats()).partitions[0]!;
  const stream = foreign.stream as keyof typeof streams;
  await assert.rejects(manager.move(stream, foreign.partition, 0), code('PARTITION_NOT_OWNED'));
  // Calls go to one member only, so that some are told of the other.
  await flowing.stop().catch(code('PARTITION_NOT_OWNED'));
  await other.stop();
  await manager.ready();
  await manager.scale(1);
  assert.deepEqual(await shares(manager), [18]);
  await done(load, manager);
  await load.verify(manager, 'exactly-once');
});

test('a scaling amid a rebalance spreads the actors when it is over, and resolves only then', async () => {
  const watched = new WatchedLog(desk.log);
  const manager = await started({ log: watched });
  const revoked = new Promise((resolve) => manager.once('revoked', resolve));
  // Of the generation with the other one it is not told, so that its actors stay parked until that one is over.
  watched.withheld = 1;
  const joining = desk.start(streams, { instanceId: 'other' });
  await revoked;
  let isScaled = false;
  const scaling = manager.scale(3).then(() => (isScaled = true));
  const other = await joining;
  await other.ready();
  while ((await manager.stats()).threads.length < 3) await sleep(5);
  await sleep(100);
  assert.equal(isScaled, false);
  await other.stop();
  await scaling;
  assert.deepEqual(await shares(manager), [6, 6, 6]);
});

for (const [name, meanwhile] of [
  ['moves', (manager: MovingManager) => [0, 1, 2, 3].map((n) => manager.move('moved', n, n % 3))],
  ['scaling up', (manager: MovingManager) => [manager.scale(5)]],
  ['scaling down', (manager: MovingManager) => [manager.scale(1)]],
] as const)
  test(`a manager that is stopped amid ${name} commits, leaves nothing behind, and says so to who waits`, async () => {
    const manager = await started({ workers: 3 });
    await load.produce();
    const pending: Promise<unknown>[] = meanwhile(manager);
    const settled = Promise.allSettled(pending);
    await sleep(random.below(30));
    const stopped = new Promise<{ readonly committed: boolean }>((resolve) =>
      manager.once('stopped', resolve),
    );
    await manager.stop();
    assert.equal((await stopped).committed, true);
    for (const each of await settled)
      assert.ok(each.status === 'fulfilled' || isPartitaError(each.reason, 'STOPPED'), JSON.stringify(each));
    const again = await started();
    await done(load, again);
    await load.verify(again, 'exactly-once');
  });

test('with rebalance auto an actor leaves a thread that is hot for one that is idle', async () => {
  const manager = await started({ workers: 2, rebalance: 'auto' });
  await heatOneThread(desk.log, manager);
});
