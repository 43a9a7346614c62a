/** What a scaling waits for, and what ends its wait. The simulation found that a stop did not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/core/clock.js';
import { Emitter } from '../../src/core/emitter.js';
import { PartitaError, isPartitaError } from '../../src/core/errors.js';
import { silentLogger } from '../../src/core/logger.js';
import type { ManagerEvents } from '../../src/manager/events.js';
import { Movement } from '../../src/manager/movement.js';
import type { ResolvedOptions } from '../../src/manager/options.js';
import type { PartitionKeeper } from '../../src/manager/partition-keeper.js';
import { PlaceTable } from '../../src/manager/placement.js';
import type { ActorPlaces } from '../../src/threads/actor-places.js';

const REVOKE_BUDGET_MS = 10_000;

/** Two threads, and at the second one an actor that is closing. */
function scene() {
  const clock = new ManualClock();
  const places = { size: 2, resize: async (size: number) => void (places.size = size) };
  const closing = { place: 1, leaving: true, parked: false, giveWay: () => undefined };
  const keepers = [closing as unknown as PartitionKeeper];
  const world = { stopped: false };
  const movement = new Movement({
    options: { revokeBudgetMs: REVOKE_BUDGET_MS } as ResolvedOptions,
    clock,
    logger: silentLogger,
    emitter: new Emitter<ManagerEvents>(silentLogger),
    places: places as unknown as ActorPlaces,
    placeTable: new PlaceTable(2),
    keepers: () => keepers,
    absent: () => new PartitaError('PARTITION_NOT_OWNED', 'absent'),
    expectUsable: () => {
      if (world.stopped) throw new PartitaError('STOPPED', 'stopped');
    },
  });
  return { clock, places, keepers, movement, world };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('a stop ends the wait of a scaling at once, and leaves no timer', async () => {
  const { clock, movement, world } = scene();
  const scaled = assert.rejects(movement.scale(1), (error) => isPartitaError(error, 'STOPPED'));
  await settled();
  assert.notEqual(clock.nextTimerAt, undefined, 'it waits for who is closing');
  world.stopped = true;
  movement.stop();
  await scaled;
  assert.equal(clock.nextTimerAt, undefined);
});

test('a scaling waits for an actor that takes its time to close, and ends the thread then', async () => {
  const { clock, places, keepers, movement } = scene();
  const scaled = movement.scale(1);
  for (let ms = 0; ms < REVOKE_BUDGET_MS; ms += 20) {
    await settled();
    clock.advance(20);
  }
  await settled();
  assert.equal(places.size, 2, 'the actor has not closed yet');
  keepers.length = 0;
  clock.advance(20);
  await scaled;
  assert.equal(places.size, 1);
});
