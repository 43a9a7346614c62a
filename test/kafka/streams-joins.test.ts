/**
 * Joins against Kafka Streams, pair by pair, on random records whose disorder stays within what both mean alike: the grace, and
 * their own window. What Kafka Streams does with others is in streams-differences.test.ts.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { defineProcessor, json, streamJoin, string, table, topic, type Emit } from '../../src/index.js';
import { TestDriver } from '../../src/testing/index.js';
import { registerMissing } from '../support/describe-kafka.js';
import {
  streamsMissing,
  streamsOf,
  type StreamsJoin,
  type StreamsPair,
  type StreamsRecord,
  type StreamsRun,
} from '../support/kafka-streams-oracle.js';
import { seededRandom } from '../support/seeded-random.js';

const TEST_BUDGET_MS = 280_000;
const SEEDS = 40;
const RECORDS = 300;
/** Later than everything, so that what stays alone is told. */
const END_MS = 1e9;

type Pair = Omit<StreamsPair, 'at'>;
type Header = Extract<StreamsJoin, { topology: 'streamJoin' }>;

const outputs = { pairs: topic({ key: string(), value: json<Pair>() }) };
interface Emits {
  readonly emit: Emit<typeof outputs>;
}
type Value = Pick<StreamsRecord, 'input'> & { readonly value: number };

function streamJoinOf({ kind, beforeMs, afterMs, graceMs }: Header) {
  const join = streamJoin({
    name: 'join',
    key: string(),
    left: json<number>(),
    right: json<number>(),
    beforeMs,
    afterMs,
    graceMs,
    type: kind,
    onJoined: ({ key, left, right, timestamp }, { emit }: Emits) => {
      emit.pairs(key, { key, left: left ?? null, right: right ?? null, timestamp }, { timestamp });
    },
  });
  return defineProcessor({
    inputs: { both: topic({ key: string(), value: json<Value>() }) },
    outputs,
    stores: { ...join.stores },
    timers: { ...join.timers },
    process({ key, value: { input, value }, timestamp }, context) {
      join[input === 'a' ? 'left' : 'right']({ key, value, timestamp }, context);
    },
  });
}

async function ourStreamJoin({ header, records }: StreamsRun<Header>): Promise<Pair[]> {
  await using driver = await TestDriver.start(streamJoinOf(header));
  await driver.append(
    'both',
    records.map(({ input, key, value, timestamp }) => ({
      key: key!,
      value: { input, value: value! },
      timestamp,
    })),
  );
  await driver.drain();
  await driver.checkpoint();
  return (await driver.outputs<string, Pair>('pairs')).map(({ value }) => value);
}

function randomStreamJoin(seed: number, kind: Header['kind']): StreamsRun<Header> {
  const random = seededRandom(seed);
  const upTo = (n: number): number => random.between(0, n);
  const header: Header = {
    topology: 'streamJoin',
    kind,
    beforeMs: upTo(12),
    afterMs: upTo(12),
    // Without any, its stores may have dropped a record that lies at the very edge of a window.
    graceMs: 1 + upTo(4),
  };
  const disorder = Math.min(header.beforeMs, header.afterMs, header.graceMs);
  let now = 0;
  const records = Array.from({ length: RECORDS }, (_, value): StreamsRecord => {
    now += upTo(20) === 0 ? upTo(60) : upTo(2);
    const timestamp = Math.max(0, now - (upTo(3) === 0 ? upTo(disorder) : 0));
    return { input: upTo(1) === 0 ? 'a' : 'b', key: `k${upTo(2)}`, value, timestamp };
  });
  const end = (input: 'a' | 'b', timestamp: number): StreamsRecord => ({
    input,
    key: 'end',
    value: -1,
    timestamp,
  });
  return { header, records: [...records, end('a', END_MS), end('b', 2 * END_MS), end('a', 3 * END_MS)] };
}

const pairOf = ({ key, left, right, timestamp }: Pair) =>
  `${String(key)} ${String(left)} ${String(right)} @${timestamp}`;
const withoutEnd = (pairs: readonly Pair[]) => pairs.filter(({ key }) => key !== 'end').map(pairOf);

async function ourTableJoin(records: readonly StreamsRecord[], kind: 'inner' | 'left'): Promise<Pair[]> {
  const processor = defineProcessor({
    inputs: {
      b: table({ key: string(), value: json<number>() }),
      a: topic({ key: string(), value: json<number>() }),
    },
    outputs,
    process({ key, value, timestamp }, { stores, emit }) {
      const right = stores.b.get(key);
      if (right !== undefined || kind === 'left')
        emit.pairs(key, { key, left: value, right: right ?? null, timestamp });
    },
  });
  await using driver = await TestDriver.start(processor);
  const of = (side: 'a' | 'b') => records.filter(({ input }) => input === side);
  await driver.append(
    'b',
    of('b').map(({ key, value, timestamp }) => ({ key: key!, value, timestamp })),
  );
  await driver.append(
    'a',
    of('a').map(({ key, value, timestamp }) => ({ key: key!, value: value!, timestamp })),
  );
  await driver.drain();
  await driver.checkpoint();
  return (await driver.outputs<string, Pair>('pairs')).map(({ value }) => value);
}

const title = 'Kafka Streams and we agree';
const missing = streamsMissing();
if (missing !== undefined) registerMissing(title, missing);
else
  describe(title, { timeout: 2 * TEST_BUDGET_MS }, () => {
    for (const kind of ['inner', 'left', 'outer'] as const)
      test(`on the pairs of ${kind} joins of two streams, and on what stays alone`, async () => {
        const runs = Array.from({ length: SEEDS }, (_, index) => randomStreamJoin(7_001 + index, kind));
        const theirs = await streamsOf(runs);
        for (const [index, run] of runs.entries()) {
          const expected = withoutEnd(theirs[index]!.pairs);
          const ours = withoutEnd(await ourStreamJoin(run));
          assert.ok(expected.length > 0);
          const what = `seed ${7_001 + index}: ${JSON.stringify(run.header)}`;
          // What stays alone comes before the pairs of the record there, and after them here.
          if (kind === 'inner') assert.deepEqual(ours, expected, what);
          else assert.deepEqual(ours.sort(), expected.sort(), what);
        }
      });

    test('on the lookups of a stream in a table, whose records come in the order of their time', async () => {
      const random = seededRandom(11);
      const upTo = (n: number): number => random.between(0, n);
      const records = Array.from({ length: RECORDS }, (_, n): StreamsRecord => {
        const input = upTo(1) === 0 ? 'a' : 'b';
        const value = input === 'b' && upTo(4) === 0 ? null : n;
        return { input, key: `k${upTo(4)}`, value, timestamp: n };
      });
      for (const kind of ['inner', 'left'] as const) {
        const [theirs] = await streamsOf([{ header: { topology: 'tableJoin', kind }, records }]);
        assert.deepEqual((await ourTableJoin(records, kind)).map(pairOf), theirs!.pairs.map(pairOf));
      }
    });
  });
