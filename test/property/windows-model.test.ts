/**
 * The model of windows against results worked out on paper from the definitions, so that it may judge the store. A window is
 * written `key start-end values`, after the index of the event that caused it; values stand in their order of arrival.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { eventsOf, randomHistory, randomWindows } from '../support/random-events.js';
import {
  modelOf,
  type ModelEvent,
  type ModelKind,
  type ModelOutcome,
  type ModelWindow,
  type ModelWindows,
} from '../support/windows-model.js';

/** A record of `key` at a time; one of `null` only moves the partition clock. */
type Row = readonly [key: string | null, timestamp: number, value?: number | null];

interface Expected {
  readonly emissions: readonly string[];
  readonly late?: readonly string[];
  readonly open?: readonly string[];
}

const defaults = { graceMs: 0, closing: 'partition', keyClockRetentionMs: 1_000, emission: 'final' } as const;
const hasEnded = (closed: boolean): string => (closed ? 'closed' : 'open');
const windowText = ({ key, startMs, endMs, result }: ModelWindow): string =>
  `${key} ${String(startMs)}-${String(endMs)} ${result.values.map(String).join(',')}`;

function outcomeOf(windows: Partial<ModelWindows> & { kind: ModelKind }, rows: readonly Row[]): ModelOutcome {
  const events = rows.map(([key, timestamp, value = 0]): ModelEvent => ({ key, timestamp, value }));
  return modelOf({ ...defaults, ...windows }, events);
}

function check(
  windows: Partial<ModelWindows> & { kind: ModelKind },
  rows: readonly Row[],
  expected: Expected,
): void {
  const { emissions, late, open } = outcomeOf(windows, rows);
  assert.deepEqual(
    {
      emissions: emissions.map((of) => `${String(of.at)}: ${windowText(of)} ${hasEnded(of.closed)}`),
      late: late.map(
        ({ at, key, startMs, endMs, lateBy }) =>
          `${String(at)}: ${key} ${String(startMs)}-${String(endMs)} by ${String(lateBy)}`,
      ),
      open: open.map(windowText),
    },
    { late: [], open: [], ...expected },
  );
}

test('a tumbling window closes when the partition clock reaches its end, of all keys, and what comes then is late', () => {
  const rows: Row[] = [
    ['a', 1, 1],
    ['a', 9, 2],
    ['b', 3, 5],
    ['a', 10, 3],
    ['a', 5, 4],
    ['b', 25, 6],
  ];
  check({ kind: 'tumbling', sizeMs: 10 }, rows, {
    emissions: ['3: a 0-10 1,2 closed', '3: b 0-10 5 closed', '5: a 10-20 3 closed'],
    late: ['4: a 0-10 by 5'],
    open: ['b 20-30 6'],
  });
});

test('with a grace a tumbling window takes what comes until then; updates tell each change and then the closing', () => {
  const rows: Row[] = [
    ['a', 1, 1],
    ['a', 12, 2],
    ['a', 9, 3],
    ['a', 15, 4],
  ];
  const windows = { kind: 'tumbling', sizeMs: 10, graceMs: 5, emission: 'updates' } as const;
  check(windows, rows, {
    emissions: [
      '0: a 0-10 1 open',
      '1: a 10-20 2 open',
      '2: a 0-10 1,3 open',
      '3: a 10-20 2,4 open',
      '3: a 0-10 1,3 closed',
    ],
    open: ['a 10-20 2,4'],
  });
  // Of an update the record's time, of a closing the last ms of the window.
  assert.deepEqual(
    outcomeOf(windows, rows).emissions.map(({ timestamp }) => timestamp),
    [1, 12, 9, 15, 9],
  );
});

test('hopping windows begin at multiples of the step and never before zero; an event may be late for some of its windows', () => {
  const rows: Row[] = [
    ['a', 9, 1],
    ['a', 2, 2],
    ['a', 14, 3],
    ['a', 12, 4],
  ];
  check({ kind: 'hopping', sizeMs: 10, stepMs: 4, emission: 'updates' }, rows, {
    emissions: [
      '0: a 0-10 1 open',
      '0: a 4-14 1 open',
      '0: a 8-18 1 open',
      '1: a 0-10 1,2 open',
      '2: a 8-18 1,3 open',
      '2: a 12-22 3 open',
      '2: a 0-10 1,2 closed',
      '2: a 4-14 1 closed',
      '3: a 8-18 1,3,4 open',
      '3: a 12-22 3,4 open',
    ],
    late: ['3: a 4-14 by 2'],
    open: ['a 8-18 1,3,4', 'a 12-22 3,4'],
  });
});

test('sliding windows are those of the example in the documentation of Kafka Streams', () => {
  const rows: Row[] = [
    ['k', 8_000, 1],
    ['k', 9_200, 2],
    ['k', 12_400, 3],
    [null, 14_201],
    [null, 14_202],
  ];
  check({ kind: 'sliding', sizeMs: 5_000 }, rows, {
    emissions: [
      '1: k 3000-8000 1 closed',
      '2: k 4200-9200 1,2 closed',
      '3: k 7400-12400 1,2,3 closed',
      '3: k 8001-13001 2,3 closed',
      '4: k 9201-14201 3 closed',
    ],
  });
});

test('an event that comes after a later one gives a sliding window that holds only the later one', () => {
  const rows: Row[] = [
    ['a', 10, 1],
    ['a', 5, 2],
  ];
  check({ kind: 'sliding', sizeMs: 10, emission: 'updates' }, rows, {
    emissions: ['0: a 0-10 1 open', '1: a 0-10 1,2 open', '1: a 6-16 1 open'],
    open: ['a 0-10 1,2', 'a 6-16 1'],
  });
});

test('an event is late for its own sliding window only; one that would be closed at once is not created', () => {
  const rows: Row[] = [
    ['a', 30, 1],
    ['a', 25, 2],
    [null, 31],
    ['a', 2, 3],
  ];
  check({ kind: 'sliding', sizeMs: 10, emission: 'updates' }, rows, {
    emissions: ['0: a 20-30 1 open', '1: a 20-30 1,2 open', '1: a 26-36 1 open', '2: a 20-30 1,2 closed'],
    late: ['1: a 15-25 by 5', '3: a 0-10 by 29'],
    open: ['a 26-36 1'],
  });
});

test('an event joins the sessions on both sides of it into one, whose closing waits for gap and grace', () => {
  const rows: Row[] = [
    ['a', 0, 1],
    ['a', 15, 2],
    ['a', 8, 3],
    ['a', 26, 4],
    [null, 45],
    [null, 46],
    ['a', 25, 5],
    ['a', 14, 6],
  ];
  const windows = { kind: 'session', gapMs: 10, graceMs: 20, emission: 'updates' } as const;
  check(windows, rows, {
    emissions: [
      '0: a 0-0 1 open',
      '1: a 15-15 2 open',
      '2: a 0-15 1,2,3 open',
      '3: a 26-26 4 open',
      '5: a 0-15 1,2,3 closed',
      '6: a 25-26 4,5 open',
    ],
    late: ['7: a 14-14 by 32'],
    open: ['a 25-26 4,5'],
  });
  assert.equal(outcomeOf(windows, rows).emissions[4]!.timestamp, 15);
});

test('a session that is closed is not joined, although an event near it may still begin another', () => {
  const rows: Row[] = [
    ['a', 0, 1],
    [null, 10],
    [null, 11],
    ['a', 5, 2],
  ];
  check({ kind: 'session', gapMs: 10 }, rows, { emissions: ['2: a 0-0 1 closed'], open: ['a 5-5 2'] });
});

test('count windows close with their last event, and span the timestamps in them', () => {
  const rows: Row[] = [
    ['a', 5, 1],
    ['b', 99, 9],
    ['a', 3, 2],
    ['a', 9, 3],
  ];
  check({ kind: 'count', count: 2 }, rows, {
    emissions: ['2: a 3-5 1,2 closed'],
    open: ['a 9-9 3', 'b 99-99 9'],
  });
  check({ kind: 'count', count: 2, emission: 'updates' }, rows, {
    emissions: ['0: a 5-5 1 open', '1: b 99-99 9 open', '2: a 3-5 1,2 closed', '3: a 9-9 3 open'],
    open: ['a 9-9 3', 'b 99-99 9'],
  });
});

test('with countHopping every step-th event begins a window, with countSliding each', () => {
  const rows = [1, 2, 3, 4, 5].map((n): Row => ['a', n, n]);
  check({ kind: 'countHopping', count: 3, step: 2, emission: 'updates' }, rows, {
    emissions: [
      '0: a 1-1 1 open',
      '1: a 1-2 1,2 open',
      '2: a 1-3 1,2,3 closed',
      '2: a 3-3 3 open',
      '3: a 3-4 3,4 open',
      '4: a 3-5 3,4,5 closed',
      '4: a 5-5 5 open',
    ],
    open: ['a 5-5 5'],
  });
  check({ kind: 'countSliding', count: 2 }, rows.slice(0, 3), {
    emissions: ['1: a 1-2 1,2 closed', '2: a 2-3 2,3 closed'],
    open: ['a 3-3 3'],
  });
});

test('closing by key waits for the key, until the partition is ahead of it by the retention', () => {
  const rows: Row[] = [
    ['a', 5, 1],
    ['b', 50, 2],
    ['a', 8, 3],
    ['b', 109, 4],
    ['b', 110, 5],
    ['a', 9, 6],
    ['c', 3, 7],
    ['c', 12, 8],
    ['c', 20, 9],
  ];
  check({ kind: 'tumbling', sizeMs: 10, closing: 'key', keyClockRetentionMs: 100 }, rows, {
    emissions: [
      '3: b 50-60 2 closed',
      '4: a 0-10 1,3 closed',
      '4: b 100-110 4 closed',
      '8: c 10-20 8 closed',
    ],
    late: ['5: a 0-10 by 1', '6: c 0-10 by 7'],
    open: ['b 110-120 5', 'c 20-30 9'],
  });
});

test('a trigger by count emits at each so many events, and with `closes` begins the window anew', () => {
  const rows: Row[] = [...[1, 2, 3, 4, 5].map((n): Row => ['a', n, n]), [null, 100]];
  check({ kind: 'tumbling', sizeMs: 100, trigger: { count: 2, closes: false } }, rows, {
    emissions: ['1: a 0-100 1,2 open', '3: a 0-100 1,2,3,4 open', '5: a 0-100 1,2,3,4,5 closed'],
  });
  check({ kind: 'tumbling', sizeMs: 100, trigger: { count: 2, closes: true } }, rows, {
    emissions: ['1: a 0-100 1,2 closed', '3: a 0-100 3,4 closed', '5: a 0-100 5 closed'],
  });
  check(
    { kind: 'tumbling', sizeMs: 100, emission: 'updates', trigger: { count: 2, closes: true } },
    rows.slice(0, 3),
    {
      emissions: ['0: a 0-100 1 open', '1: a 0-100 1,2 closed', '2: a 0-100 3 open'],
      open: ['a 0-100 3'],
    },
  );
  check({ kind: 'session', gapMs: 50, trigger: { count: 2, closes: true } }, rows.slice(0, 3), {
    emissions: ['1: a 1-2 1,2 closed'],
    open: ['a 3-3 3'],
  });
  // Of a window by count the places are left that the events before have taken.
  check({ kind: 'count', count: 3, trigger: { count: 2, closes: true } }, rows.slice(0, 4), {
    emissions: ['1: a 1-2 1,2 closed', '2: a 3-3 3 closed'],
    open: ['a 4-4 4'],
  });
});

test('a trigger by predicate emits at each change that satisfies it', () => {
  const rows: Row[] = [
    ['a', 1, 4],
    ['a', 2, 7],
    ['a', 3, 1],
  ];
  check({ kind: 'tumbling', sizeMs: 10, trigger: { whenSumAtLeast: 11, closes: false } }, rows, {
    emissions: ['1: a 0-10 4,7 open', '2: a 0-10 4,7,1 open'],
    open: ['a 0-10 4,7,1'],
  });
  check({ kind: 'tumbling', sizeMs: 10, trigger: { whenSumAtLeast: 11, closes: true } }, rows, {
    emissions: ['1: a 0-10 4,7 closed'],
    open: ['a 0-10 1'],
  });
});

test('closings that are due together go by their time and then by the bytes of the key', () => {
  const rows: Row[] = [...['é', 'ab', 'a\0', 'a', ''].map((key): Row => [key, 15]), ['b', 1], [null, 100]];
  check({ kind: 'tumbling', sizeMs: 10, graceMs: 10 }, rows, {
    emissions: ['b 0-10', ' 10-20', 'a 10-20', 'a\0 10-20', 'ab 10-20', 'é 10-20'].map(
      (window) => `6: ${window} 0 closed`,
    ),
  });
});

test('nulls count and add nothing to the sum; earliest and latest go by event time; a negative timestamp leaves no trace', () => {
  const rows: Row[] = [
    ['a', 5, 1],
    ['a', -1, 100],
    ['a', 5, null],
    ['a', 0, 2],
    ['a', 0, 3],
  ];
  const { open } = outcomeOf({ kind: 'tumbling', sizeMs: 10 }, rows);
  assert.deepEqual(
    open.map(({ result }) => result),
    [{ n: 4, sum: 6, values: [1, null, 2, 3], earliest: 2, latest: null }],
  );
});

test('of kinds without overlap each event is in exactly one window, closed or open, or is late once', () => {
  const kinds = (['tumbling', 'session', 'count'] as const).map((kind) => randomWindows(kind));
  const judged = fc.property(fc.oneof(...kinds), randomHistory({ stepsMax: 40 }), (windows, history) => {
    const events = eventsOf(history);
    const { emissions, late, open } = modelOf(windows, events);
    const closed = emissions.filter((emission) => emission.closed);
    const held = [...closed, ...open].reduce((sum, { result }) => sum + result.n, 0);
    assert.equal(held + late.length, events.filter(({ key }) => key !== null).length);
    assert.ok(emissions.every(({ at }, n) => n === 0 || at >= emissions[n - 1]!.at));
  });
  fc.assert(judged, { numRuns: 300 });
});
