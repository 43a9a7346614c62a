/**
 * Windowed stores against the naive model of `support/windows-model.ts`, over thousands of random histories of records,
 * checkpoints, crashes, lost files and reopens: what is emitted, in which order and with which timestamps, what is late, and
 * what is open in between and in the end. Histories that once failed stay as named cases.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { eventsOf, randomHistory, randomWindows, type History } from '../support/random-events.js';
import { modelOf, type ModelKind, type ModelWindows } from '../support/windows-model.js';
import { inOrder, runWindows, type WindowsRun } from '../support/windows-run.js';

/** Per kind of window. More come by the environment, for a night. */
const RUNS = Number(process.env['PARTITA_ORACLE_RUNS'] ?? 150);
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

/** Histories by hand, and those that once failed. */
const cases: Readonly<Record<string, { readonly windows: ModelWindows; readonly history: History }>> = {
  'an event of the far future closes what is open, and everything after it is late': {
    windows: {
      kind: 'tumbling',
      sizeMs: 10,
      graceMs: 5,
      closing: 'partition',
      keyClockRetentionMs: 50,
      emission: 'final',
    },
    history: [
      { do: 'event', event: { key: 'a', value: 1, timestamp: 3 } },
      { do: 'crashAndWipe' },
      { do: 'event', event: { key: 'ab', value: null, timestamp: 8_640_000_000_000_000 } },
      { do: 'reopen' },
      { do: 'event', event: { key: 'a', value: 2, timestamp: 4 } },
    ],
  },
  'a session that is committed is joined after a crash with lost files': {
    windows: {
      kind: 'session',
      gapMs: 10,
      graceMs: 0,
      closing: 'key',
      keyClockRetentionMs: 50,
      emission: 'updates',
    },
    history: [
      { do: 'event', event: { key: 'a', value: 1, timestamp: 0 } },
      { do: 'commit' },
      { do: 'event', event: { key: 'a', value: 2, timestamp: 9 } },
      { do: 'crashAndWipe' },
      { do: 'event', event: { key: 'a', value: 3, timestamp: 19 } },
      { do: 'event', event: { key: 'a', value: 4, timestamp: 30 } },
    ],
  },
};

for (const [name, run] of Object.entries(cases)) test(name, () => checkAgainstModel(run));
