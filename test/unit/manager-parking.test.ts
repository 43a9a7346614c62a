/** Tests of `manager/parking.ts`: what follows upon what in a group, and what ends a parking. */
import assert from 'node:assert/strict';
import { access, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ManualClock } from '../../src/core/clock.js';
import { isNext, Parking } from '../../src/manager/parking.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { PATIENCE_MS } from '../support/waiting.js';

const before = { memberId: 'a', generation: 7 };

for (const [name, now, next] of [
  ['the same member in the next generation: nobody was in between', { memberId: 'a', generation: 8 }, true],
  ['a generation was missed', { memberId: 'a', generation: 9 }, false],
  ['the same generation twice makes no sense', { memberId: 'a', generation: 7 }, false],
  ['an older generation: the group was begun anew', { memberId: 'a', generation: 1 }, false],
  ['another member id: it was forgotten in between', { memberId: 'b', generation: 8 }, false],
] as const)
  test(name, () => {
    assert.equal(isNext(before, now), next);
  });

const parking = (clock: ManualClock, directory?: string): { over: string[]; parking: Parking } => {
  const over: string[] = [];
  const made = new Parking(clock, before);
  made.watch({ parkMs: 10_000, directory, onOver: (why) => over.push(why) });
  return { over, parking: made };
};

test('time ends a parking once; one that ended before is not ended again', () => {
  const clock = new ManualClock();
  const first = parking(clock);
  const second = parking(clock);
  clock.advance(9_999);
  assert.deepEqual(first.over, []);
  assert.equal(first.parking.durationMs, 9_999);
  second.parking.end();
  clock.advance(20_000);
  assert.deepEqual(first.over, ['its time is over']);
  assert.deepEqual(second.over, []);
  assert.equal(clock.pendingTimers, 0);
});

test('a note beside the directory ends a parking within a quarter of a second, and is taken away', async () => {
  const stateDir = temporaryDirectory('parking');
  const clock = new ManualClock();
  const { over } = parking(clock, join(stateDir, '3'));
  const look = async (): Promise<void> => {
    clock.advance(250);
    // It has looked when the next look is set, or there is none.
    const until = performance.now() + PATIENCE_MS;
    while (clock.pendingTimers === 1 && performance.now() < until)
      await new Promise((resolve) => setTimeout(resolve, 2));
  };
  await look();
  await look();
  assert.deepEqual(over, []);
  await writeFile(join(stateDir, '3.wanted'), '17\n');
  await look();
  assert.deepEqual(over, ['another process waits for its directory']);
  await assert.rejects(access(join(stateDir, '3.wanted')));
  assert.equal(clock.pendingTimers, 0);
});
