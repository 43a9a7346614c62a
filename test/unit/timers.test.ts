/** Timers as users meet them: when they fire, what survives, what is refused, and what becomes of one that throws. */
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  defineProcessor,
  int64,
  isPartitaError,
  json,
  keyValue,
  nullable,
  string,
  topic,
  tumbling,
  windowed,
  type Context,
  type ErrorCode,
  type FailedRecord,
} from '../../src/index.js';
import { ManualClock, TestDriver } from '../../src/testing/index.js';
import { ActorHarness } from '../support/actor-harness.js';
import { turns } from '../support/waiting.js';

/** What a record asks for. */
interface Order {
  readonly do?: readonly Step[];
  readonly fail?: boolean;
}
interface Step {
  readonly timer: 'a' | 'b';
  readonly key?: string | null;
  readonly at: number;
  readonly payload?: unknown;
  readonly clock?: 'event' | 'wall';
  readonly cancel?: boolean;
}
interface Fired {
  readonly timer: string;
  readonly payload?: unknown;
  readonly then?: readonly Step[];
  readonly fail?: boolean;
}

/* eslint-disable @typescript-eslint/no-explicit-any -- timers that take whatever a test gives them */
type Scheduler = Readonly<Record<string, any>>;
/* eslint-enable @typescript-eslint/no-explicit-any */

function take(schedule: Scheduler, steps: readonly Step[], own: string | null): void {
  /* eslint-disable @typescript-eslint/no-unsafe-call, @typescript-eslint/no-unsafe-member-access -- as above */
  for (const { timer, key = own, at, payload, clock, cancel } of steps)
    if (cancel === true) schedule[timer].cancel(key, at, { clock });
    else schedule[timer](key, at, payload, { clock });
  /* eslint-enable @typescript-eslint/no-unsafe-call, @typescript-eslint/no-unsafe-member-access */
}

type Payload = { readonly then?: readonly Step[]; readonly fail?: boolean } | undefined;
const failures: FailedRecord[] = [];

const jobs = defineProcessor({
  inputs: { orders: topic({ key: nullable(string()), value: json<Order>() }) },
  outputs: { fired: topic({ key: nullable(string()), value: json<Fired>() }) },
  onError: (_error, record) => {
    failures.push(record);
    return 'skip';
  },
  timers: {
    a({ emit, schedule }, key, payload: Payload) {
      emit.fired(key, { timer: 'a', ...(payload === undefined ? {} : { payload }) });
      take(schedule, payload?.then ?? [], key);
      if (payload?.fail === true) throw new Error('as asked');
    },
    async b({ emit }, key, payload: unknown) {
      await Promise.resolve();
      emit.fired(key, { timer: 'b', ...(payload === undefined ? {} : { payload }) });
    },
  },
  process({ key, value, timestamp }, { schedule, emit }) {
    emit.fired(key, { timer: `record ${String(timestamp)}` });
    take(schedule, value.do ?? [], key);
    if (value.fail === true) throw new Error('as asked');
  },
  commands: {
    take: ({ schedule }, key, steps: readonly Step[]) => {
      take(schedule, steps, key);
    },
  },
});

const start = (options: Parameters<typeof TestDriver.start>[1] = {}) => {
  failures.length = 0;
  return TestDriver.start(jobs, options);
};
type Driver = Awaited<ReturnType<typeof start>>;

const order = (driver: Driver, timestamp: number, steps: readonly Step[] = [], key: string | null = 'k') =>
  driver.pipe('orders', { key, timestamp, value: { do: steps } });

/** What has been emitted and committed: `timer key @timestamp`. */
async function outputs(driver: Driver): Promise<string[]> {
  await driver.checkpoint();
  const found = await driver.outputs<string, Fired>('fired');
  return found.map(({ key, value, timestamp }) =>
    value.timer.startsWith('record') ? value.timer : `${value.timer} ${key} @${String(timestamp)}`,
  );
}

const code =
  (expected: ErrorCode, text = /./) =>
  (error: unknown) => {
    const found = isPartitaError(error, 'HANDLER_FAILED') ? error.cause : error;
    assert.ok(isPartitaError(found, expected), String(found));
    assert.match(found.message, text);
    return true;
  };

test('event timers fire in the order of time, name and key, after the record that moved the clock, before the next', async () => {
  await using driver = await start();
  await order(driver, 10, [
    { timer: 'b', at: 20 },
    { timer: 'a', at: 30, key: 'z' },
    { timer: 'a', at: 20, key: 'y' },
    { timer: 'a', at: 20, key: 'x' },
    { timer: 'a', at: 31 },
  ]);
  await driver.append('orders', [
    { key: 'k', value: {}, timestamp: 19 },
    { key: 'k', value: {}, timestamp: 30 },
    { key: 'k', value: {}, timestamp: 29 },
  ]);
  await driver.drain();
  assert.deepEqual(await outputs(driver), [
    'record 10',
    'record 19',
    'record 30',
    'a x @20',
    'a y @20',
    'b k @20',
    'a z @30',
    'record 29',
  ]);
  assert.equal((await driver.stats())[0]!.timers, 4);
});

test('name, clock, key and time make a timer: the same again replaces its payload, and cancels cancel it alone', async () => {
  await using driver = await start();
  const step = { timer: 'a', at: 20 } as const;
  await order(driver, 10, [
    { ...step, payload: { n: 1 } },
    { ...step, payload: { n: 2 } },
    { ...step, at: 21, payload: { n: 3 } },
    { ...step, key: 'other', payload: { n: 4 } },
    { ...step, timer: 'b', payload: { n: 5 } },
    { ...step, clock: 'wall', at: driver.clock.now() + 20, payload: { n: 6 } },
  ]);
  await order(driver, 11, [
    { ...step, at: 21, cancel: true },
    { ...step, at: 22, cancel: true },
    { ...step, timer: 'b', clock: 'wall', cancel: true },
  ]);
  await order(driver, 100);
  await driver.advance(20);
  await driver.checkpoint();
  const found = await driver.outputs<string, Fired>('fired');
  const payloads = found.map(({ value }) => (value.payload as { readonly n: number } | undefined)?.n);
  assert.deepEqual(
    payloads.filter((n) => n !== undefined),
    [2, 4, 5, 6],
  );
});

test('a timer whose time has passed fires before the next record, also one that a timer or a command scheduled', async () => {
  await using driver = await start();
  await order(driver, 100, [
    { timer: 'a', at: 0, payload: { then: [{ timer: 'a', at: 0, key: 'first' }] } },
    { timer: 'b', at: 90 },
    {
      timer: 'a',
      at: 50,
      payload: {
        then: [
          { timer: 'b', at: 60 },
          { timer: 'b', at: 7, key: 'before' },
        ],
      },
    },
    { timer: 'a', at: 101 },
  ]);
  await driver.command('take', { key: 'k' }, [{ timer: 'a', at: 99, key: 'command' }]);
  await order(driver, 99);
  assert.deepEqual(await outputs(driver), [
    'record 100',
    'a k @0',
    'a first @0',
    'a k @50',
    'b before @7',
    'b k @60',
    'b k @90',
    'a command @99',
    'record 99',
  ]);
});

test('at the same time timers go before closings of windows, and what a timer adds there has its time', async () => {
  const both = defineProcessor({
    inputs: { orders: topic({ key: string(), value: int64() }) },
    outputs: { told: topic({ key: string(), value: string() }) },
    stores: {
      tens: windowed({
        key: string(),
        value: int64(),
        window: tumbling(10),
        aggregate: (of) => ({ sum: of.sum((n) => n) }),
      }),
    },
    timers: {
      z({ stores, emit }, key, payload: number) {
        emit.told(key, `timer ${payload}`);
        stores.tens.add(key, payload);
      },
    },
    windows: {
      tens({ key, startMs, result }, { emit }) {
        emit.told(key, `window ${startMs}: ${result.sum}`);
      },
    },
    process({ key, value }, { stores, schedule }) {
      if (value === 0) return;
      stores.tens.add(key, value);
      schedule.z(key, 20, 7);
      schedule.z(key, 10, 5);
      // In time for its window, though the record that makes it due would be late.
      schedule.z(key, 9, 3);
    },
  });
  await using driver = await TestDriver.start(both);
  await driver.pipe('orders', { key: 'k', value: 1, timestamp: 1 });
  await driver.pipe('orders', { key: 'k', value: 0, timestamp: 25 });
  await driver.pipe('orders', { key: 'k', value: 0, timestamp: 30 });
  await driver.checkpoint();
  assert.deepEqual(
    (await driver.outputs<string, string>('told')).map(({ value }) => value),
    ['timer 3', 'timer 5', 'window 0: 4', 'timer 7', 'window 10: 5', 'window 20: 7'],
  );
});

test('a timer that schedules itself for its own time again fires again, with the new payload', async () => {
  await using driver = await start();
  const again: Step = { timer: 'a', at: 5, payload: { then: [{ timer: 'a', at: 5 }] } };
  await order(driver, 10, [{ ...again, payload: { then: [again] } }]);
  assert.deepEqual(await outputs(driver), ['record 10', 'a k @5', 'a k @5', 'a k @5']);
  await driver.restart();
  await order(driver, 11);
  assert.deepEqual((await outputs(driver)).slice(4), ['record 11']);
});

test('wall-clock timers fire when the clock gets there, without any record, and emit at that time', async () => {
  for (const guarantee of ['exactly-once', 'at-least-once'] as const) {
    await using driver = await start({ guarantee, checkpoint: { intervalMs: 1_000_000 } });
    const now = driver.clock.now();
    await order(driver, 10, [
      { timer: 'a', at: now + 5_000, clock: 'wall' },
      { timer: 'b', at: now + 4_000, clock: 'wall' },
      { timer: 'b', at: now - 4_000, clock: 'wall', key: 'past' },
    ]);
    await driver.advance(3_999);
    assert.deepEqual(await outputs(driver), ['record 10', `b past @${String(now)}`], guarantee);
    await driver.advance(2);
    // Inside the transaction under both guarantees: nothing is to be seen before its commit.
    assert.equal((await driver.outputs('fired')).length, 2);
    await driver.advance(5_000);
    assert.deepEqual((await outputs(driver)).slice(2), [
      `b k @${String(now + 4_000)}`,
      `a k @${String(now + 5_000)}`,
    ]);
  }
});

test('after a restart or a rebuild the actor wakes for wall-clock timers, and fires at once what has come due meanwhile', async () => {
  for (const wipe of [false, true]) {
    await using driver = await start();
    const now = driver.clock.now();
    await order(driver, 10, [
      { timer: 'a', at: now + 60_000, clock: 'wall' },
      { timer: 'a', at: now + 90_000, clock: 'wall' },
    ]);
    await driver.checkpoint();
    await driver.crash();
    await driver.advance(70_000);
    await driver.restart({ wipe });
    await driver.advance(0);
    assert.equal((await outputs(driver)).length, 2);
    await driver.advance(19_000);
    assert.equal((await outputs(driver)).length, 2);
    await driver.advance(2_000);
    assert.equal((await outputs(driver)).length, 3);
  }
});

test('an actor that waits for a timer far away sleeps until then', async () => {
  await using driver = await start();
  await order(driver, 10, [{ timer: 'a', at: driver.clock.now() + 86_400_000, clock: 'wall' }]);
  await driver.checkpoint();
  await driver.restart();
  await driver.advance(120_000);
  let timers = 0;
  const setTimer = driver.clock.setTimer.bind(driver.clock);
  driver.clock.setTimer = (ms, fn) => {
    timers++;
    return setTimer(ms, fn);
  };
  await driver.advance(86_000_000);
  assert.equal(timers, 0);
  await driver.advance(400_000);
  assert.equal((await outputs(driver)).length, 2);
});

test('what fired is undone with what was not committed, and then fires once more; what was committed never again', async () => {
  await using driver = await start();
  await order(driver, 10, [
    { timer: 'a', at: 20 },
    { timer: 'a', at: 30 },
  ]);
  await driver.checkpoint();
  await order(driver, 20);
  for (const wipe of [false, true]) {
    await driver.restart({ wipe });
    await driver.drain();
    assert.equal((await driver.stats())[0]!.timers, 1);
  }
  assert.deepEqual(await outputs(driver), ['record 10', 'record 20', 'a k @20']);
  await driver.restart({ wipe: true });
  await order(driver, 30);
  assert.deepEqual((await outputs(driver)).slice(3), ['record 30', 'a k @30']);
});

test('a timer that was cancelled leaves nothing behind, however far away it was', async () => {
  await using driver = await start();
  const far: readonly Step[] = [
    { timer: 'a', at: 1e15 },
    { timer: 'b', at: 1e15, clock: 'wall' },
  ];
  await order(driver, 10, far);
  const rows = async (): Promise<number> => {
    await driver.checkpoint();
    const found = new Map<string, boolean>();
    for await (const { key, value } of driver.log.read('changelog__test--processor'))
      found.set(Buffer.from(key!).toString('latin1'), value !== null);
    return [...found].filter(([key, isThere]) => isThere && key.includes('$timer')).length;
  };
  assert.equal(await rows(), 4);
  await order(
    driver,
    11,
    far.map((step) => ({ ...step, cancel: true })),
  );
  assert.equal(await rows(), 0);
});

test('a record that fails has scheduled and cancelled nothing', async () => {
  await using driver = await start();
  await order(driver, 10, [{ timer: 'a', at: 20 }]);
  const steps: readonly Step[] = [
    { timer: 'a', at: 20, cancel: true },
    { timer: 'b', at: 20 },
  ];
  await driver.pipe('orders', { key: 'k', timestamp: 11, value: { do: steps, fail: true } });
  await driver.checkpoint();
  await driver.pipe('orders', { key: 'k', timestamp: 12, value: { do: steps, fail: true } });
  await order(driver, 20);
  assert.deepEqual(await outputs(driver), ['record 10', 'record 20', 'a k @20']);
  await assert.rejects(
    driver.command('take', { key: 'k' }, [
      { timer: 'a', at: 5 },
      { timer: 'a', at: -5 },
    ]),
    code('INVALID_ARGUMENT'),
  );
  assert.equal((await outputs(driver)).length, 3);
});

test('a time, clock, key or payload that is none is refused at the call', async () => {
  await using driver = await start();
  const refused = (step: Partial<Step>, expected: ErrorCode, text?: RegExp) =>
    assert.rejects(
      driver.command('take', { key: 'k' }, [{ timer: 'a', at: 5, ...step }]),
      code(expected, text),
    );
  for (const at of [-1, 1.5, NaN, Infinity, 2 ** 53, '5' as never, undefined as never]) {
    await refused({ at }, 'INVALID_ARGUMENT', /timer a/);
    await refused({ at, cancel: true }, 'INVALID_ARGUMENT', /timer a/);
  }
  await refused({ clock: 'sun' as never }, 'INVALID_ARGUMENT', /"sun"/);
  await refused({ key: null }, 'SERDE_FAILED');
  await refused({ key: 5 as never }, 'SERDE_FAILED');
  await refused({ payload: { at: new Date() } }, 'SERDE_FAILED', /\.at/);
  await refused({ payload: 'x'.repeat(9 << 20) }, 'RECORD_TOO_LARGE', /timer a for k/);
  await refused({ key: 'x'.repeat(9 << 20) }, 'RECORD_TOO_LARGE', /timer a for xxx/);
  await driver.command('take', { key: 'k' }, [{ timer: 'a', at: Number.MAX_SAFE_INTEGER }]);
  for (const payload of [null, 0, '', false, [], { a: null }])
    await driver.command('take', { key: 'k' }, [
      { timer: 'b', at: 0, payload, key: JSON.stringify(payload) },
    ]);
  await driver.restart();
  await order(driver, 1);
  await driver.checkpoint();
  const found = await driver.outputs<string, Fired>('fired');
  assert.equal(found.length, 1, 'commands that were not committed are gone');
});

test('payloads are what they were, also null and the like, from memory and from the changelog', async () => {
  for (const wipe of [false, true]) {
    await using driver = await start();
    const payloads = [null, 0, '', false, [], { a: [null, 'é\ud800'] }];
    await order(
      driver,
      1,
      payloads.map((payload) => ({ timer: 'b', at: 5, payload, key: JSON.stringify(payload) })),
    );
    if (wipe) {
      await driver.checkpoint();
      await driver.restart({ wipe });
    }
    await order(driver, 5);
    await driver.checkpoint();
    const found = (await driver.outputs<string, Fired>('fired')).slice(2);
    assert.equal(found.length, payloads.length);
    for (const { key, value } of found) assert.equal(JSON.stringify(value.payload), key);
  }
});

test('schedule ends with its record', async () => {
  let kept: { x: (key: string, at: number) => void; cancel: () => void } | undefined;
  const leaking = defineProcessor({
    inputs: { orders: topic({ key: string(), value: string() }) },
    timers: {
      x() {
        return;
      },
    },
    process(_record, { schedule }) {
      kept = {
        x: schedule.x,
        cancel: () => {
          schedule.x.cancel('k', 5);
        },
      };
    },
    queries: { seen: (context) => Object.keys(context) },
  });
  await using driver = await TestDriver.start(leaking);
  await driver.pipe('orders', { key: 'k', value: '' });
  const { x, cancel } = kept!;
  assert.throws(() => {
    x('k', 5);
  }, code('RECORD_CLOSED'));
  assert.throws(cancel, code('RECORD_CLOSED'));
  assert.deepEqual(await driver.query('seen', { key: 'k' }), ['stores', 'config', 'partition']);
});

test('a timer that fails is rolled back and skipped alone, and the policy is told which one it was', async () => {
  await using driver = await start();
  // It schedules one that would come before it: that is undone too, and must not be taken for it.
  const failing = { then: [{ timer: 'a', at: 1, key: 'never' }] as const, fail: true };
  await order(driver, 10, [
    { timer: 'a', at: 20, payload: failing },
    { timer: 'a', at: 21 },
  ]);
  await order(driver, 30);
  const now = driver.clock.now();
  await order(driver, 31, [{ timer: 'a', at: now, clock: 'wall', payload: failing }]);
  await driver.advance(1);
  assert.deepEqual(await outputs(driver), ['record 10', 'record 30', 'a k @21', 'record 31']);
  assert.deepEqual(
    failures.map(({ origin, name, topic: of, offset, timestamp }) => [origin, name, of, offset, timestamp]),
    [
      ['timer', 'a', undefined, undefined, 20],
      ['timer', 'a', undefined, undefined, now],
    ],
  );
  const [stats] = await driver.stats();
  assert.deepEqual([stats!.timers, stats!.skipped], [1, 2]);
  await driver.restart({ wipe: true });
  await order(driver, 32);
  assert.equal(failures.length, 2);
});

test('a dead letter of a timer holds its key as bytes and all of it as JSON', async () => {
  const dead = defineProcessor({
    inputs: { orders: topic({ key: int64(), value: int64() }) },
    onError: { deadLetter: 'dead' },
    timers: {
      broken(_context, _key, { n }: { readonly n: number }) {
        throw new Error(`broken ${n}`);
      },
    },
    process({ key, value, timestamp }, { schedule }) {
      schedule.broken(key, timestamp + value, { n: 5 });
    },
  });
  await using driver = await TestDriver.start(dead);
  await driver.pipe('orders', { key: -7, value: 0, timestamp: 1_000 });
  await driver.checkpoint();
  const [letter, ...none] = await driver.outputs<Uint8Array, Uint8Array>('dead');
  assert.equal(none.length, 0);
  assert.equal(Buffer.from(letter!.key).readBigInt64BE(), -7n);
  assert.deepEqual(JSON.parse(Buffer.from(letter!.value).toString()), {
    timer: 'broken',
    clock: 'event',
    key: -7,
    atMs: 1_000,
    payload: { n: 5 },
  });
  assert.equal(letter!.headers['partita.timer'], 'broken');
});

test('without a policy a timer that fails ends its partition, which says which one it was', async () => {
  const broken = defineProcessor({
    inputs: { orders: topic({ key: string(), value: string() }) },
    timers: {
      bomb() {
        throw new RangeError('boom');
      },
    },
    process({ key }, { schedule }) {
      schedule.bomb(key, 0);
    },
  });
  await using driver = await TestDriver.start(broken);
  await assert.rejects(driver.pipe('orders', { key: 'k', value: '' }), (error: unknown) => {
    assert.ok(isPartitaError(error, 'HANDLER_FAILED'));
    assert.match(error.message, /timer bomb of processor-0 failed at its time 0: .*boom/);
    assert.equal(error.details['timer'], 'bomb');
    return true;
  });
});

test('timers that schedule timers for ever let queries, commands and checkpoints through', async () => {
  const endless = defineProcessor({
    inputs: { orders: topic({ key: string(), value: string() }) },
    stores: { fired: keyValue({ key: string(), value: int64() }) },
    timers: {
      again({ stores, schedule }, key) {
        const n = (stores.fired.get('stop') ?? 0) === 0 ? (stores.fired.get(key) ?? 0) + 1 : -1;
        stores.fired.set(key, n);
        if (n > 0) schedule['again']!(key, n % 3);
      },
    },
    process({ key }, { schedule }) {
      schedule.again(key, 0);
    },
    queries: { fired: ({ stores }, key) => stores.fired.get(key) },
    commands: {
      stop: ({ stores }) => {
        stores.fired.set('stop', 1);
      },
    },
  });
  await using driver = await TestDriver.start(endless);
  await driver.pipe('orders', { key: 'k', value: '', timestamp: 5 });
  const before = await driver.query('fired', { key: 'k' });
  assert.ok(before! > 0);
  await driver.checkpoint();
  assert.ok((await driver.query('fired', { key: 'k' }))! > before!);
  await driver.command('stop', { key: 'k' });
  await driver.advance(0);
  assert.equal(await driver.query('fired', { key: 'k' }), -1);
});

test('tens of thousands of timers fire in order, once each, through crashes and a record that fails', async () => {
  const COUNT = 40_000;
  const many = defineProcessor({
    inputs: { orders: topic({ key: string(), value: json<'few' | 'many' | 'fail' | 'nothing'>() }) },
    outputs: { fired: topic({ key: string(), value: int64() }) },
    onError: 'skip',
    timers: {
      tick({ emit }, key, payload: number) {
        emit.fired(key, payload);
      },
    },
    process({ key, value }, { schedule }) {
      // In no order; the few lie among the many.
      const count = value === 'nothing' ? 0 : value === 'few' ? 1_000 : COUNT;
      for (let i = 0; i < count; i++) {
        const at = 1_000 + ((i * 7_919) % count) * (COUNT / count);
        schedule.tick(key, at, at);
      }
      if (value === 'fail') throw new Error('as asked');
    },
  });
  await using driver = await TestDriver.start(many);
  const pipe = (key: string, value: 'few' | 'many' | 'fail' | 'nothing', timestamp: number) =>
    driver.pipe('orders', { key, value, timestamp });
  await pipe('few', 'few', 1);
  await pipe('fail', 'fail', 2);
  await pipe('many', 'many', 3);
  await pipe('fail', 'fail', 4);
  await driver.checkpoint();
  await pipe('none', 'nothing', 1_000 + COUNT / 4);
  await driver.checkpoint();
  await driver.restart();
  await pipe('none', 'nothing', 1_000 + COUNT / 2);
  await driver.restart({ wipe: true });
  await driver.drain();
  await pipe('none', 'nothing', 1_000 + COUNT);
  await driver.advance(0);
  await driver.checkpoint();
  const found = await driver.outputs<string, number>('fired');
  const expected: string[] = [];
  for (let at = 1_000; at < 1_000 + COUNT; at++) {
    if ((at - 1_000) % (COUNT / 1_000) === 0) expected.push(`few ${at}`);
    expected.push(`many ${at}`);
  }
  assert.equal(found.length, expected.length);
  assert.deepEqual(
    found.map(({ key, value }) => `${key} ${value}`),
    expected,
  );
});

/** A processor whose timers are these. */
function withTimers(names: readonly string[]) {
  const timers = Object.fromEntries(
    names.map((name) => [
      name,
      ({ emit }: Context<{ fired: typeof fired }, object, undefined>, key: string) => {
        emit.fired(key, name);
      },
    ]),
  );
  return defineProcessor({
    inputs: { orders: topic({ key: string(), value: int64() }) },
    outputs: { fired },
    timers,
    process({ key, timestamp }, { schedule }) {
      for (const timer of Object.values(schedule)) timer(key, timestamp + 10);
    },
  }).definition;
}
const fired = topic({ key: string(), value: string() });

test('what was scheduled for a timer that is not declared any more is kept, with a warning, and fires when it is again', async () => {
  await using harness = await ActorHarness.make({ definition: withTimers(['one', 'two']) });
  const record = (timestamp: number) =>
    harness.log.produce('orders', [{ key: 'k', value: Buffer.alloc(8), timestamp }]);
  const warnings = () =>
    harness.events.filter(({ type }) => type === 'warning').map((event) => JSON.stringify(event));
  await harness.boot();
  const now = Date.now();
  await record(now);
  await harness.feed('orders');
  await harness.actor.checkpoint('asked');
  await harness.crash();
  harness.definition = withTimers(['two']);
  await harness.boot();
  assert.equal(warnings().length, 1);
  assert.match(warnings()[0]!, /The timer one of stream-0 is not declared any more/);
  await record(now + 10);
  await harness.feed('orders');
  await harness.actor.checkpoint('asked');
  const values = async () => (await harness.read('fired')).map(({ value }) => value);
  assert.deepEqual(await values(), ['two']);
  await harness.crash();
  harness.definition = withTimers(['two', 'one']);
  await harness.boot();
  await turns(50);
  await harness.actor.checkpoint('asked');
  assert.deepEqual((await values()).sort(), ['one', 'two']);
  assert.equal(warnings().length, 1);
});

test('timers over keys of another serde are refused, and nothing is touched', async () => {
  await using harness = await ActorHarness.make({ definition: withTimers(['one']) });
  await harness.boot();
  await harness.log.produce('orders', [{ key: 'k', value: Buffer.alloc(8), timestamp: Date.now() }]);
  await harness.feed('orders');
  await harness.actor.checkpoint('asked');
  await harness.crash();
  const { definition } = harness;
  harness.definition = { ...definition, inputs: { orders: topic({ key: int64(), value: int64() }) } };
  await assert.rejects(harness.boot(), (error: unknown) => isPartitaError(error, 'STORE_INCOMPATIBLE'));
  harness.definition = definition;
  await harness.boot();
});

test('a parked actor fires what has come due when it runs again', async () => {
  const clock = new ManualClock(Date.now());
  await using harness = await ActorHarness.make({
    clock,
    definition: defineProcessor({
      inputs: { orders: topic({ key: string(), value: int64() }) },
      outputs: { fired },
      timers: {
        x({ emit }, key) {
          emit.fired(key, 'x');
        },
      },
      process({ key }, { schedule }) {
        schedule.x(key, clock.now() + 1_000, undefined, { clock: 'wall' });
      },
    }).definition,
  });
  await harness.boot();
  await harness.log.produce('orders', [{ key: 'k', value: Buffer.alloc(8), timestamp: clock.now() }]);
  await harness.feed('orders');
  assert.deepEqual(await harness.actor.park({ commit: true, budgetMs: 1_000 }), { outcome: 'parked' });
  await clock.advanceAsync(5_000);
  assert.deepEqual(await harness.read('fired'), []);
  await harness.resume(false);
  await turns(50);
  await harness.actor.checkpoint('asked');
  assert.equal((await harness.read('fired')).length, 1);
});

test('timers that are none, or are named as none may be, are refused where they are declared', () => {
  const inputs = { orders: topic({ key: string(), value: string() }) };
  const declare = (timers: object) => () =>
    defineProcessor({ inputs, timers: timers as Record<string, () => void>, process: () => undefined });
  assert.throws(declare({ x: 5 }), code('INVALID_PROCESSOR', /timer x/));
  for (const name of ['$x', 'a--b', '', 'x'.repeat(81), '..'])
    assert.throws(declare({ [name]: () => undefined }), code('INVALID_NAME', /timer name/));
  declare({ 'a.b-c_D9': () => undefined })();
});
