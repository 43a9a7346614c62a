/** The parts of supervision that decide: standing still, who killed a thread, suspects, and the way to one. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CallMark } from '../../src/actor/call-mark.js';
import { SuspectApproach } from '../../src/actor/suspect-approach.js';
import { ManualClock } from '../../src/core/clock.js';
import { PartitaError } from '../../src/core/errors.js';
import { Standstill, Watchdog } from '../../src/core/watchdog.js';
import { accused, callUnderWay, stuckIn, Suspicion, type CallUnderWay } from '../../src/manager/suspects.js';
import { ThreadDeaths } from '../../src/manager/thread-deaths.js';
import { PROGRESS, type ActorSpec } from '../../src/threads/protocol.js';

describe('a watchdog', () => {
  test('counts looks at the same number in a row, and none while nothing is under way', () => {
    const standstill = new Standstill(3);
    const looks = [1, 1, 1, 2, 2, undefined, 2, 2, 2, 2].map((value) => standstill.look(value));
    assert.deepEqual(looks, [false, false, false, false, false, false, false, false, false, true]);
  });

  function watchdog(limitMs: number) {
    const clock = new ManualClock();
    const state = { debugged: false, value: 0 as number | undefined, stillAt: [] as number[] };
    const dog = new Watchdog({ clock, limitMs, isDebugged: () => state.debugged });
    const unwatch = dog.watch(
      () => state.value,
      () => state.stillAt.push(clock.monotonic()),
    );
    return { clock, state, unwatch };
  }

  test('tells once, when a counter has stood still for the limit', () => {
    const { clock, state } = watchdog(1_000);
    for (let i = 0; i < 20; i++) {
      clock.advance(100);
      state.value!++;
    }
    assert.deepEqual(state.stillAt, []);
    clock.advance(10_000);
    assert.equal(state.stillAt.length, 1);
    assert.ok(state.stillAt[0]! >= 3_000 && state.stillAt[0]! <= 3_200, String(state.stillAt[0]));
    assert.equal(clock.pendingTimers, 0);
  });

  test('never tells while a debugger is attached, and begins anew when it has gone', () => {
    const { clock, state } = watchdog(1_000);
    state.debugged = true;
    clock.advance(60_000);
    assert.deepEqual(state.stillAt, []);
    state.debugged = false;
    clock.advance(900);
    assert.deepEqual(state.stillAt, []);
    clock.advance(300);
    assert.equal(state.stillAt.length, 1);
  });

  test('with the limit 0 watches nothing, and leaves no timer when it is told to end', () => {
    assert.equal(watchdog(0).clock.pendingTimers, 0);
    const { clock, unwatch } = watchdog(50);
    assert.equal(clock.pendingTimers, 1);
    unwatch();
    unwatch();
    assert.equal(clock.pendingTimers, 0);
  });

  test('does not take the time for which it was frozen itself for the time of others', () => {
    const { clock, state } = watchdog(1_000);
    let timer: (() => void) | undefined;
    const frozen: ManualClock = Object.assign(new ManualClock(), {
      setTimer: (_ms: number, fn: () => void) => ((timer = fn), { cancel: () => undefined }),
    });
    const dog = new Watchdog({ clock: frozen, limitMs: 1_000, isDebugged: () => false });
    dog.watch(
      () => 7,
      () => state.stillAt.push(0),
    );
    // An hour may lie between two of its looks.
    for (let look = 0; look < 10; look++) timer!();
    assert.deepEqual(state.stillAt, []);
    timer!();
    assert.equal(state.stillAt.length, 1);
    assert.equal(clock.monotonic(), 0);
  });
});

const inputs = [
  { input: 'a', topic: 'a', topicId: '' },
  { input: 'b', topic: 'b', topicId: '' },
];

function spec(): Pick<ActorSpec, 'inputs' | 'progress'> & { readonly mark: CallMark } {
  const progress = new SharedArrayBuffer(PROGRESS.bytes);
  return { inputs, progress, mark: new CallMark(progress) };
}

describe('what an actor leaves behind', () => {
  test('says which record it was in, also the one at offset 0, and whether others may have run', () => {
    const left = spec();
    assert.equal(callUnderWay(left), undefined);
    left.mark.record(1, 0);
    assert.deepEqual(callUnderWay(left), { running: true, record: { topic: 'b', offset: 0 } });
    left.mark.record(0, 2 ** 40);
    left.mark.pending();
    assert.deepEqual(callUnderWay(left), { running: false, record: { topic: 'a', offset: 2 ** 40 } });
    left.mark.none();
    assert.equal(callUnderWay(left), undefined);
  });

  test('says that it was in another call than a record', () => {
    const left = spec();
    left.mark.record(1, 5);
    left.mark.call();
    assert.deepEqual(callUnderWay(left), { running: true, record: undefined });
    left.mark.pending();
    assert.deepEqual(callUnderWay(left), { running: false, record: undefined });
    assert.equal(left.mark.at, undefined);
  });

  test('says which command it has started, also after billions of them, and of which record it was', () => {
    const left = spec();
    const started = () => new Float64Array(left.progress)[PROGRESS.startedCommand];
    assert.equal(started(), 0);
    left.mark.command(2 ** 31 + 5);
    assert.deepEqual(callUnderWay(left), { running: true, record: undefined });
    left.mark.record(1, 2 ** 33);
    assert.deepEqual(callUnderWay(left), { running: true, record: { topic: 'b', offset: 2 ** 33 } });
    assert.equal(started(), 2 ** 31 + 5);
  });

  test('a call that waits shows each step that it gets on', () => {
    const { mark } = spec();
    assert.equal(mark.waiting, undefined);
    mark.record(0, 1);
    assert.equal(mark.waiting, undefined);
    mark.pending();
    const first = mark.waiting;
    assert.notEqual(first, undefined);
    assert.equal(mark.waiting, first);
    mark.beat();
    assert.notEqual(mark.waiting, first);
  });
});

const running: CallUnderWay = { running: true, record: { topic: 'a', offset: 1 } };
const waiting: CallUnderWay = { running: false, record: { topic: 'a', offset: 2 } };

for (const [name, calls, expected] of [
  ['the one that was running, whoever else waited', { x: running, y: waiting, z: undefined }, ['x']],
  ['all that waited, if none was running', { x: undefined, y: waiting, z: waiting }, ['y', 'z']],
  ['all, if none was in a call', { x: undefined, y: undefined }, ['x', 'y']],
  ['nobody, if there was nobody', {}, []],
] as const)
  test(`a thread's death counts against ${name}`, () => {
    assert.deepEqual([...accused(new Map(Object.entries(calls)))], expected);
  });

describe('a suspicion', () => {
  const death = new PartitaError('THREAD_DIED', 'Thread 0 died.');
  const at = (offset: number): CallUnderWay => ({ running: true, record: { topic: 'a', offset } });

  test('grows with deaths in the same record, to poison at the third', () => {
    const suspicion = new Suspicion();
    assert.equal(new Suspicion().suspect, undefined);
    for (const isPoison of [false, false, true]) {
      suspicion.died(at(7), death);
      assert.equal(suspicion.suspect?.isPoison, isPoison);
    }
    assert.equal(suspicion.suspect?.deaths.length, 3);
  });

  test('begins anew with another record, and does not change by a death outside of records', () => {
    const suspicion = new Suspicion();
    suspicion.died(at(7), death);
    suspicion.died(at(7), death);
    suspicion.died(undefined, death);
    suspicion.died({ running: true, record: undefined }, death);
    assert.equal(suspicion.suspect?.deaths.length, 2);
    suspicion.died(at(6), death);
    assert.deepEqual([suspicion.suspect.offset, suspicion.suspect.deaths.length], [6, 1]);
  });

  test('ends when a commit has gone beyond the record, not before', () => {
    const suspicion = new Suspicion();
    assert.equal(suspicion.committed([{ topic: 'a', offset: 1 }]), true);
    suspicion.died(at(7), death);
    assert.equal(suspicion.committed([{ topic: 'a', offset: 7 }]), false);
    assert.equal(suspicion.committed([{ topic: 'b', offset: 9 }]), false);
    assert.equal(suspicion.committed([{ topic: 'a', offset: 8 }]), true);
    assert.equal(suspicion.suspect, undefined);
  });

  test('hears of a handler that did not settle from the error alone', () => {
    const details = { topic: 'a', offset: 7 };
    assert.deepEqual(stuckIn(new PartitaError('ACTOR_STUCK', '', { details })), at(7));
    assert.deepEqual(stuckIn(new PartitaError('ACTOR_STUCK', '')), { running: true, record: undefined });
    assert.equal(stuckIn(death), undefined);
  });
});

describe('the way to a suspect record', () => {
  const suspect = { topic: 'a', offset: 1_000, deaths: ['x'], isPoison: false };

  test('is halved by each checkpoint, so that each death leaves half of it behind', () => {
    const approach = new SuspectApproach(suspect);
    const commits: number[] = [];
    for (let offset = 0; offset < 1_000; offset++) {
      const step = approach.step('a', offset);
      if (step === 'commit') commits.push(offset);
      else assert.equal(step, 'go');
    }
    assert.deepEqual(commits, [500, 750, 875, 938, 969, 985, 993, 997, 999]);
    assert.equal(approach.step('a', 1_000), 'suspect');
    assert.equal(approach.step('a', 1_001), 'over');
  });

  test('does not end by other inputs, and ends if the record is not there any more', () => {
    const approach = new SuspectApproach(suspect);
    assert.equal(approach.step('b', 5_000), 'go');
    assert.equal(approach.step('a', 1_002), 'over');
  });

  test('ends at poison with its refusal', () => {
    assert.equal(new SuspectApproach({ ...suspect, isPoison: true }).step('a', 1_000), 'refuse');
  });
});

describe('the actors of one thread', () => {
  const asSpec = (left: object): ActorSpec => left as ActorSpec;

  test('are judged together by what they were in when it died, whoever asks first', () => {
    const deaths = new ThreadDeaths(new ManualClock(), 1_000);
    const [first, second, elsewhere] = [spec(), spec(), spec()].map((left) => ({ ...left }));
    first!.mark.record(0, 1);
    first!.mark.pending();
    second!.mark.record(0, 1);
    elsewhere!.mark.record(0, 1);
    const neighbour = { checkpoint: () => Promise.resolve() };
    deaths.enter(0, asSpec(first!), neighbour);
    deaths.enter(0, asSpec(second!), neighbour);
    deaths.enter(1, asSpec(elsewhere!), neighbour);
    const death = new Error('gone');
    assert.equal(deaths.isAccused(0, asSpec(first!), death), false);
    deaths.leave(0, asSpec(second!));
    assert.equal(deaths.isAccused(0, asSpec(second!), death), true);
    // The first one's next death: it was alone.
    assert.equal(deaths.isAccused(0, asSpec(first!), new Error('again')), true);
  });

  test('that are suspects get their turns one after the other, each for a bounded time', async () => {
    const clock = new ManualClock();
    const deaths = new ThreadDeaths(clock, 1_000);
    const never = new AbortController();
    const order: string[] = [];
    const [a, b, c, d] = [{}, {}, {}, {}];
    await deaths.turn(0, a, never.signal);
    await deaths.turn(0, a, never.signal);
    const taking = (name: string, holder: object, signal = never.signal) =>
      deaths.turn(0, holder, signal).then(() => order.push(name));
    const gone = new AbortController();
    const all = [taking('b', b), taking('c', c), taking('d', d, gone.signal)];
    await deaths.turn(1, d, never.signal);
    await clock.advanceAsync(999);
    assert.deepEqual(order, []);
    deaths.endTurn(0, b);
    deaths.endTurn(0, a);
    await clock.advanceAsync(1);
    assert.deepEqual(order, ['b']);
    gone.abort();
    await clock.advanceAsync(1_100);
    assert.deepEqual(order, ['b', 'd', 'c']);
    deaths.endTurn(0, c);
    await Promise.all(all);
  });

  test('let the others process and commit first, for a bounded time, and wait for nobody if there is nobody', async () => {
    const clock = new ManualClock();
    const deaths = new ThreadDeaths(clock, 1_000);
    const me = asSpec(spec());
    const { signal } = new AbortController();
    deaths.enter(0, me, { checkpoint: () => Promise.resolve() });
    await deaths.neighboursFirst(0, me, 200, signal);
    const told: number[] = [];
    let commit: () => void = () => undefined;
    const checkpoint = () => {
      told.push(clock.monotonic());
      return new Promise<void>((resolve) => (commit = resolve));
    };
    deaths.enter(0, asSpec(spec()), { checkpoint });
    let over = 0;
    const wait = () => deaths.neighboursFirst(0, me, 200, signal).then(() => over++);
    const first = wait();
    await clock.advanceAsync(900);
    assert.deepEqual([told, over], [[200], 0]);
    commit();
    await first;
    assert.equal(clock.pendingTimers, 0);
    const second = wait();
    await clock.advanceAsync(1_300);
    await second;
    assert.deepEqual([told.length, over], [2, 2]);
  });
});
