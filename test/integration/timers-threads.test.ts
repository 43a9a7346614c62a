/** Timers in the whole runtime, with worker threads that die: each fires once, as far as committed outputs go. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { embeddedLog, processorAt, StateManager, type EmbeddedLog } from '../../src/index.js';
import type timers from '../fixtures/timers-processor.js';
import type { TimedOrder } from '../fixtures/timers-processor.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { PATIENCE_MS } from '../support/waiting.js';

const PARTITIONS = 4;
const KEYS = 200;
const OVER_MS = 1_500;
const url = new URL('../fixtures/timers-processor.js', import.meta.url);

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const record = (key: string, value: TimedOrder, timestamp: number, partition?: number) => ({
  key,
  value: JSON.stringify(value),
  timestamp,
  ...(partition === undefined ? {} : { partition }),
});

async function fired(log: EmbeddedLog): Promise<string[]> {
  const found: string[] = [];
  for await (const { key, value } of log.read('fired'))
    found.push(`${Buffer.from(key!).toString()} ${Buffer.from(value!).toString()}`);
  return found.sort();
}

for (const guarantee of ['exactly-once', 'at-least-once'] as const)
  test(`every timer fires while threads die and a process starts anew, ${guarantee}`, async () => {
    const stateDir = temporaryDirectory('timers');
    await using log = await embeddedLog();
    await log.createTopic({ topic: 'orders', partitions: PARTITIONS });
    await log.createTopic({ topic: 'fired', partitions: PARTITIONS });
    const start = () =>
      StateManager.start({
        group: 'g',
        streams: { timers: processorAt<typeof timers>(url) },
        log,
        stateDir,
        workers: 2,
        guarantee,
        checkpoint: { intervalMs: 30 },
        restarts: { firstMs: 10, maxMs: 100 },
      });
    let manager = await start();
    try {
      const now = Date.now();
      const keys = Array.from({ length: KEYS }, (_, i) => `key-${String(i)}`);
      await log.produce(
        'orders',
        keys.map((key, i) =>
          record(key, { wallAt: now + ((i * 7_919) % OVER_MS), eventAt: now + 1 + (i % 50) }, now + (i % 50)),
        ),
      );
      for (let partition = 0; partition < PARTITIONS; partition++) {
        await sleep(OVER_MS / 6);
        await assert.rejects(manager.streams.timers.command('exit', { partition }));
      }
      await manager.stop();
      manager = await start();
      // What moves the event clock beyond the rest.
      const last = Array.from({ length: PARTITIONS }, (_, partition) =>
        record('', {}, now + 1_000, partition),
      );
      await log.produce('orders', last);
      const expected = keys.flatMap((key) => [`${key} event`, `${key} wall`]).sort();
      const until = performance.now() + PATIENCE_MS;
      let found = await fired(log);
      while (new Set(found).size < expected.length && performance.now() < until) {
        await sleep(50);
        found = await fired(log);
      }
      // Nothing comes twice afterwards either.
      await sleep(200);
      await manager.stop();
      found = await fired(log);
      // At least once, event timers may tell again what a thread had told when it died; wall-clock ones are in the transaction.
      const once = guarantee === 'exactly-once' ? found : found.filter((text) => text.endsWith('wall'));
      assert.deepEqual(
        once,
        guarantee === 'exactly-once' ? expected : expected.filter((text) => text.endsWith('wall')),
      );
      assert.deepEqual([...new Set(found)], expected);
    } finally {
      await manager.stop({ deadlineMs: 5_000 });
    }
  });
