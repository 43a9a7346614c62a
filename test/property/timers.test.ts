/**
 * Timers against the naive model, over random histories of records, commands, failures, jumps of both clocks, commits, crashes,
 * wipes and reopens: event timers fire in exactly the model's order, wall-clock timers exactly once, as far as committed
 * outputs go.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { json, string } from '../../src/codec/serdes.js';
import { topic } from '../../src/processor/declarations.js';
import { defineProcessor } from '../../src/processor/define-processor.js';
import { TestDriver } from '../../src/testing/index.js';
import {
  eventsOf,
  FAR_FUTURE_MS,
  KEYS,
  randomHistory,
  type History,
  type Interruption,
} from '../support/random-events.js';
import {
  firedText,
  timeOf,
  timersModel,
  type TimerEvent,
  type TimerOp,
  type TimerOutcome,
  type TimerPayload,
  type WallOp,
} from '../support/timers-model.js';

const RUNS = 300;
/** Commands count from here. */
const COMMAND_MS = 20;

/** What a record or command asks for; `n` is its number in the history. */
interface Doing {
  readonly n: number;
  readonly ops: readonly TimerOp[];
  readonly wall: readonly WallOp[];
  readonly fail: boolean;
}

interface WallPayload {
  readonly id: string;
  readonly fail: boolean;
  readonly eventAt: number | null;
}

/** `schedule`, by names and payloads that only the history knows. */
interface ScheduleOne {
  (key: string, atMs: number, payload: unknown, options?: { readonly clock: 'wall' }): void;
  cancel(key: string, atMs: number): void;
}
type Schedule = Readonly<Record<string, ScheduleOne>>;

function apply(schedule: Schedule, ops: readonly TimerOp[], base: number, id: string): void {
  ops.forEach((op, i) => {
    const { timer, key, fail, then } = op;
    const atMs = timeOf(base, op);
    if (op.do === 'cancel') schedule[timer]!.cancel(key, atMs);
    else schedule[timer]!(key, atMs, { id: `${id}.${String(i)}`, atMs, fail, then } satisfies TimerPayload);
  });
}

function take({ n, ops, wall, fail }: Doing, base: number, schedule: Schedule): void {
  apply(schedule, ops, base, String(n));
  wall.forEach(({ afterMs, fail: failing, eventAt = null }, i) => {
    const id = `${String(n)}/${String(i)}`;
    const payload: WallPayload = { id, fail: failing, eventAt };
    // From the beginning of the test: a record that is processed again schedules the same.
    schedule['wall']!(id, FAR_FUTURE_MS + afterMs, payload, { clock: 'wall' });
  });
  if (fail) throw new Error('as asked');
}

function fire(
  timer: string,
  key: string,
  { id, atMs, fail, then }: TimerPayload,
  {
    emit,
    schedule,
  }: { readonly emit: { told(key: string, value: string): void }; readonly schedule: Schedule },
): void {
  emit.told('', firedText(timer, key, atMs, id));
  apply(schedule, then, atMs, id);
  if (fail) throw new Error('as asked');
}

const processor = defineProcessor({
  inputs: { in: topic({ key: string(), value: json<Doing>() }) },
  outputs: {
    told: topic({ key: string(), value: string() }),
    wall: topic({ key: string(), value: string() }),
  },
  // Anything else that throws is found.
  onError: (error) => (error instanceof Error && error.message === 'as asked' ? 'skip' : 'fail'),
  timers: {
    a(context, key, payload: TimerPayload) {
      fire('a', key, payload, context);
    },
    async b(context, key, payload: TimerPayload) {
      await Promise.resolve();
      fire('b', key, payload, context);
    },
    wall({ emit, schedule }, key, { id, fail, eventAt }: WallPayload) {
      emit.wall(key, id);
      if (eventAt !== null) schedule['ofWall']!(key, eventAt, id);
      if (fail) throw new Error('as asked');
    },
    ofWall({ emit }, key, id: string) {
      emit.wall(key, `${id} event`);
    },
  },
  process({ value, timestamp }, { emit, schedule }) {
    emit.told('', String(value.n));
    take(value, timestamp, schedule as unknown as Schedule);
  },
  commands: {
    take: ({ schedule }, _key, doing: Doing) => {
      take(doing, COMMAND_MS, schedule as unknown as Schedule);
    },
  },
});
type Driver = TestDriver<typeof processor>;

// ── histories ────────────────────────────────────────────────────────────────────────────────────────────────────────

const few = (max: number, weight: number) => ({ weight, arbitrary: fc.nat({ max }) });

/** Small distances, so that identities meet, both ways in time. */
function randomOps(depth: number): fc.Arbitrary<readonly TimerOp[]> {
  const op = fc.record<TimerOp>({
    do: fc.constantFrom('schedule', 'schedule', 'schedule', 'cancel'),
    timer: fc.constantFrom('a', 'b'),
    key: fc.constantFrom(...KEYS.slice(0, 3)),
    afterMs: fc.oneof(
      { weight: 8, arbitrary: fc.integer({ min: 0, max: 40 }) },
      { weight: 2, arbitrary: fc.integer({ min: -12, max: 0 }) },
      few(400, 2),
    ),
    fail: fc.boolean().map((one) => one && depth % 2 === 0),
    then: depth === 0 ? fc.constant([]) : randomOps(depth - 1),
  });
  return fc.array(op, { maxLength: 3 });
}

const randomWall: fc.Arbitrary<WallOp> = fc.record({
  afterMs: fc.integer({ min: -50, max: 4_000 }),
  fail: fc.boolean(),
  eventAt: fc.option(fc.nat({ max: 200 }), { nil: undefined }),
});

const more = fc.record({
  ops: randomOps(2),
  wall: fc.array(randomWall, { maxLength: 2 }),
  fail: fc.boolean().chain((maybe) => (maybe ? fc.boolean() : fc.constant(false))),
  isCommand: fc.nat({ max: 7 }).map((n) => n === 0),
  /** Wall-clock goes on before it. */
  advanceMs: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, few(1_500, 2)),
});
type More = typeof more extends fc.Arbitrary<infer T> ? T : never;
type Steps = History<More & { readonly key: string | null; readonly timestamp: number }>;

// ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function interrupt(driver: Driver, how: Interruption): Promise<void> {
  if (how === 'commit' || how === 'reopen') await driver.checkpoint();
  if (how === 'commit') return;
  if (how !== 'reopen') await driver.crash();
  await driver.restart({ wipe: how === 'crashAndWipe' });
}

async function outcome(driver: Driver): Promise<TimerOutcome> {
  const texts = async (output: string) =>
    (await driver.outputs<string, string>(output)).map(({ value }) => value);
  const rows = new Set<string>();
  for await (const { key, value } of driver.log.read('changelog__test--processor')) {
    const text = Buffer.from(key!).toString('latin1');
    if (value === null) rows.delete(text);
    else if (text.includes('$timer')) rows.add(text);
  }
  // A row and its place in the index.
  return { told: await texts('told'), wall: (await texts('wall')).sort(), left: rows.size / 2 };
}

async function run(history: Steps, cacheBytes: number): Promise<void> {
  // The log takes no record that is far ahead of its clock.
  await using driver = await TestDriver.start(processor, { startMs: FAR_FUTURE_MS, cacheBytes });
  let n = 0;
  for (const step of history) {
    if (step.do !== 'event') {
      await driver.drain();
      await interrupt(driver, step.do);
      continue;
    }
    const { timestamp, isCommand, advanceMs, ops, wall, fail } = step.event;
    const doing: Doing = { n: n++, ops, wall, fail };
    if (advanceMs > 0) {
      await driver.drain();
      await driver.advance(advanceMs);
    }
    if (!isCommand) await driver.append('in', [{ key: '', value: doing, timestamp }]);
    else {
      await driver.drain();
      const command = driver.command('take', { key: '' }, doing);
      // Nobody runs it again: what comes of it is committed before anything can happen.
      await (fail ? assert.rejects(command, /as asked/) : command);
      await driver.checkpoint();
    }
  }
  await driver.drain();
  await driver.advance(10_000);
  // The last one moves the event clock beyond everything.
  const last: Doing = { n, ops: [], wall: [], fail: false };
  await driver.append('in', [{ key: '', value: last, timestamp: FAR_FUTURE_MS }]);
  await driver.drain();
  await driver.checkpoint();

  const events = eventsOf(history).map(({ isCommand, timestamp, ops, wall, fail }): TimerEvent => {
    return { timestamp: isCommand ? undefined : timestamp, ops, wall, fail };
  });
  const end: TimerEvent = { timestamp: FAR_FUTURE_MS, ops: [], wall: [], fail: false };
  const expected = timersModel([...events, end], COMMAND_MS);
  assert.deepEqual(await outcome(driver), expected);
  // All of it is done with: a rebuilt actor finds nothing more to fire.
  await driver.restart({ wipe: true });
  await driver.advance(10_000);
  await driver.drain();
  await driver.checkpoint();
  assert.deepEqual(await outcome(driver), expected);
  assert.equal((await driver.stats())[0]!.timers, 0);
}

test('timers fire as the model says, whatever happens between and during their records', async () => {
  const seed = Number(process.env['TIMERS_SEED'] ?? Date.now() % 1_000_000);
  const history = randomHistory({ stepsMax: 30, unkeyed: false }, more) as fc.Arbitrary<Steps>;
  await fc.assert(fc.asyncProperty(history, fc.constantFrom(0, 2_000, 1 << 20), run), {
    seed,
    numRuns: Number(process.env['TIMERS_RUNS'] ?? RUNS),
    endOnFailure: false,
  });
});
