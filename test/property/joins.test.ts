/**
 * The joins against their naive models: random events in disorder, with ties, gaps, the far future and keys that begin with
 * each other, and commits, crashes and losses of the files in between. Left and right come in one topic, so that what is
 * processed again comes in the order in which it came.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { asOfJoin, defineProcessor, json, nullable, streamJoin, string, topic } from '../../src/index.js';
import type { Emit } from '../../src/index.js';
import { RecordScope, StateStore } from '../../src/state/state-store.js';
import { engineFactory } from '../../src/storage/engines.js';
import type { StorageEngine } from '../../src/storage/storage-engine.js';
import { TestDriver } from '../../src/testing/index.js';
import {
  asOfJoinOf,
  streamJoinOf,
  type Joined,
  type JoinEvent,
  type StreamJoin,
} from '../support/joins-model.js';
import { eventsOf, randomHistory, type History } from '../support/random-events.js';
import type { ModelEvent } from '../support/windows-model.js';

type Sided = ModelEvent & Pick<JoinEvent, 'side'>;
const side = fc.record({ side: fc.constantFrom<'left' | 'right'>('left', 'right') });
const history = randomHistory({ keysMax: 3, stepsMax: 60 }, side);
const small = fc.constantFrom(0, 1, 3, 10);
const streamJoins = fc.record<StreamJoin>({
  beforeMs: small,
  afterMs: small,
  graceMs: fc.constantFrom(0, 0, 2, 20),
  type: fc.constantFrom('inner', 'left', 'outer'),
});

/** Event numbers of a pair; null stands for nothing. */
type Pair = readonly [key: string, left: number | null, right: number | null];
const pairOf = ({ key, left, right }: Pick<Joined, 'key' | 'left' | 'right'>): Pair => [
  key,
  left ?? null,
  right ?? null,
];

const inputs = {
  events: topic({
    key: nullable(string()),
    value: json<{ readonly side: 'left' | 'right'; readonly n: number }>(),
  }),
};
const outputs = {
  joined: topic({ key: string(), value: json<{ readonly pair: Pair; readonly timestamp: number }>() }),
  late: topic({ key: string(), value: json<number>() }),
};
interface Emits {
  readonly emit: Emit<typeof outputs>;
}

/** Runs the history through an actor, and reads what it has committed in the end. */
async function run(processor: ReturnType<typeof streamProcessor>, steps: History<Sided>) {
  await using driver = await TestDriver.start(processor, { cacheBytes: 4_000 });
  let n = 0;
  for (const step of steps) {
    if (step.do === 'event') {
      const { key, timestamp, side: of } = step.event;
      await driver.append('events', [{ key, value: { side: of, n: n++ }, timestamp }]);
      await driver.drain();
    } else {
      if (step.do === 'commit' || step.do === 'reopen') await driver.checkpoint();
      if (step.do === 'commit') continue;
      await driver.restart({ wipe: step.do === 'crashAndWipe' });
      await driver.drain();
    }
  }
  await driver.checkpoint();
  const joined = await driver.outputs<string, { readonly pair: Pair }>('joined');
  const late = await driver.outputs<string, number>('late');
  return { joined: joined.map(({ value }) => value.pair), late: late.map(({ value }) => value) };
}

function streamProcessor({ type, ...times }: StreamJoin) {
  const join = streamJoin({
    name: 'join',
    key: string(),
    left: json<number>(),
    right: json<number>(),
    ...times,
    type,
    onJoined: ({ key, left = null, right = null, timestamp }, { emit }: Emits) => {
      emit.joined(key, { pair: [key, left, right], timestamp });
    },
    onLate: ({ key, value }, { emit }) => {
      emit.late(key, value);
    },
  });
  return defineProcessor({
    inputs,
    outputs,
    stores: { ...join.stores },
    timers: { ...join.timers },
    process({ key, value, timestamp }, context) {
      join[value.side]({ key, value: value.n, timestamp }, context);
    },
  });
}

function asOfProcessor(graceMs: number, type: 'inner' | 'left') {
  const join = asOfJoin({
    name: 'rights',
    key: string(),
    left: json<number>(),
    right: json<number>(),
    graceMs,
    type,
    onJoined: ({ key, left, right, timestamp }, { emit }: Emits) => {
      emit.joined(key, { pair: [key, left, right ?? null], timestamp });
    },
  });
  return defineProcessor({
    inputs,
    outputs,
    stores: { ...join.stores },
    process({ key, value, timestamp }, context) {
      join[value.side]({ key, value: value.n, timestamp }, context);
    },
  });
}

test('a stream join equals its definition over all events, whatever commits and crashes come between', async () => {
  await fc.assert(
    fc.asyncProperty(streamJoins, history, async (join, steps) => {
      const { joined, late } = streamJoinOf(join, eventsOf(steps));
      assert.deepEqual(await run(streamProcessor(join), steps), { joined: joined.map(pairOf), late });
    }),
    { numRuns: 200 },
  );
});

test('an as-of join equals its definition over all events, whatever commits and crashes come between', async () => {
  const options = fc.record({
    graceMs: fc.constantFrom(0, 5, 40, 1e6),
    type: fc.constantFrom<'inner' | 'left'>('inner', 'left'),
  });
  await fc.assert(
    fc.asyncProperty(options, history, async (of, steps) => {
      const joined = asOfJoinOf(of, eventsOf(steps)).map(pairOf);
      assert.deepEqual(await run(asOfProcessor(of.graceMs, of.type), steps), { joined, late: [] });
    }),
    { numRuns: 150 },
  );
});

interface Timer {
  readonly name: string;
  readonly key: string;
  readonly atMs: number;
  readonly payload: number;
}

/** A join alone with its stores, and timers that are a list. */
class JoinRun {
  readonly joined: Pair[] = [];
  readonly late: number[] = [];
  readonly #engine: StorageEngine;
  readonly #join;
  readonly #scope = new RecordScope();
  #state!: StateStore;
  #context!: object;
  #timers: Timer[] = [];
  #clock = -1;
  #saved = { timers: [] as readonly Timer[], clock: -1, joined: 0, late: 0 };

  constructor(join: StreamJoin, engine: StorageEngine) {
    this.#engine = engine;
    this.#join = streamJoin({
      name: 'join',
      key: string(),
      left: json<number>(),
      right: json<number>(),
      ...join,
      onJoined: ({ key, left = null, right = null }, context: object) => {
        assert.equal(context, this.#context);
        this.joined.push([key, left, right]);
      },
      onLate: ({ value }) => {
        this.late.push(value);
      },
    });
    this.crash();
  }

  process({ key, side: of, timestamp }: Sided, n: number): void {
    this.#clock = Math.max(this.#clock, timestamp);
    this.#join[of]({ key, value: n, timestamp }, this.#context as never);
    for (let next = this.#due(); next !== undefined; next = this.#due()) {
      this.#timers.splice(this.#timers.indexOf(next), 1);
      this.#join.timers[next.name]!(this.#context as never, next.key, next.payload);
    }
  }

  async commit(): Promise<void> {
    const frozen = this.#state.freeze();
    await this.#engine.write(frozen.encode(), { sync: false });
    frozen.complete();
    const { length: joined } = this.joined;
    this.#saved = { timers: [...this.#timers], clock: this.#clock, joined, late: this.late.length };
  }

  /** @returns how many events are to be processed again */
  crash(): void {
    this.#timers = [...this.#saved.timers];
    this.#clock = this.#saved.clock;
    this.joined.length = this.#saved.joined;
    this.late.length = this.#saved.late;
    this.#state = new StateStore({
      stores: this.#join.stores as never,
      partition: this.#engine,
      cacheBytes: 3_000,
      maxRecordBytes: 1 << 20,
      stream: 'test',
      partitionNumber: 0,
    });
    const schedule = (name: string) =>
      Object.assign(
        (key: string, atMs: number, payload: number) => void this.#timers.push({ name, key, atMs, payload }),
        {
          cancel: (key: string, atMs: number) => {
            this.#timers = this.#timers.filter(
              (one) => one.name !== name || one.key !== key || one.atMs !== atMs,
            );
          },
        },
      );
    const clock = () => this.#clock;
    this.#context = {
      stores: this.#state.views(this.#scope),
      schedule: { 'join.left': schedule('join.left'), 'join.right': schedule('join.right') },
      get watermark() {
        return clock();
      },
    };
    this.#scope.open = true;
  }

  /** In the actor's order: by time, name and key. */
  #due(): Timer | undefined {
    return this.#timers
      .filter(({ atMs }) => atMs <= this.#clock)
      .sort(
        (a, b) =>
          a.atMs - b.atMs ||
          (a.name < b.name ? -1 : a.name > b.name ? 1 : 0) ||
          Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)),
      )[0];
  }
}

test('left and outer joins equal their definition over all events, with what stays alone', async () => {
  await fc.assert(
    fc.asyncProperty(streamJoins, history, async (join, steps) => {
      const engine = await engineFactory('memory').open('', { blockCacheBytes: 0, writeBufferBytes: 0 });
      const of = new JoinRun(join, engine);
      const events = eventsOf(steps);
      let processed = 0;
      let committed = 0;
      const catchUp = (to: number): void => {
        for (; processed < to; processed++) of.process(events[processed]!, processed);
      };
      for (const step of steps) {
        if (step.do === 'event') catchUp(processed + 1);
        else if (step.do === 'commit' || step.do === 'reopen') {
          await of.commit();
          committed = processed;
        }
        if (step.do === 'event' || step.do === 'commit') continue;
        const before = processed;
        of.crash();
        processed = committed;
        catchUp(before);
      }
      const { joined, late } = streamJoinOf(join, events);
      assert.deepEqual({ joined: of.joined, late: of.late }, { joined: joined.map(pairOf), late });
      await engine.close();
    }),
    { numRuns: 1_500 },
  );
});
