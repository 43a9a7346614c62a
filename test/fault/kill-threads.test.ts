/**
 * A hundred deaths of real worker threads at random moments, on the durable embedded log, with records and commands in
 * flight: half of them from within, by a handler that ends its thread, half from outside, by the pool. What was
 * acknowledged counts once, what was rejected as not applied never, the rest at most once. `ORACLE_SEED` repeats a seed.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, isPartitaError, type EmbeddedLog, type EngineKind } from '../../src/index.js';
import { systemClock } from '../../src/core/clock.js';
import { heldDirectories } from '../../src/manager/directory-registry.js';
import type { ManagerEnvironment } from '../../src/manager/manager-parts.js';
import { importProcessor } from '../../src/processor/import-processor.js';
import { preloadEngine } from '../../src/threads/preload-engine.js';
import { ThreadPool } from '../../src/threads/thread-pool.js';
import type { Dump } from '../fixtures/oracle.js';
import { adjustedKeys, createTopics, readAll, settled, startJob, type Job } from '../support/oracle-job.js';
import {
  appliedOnce,
  assertNoneLost,
  assertTotals,
  byPartition,
  expectedOf,
  rowsOf,
} from '../support/oracle-model.js';
import { seededRandom, type SeededRandom } from '../support/seeded-random.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { PATIENCE_MS } from '../support/waiting.js';

const PARTITIONS = 4;
const WORKERS = 2;
const KEYS = 100;
const COMMANDS_AT_ONCE = 6;
const DEATHS: readonly { readonly engine: EngineKind; readonly deaths: number }[] = [
  { engine: 'level', deaths: 70 },
  { engine: 'rocksdb', deaths: 30 },
];

for (const { engine, deaths } of DEATHS)
  test(`after ${deaths} deaths of threads every input and every acknowledged command counts exactly once (${engine})`, async (t) => {
    const seed = Number(process.env['ORACLE_SEED'] ?? Date.now() % 1_000_000);
    t.diagnostic(`ORACLE_SEED=${seed}`);
    const random = seededRandom(seed);
    const dir = temporaryDirectory('threads');
    const log = await embeddedLog({ dir: join(dir, 'log') });
    await createTopics(log, PARTITIONS);
    const threads: { pool?: ThreadPool } = {};
    const start = (of: string): Promise<Job> =>
      startJob({ ...options, stateDir: join(dir, of) }, kept(threads));
    const options = {
      log,
      policy: 'skip',
      workers: WORKERS,
      engine,
      guarantee: 'exactly-once',
      intervalMs: 20,
      cacheMb: 16,
    } as const;
    const job = await start('state');
    const work = new Work(log, job);
    await kill(job, threads.pool!, work, random, deaths);
    await work.end();

    const expected = expectedOf(await readAll(log, 'events'), PARTITIONS);
    const dumps = await settled(job, expected.processed, PATIENCE_MS);
    assertTotals(dumps, expected);
    assert.equal(expected.processed, work.appended);
    const applied = work.assertCommands(dumps);
    assert.deepEqual(byPartition(await readAll(log, 'totals'), PARTITIONS), expected.outputs);
    assert.deepEqual(await adjustedKeys(log), applied);
    await job.stop();
    assert.deepEqual(heldDirectories(), []);

    const other = await start('other');
    assert.deepEqual(rowsOf(await settled(other, expected.processed, PATIENCE_MS)), rowsOf(dumps));
    await other.stop();
    t.diagnostic(`${work.appended} records; commands: ${JSON.stringify(work.counts)}`);
    assert.ok(work.counts.acknowledged > deaths);
    await log.close();
  });

/** The system's environment, whose threads the test can end. */
function kept(threads: { pool?: ThreadPool }): ManagerEnvironment {
  return {
    clock: systemClock,
    random: Math.random,
    importProcessor,
    places: async ({ engine, workers, logger, watchdogMs }) => {
      await preloadEngine(engine);
      threads.pool = await ThreadPool.start({ threads: workers, clock: systemClock, logger, watchdogMs });
      return threads.pool;
    },
  };
}

/** One death after the other, each in the middle of opening, recovery or work, and some progress now and then. */
async function kill(
  job: Job,
  pool: ThreadPool,
  work: Work,
  random: SeededRandom,
  deaths: number,
): Promise<void> {
  let failed: unknown;
  job.on('failed', ({ error }) => (failed = error));
  for (let death = 0; death < deaths; death++) {
    // Most meet a manager that serves; some one that is still recovering from the death before.
    if (random.chance(0.75)) {
      await job.ready();
      const { acknowledged } = work.counts;
      await sleep(random.between(1, 60));
      if (random.chance(0.5)) await work.until(() => work.counts.acknowledged > acknowledged);
    }
    if (random.chance(0.5)) await pool.end(random.below(WORKERS), 'killed by the test');
    else await fromWithin(job, random.below(PARTITIONS));
    if (failed !== undefined) throw failed as Error;
  }
}

async function fromWithin(job: Job, partition: number): Promise<void> {
  try {
    await job.streams.oracle.command('exit', { partition });
  } catch (error) {
    if (!isPartitaError(error) || !error.retryable) throw error;
  }
}

/** Records and commands that go on all the time, and what became of each command. */
class Work {
  appended = 0;
  readonly counts = { acknowledged: 0, notApplied: 0, unknown: 0 };
  readonly #log: EmbeddedLog;
  readonly #job: Job;
  readonly #acknowledged = new Set<string>();
  readonly #notApplied = new Set<string>();
  readonly #unknown = new Set<string>();
  readonly #running: Promise<unknown>;
  #ended = false;
  #failure: unknown;

  constructor(log: EmbeddedLog, job: Job) {
    this.#log = log;
    this.#job = job;
    const commands = Array.from({ length: COMMANDS_AT_ONCE }, (_, i) => this.#command(`command-${i}`));
    this.#running = Promise.all([this.#append(), ...commands]).catch((error: unknown) => {
      this.#failure = error;
    });
  }

  async until(condition: () => boolean): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (!condition() && this.#failure === undefined) {
      assert.ok(performance.now() < end, 'no command was acknowledged any more');
      await sleep(2);
    }
  }

  async end(): Promise<void> {
    this.#ended = true;
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure as Error;
  }

  /** The keys of those that were applied, each once. */
  assertCommands(dumps: readonly Dump[]): string[] {
    const applied = appliedOnce(dumps);
    assertNoneLost(this.#acknowledged, applied);
    for (const key of this.#notApplied) assert.ok(!applied.has(key), `${key} was rejected and applied`);
    for (const key of applied) assert.ok(this.#acknowledged.has(key) || this.#unknown.has(key), key);
    return [...applied].sort();
  }

  async #append(): Promise<void> {
    while (!this.#ended) {
      const batch = Array.from({ length: 20 }, (_, i) => ({
        key: `key-${(this.appended + i) % KEYS}`,
        value: JSON.stringify({ n: this.appended + i }),
      }));
      await this.#log.produce('events', batch);
      this.appended += batch.length;
      await sleep(5);
    }
  }

  /** Each on a key of its own, so that one that was applied twice shows. */
  async #command(prefix: string): Promise<void> {
    for (let i = 0; !this.#ended; i++) {
      const key = `${prefix}-${i}`;
      try {
        await this.#job.streams.oracle.command('adjust', { key, args: [1], timeoutMs: PATIENCE_MS });
        this.#acknowledged.add(key);
        this.counts.acknowledged++;
      } catch (error) {
        if (!isPartitaError(error, 'ACTOR_RESTARTED')) throw error;
        const outcome = error.details['outcome'] as 'notApplied' | 'unknown';
        this.counts[outcome]++;
        (outcome === 'unknown' ? this.#unknown : this.#notApplied).add(key);
      }
    }
  }
}
