/** Tests of `core/clock.ts`, `core/deadline.ts` and `core/backoff.ts`, by the manual clock; the system clock briefly. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Backoff } from '../../src/core/backoff.js';
import { ManualClock, systemClock } from '../../src/core/clock.js';
import { Deadline } from '../../src/core/deadline.js';
import { isPartitaError } from '../../src/core/errors.js';
import { turns } from '../support/waiting.js';

describe('manual clock', () => {
  test('timers fire in the order of their times, each at its own time, the cancelled ones never', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ ms: fc.nat(50), cancel: fc.boolean() }), { maxLength: 30 }),
        fc.array(fc.nat(20), { maxLength: 10 }),
        (timers, steps) => {
          const clock = new ManualClock(1_000);
          const fired: { at: number; index: number }[] = [];
          timers.forEach(({ ms, cancel }, index) => {
            const timer = clock.setTimer(ms, () => fired.push({ at: clock.now(), index }));
            if (cancel) timer.cancel();
          });
          for (const step of steps) clock.advance(step);
          const passed = steps.reduce((sum, step) => sum + step, 0);
          const expected = timers
            .map(({ ms, cancel }, index) => ({ at: 1_000 + ms, index, cancel }))
            .filter(({ at, cancel }) => !cancel && steps.length > 0 && at <= 1_000 + passed)
            .sort((a, b) => a.at - b.at || a.index - b.index)
            .map(({ at, index }) => ({ at, index }));
          assert.deepEqual(fired, expected);
          assert.equal(clock.now(), 1_000 + passed);
          assert.equal(clock.monotonic(), passed);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('a timer set by a timer fires within the same advance if it is due', () => {
    const clock = new ManualClock();
    const seen: number[] = [];
    const tick = (): void => {
      seen.push(clock.now());
      clock.setTimer(10, tick);
    };
    clock.setTimer(10, tick);
    clock.advance(35);
    assert.deepEqual(seen, [10, 20, 30]);
    assert.equal(clock.nextTimerAt, 40);
  });

  test('code that awaits between its sleeps gets through all of them in one advance', async () => {
    const clock = new ManualClock();
    let rounds = 0;
    const loop = async (): Promise<void> => {
      for (; rounds < 5; rounds++) {
        await clock.sleep(100);
        await Promise.resolve();
      }
    };
    const done = loop();
    await clock.advanceAsync(500);
    await done;
    assert.equal(rounds, 5);
  });

  test('an aborted sleep rejects at once and leaves no timer behind', async () => {
    for (const clock of [new ManualClock(), systemClock]) {
      const controller = new AbortController();
      const sleeping = clock.sleep(60_000, controller.signal);
      controller.abort(new Error('stop'));
      await assert.rejects(
        sleeping,
        (error: Error) => isPartitaError(error, 'CALL_ABORTED') && (error.cause as Error).message === 'stop',
      );
      await assert.rejects(clock.sleep(1, controller.signal), (error) =>
        isPartitaError(error, 'CALL_ABORTED'),
      );
      if (clock instanceof ManualClock) assert.equal(clock.pendingTimers, 0);
    }
  });
});

test('the system clock fires after the time asked for, and not after cancel', async () => {
  const begun = systemClock.monotonic();
  let cancelledFired = false;
  systemClock
    .setTimer(1, () => {
      cancelledFired = true;
    })
    .cancel();
  await systemClock.sleep(20);
  assert.ok(systemClock.monotonic() - begun >= 19);
  assert.equal(cancelledFired, false);
  assert.ok(Math.abs(systemClock.now() - Date.now()) < 1_000);
});

describe('deadline', () => {
  test('what remains shrinks to zero and never below', () => {
    const clock = new ManualClock();
    const deadline = Deadline.after(clock, 100);
    clock.advance(40);
    assert.equal(deadline.remainingMs, 60);
    assert.equal(deadline.within(1_000).remainingMs, 60);
    assert.equal(deadline.within(10).remainingMs, 10);
    assert.equal(deadline.expired, false);
    clock.advance(60);
    assert.equal(deadline.expired, true);
    clock.advance(60);
    assert.equal(deadline.remainingMs, 0);
  });

  test('a race is won by whatever comes first, and the loser is not an unhandled rejection', async () => {
    const clock = new ManualClock();
    assert.equal(await Deadline.after(clock, 100).race(Promise.resolve(7), 'The call'), 7);
    await assert.rejects(
      Deadline.after(clock, 100).race(Promise.reject(new Error('no')), 'The call'),
      /^Error: no$/,
    );
    assert.equal(clock.pendingTimers, 0);

    let fail: (error: Error) => void = () => undefined;
    const slow = new Promise<never>((_resolve, reject) => {
      fail = reject;
    });
    const raced = Deadline.after(clock, 100).race(slow, 'The commit of orders-3', 'STOP_DEADLINE');
    clock.advance(100);
    await assert.rejects(
      raced,
      (error) =>
        isPartitaError(error, 'STOP_DEADLINE') &&
        error.message === 'The commit of orders-3 did not end within 100 ms.',
    );
    fail(new Error('too late'));
    await turns();
  });
});

describe('back-off', () => {
  test('delays grow to their maximum, keep within the jitter, and end', () => {
    const delays = (random: () => number): number[] => {
      const backoff = new Backoff({ firstMs: 10, maxMs: 100, attemptsMax: 6, jitter: 0.5, random });
      const all: number[] = [];
      for (let ms = backoff.next(); ms !== undefined; ms = backoff.next()) all.push(ms);
      return all;
    };
    assert.deepEqual(
      delays(() => 0),
      [10, 20, 40, 80, 100, 100],
    );
    assert.deepEqual(
      delays(() => 1),
      [5, 10, 20, 40, 50, 50],
    );
  });

  test('it begins anew after a success', () => {
    const backoff = new Backoff({ firstMs: 1, maxMs: 8, attemptsMax: 2, jitter: 0 });
    assert.deepEqual([backoff.next(), backoff.next(), backoff.next()], [1, 2, undefined]);
    backoff.reset();
    assert.equal(backoff.next(), 1);
  });

  test('options without a bound are refused', () => {
    assert.throws(
      () => new Backoff({ firstMs: 10, maxMs: 5, attemptsMax: 1 }),
      (error) => isPartitaError(error, 'INVALID_ARGUMENT'),
    );
  });
});
