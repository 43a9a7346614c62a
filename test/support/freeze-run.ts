/**
 * One seeded life of a group whose members join, leave, and freeze past their session: whatever a frozen member asks of the
 * log, or hears from it, is held back until it wakes, from a moment that the seed chooses. It judges what the log holds and
 * what the managers serve in the end; when and how often such lives are run is `manager-freeze-moments.test.ts`.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  embeddedLog,
  isPartitaError,
  StateManager,
  type EmbeddedLog,
  type LogFactory,
} from '../../src/index.js';
import type { LogOperation } from '../../src/log/embedded/log-faults.js';
import { Amounts, totalsStream, type TotalsManager } from './amounts.js';
import { FREEZE_KINDS, Freezer } from './freezer.js';
import { expectOneWriter } from './one-writer.js';
import { seededRandom, type SeededRandom } from './seeded-random.js';
import { temporaryDirectory } from './temporary-directory.js';
import { PATIENCE_MS } from './waiting.js';

const PARTITIONS = 4;
const KEYS = 24;
const STEPS = 10;
const COMMANDS_PER_STEP = 6;
const MANAGERS_MAX = 3;
const SESSION_MS = 400;
const CALL_TIMEOUT_MS = 10_000;

/** In the middle of what a freeze may begin; `undefined`: wherever the member is. */
const MOMENTS = [undefined, 'commit', 'init', 'read', 'committed', 'assign', 'owns', 'heartbeat'] as const;

/** What happened in a life, for the report. */
export interface FreezeReport {
  readonly freezes: number;
  readonly evictions: number;
  readonly acknowledged: number;
  readonly held: ReadonlyMap<LogOperation, number>;
}

interface Started {
  readonly clientId: string;
  readonly manager: TotalsManager;
}

/** Rejects with what went wrong; everything is closed in any case. */
export async function freezeRun(seed: number, kind: 'memory' | 'directory'): Promise<FreezeReport> {
  const directory = temporaryDirectory('freeze');
  const freezer = new Freezer();
  const log = await embeddedLog({
    faults: freezer,
    ...(kind === 'memory' ? {} : { dir: join(directory, 'log') }),
  });
  const life = new FreezeLife(log, freezer, directory, seededRandom(seed));
  try {
    await life.live();
    return await life.judge();
  } finally {
    freezer.thawAll();
    await life.end();
    await log.close();
  }
}

class FreezeLife {
  readonly #log: EmbeddedLog;
  readonly #freezer: Freezer;
  readonly #directory: string;
  readonly #random: SeededRandom;
  readonly #running: Started[] = [];
  readonly #thaws = new Set<Promise<void>>();
  readonly #amounts: Amounts;
  /** Commands by their key: what its sum may be. */
  readonly #commands = new Map<string, readonly number[]>();
  readonly #answers: Promise<void>[] = [];
  #started = 0;
  #freezes = 0;
  #evictions = 0;
  #acknowledged = 0;

  constructor(log: EmbeddedLog, freezer: Freezer, directory: string, random: SeededRandom) {
    this.#log = log;
    this.#freezer = freezer;
    this.#directory = directory;
    this.#random = random;
    this.#amounts = new Amounts(log);
  }

  async live(): Promise<void> {
    await this.#log.createTopic({ topic: 'amounts', partitions: PARTITIONS });
    await this.#log.createTopic({ topic: 'totals', partitions: 1 });
    await this.#start();
    await this.#start();
    for (const { manager } of this.#running) await manager.ready();
    for (let step = 0; step < STEPS; step++) {
      await this.#produce();
      this.#command();
      await this.#step();
      await sleep(this.#random.below(400));
    }
    await Promise.all(this.#thaws);
    this.#freezer.thawAll();
    await this.#produce();
  }

  async judge(): Promise<FreezeReport> {
    await Promise.all(this.#answers);
    await this.#untilServed();
    for (const { manager } of this.#running.splice(0)) await manager.stop();
    await this.#amounts.assertOutputs();
    await expectOneWriter(this.#log, 'changelog__g--totals');
    // The changelog alone holds the same.
    await this.#start({ engine: 'memory' });
    await this.#untilServed();
    const [last] = this.#running;
    await last!.manager.stop();
    return {
      freezes: this.#freezes,
      evictions: this.#evictions,
      acknowledged: this.#acknowledged,
      held: this.#freezer.held,
    };
  }

  async end(): Promise<void> {
    await Promise.allSettled(this.#running.map(({ manager }) => manager.stop({ deadlineMs: 5_000 })));
    await Promise.allSettled(this.#answers);
  }

  async #step(): Promise<void> {
    const choice = this.#random.below(6);
    if (choice >= 2) {
      const at = this.#freeze();
      // Those moments come with a rebalance only.
      if (at === undefined || at === 'commit' || at === 'heartbeat') return;
    }
    if (this.#running.length < MANAGERS_MAX && (choice !== 1 || this.#running.length === 1))
      await this.#start();
    else await this.#stop();
  }

  async #start(options: { readonly engine?: 'memory' } = {}): Promise<void> {
    const clientId = `m${this.#started++}`;
    const factory: LogFactory = { kind: 'embedded', connect: () => this.#log.connect({ clientId }) };
    const manager = await StateManager.start({
      group: 'g',
      streams: totalsStream,
      log: factory,
      stateDir: join(this.#directory, clientId),
      workers: 1,
      engine: this.#started % 3 === 0 ? 'memory' : 'level',
      checkpoint: { intervalMs: 20 },
      restarts: { firstMs: 5, maxMs: 50, max: 50 },
      sessionTimeoutMs: SESSION_MS,
      rebalanceTimeoutMs: 4_000,
      transactionTimeoutMs: 2_000,
      parkMs: this.#random.pick([0, 300, 30_000]),
      ...options,
    });
    manager.on('lost', () => this.#evictions++);
    this.#running.push({ clientId, manager });
  }

  /** In order, also out of its sleep: it wakes while it stops. */
  async #stop(): Promise<void> {
    const [{ clientId, manager }] = this.#running.splice(this.#random.below(this.#running.length), 1) as [
      Started,
    ];
    const stopped = manager.stop();
    this.#freezer.thaw(clientId);
    await stopped;
  }

  /** In the middle of what, if it is for something. */
  #freeze(): LogOperation | undefined {
    const { clientId } = this.#random.pick(this.#running);
    if (this.#freezer.isFrozen(clientId)) return undefined;
    const at = this.#random.pick(MOMENTS);
    this.#freezer.freeze(clientId, this.#random.pick(FREEZE_KINDS), at);
    this.#freezes++;
    // Mostly past the session, sometimes just about.
    const forMs = SESSION_MS * (0.75 + 2 * this.#random.next());
    const thaw = sleep(forMs).then(() => {
      this.#freezer.thaw(clientId);
      this.#thaws.delete(thaw);
    });
    this.#thaws.add(thaw);
    return at;
  }

  #produce(): Promise<void> {
    return this.#amounts.produce(
      Array.from({ length: 40 }, () => [`key-${this.#random.below(KEYS)}`, this.#random.below(100)]),
    );
  }

  /** Some, each with a key of its own, to whichever member. */
  #command(): void {
    for (let n = 0; n < COMMANDS_PER_STEP; n++) {
      const key = `command-${this.#commands.size}`;
      this.#commands.set(key, [0, 1]);
      const { manager } = this.#random.pick(this.#running);
      this.#answers.push(
        manager.streams.totals.command('add', { key, args: [1], timeoutMs: CALL_TIMEOUT_MS }).then(
          () => {
            this.#acknowledged++;
            this.#commands.set(key, [1]);
          },
          (error: unknown) => {
            if (saysNotApplied(error)) this.#commands.set(key, [0]);
          },
        ),
      );
    }
  }

  /** Every partition is served by one manager, and together they hold what a plain loop holds. */
  async #untilServed(): Promise<void> {
    const until = performance.now() + PATIENCE_MS;
    for (;;) {
      const problem = await this.#problem();
      if (problem === undefined) return;
      if (performance.now() > until) assert.fail(`${problem}; ${await this.#describe()}`);
      await sleep(20);
    }
  }

  async #problem(): Promise<string | undefined> {
    const owners = new Map<number, number>();
    const found = new Map<string, number>();
    for (const { manager } of this.#running) {
      if (manager.state === 'failed') assert.fail(`a manager failed: ${await this.#describe()}`);
      try {
        const all = await manager.streams.totals.queryAll('all', { timeoutMs: 5_000 });
        for (const [partition, rows] of all) {
          owners.set(partition, (owners.get(partition) ?? 0) + 1);
          for (const { key, sum } of rows) found.set(key, sum);
        }
      } catch (error) {
        return `a query failed: ${String(error)}`;
      }
    }
    if (owners.size !== PARTITIONS || [...owners.values()].some((n) => n !== 1))
      return `partitions are served by ${JSON.stringify([...owners])}`;
    return this.#difference(found);
  }

  #difference(found: ReadonlyMap<string, number>): string | undefined {
    for (const [key, sum] of this.#amounts.expected)
      if (found.get(key) !== sum) return `${key} is ${found.get(key)} instead of ${sum}`;
    for (const [key, allowed] of this.#commands)
      if (!allowed.includes(found.get(key) ?? 0))
        return `${key} was applied ${found.get(key) ?? 0} times instead of ${allowed.join(' or ')}`;
    return undefined;
  }

  async #describe(): Promise<string> {
    const members = await Promise.all(
      this.#running.map(async ({ clientId, manager }) => {
        const { partitions } = await manager.stats();
        return `${clientId} ${manager.state}: ${partitions.map(({ partition, state }) => `${partition} ${state}`).join(', ')}`;
      }),
    );
    return members.join('; ');
  }
}

/** Another member's partition, or an actor that ended before: then it has not happened, and never will. */
function saysNotApplied(error: unknown): boolean {
  if (isPartitaError(error, 'PARTITION_NOT_OWNED') || isPartitaError(error, 'ACTOR_RECOVERING')) return true;
  return isPartitaError(error, 'ACTOR_RESTARTED') && error.details['outcome'] === 'notApplied';
}
