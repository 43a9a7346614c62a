// One actor alone: a store that is reset on demand has nothing left of what stood in it, of whichever kind it is.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { json, string } from '../../src/codec/serdes.js';
import { keyValue, topic } from '../../src/processor/declarations.js';
import { defineProcessor } from '../../src/processor/define-processor.js';
import { timestamped } from '../../src/processor/timestamped.js';
import { tumbling, windowed } from '../../src/processor/windowed.js';
import { ActorHarness, CHANGELOG } from '../support/actor-harness.js';

const MINUTE = 60_000;
const NAMES = ['windows', 'rates', 'lived', '$timer.remind'] as const;

/** Stores of every kind that keeps more than its rows; `other` has the names' beginning and is never reset. */
const inWindowsOf = (sizeMs: number, fired: number[]) =>
  defineProcessor({
    inputs: { events: topic({ key: string(), value: json<number>() }) },
    stores: {
      windows: windowed({
        key: string(),
        value: json<number>(),
        window: tumbling(sizeMs),
        aggregate: (of) => ({ sum: of.sum((value) => value) }),
      }),
      windowsToo: windowed({
        key: string(),
        value: json<number>(),
        window: tumbling(MINUTE),
        aggregate: (of) => ({ sum: of.sum((value) => value) }),
      }),
      rates: timestamped({ key: string(), value: json<number>() }),
      lived: keyValue({ key: string(), value: json<number>(), ttlMs: MINUTE }),
    },
    timers: {
      remind: (_context, _key, value: number) => {
        fired.push(value);
      },
    },
    process({ key, value, timestamp }, { stores, schedule }) {
      schedule.remind(`${key}${value}`, 2 * MINUTE, value);
      stores.windows.add(key, value);
      stores.windowsToo.add(key, value);
      stores.rates.set(key, value, timestamp);
      stores.lived.set(key, value);
    },
    windows: { windows: () => undefined, windowsToo: () => undefined },
    queries: {
      seen: ({ stores }, key) => ({
        windows: stores.windows.current(key).map(({ startMs, result }) => [startMs, result.sum]),
        windowsToo: stores.windowsToo.current(key).map(({ startMs, result }) => [startMs, result.sum]),
        rates: stores.rates.between(key, 0, MINUTE).map(({ value }) => value),
        lived: stores.lived.get(key),
      }),
    },
  }).definition;

async function event(harness: ActorHarness, value: number, timestamp: number): Promise<void> {
  await harness.log.produce('events', [{ key: 'a', value: String(value), timestamp, partition: 0 }]);
  await harness.feed('events');
  await harness.actor.checkpoint('asked');
}

const reset = { moved: undefined, state: undefined, stores: { id: 'anew', names: NAMES } };

describe('stores that are reset on demand', () => {
  for (const engine of ['memory', 'level', 'rocksdb'] as const)
    it(`have nothing left of their windows, entries, expiries and timers on ${engine}`, async (t) => {
      const directory = mkdtempSync(join(tmpdir(), 'partita-store-reset-'));
      t.after(() => {
        rmSync(directory, { recursive: true, force: true });
      });
      const fired: number[] = [];
      await using harness = await ActorHarness.make({
        definition: inWindowsOf(10_000, fired),
        directory: join(directory, 'p'),
        options: { engine },
      });
      await harness.boot();
      await event(harness, 1, 1_000);
      await event(harness, 2, 2_000);
      await harness.crash();
      harness.definition = inWindowsOf(20_000, fired);
      harness.options = { engine, resets: reset };
      await harness.boot();
      const none = { windows: [], windowsToo: [[0, 3]], rates: [], lived: undefined };
      assert.deepEqual(await harness.query('seen', 'a'), none);
      await event(harness, 4, 12_000);
      const anew = { windows: [[0, 4]], windowsToo: [[0, 7]], rates: [4], lived: 4 };
      assert.deepEqual(await harness.query('seen', 'a'), anew);
      await harness.crash();
      await harness.log.compact(CHANGELOG);
      harness.directory = join(directory, 'elsewhere');
      await harness.boot();
      assert.deepEqual(await harness.query('seen', 'a'), anew, 'and so it is on another machine');
      await event(harness, 5, 3 * MINUTE);
      assert.deepEqual(fired, [4, 5], 'only what was scheduled after the reset');
    });
});
