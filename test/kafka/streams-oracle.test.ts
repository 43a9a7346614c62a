/**
 * Windowed stores against Kafka Streams, window by window and record by record: on random records and on the flights of a month. What
 * Kafka Streams does differently is in streams-differences.test.ts.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { registerMissing } from '../support/describe-kafka.js';
import { streamsMissing, streamsOf, type StreamsWindowing } from '../support/kafka-streams-oracle.js';
import { outcomeOfStore } from '../support/store-windows.js';
import { closedRun, januaryFlights, randomRun, TOPOLOGIES } from '../support/random-runs.js';
import { linesOf, outcomeOfStreams, type WindowRun } from '../support/streams-comparison.js';

const TEST_BUDGET_MS = 280_000;
const SEEDS = 40;
const RECORDS = 400;
const HOUR = 3_600_000;

async function compare(runs: readonly WindowRun[], name: (index: number) => string): Promise<void> {
  const theirs = await streamsOf(runs);
  for (const [index, run] of runs.entries()) {
    const { header } = run;
    const expected = outcomeOfStreams(theirs[index]!);
    assert.ok(expected.emissions.length > 0, `Kafka Streams emits something of ${name(index)}.`);
    const mine = await outcomeOfStore(run);
    assert.deepEqual(linesOf(mine), linesOf(expected), `${name(index)}: ${JSON.stringify(header)}`);
    // Without sorting: the order of closings is the same, but for sessions, which Kafka Streams orders by start before key.
    if (header.emission === 'final' && header.topology !== 'session')
      assert.deepEqual(
        theirs[index]!.windows.map(({ key, startMs }) => [key, startMs]),
        mine.emissions.map(({ key, startMs }) => [key, startMs]),
      );
  }
}

const title = 'Kafka Streams and we agree';
const missing = streamsMissing();
if (missing !== undefined) registerMissing(title, missing);
else
  describe(title, { timeout: 4 * TEST_BUDGET_MS }, () => {
    for (const topology of TOPOLOGIES)
      test(`on what ${topology} windows of random records hold, when they close and who is late`, async () => {
        const runs = Array.from({ length: SEEDS }, (_, index) => randomRun(topology, 101 + index, RECORDS));
        await compare(runs, (index) => `${topology}, seed ${101 + index}`);
      });

    test('on a few of them in RocksDB, its default store', async () => {
      // The first emits finally, without grace; the second one updates.
      const runs = [2, 7].flatMap((seed) => TOPOLOGIES.map((topology) => randomRun(topology, seed, 40)));
      await compare(
        runs.map(({ header, records }) => ({ header: { ...header, store: 'rocksDB' }, records })),
        (index) => runs[index]!.header.topology,
      );
    });

    test('on the flights of January in hourly, hopping, sliding and session windows', async () => {
      const origins = await januaryFlights('origin');
      // As many as Kafka Streams does in some seconds, of windows with so many neighbours.
      const aircraft = (await januaryFlights('tailnum')).slice(0, 12_000);
      const base = { retentionMs: 400 * 24 * HOUR, graceMs: 2 * HOUR };
      // Few are so late, so that few have to be left out.
      const patient = { ...base, graceMs: 24 * HOUR };
      const headers: StreamsWindowing[] = (['final', 'updates'] as const).flatMap((emission) => [
        { ...base, emission, topology: 'tumbling', sizeMs: HOUR },
        { ...base, emission, topology: 'hopping', sizeMs: 3 * HOUR, stepMs: HOUR },
        { ...patient, emission, topology: 'sliding', sizeMs: 12 * HOUR },
        { ...patient, emission, topology: 'session', gapMs: 8 * HOUR },
      ]);
      const runs = headers.map((header) =>
        closedRun(header, ['tumbling', 'hopping'].includes(header.topology) ? origins : aircraft),
      );
      for (const { records } of runs) assert.ok(records.length > 0.98 * 12_000, 'Few are left out.');
      await compare(runs, (index) => runs[index]!.header.topology);
    });
  });
