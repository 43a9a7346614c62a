// One actor alone whose windows close because nothing comes any more.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { int64, json, string } from '../../src/codec/serdes.js';
import { topic } from '../../src/processor/declarations.js';
import { defineProcessor } from '../../src/processor/define-processor.js';
import { tumbling, windowed } from '../../src/processor/windowed.js';
import { ActorHarness } from '../support/actor-harness.js';

const WINDOWS = 20_000;

test('while many windows close by idleness alone, others of the thread get their turns', async () => {
  let closed = 0;
  const { definition } = defineProcessor({
    inputs: { visits: topic({ key: string(), value: int64() }) },
    outputs: { closed: topic({ key: string(), value: json<number>() }) },
    stores: {
      visits: windowed({
        key: string(),
        value: int64(),
        window: tumbling(1_000),
        idleAfterMs: 50,
        aggregate: (of) => ({ n: of.count() }),
      }),
    },
    process({ key, value }, { stores }) {
      stores.visits.add(key, value);
    },
    windows: {
      visits: ({ key, result }, { emit }) => {
        closed++;
        emit.closed(key, result.n);
      },
    },
  });
  await using harness = await ActorHarness.make({ definition, options: { yieldMs: 1 } });
  await harness.boot();
  const value = Buffer.alloc(8);
  await harness.log.produce(
    'visits',
    Array.from({ length: WINDOWS }, (_, i) => ({ key: `k${i}`, value, timestamp: 1, partition: 0 })),
  );
  await harness.feed('visits');
  const seen = new Set<number>();
  const turns = 1_000_000;
  for (let turn = 0; turn < turns && closed < WINDOWS; turn++) {
    seen.add(closed);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  assert.equal(closed, WINDOWS);
  assert.ok(seen.size >= 5, `the event loop had ${seen.size - 1} turns while they closed`);
});
