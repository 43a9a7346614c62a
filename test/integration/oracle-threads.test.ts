/**
 * The whole runtime against a plain loop: worker threads that die, handlers that throw under each error policy, commands,
 * restarts with state kept and wiped, on every engine, under both guarantees, seeded. `ORACLE_SEED` repeats one.
 */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, isPartitaError, type EngineKind } from '../../src/index.js';
import { createTopics, readAll, settled, startJob } from '../support/oracle-job.js';
import { assertTotals, byPartition, expectedOf, randomEvents, type Policy } from '../support/oracle-model.js';
import { PARTITIONS, runOracle, seeds } from '../support/oracle-run.js';
import type { LogFaults, LogOperation } from '../../src/log/embedded/log-faults.js';
import { seededRandom, type SeededRandom } from '../support/seeded-random.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { PATIENCE_MS } from '../support/waiting.js';

const ENGINES: readonly EngineKind[] = ['memory', 'level', 'rocksdb'];
const POLICIES: readonly Policy[] = ['fail', 'skip', 'dead-letter', 'decide'];

/** Answers come late, and some of commits never. */
function slowAndForgetful(random: SeededRandom): LogFaults {
  const late = (operation: LogOperation): Promise<void> | undefined =>
    ['read', 'init', 'commit', 'committed', 'bounds', 'owns'].includes(operation) && random.chance(0.3)
      ? sleep(random.between(1, 25))
      : undefined;
  return {
    before: late,
    after: async (operation) => {
      await late(operation);
      return operation === 'commit' && random.chance(0.03) ? 'lost' : undefined;
    },
  };
}

for (const seed of seeds(25)) {
  const random = seededRandom(seed);
  const policy = POLICIES[seed % POLICIES.length]!;
  const engine = ENGINES[seed % ENGINES.length]!;
  const guarantee: 'exactly-once' | 'at-least-once' = seed % 3 === 0 ? 'at-least-once' : 'exactly-once';
  const workers = 1 + (seed % 2);
  const forgets = seed % 4 < 2;
  const durable = seed % 5 === 0;
  const logs = `${forgets ? 'a slow and forgetful' : 'an'} embedded log${durable ? ' in a directory' : ''}`;
  const title = `${engine}, ${guarantee}, ${policy}, ${workers} workers, ${logs}`;
  test(`dying threads, throws and restarts leave what a plain loop leaves (seed ${seed}: ${title})`, async () => {
    const stateDir = temporaryDirectory('oracle');
    const log = await embeddedLog({
      ...(durable ? { dir: join(stateDir, 'log') } : {}),
      ...(forgets ? { faults: slowAndForgetful(seededRandom(seed + 1)) } : {}),
    });
    const intervalMs = random.between(10, 200);
    const cacheMb = random.pick([1, 64]);
    const keys = random.pick([5, 200, 5_000]);
    const databases = join(stateDir, 'state');
    const job = { log, stateDir: databases, policy, workers, engine, guarantee, intervalMs, cacheMb };
    await runOracle(
      random,
      { policy, guarantee, keys, steps: 30 },
      {
        log,
        start: () => startJob(job),
        join: () => startJob({ ...job, stateDir: random.chance(0.5) ? join(stateDir, 'beside') : databases }),
        pause: (ms) => sleep(ms),
        deaf: () => false,
        breathe: () => sleep(5),
        drive: (promise) => promise,
        wipe: () => rm(databases, { recursive: true, force: true }),
        disturb: () => log.compact('changelog__oracle--oracle'),
        killThread: async ({ streams: { oracle } }) => {
          const partition = random.below(PARTITIONS);
          const call = random.chance(0.5)
            ? oracle.command('exit', { partition })
            : oracle.command('throwLater', { partition, ack: 'processed' });
          // Whether the answer still gets through is up to the thread.
          await call.catch((error: unknown) => {
            if (!isPartitaError(error) || !error.retryable) throw error;
          });
        },
      },
    );
    await log.close();
  });
}

test('a record that always throws stops the job under `fail`; with another policy it goes on from there', async () => {
  const random = seededRandom(7);
  const stateDir = temporaryDirectory('oracle');
  const log = await embeddedLog();
  await createTopics(log, PARTITIONS);
  const job = {
    log,
    stateDir,
    workers: 1,
    engine: 'level',
    guarantee: 'exactly-once',
    intervalMs: 20,
    cacheMb: 8,
  } as const;
  const failing = await startJob({ ...job, policy: 'fail' });
  const failed = new Promise<unknown>((resolve) => {
    failing.once('failed', ({ error }) => {
      resolve(error);
    });
  });
  await failing.ready();
  // One partition of `skip` events has about one poisoned record in a hundred.
  await log.produce('events', randomEvents(random, 'skip', 2_000, 50));
  const told: string[] = [];
  for (let error = await failed; error instanceof Error; error = error.cause) told.push(error.message);
  assert.match(told.join('; '), /poison/);
  await failing.stop();
  const expected = expectedOf(await readAll(log, 'events'), PARTITIONS);
  const before = byPartition(await readAll(log, 'totals'), PARTITIONS);
  for (const [partition, list] of before.entries())
    assert.deepEqual(list, expected.outputs[partition]!.slice(0, list.length));
  const skipping = await startJob({ ...job, policy: 'skip' });
  assertTotals(await settled(skipping, expected.processed, PATIENCE_MS), expected);
  await skipping.stop();
  assert.deepEqual(byPartition(await readAll(log, 'totals'), PARTITIONS), expected.outputs);
  await log.close();
});
