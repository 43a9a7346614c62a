/**
 * The models of TTL, timestamped stores and joins against results worked out on paper from the definitions, so that they may
 * judge the stores. `windows-model.test.ts` does the same for windows.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  asOfJoinOf,
  lookupJoinOf,
  streamJoinOf,
  type Joined,
  type JoinEvent,
  type StreamJoin,
} from '../support/joins-model.js';
import { timestampedModelOf, type TimestampedOperation } from '../support/timestamped-model.js';
import { ttlModelOf, type TtlEvent, type TtlOperation } from '../support/ttl-model.js';

const get = (key: string): TtlOperation => ({ do: 'get', key });
const set = (key: string, value: number, ttlMs?: number): TtlOperation => ({
  do: 'set',
  key,
  value,
  ...(ttlMs === undefined ? {} : { ttlMs }),
});
const at = (timestamp: number, ...operations: TtlOperation[]): TtlEvent => ({ timestamp, operations });
const valuesRead = (...args: Parameters<typeof ttlModelOf>) =>
  ttlModelOf(...args).reads.map(({ value }) => value);

test('an entry is hidden from its expiry on, which counts from its own record and not from the clock', () => {
  const events = [
    at(100, set('a', 1, 10), get('a')),
    at(109, get('a')),
    at(110, get('a'), set('b', 2, 5)),
    // Long expired when it is written.
    at(50, set('c', 3, 60), get('c'), get('b')),
    at(40, set('d', 4, 71), get('d')),
  ];
  assert.deepEqual(valuesRead({}, events), [1, 1, undefined, undefined, 2, 4]);
  assert.deepEqual(ttlModelOf({}, events).entries, [
    ['b', 2],
    ['d', 4],
  ]);
});

test('a later set without ttl is permanent unless the store has a default, and a delete deletes', () => {
  const events = [
    at(0, set('a', 1, 5), set('a', 2)),
    at(5, get('a')),
    at(1_000, get('a'), { do: 'delete', key: 'a' }, get('a')),
  ];
  assert.deepEqual(valuesRead({}, events), [2, 2, undefined]);
  assert.deepEqual(valuesRead({ defaultTtlMs: 10 }, events), [2, undefined, undefined]);
});

test('a ttl that is none is refused and leaves what was there', () => {
  const bad = [0, -1, NaN, Infinity, Number.MAX_SAFE_INTEGER];
  const events = [at(1, set('a', 7), ...bad.map((ttlMs) => set('a', 8, ttlMs)), get('a'))];
  const { refused, reads } = ttlModelOf({}, events);
  assert.deepEqual([refused.length, reads.map(({ value }) => value)], [5, [7]]);
});

test('one record moves the clock by no more than it may, but the first wherever it is', () => {
  const events = [at(100, set('a', 1, 15)), at(1_000, get('a')), at(1_000, get('a'))];
  assert.deepEqual(valuesRead({ maxClockAdvanceMs: 10 }, events), [1, undefined]);
  assert.equal(ttlModelOf({ maxClockAdvanceMs: 10 }, events).clock, 120);
  assert.deepEqual(valuesRead({}, events), [undefined, undefined]);
});

type Operation = TimestampedOperation<number>;
const put = (timestamp: number, value: number, key = 'a'): Operation => ({
  do: 'set',
  key,
  value,
  timestamp,
});
const asOf = (timestamp: number, key = 'a'): Operation => ({ do: 'getAsOf', key, timestamp });
const between = (fromMs: number, toMs: number): Operation => ({ do: 'interval', key: 'a', fromMs, toMs });

test('as-of reads find the newest entry up to a time, within the grace of the newest written', () => {
  const operations = [
    put(10, 1),
    put(20, 2),
    put(0, 3),
    asOf(9),
    asOf(19),
    asOf(20),
    asOf(99),
    put(35, 4),
    asOf(19),
    asOf(34),
    put(14, 5),
    put(15, 6),
    asOf(15),
  ];
  const answers = timestampedModelOf({ graceMs: 20, keepDuplicates: false }, operations);
  const entry = (timestamp: number, value: number) => ({ asOf: { timestamp, value } });
  assert.deepEqual(answers, [
    'written',
    'written',
    'written',
    entry(0, 3),
    entry(10, 1),
    entry(20, 2),
    entry(20, 2),
    'written',
    { asOf: undefined },
    entry(20, 2),
    'dropped',
    'written',
    entry(15, 6),
  ]);
});

test('of entries of one timestamp the last replaces, or with duplicates all stay and the last wins', () => {
  const operations = [
    put(5, 1),
    put(3, 2),
    put(5, 3),
    put(-1, 9),
    put(0.5, 9),
    put(7, 4, 'ab'),
    asOf(5),
    between(3, 5),
    between(3, 6),
  ];
  const three = { timestamp: 3, value: 2 };
  const last = { timestamp: 5, value: 3 };
  const answers = (keepDuplicates: boolean) =>
    timestampedModelOf({ graceMs: 10, keepDuplicates }, operations).slice(3);
  const common = ['refused', 'refused', 'written', { asOf: last }, { interval: [three] }];
  assert.deepEqual(answers(false), [...common, { interval: [three, last] }]);
  assert.deepEqual(answers(true), [...common, { interval: [three, { timestamp: 5, value: 1 }, last] }]);
});

type Row = readonly [side: 'L' | 'R', key: string | null, timestamp: number, value?: number | null];
const joinEvents = (rows: readonly Row[]): JoinEvent[] =>
  rows.map(([side, key, timestamp, value = 0]) => ({
    side: side === 'L' ? 'left' : 'right',
    key,
    value,
    timestamp,
  }));
const indexText = (index: number | undefined): string => (index === undefined ? '-' : String(index));
const joinText = (joined: readonly Joined[]): string[] =>
  joined.map((one) => `${String(one.at)}: ${indexText(one.left)} ${indexText(one.right)}`);

test('an as-of join takes the right entry that had come by then with the largest timestamp up to its own', () => {
  const events = joinEvents([
    ['R', 'a', 10],
    ['L', 'a', 9],
    ['L', 'a', 15],
    ['R', 'a', 12],
    ['L', 'a', 15],
    ['R', 'a', 40],
    ['L', 'a', 20],
    ['L', 'b', 50],
  ]);
  assert.deepEqual(joinText(asOfJoinOf({ graceMs: 20, type: 'left' }, events)), [
    '1: 1 -',
    '2: 2 0',
    '4: 4 3',
    '6: 6 -',
    '7: 7 -',
  ]);
  assert.deepEqual(joinText(asOfJoinOf({ graceMs: 20, type: 'inner' }, events)), ['2: 2 0', '4: 4 3']);
});

test('a lookup join takes the last value whatever its time, and none after a deletion', () => {
  const events = joinEvents([
    ['L', 'a', 1],
    ['R', 'a', 99, 1],
    ['L', 'a', 2],
    ['R', 'a', 5, 2],
    ['L', 'a', 3],
    ['R', 'a', 6, null],
    ['L', 'a', 4],
  ]);
  assert.deepEqual(joinText(lookupJoinOf({ type: 'left' }, events)), [
    '0: 0 -',
    '2: 2 1',
    '4: 4 3',
    '6: 6 -',
  ]);
  assert.deepEqual(joinText(lookupJoinOf({ type: 'inner' }, events)), ['2: 2 1', '4: 4 3']);
});

test('a stream join pairs what is near enough, and tells once what stayed alone when nothing can match it any more', () => {
  const events = joinEvents([
    ['L', 'a', 10],
    ['R', 'a', 7],
    ['R', 'a', 15],
    // 2 ms too early, 1 ms too late, another key: all alone.
    ['R', 'a', 5],
    ['L', 'b', 16],
    ['R', 'a', 16],
    // Of what is alone this ends the one at 5 (5 + 3 + 10 + 1 = 19), not yet that at 16 (30).
    ['R', null, 22],
    // Late: 8 + 3 + 10 + 1 = 22.
    ['R', 'a', 8],
    // In time (9 + 3 + 10 + 1 = 23); at 10 there still is a left one.
    ['R', 'a', 9],
    ['L', null, 100],
  ]);
  const joined = (type: StreamJoin['type']) =>
    streamJoinOf({ beforeMs: 3, afterMs: 5, graceMs: 10, type }, events);
  const pairs = ['1: 0 1', '2: 0 2', '8: 0 8'];
  assert.deepEqual(joinText(joined('inner').joined), pairs);
  assert.deepEqual(joinText(joined('left').joined), [...pairs, '9: 4 -']);
  assert.deepEqual(joinText(joined('outer').joined), [
    '1: 0 1',
    '2: 0 2',
    '6: - 3',
    '8: 0 8',
    '9: - 5',
    '9: 4 -',
  ]);
  assert.deepEqual(joined('inner').late, [7]);
});

test('what was told to be alone is not matched afterwards', () => {
  const events = joinEvents([
    ['L', 'a', 0],
    ['L', null, 6],
    ['R', 'a', 5],
  ]);
  const { joined, late } = streamJoinOf({ beforeMs: 5, afterMs: 5, graceMs: 0, type: 'outer' }, events);
  assert.deepEqual([joinText(joined), late], [['1: 0 -'], []]);
});
