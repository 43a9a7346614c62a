/**
 * A process that is flooded: a partition that is stuck keeps nobody else, and what it takes in memory stays within its bounds
 * however much is to come. Each flood is in a process of its own, whose memory is measured.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import test, { type TestContext } from 'node:test';
import { embeddedLog, processorAt, StateManager } from '../../src/index.js';
import type { Flood, Flooded } from '../fixtures/flooded-job.js';
import type totals from '../fixtures/totals-processor.js';
import { LocalThreads } from '../support/local-threads.js';
import { code } from '../support/manager-desk.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const JOB = new URL('../fixtures/flooded-job.js', import.meta.url).pathname;
const MIB = 1024 * 1024;
const FLOOD_MB = 96;
const CACHE_MB = 16;
const PARTITIONS = 4;
/** Of the process: what docs/operations.md says under "Sizing", with room for a collector that is late. */
const RSS_MAX = (CACHE_MB + 450) * MIB;
/** Buffers outside of the heap: caches, chunks with actors, batches; far less than the flood. */
const EXTERNAL_MAX = (CACHE_MB + 60) * MIB;
/** 1 MiB each, and the chunk that went beyond it. */
const OUTSTANDING_MAX = PARTITIONS * 2 * MIB;

async function flooded(t: TestContext, flood: Flood): Promise<Flooded> {
  const dir = temporaryDirectory('flood');
  const args = ['--expose-gc', JOB, flood, dir, String(FLOOD_MB), String(CACHE_MB)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  const killed = setTimeout(() => child.kill('SIGKILL'), 250_000);
  const printed = await text(child.stdout);
  assert.deepEqual(await exit, [0, null]);
  clearTimeout(killed);
  const found = JSON.parse(printed) as Flooded;
  const mb = (bytes: number) => `${Math.round(bytes / MIB)} MB`;
  t.diagnostic(`rss +${mb(found.rss)}, heap +${mb(found.heap)}, external +${mb(found.external)}`);
  assert.ok(found.rss < RSS_MAX, `rss ${mb(found.rss)}`);
  assert.ok(found.external < EXTERNAL_MAX, `external ${mb(found.external)}`);
  assert.ok(found.outstanding > 0 && found.outstanding <= OUTSTANDING_MAX, mb(found.outstanding));
  return found;
}

test('a partition whose handler never ends holds no more than its bound, and all others are processed meanwhile', async (t) => {
  const { processed } = await flooded(t, 'stuck');
  assert.equal(processed, ((FLOOD_MB * MIB) / 4_096 / PARTITIONS) * (PARTITIONS - 1));
});

test('outputs that wait for their transaction make a checkpoint due by their bytes', async (t) => {
  const { checkpoints } = await flooded(t, 'outputs');
  assert.ok((checkpoints['bytes'] ?? 0) >= PARTITIONS * 2, JSON.stringify(checkpoints));
});

test('outputs that the log does not answer hold up their partition, at-least-once too', async (t) => {
  assert.equal((await flooded(t, 'unanswered')).processed, 0);
});

test('a flood of commands and queries to a partition that is stuck is told that it is full; another one answers', async (t) => {
  const { calls } = await flooded(t, 'calls');
  assert.equal(calls['answered'], 50);
  assert.ok((calls['CALL_TIMEOUT'] ?? 0) <= 200, JSON.stringify(calls));
  assert.equal((calls['MAILBOX_FULL'] ?? 0) + (calls['CALL_TIMEOUT'] ?? 0), 10_000);
});

test('a flood of sends to a log that does not answer is told that it is full', async () => {
  let reached = 0;
  let open: () => void = () => undefined;
  const answered = new Promise<void>((resolve) => (open = resolve));
  const log = await embeddedLog({
    faults: {
      before: (operation) => {
        if (operation !== 'produce') return undefined;
        reached++;
        return answered;
      },
    },
  });
  await log.createTopic({ topic: 'amounts', partitions: 1 });
  await log.createTopic({ topic: 'totals', partitions: 1 });
  const streams = {
    totals: processorAt<typeof totals>(new URL('../fixtures/totals-processor.js', import.meta.url)),
  };
  const stateDir = temporaryDirectory('sends');
  const manager = await StateManager.startIn(
    { group: 'g', streams, log, stateDir, mailbox: { callsMax: 10, waitMs: 50 } },
    new LocalThreads().environment,
  );
  const send = () => manager.streams.totals.send('amounts', { key: 'a', value: 1 }, { timeoutMs: 5_000 });
  const sends = Array.from({ length: 1_000 }, send);
  const outcomes = Promise.allSettled(sends);
  try {
    await Promise.all(sends.slice(10).map((sent) => assert.rejects(sent, code('MAILBOX_FULL'))));
    assert.equal(reached, 10);
    open();
    assert.equal((await outcomes).filter(({ status }) => status === 'fulfilled').length, 10);
    await send();
  } finally {
    open();
    await manager.stop();
    await log.close();
  }
});
