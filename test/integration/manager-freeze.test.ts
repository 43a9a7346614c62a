/**
 * Managers of one group that join, leave, freeze past their session and wake in the middle of anything: a commit, a
 * recovery, an assignment. "Frozen" means that whatever a manager asks the log, and whatever the log answers it, is held
 * back, its heartbeats too, while its threads go on. `SEED=n` repeats one run, `SEEDS=n` makes more of them.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, isPartitaError, type EmbeddedLog, type LogFactory } from '../../src/index.js';
import type { Dump } from '../fixtures/oracle.js';
import { Freezer } from '../support/freezer.js';
import { adjustedKeys, createTopics, readAll, startJob, type Job } from '../support/oracle-job.js';
import { assertTotals, byPartition, expectedOf, randomEvents } from '../support/oracle-model.js';
import { seededRandom, type SeededRandom } from '../support/seeded-random.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { PATIENCE_MS } from '../support/waiting.js';

const PARTITIONS = 6;
const KEYS = 200;
const STEPS = 16;
const SESSION_MS = 400;
const { SEED: one, SEEDS: many } = process.env;
const SEEDS = one === undefined ? Array.from({ length: Number(many ?? 20) }, (_, i) => i + 1) : [Number(one)];

interface Member {
  readonly id: string;
  readonly job: Job;
}

describe('three managers that join, leave, freeze past their session and wake', { concurrency: 2 }, () => {
  for (const seed of SEEDS)
    test(`leave every partition served, every record and command counted once (seed ${seed})`, async (t) => {
      const random = seededRandom(seed);
      const freezer = new Freezer();
      const dir = temporaryDirectory('freeze');
      const log = await embeddedLog({
        faults: freezer,
        ...(seed % 4 === 0 ? { dir: join(dir, 'log') } : {}),
      });
      const run = new Run(random, log, freezer, dir);
      try {
        await run.steps();
        await run.end();
        t.diagnostic(`${run.freezes} freezes, ${run.lost} times partitions were lost`);
      } finally {
        await run.release();
        await log.close();
      }
    });
});

class Run {
  freezes = 0;
  lost = 0;
  readonly #random: SeededRandom;
  readonly #log: EmbeddedLog;
  readonly #freezer: Freezer;
  readonly #dir: string;
  readonly #members: Member[] = [];
  readonly #thaws: Promise<void>[] = [];
  readonly #commands: Promise<void>[] = [];
  readonly #answers = new Map<string, 'applied' | 'notApplied' | 'unknown'>();
  #started = 0;

  constructor(random: SeededRandom, log: EmbeddedLog, freezer: Freezer, dir: string) {
    this.#random = random;
    this.#log = log;
    this.#freezer = freezer;
    this.#dir = dir;
  }

  async steps(): Promise<void> {
    const random = this.#random;
    await createTopics(this.#log, PARTITIONS);
    for (let n = 0; n < 3; n++) await this.#join();
    for (let step = 0; step < STEPS; step++) {
      await this.#log.produce('events', randomEvents(random, 'skip', random.between(1, 200), KEYS));
      for (let i = 0; i < 4; i++) this.#commands.push(this.#command(`command-${step}-${i}`));
      if (random.chance(0.5)) this.#freeze(random.pick(this.#members).id);
      // Who is to leave or join must hear of it.
      if (random.chance(0.2)) await this.#replace();
      await sleep(random.between(10, 120));
    }
  }

  /** Everybody is awake again: what is true then? */
  async end(): Promise<void> {
    await Promise.all(this.#thaws);
    await Promise.all(this.#commands);
    const inputs = await readAll(this.#log, 'events');
    const expected = expectedOf(inputs, PARTITIONS);
    const dumps = await this.#settled(expected.processed);
    for (const { job } of this.#members) await job.stop();
    this.#members.length = 0;
    assertTotals(dumps, expected);
    assert.deepEqual(byPartition(await readAll(this.#log, 'totals'), PARTITIONS), expected.outputs);
    const applied = new Map(dumps.flatMap(({ adjustments }) => adjustments));
    for (const [key, answer] of this.#answers) {
      const times = applied.get(key) ?? 0;
      if (answer === 'unknown') assert.ok(times <= 1, `${key} was applied ${times} times`);
      else assert.equal(times, answer === 'applied' ? 1 : 0, `${key}, whose answer was ${answer}`);
    }
    assert.deepEqual(await adjustedKeys(this.#log), [...applied.keys()].sort());
  }

  async release(): Promise<void> {
    for (const { id } of this.#members) this.#freezer.thaw(id);
    await Promise.allSettled(this.#members.map(({ job }) => job.stop({ deadlineMs: 5_000 })));
  }

  async #join(): Promise<void> {
    const id = `member-${this.#started++}`;
    const log: LogFactory = {
      kind: this.#log.kind,
      connect: (options) => this.#log.connect({ ...options, clientId: id }),
    };
    const job = await startJob({
      log,
      stateDir: join(this.#dir, id),
      policy: 'skip',
      workers: 1,
      engine: this.#random.pick(['memory', 'level']),
      guarantee: 'exactly-once',
      intervalMs: 20,
      cacheMb: 8,
      more: { sessionTimeoutMs: SESSION_MS, rebalanceTimeoutMs: 2_000, parkMs: 1_000 },
    });
    job.on('lost', () => this.lost++);
    this.#members.push({ id, job });
  }

  #freeze(id: string): void {
    if (this.#freezer.isFrozen(id)) return;
    this.freezes++;
    this.#freezer.freeze(id);
    const forMs = this.#random.between(20, 3 * SESSION_MS);
    this.#thaws.push(
      sleep(forMs).then(() => {
        this.#freezer.thaw(id);
      }),
    );
  }

  async #replace(): Promise<void> {
    const [member] = this.#members.splice(this.#random.below(this.#members.length), 1);
    this.#freezer.thaw(member!.id);
    await member!.job.stop();
    await this.#join();
  }

  /** Once, to whoever may own the key. */
  async #command(key: string): Promise<void> {
    const { job } = this.#random.pick(this.#members);
    try {
      assert.equal(await job.streams.oracle.command('adjust', { key, args: [1], timeoutMs: 3_000 }), 1);
      this.#answers.set(key, 'applied');
    } catch (error) {
      this.#answers.set(key, outcomeOf(error));
    }
  }

  /** What all members together hold, once they count so many records. */
  async #settled(records: number): Promise<readonly Dump[]> {
    const until = performance.now() + PATIENCE_MS;
    for (;;) {
      const answers = await Promise.all(
        this.#members.map(({ job }) =>
          job.streams.oracle
            .queryAll('dump', { read: 'committed', timeoutMs: 1_000 })
            .catch(() => new Map<number, Dump>()),
        ),
      );
      const dumps = answers.flatMap((answer) => [...answer]);
      const count = dumps
        .flatMap(([, { totals }]) => totals)
        .reduce((sum, [, total]) => sum + total.count, 0);
      const served = new Set(dumps.map(([partition]) => partition));
      if (count === records && served.size === PARTITIONS && dumps.length === PARTITIONS)
        return dumps.map(([, dump]) => dump);
      if (performance.now() > until)
        throw new Error(
          `After ${PATIENCE_MS} ms ${served.size} of ${PARTITIONS} partitions are served, ${count} of ${records} records counted.`,
        );
      await sleep(20);
    }
  }
}

/** What the answer says about the command. Only a time-out, or an outcome that says so, leaves it open. */
function outcomeOf(error: unknown): 'notApplied' | 'unknown' {
  if (isPartitaError(error, 'CALL_TIMEOUT')) return 'unknown';
  if (isPartitaError(error, 'ACTOR_RESTARTED'))
    return error.details['outcome'] === 'unknown' ? 'unknown' : 'notApplied';
  if (
    ['PARTITION_NOT_OWNED', 'ACTOR_RECOVERING', 'STOPPED'].some(
      (code) => isPartitaError(error) && error.code === code,
    )
  )
    return 'notApplied';
  throw error;
}
