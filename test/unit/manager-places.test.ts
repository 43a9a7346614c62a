/** Places of calls: never more than there are, in order, and every wait for one ends. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualClock } from '../../src/core/clock.js';
import { PartitaError } from '../../src/core/errors.js';
import { CallPlaces } from '../../src/manager/call-places.js';
import { code } from '../support/manager-desk.js';

const full = () => new PartitaError('MAILBOX_FULL', 'Full.');
const aborted = () => new PartitaError('CALL_ABORTED', 'Aborted.');
const setUp = (callsMax: number) => {
  const clock = new ManualClock();
  return { clock, places: new CallPlaces({ clock, callsMax, waitMs: 1_000, full }) };
};

test('a place that is given back goes to who waits longest, and nobody who comes meanwhile takes it', async () => {
  const { clock, places } = setUp(1);
  const order: string[] = [];
  const enter = (name: string) => places.enter(5_000).then(() => order.push(name));
  await enter('first');
  const waiting = [enter('second'), enter('third')];
  places.leave();
  const late = enter('late');
  assert.equal(places.taken, 1);
  await waiting[0];
  places.leave();
  await waiting[1];
  places.leave();
  await late;
  assert.deepEqual(order, ['first', 'second', 'third', 'late']);
  places.leave();
  assert.equal(places.taken, 0);
  assert.equal(clock.pendingTimers, 0);
});

test('who waits for a place is told that it is full in time, by its own timeout if that is shorter, or gives up by its signal', async () => {
  const { clock, places } = setUp(1);
  await places.enter(5_000);
  const long = assert.rejects(places.enter(5_000), code('MAILBOX_FULL'));
  const short = assert.rejects(places.enter(200), code('MAILBOX_FULL'));
  const abort = new AbortController();
  const given = assert.rejects(places.enter(5_000, abort.signal, aborted), code('CALL_ABORTED'));
  abort.abort();
  await given;
  assert.equal(clock.pendingTimers, 2);
  clock.advance(200);
  await short;
  assert.equal(clock.pendingTimers, 1);
  clock.advance(800);
  await long;
  assert.equal(clock.pendingTimers, 0);
});

test('a flood waits in a line of bounded length; what is beyond it is told at once', async () => {
  const { clock, places } = setUp(10);
  const calls = Array.from({ length: 1_000 }, () => places.enter(5_000));
  const settled = Promise.allSettled(calls);
  assert.equal(clock.pendingTimers, 160);
  clock.advance(1_000);
  const outcomes = await settled;
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 10);
  assert.equal(places.taken, 10);
});
