/**
 * Windowed stores against the naive model of `support/windows-model.ts`, over thousands of random histories of records,
 * checkpoints, crashes, lost files and reopens: what is emitted, in which order and with which timestamps, what is late, and
 * what is open in between and in the end. Histories that once failed stay as named cases.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  eventsOf,
  FAR_FUTURE_MS,
  randomHistory,
  randomWindows,
  type History,
} from '../support/random-events.js';
import { modelOf, type ModelKind, type ModelWindows } from '../support/windows-model.js';
import { inOrder, runWindows, type WindowsRun } from '../support/windows-run.js';

/** Per kind of window. More come by the environment, for a night. */
const RUNS = Number(process.env['PARTITA_ORACLE_RUNS'] ?? 300);
const TIMEOUT_MS = 240_000;

async function checkAgainstModel(run: WindowsRun): Promise<void> {
  const { windows, history } = run;
  const events = eventsOf(history);
  const found = await runWindows({
    ...run,
    onPause: (processed, open) => {
      assert.deepEqual(
        open,
        inOrder(modelOf(windows, events.slice(0, processed)).open),
        'open between events',
      );
    },
  });
  const expected = modelOf(windows, events);
  assert.deepEqual(found.late, expected.late, 'late');
  assert.deepEqual(found.emissions, expected.emissions, 'emissions');
  assert.deepEqual(found.open, inOrder(expected.open), 'open in the end');
}

const kinds: Readonly<Record<ModelKind, string>> = {
  tumbling: 'tumbling windows',
  hopping: 'hopping windows',
  sliding: 'sliding windows',
  session: 'sessions',
  count: 'count windows',
  countHopping: 'hopping count windows',
  countSliding: 'sliding count windows',
};

for (const [kind, name] of Object.entries(kinds) as [ModelKind, string][])
  test(
    `${name} are those of the definitions, whatever the order of events and wherever it crashes`,
    { timeout: TIMEOUT_MS },
    async () => {
      const run = fc.record({
        windows: randomWindows(kind),
        history: randomHistory(),
        cacheBytes: fc.constantFrom(16_384, 16_777_216),
      });
      await fc.assert(fc.asyncProperty(run, checkAgainstModel), {
        numRuns: RUNS,
        includeErrorInReport: true,
      });
    },
  );

const byPartition = { graceMs: 0, closing: 'partition', keyClockRetentionMs: 50, emission: 'final' } as const;
const events = (key: string, ...timestamps: number[]): History =>
  timestamps.map((timestamp) => ({ do: 'event', event: { key, value: 0, timestamp } }));

/** Histories by hand, and those that once failed. */
const cases: Readonly<Record<string, { readonly windows: ModelWindows; readonly history: History }>> = {
  'an event of the far future closes what is open, and everything after it is late': {
    windows: { ...byPartition, kind: 'tumbling', sizeMs: 10, graceMs: 5 },
    history: [
      ...events('a', 3),
      { do: 'crashAndWipe' },
      ...events('ab', FAR_FUTURE_MS),
      { do: 'reopen' },
      ...events('a', 4),
    ],
  },
  'a session that is committed is joined after a crash with lost files': {
    windows: { ...byPartition, kind: 'session', gapMs: 10, closing: 'key', emission: 'updates' },
    history: [
      ...events('a', 0),
      { do: 'commit' },
      ...events('a', 9),
      { do: 'crashAndWipe' },
      ...events('a', 19, 30),
    ],
  },
  'a window that was committed closes also if an earlier one was begun and closed after that': {
    windows: { ...byPartition, kind: 'tumbling', sizeMs: 1, graceMs: 20 },
    history: [
      ...events('a', 16),
      { do: 'commit' },
      ...events('a', 7, 28),
      { do: 'reopen' },
      ...events('a', 44),
    ],
  },
  'sliding windows of two events just as far apart as the window is long close': {
    windows: { ...byPartition, kind: 'sliding', sizeMs: 10 },
    history: events('a', 100, 110, 130),
  },
  'a sliding window after an event holds what comes in it, also if the one up to that event has closed': {
    windows: { ...byPartition, kind: 'sliding', sizeMs: 2, graceMs: 20, emission: 'updates' },
    history: [...events('a', 16), ...events('b', 39), ...events('a', 18)],
  },
  'sessions that end together close by key, also if one of them has grown': {
    windows: { ...byPartition, kind: 'session', gapMs: 1 },
    history: [...events('é', 0, 1), ...events('a', 1, 3)],
  },
  'windows close by end, also if a trigger has closed an earlier one of the key': {
    windows: { ...byPartition, kind: 'hopping', sizeMs: 2, stepMs: 1, trigger: { count: 2, closes: true } },
    history: [...events('é', 0, 1), ...events('a', 1), ...events('b', 3)],
  },
  'windows close by end, also if those of one key are closed by its own clock and another by the partition': {
    windows: { ...byPartition, kind: 'tumbling', sizeMs: 1, closing: 'key' },
    history: [...events('a', 0, 1), ...events('é', 0), ...events('a', 400)],
  },
  'a session that becomes one of two may fire a trigger by count': {
    windows: { ...byPartition, kind: 'session', gapMs: 3, graceMs: 20, trigger: { count: 3, closes: false } },
    history: events('a', 0, 0, 4, 3),
  },
  'a trigger that closes a window by count leaves its other places to a second one': {
    windows: { ...byPartition, kind: 'count', count: 3, trigger: { count: 2, closes: true } },
    history: events('a', 1, 2, 3, 4),
  },
};

for (const [name, run] of Object.entries(cases)) test(name, () => checkAgainstModel(run));
