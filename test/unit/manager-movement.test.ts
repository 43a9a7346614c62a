/** Where actors should be, by table and at random: even shares in few moves, and a balance that never swings. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Balancer, decideMove, type ActorLoad } from '../../src/manager/balancer.js';
import { planMoves, PlaceTable } from '../../src/manager/placement.js';

const actor = (partition: number, place: number, records: number, waitingBytes = 0): ActorLoad => ({
  stream: 's',
  partition,
  place,
  records,
  waitingBytes,
});
const threads = (...utilisations: number[]) =>
  utilisations.map((utilisation, place) => ({ place, utilisation }));

for (const [name, utilisations, actors, expected] of [
  [
    'the busiest thread gives half of its load to the idlest',
    [1, 0.2, 0.1],
    [actor(0, 0, 5), actor(1, 0, 5)],
    [0, 2],
  ],
  ['a thread that is not busy keeps what it has', [0.6, 0], [actor(0, 0, 5), actor(1, 0, 5)], undefined],
  ['threads that are equally busy change nothing', [1, 0.9], [actor(0, 0, 5), actor(1, 0, 5)], undefined],
  ['one actor alone would only carry its load along', [1, 0], [actor(0, 0, 9)], undefined],
  ['the actor that evens out most goes', [1, 0], [actor(0, 0, 6), actor(1, 0, 3), actor(2, 0, 1)], [0, 1]],
  ['where nothing was processed what waits decides', [1, 0], [actor(0, 0, 0, 9), actor(1, 0, 0, 8)], [0, 1]],
  ['where nothing was processed and nothing waits nobody goes', [1, 0], [actor(0, 0, 0)], undefined],
] as const)
  test(`balance: ${name}`, () => {
    const move = decideMove({ threads: threads(...utilisations), actors }, () => true);
    assert.deepEqual(move === undefined ? undefined : [move.partition, move.to], expected);
  });

test('balance never swings: constant loads are at rest after few moves, and no actor comes back within its cool-down', () => {
  const costs = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(costs, fc.integer({ min: 1, max: 5 }), (cost, places) => {
      const place = cost.map((_, i) => i % places);
      const balancer = new Balancer();
      const movedAt = new Map<number, number>();
      let last = 0;
      for (let round = 1; round <= 400; round++) {
        const busy = Array.from({ length: places }, () => 0);
        cost.forEach((each, i) => (busy[place[i]!]! += each));
        const move = balancer.next({
          threads: threads(...busy.map((each) => Math.min(1, each))),
          actors: cost.map((each, i) => actor(i, place[i]!, each * 1_000)),
        });
        if (move === undefined) continue;
        assert.ok(round - (movedAt.get(move.partition) ?? -Infinity) >= 20);
        movedAt.set(move.partition, round);
        place[move.partition] = move.to;
        last = round;
      }
      assert.ok(last <= 200, `still moving in round ${last}`);
    }),
  );
});

test('a plan leaves no thread with two actors more than another, and moves no more than it must', () => {
  const placed = fc.array(
    fc.record({ stream: fc.constantFrom('a', 'b'), place: fc.integer({ min: 0, max: 5 }) }),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(placed, fc.integer({ min: 1, max: 6 }), (of, places) => {
      const actors = of.map((each, partition) => ({ ...each, partition }));
      const moves = planMoves(actors, places);
      const to = new Map(moves.map((move) => [move.partition, move.to]));
      const counts = Array.from({ length: places }, () => 0);
      for (const { partition, place } of actors) counts[to.get(partition) ?? place]!++;
      assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, counts.join());
      const before = counts.map((_, place) => actors.filter((each) => each.place === place).length);
      const least = Math.floor(actors.length / places);
      const spare = actors.length - least * places;
      const kept = [...before].sort((a, b) => b - a).map((n, i) => Math.min(n, least + (i < spare ? 1 : 0)));
      assert.equal(moves.length, actors.length - kept.reduce((sum, n) => sum + n, 0));
    }),
  );
});

test('a table of places that shrinks lets nobody in beyond it, and knows who is still there', () => {
  const table = new PlaceTable(3);
  for (let i = 0; i < 3; i++) table.enter();
  table.resize(1);
  assert.equal(table.displaced, 2);
  assert.equal(table.enter(2, true), 0);
  table.leave(2);
  assert.equal(table.displaced, 1);
  table.resize(2);
  assert.equal(table.enter(0, true), 0);
  assert.equal(table.enter(0), 1);
});
