/**
 * What many windows cost: a million open ones within the bound of the cache, a gap of a year in a counted number of reads,
 * and an actor that closes 100,000 at once and answers queries meanwhile, is checkpointed in the middle of it, and crashes.
 * What windows hold is `property/windows-oracle.test.ts`'s to say.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { json, string } from '../../src/codec/serdes.js';
import { topic } from '../../src/processor/declarations.js';
import { defineProcessor } from '../../src/processor/define-processor.js';
import { hopping, session, sliding, tumbling, windowed, type Window } from '../../src/processor/windowed.js';
import { withDirectory } from '../contract/storage-engine.js';
import { ActorHarness } from '../support/actor-harness.js';
import { WindowedState } from '../support/windowed-state.js';

const MEBIBYTE = 1 << 20;
const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;
/** Some full hour. */
const START_MS = 1_700_000_000_000 - (1_700_000_000_000 % HOUR_MS);

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function heapBytes(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

describe('a million open windows', () => {
  const KEYS = 1_000_000;
  const CACHE_BYTES = 16 * MEBIBYTE;
  const CHECKPOINT_RECORDS = 20_000;
  /** So many windows close at the end. */
  const DUE = 50_000;

  it('stay within the bound of the cache, and are all there', { timeout: 180_000 }, (t) =>
    withDirectory(async (directory) => {
      const before = heapBytes();
      await using state = await WindowedState.open({
        engine: 'level',
        directory: join(directory, 'db'),
        window: tumbling(1_000),
        graceMs: YEAR_MS,
        cacheBytes: CACHE_BYTES,
      });
      const held: number[] = [];
      const checkpoint = async () => {
        await state.checkpoint();
        held.push(state.heldBytes);
      };
      const startedAt = performance.now();
      for (let key = 0; key < KEYS; key++) {
        // Twenty windows of time with as many keys each, which do not come in the order of time.
        state.add(`key-${String(key)}`, START_MS + 1_000 * ((key * 7) % (KEYS / DUE)));
        if (state.pending) await state.close();
        if ((key + 1) % CHECKPOINT_RECORDS === 0) await checkpoint();
      }
      const addedAt = performance.now();
      const heap = heapBytes() - before;
      assert.ok(heap < 5 * CACHE_BYTES, `the heap has grown by ${String(heap)} bytes`);
      let open = 0;
      for await (const { result } of state.all('committed')) open += result.n;
      assert.equal(open, KEYS);
      assert.equal(state.closed, 0);

      state.add('clock', START_MS + 1_000 + YEAR_MS);
      await state.close();
      await checkpoint();
      assert.equal(state.closed, DUE);
      const heldMax = Math.max(...held);
      assert.ok(heldMax <= CACHE_BYTES, `the state held ${String(heldMax)} bytes after a checkpoint`);
      t.diagnostic(
        `added in ${seconds(addedAt - startedAt)}, read and closed ${String(DUE)} in ${seconds(performance.now() - addedAt)}; ` +
          `held at most ${String(Math.round(heldMax / MEBIBYTE))} MiB, the heap grew by ${String(Math.round(heap / MEBIBYTE))} MiB`,
      );
    }),
  );
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

describe('more windows than the front of their index holds', () => {
  /** More than `due-index.ts` holds in memory. */
  const KEYS = 20_000;
  const keys = (prefix: string, count: number) =>
    Array.from({ length: count }, (_, i) => `${prefix}-${String((i * 7_919) % count)}`);
  const open = () =>
    WindowedState.open({ engine: 'memory', directory: '', window: tumbling(1_000), cacheBytes: MEBIBYTE });

  for (const checkpoints of [false, true])
    it(`all close, ${checkpoints ? 'with' : 'without'} checkpoints in between`, async () => {
      await using state = await open();
      for (const [i, key] of keys('key', KEYS).entries()) {
        state.add(key, START_MS + 100 * (i % 10));
        await state.close();
        if (checkpoints && i % 3_000 === 0) await state.checkpoint();
      }
      state.add('clock', START_MS + HOUR_MS);
      await state.close();
      assert.equal(state.closedEvents, KEYS);
    });

  it('all close, also if a record with as many more has failed', async () => {
    await using state = await open();
    for (const key of keys('key', KEYS / 2)) {
      state.add(key, START_MS);
      await state.close();
    }
    state.addAndFail(keys('failed', 2 * KEYS), START_MS);
    state.add('clock', START_MS + HOUR_MS);
    await state.close();
    assert.equal(state.closedEvents, KEYS / 2);
  });
});

describe('a gap of one year', () => {
  const KEYS = 500;
  const kinds: readonly { name: string; window: Window; perKey: number }[] = [
    { name: 'tumbling windows of a second', window: tumbling(1_000), perKey: 1 },
    { name: 'hopping windows of a second, every 100 ms', window: hopping(1_000, 100), perKey: 10 },
    { name: 'sliding windows of a second', window: sliding(1_000), perKey: 1 },
    { name: 'sessions with a gap of a second', window: session(1_000), perKey: 1 },
  ];

  for (const { name, window, perKey } of kinds)
    for (const closing of ['partition', 'key'] as const)
      it(`costs as many reads and closings as one of a minute, with ${name}, closing by ${closing}`, () =>
        withDirectory(async (directory) => {
          /** What it costs to pass the gap with nothing in memory. */
          const cost = async (gapMs: number) => {
            await using state = await WindowedState.open({
              engine: 'level',
              directory: join(directory, String(gapMs)),
              window,
              closing,
              keyClockRetentionMs: 5_000,
              cacheBytes: MEBIBYTE,
            });
            for (let key = 0; key < KEYS; key++) {
              state.add(`key-${String(key)}`, START_MS);
              await state.close();
            }
            await state.reopen();
            state.reads = { gets: 0, pages: 0 };
            state.add('other', START_MS + gapMs);
            state.add('key-0', START_MS + gapMs);
            await state.close();
            const { reads, closed, closedEvents, taken } = state;
            return { ...reads, closed, closedEvents, taken };
          };
          const year = await cost(YEAR_MS);
          assert.deepEqual(year, await cost(60_000));
          assert.equal(year.closed, KEYS * perKey);
          assert.equal(year.closedEvents, KEYS * perKey);
          // A row of each key, and a few pages of the index.
          assert.ok(year.gets <= 2 * KEYS + 10, `${String(year.gets)} point reads`);
          assert.ok(year.pages <= 10, `${String(year.pages)} pages`);
          assert.ok(year.taken <= KEYS * (perKey + 2), `${String(year.taken)} entries of the index`);
        }));
});

describe('while 100,000 windows close at once', () => {
  const KEYS = 100_000;
  const QUERIES_MAX = 10_000;
  const AFTER_MS = START_MS + 10 * HOUR_MS;
  const inputConfigs = {
    'retention.ms': '-1',
    'message.timestamp.before.max.ms': String(Number.MAX_SAFE_INTEGER),
  };

  function processorOf(counts: { closings: number }) {
    return defineProcessor({
      inputs: { in: topic({ key: string(), value: json<number>() }) },
      outputs: { out: topic({ key: string(), value: json<number>() }) },
      stores: {
        w: windowed({
          key: string(),
          value: json<number>(),
          window: tumbling(HOUR_MS),
          aggregate: (of) => ({ n: of.count() }),
        }),
      },
      process({ key, value }, { stores }) {
        stores.w.add(key, value);
      },
      windows: {
        w({ key, result }, { emit }) {
          counts.closings++;
          emit.out(key, result.n);
        },
      },
      queries: {
        current: ({ stores }, key: string) => ({
          open: stores.w.current(key).map(({ result }) => result.n),
          closings: counts.closings,
        }),
      },
    });
  }

  interface Answer {
    readonly open: readonly number[];
    readonly closings: number;
  }

  async function prepared(
    directory: string,
    counts: { closings: number },
    options: NonNullable<Parameters<typeof ActorHarness.make>[0]['options']> = {},
  ): Promise<ActorHarness> {
    const { definition } = processorOf(counts);
    const harness = await ActorHarness.make({
      definition,
      directory,
      inputConfigs,
      outputConfigs: inputConfigs,
      options: { engine: 'level', ...options },
    });
    await harness.boot();
    for (let from = 0; from < KEYS; from += 10_000)
      await harness.log.produce(
        'in',
        Array.from({ length: 10_000 }, (_, i) => ({ key: keyOf(from + i), value: '1', timestamp: START_MS })),
      );
    await harness.feed('in');
    await harness.actor.checkpoint('asked');
    return harness;
  }

  const keyOf = (n: number): string => `key-${String(n)}`;
  const closeAll = (harness: ActorHarness) =>
    harness.log.produce('in', [{ key: 'clock', value: '1', timestamp: AFTER_MS }]);

  it('queries are answered in between, and see what is due as closed', { timeout: 60_000 }, async (t) =>
    withDirectory(async (directory) => {
      const counts = { closings: 0 };
      await using harness = await prepared(directory, counts);
      assert.deepEqual(await harness.query('current', keyOf(KEYS - 1)), { open: [1], closings: 0 });
      await closeAll(harness);
      const startedAt = performance.now();
      const closing = harness.feed('in');
      while (counts.closings === 0) await turn();
      const answers: (Answer & { readonly ms: number })[] = [];
      while (counts.closings < KEYS && answers.length < QUERIES_MAX) {
        const askedAt = performance.now();
        const answer = (await harness.query('current', keyOf(KEYS - 1))) as Answer;
        answers.push({ ...answer, ms: performance.now() - askedAt });
        await turn();
      }
      await closing;
      const closingMs = performance.now() - startedAt;
      assert.equal(counts.closings, KEYS);
      const between = answers.filter(({ closings }) => closings < KEYS);
      const times = between.map(({ ms }) => ms).sort((a, b) => a - b);
      t.diagnostic(
        `${String(KEYS)} closings took ${closingMs.toFixed(0)} ms; ${String(between.length)} queries were answered in between, ` +
          `in ${times[times.length >> 1]!.toFixed(2)} ms (median), ${times.at(-1)!.toFixed(2)} ms (longest)`,
      );
      assert.ok(between.length >= 3, `${String(between.length)} answers in between`);
      for (const { open } of between) assert.deepEqual(open, [], 'a due window was shown as open');
    }),
  );

  it(
    'a checkpoint comes in between, and after a crash each window is emitted once all the same',
    { timeout: 60_000 },
    () =>
      withDirectory(async (directory) => {
        const counts = { closings: 0 };
        await using harness = await prepared(directory, counts);
        await closeAll(harness);
        const feeding = harness.feed('in').catch(() => undefined);
        while (counts.closings === 0) await turn();
        await harness.actor.checkpoint('asked');
        const atCheckpoint = counts.closings;
        assert.ok(atCheckpoint < KEYS, 'the checkpoint waited for all closings');
        while (counts.closings === atCheckpoint) await turn();
        assert.ok(counts.closings < KEYS, 'everything was closed before the crash');
        await harness.crash();
        await feeding;
        const atCrash = counts.closings;

        await harness.boot();
        await harness.feed('in');
        // A checkpoint does not wait for what is due; each takes along what has been closed so far.
        let emitted: string[] = [];
        for (let round = 0; round < 100 && emitted.length < KEYS; round++) {
          await new Promise((resolve) => setTimeout(resolve, 100));
          await harness.actor.checkpoint('asked');
          emitted = (await harness.read('out')).map(({ key }) => key!);
        }
        assert.equal(emitted.length, KEYS);
        assert.equal(new Set(emitted).size, KEYS);
        // What was closed after the checkpoint was lost, and made again.
        assert.ok(counts.closings < KEYS + atCrash, 'the checkpoint in between saved nothing');
      }),
  );
});
