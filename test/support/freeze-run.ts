/**
 * One seeded life of a group whose members join, leave, and freeze past their session: whatever a frozen member asks of the
 * log, or hears from it, is held back until it wakes, from a moment that the seed chooses. It judges what the log holds and
 * what the managers serve in the end; when and how often such lives are run is `manager-freeze-moments.test.ts`, and on a
 * broker `kafka/freeze.test.ts`.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogFactory } from '../../src/index.js';
import { topicOf } from '../fixtures/oracle.js';
import { groupOf, type FreezeMember, type MemberSettings } from './freeze-member.js';
import { expectOneWriter, expectPositionsRise } from './one-writer.js';
import type { RawRecord } from './oracle-model.js';
import { seededRandom, type SeededRandom } from './seeded-random.js';
import { temporaryDirectory } from './temporary-directory.js';

const PARTITIONS = 4;
const KEYS = 24;
const STEPS = 10;
const COMMANDS_PER_STEP = 6;
const MANAGERS_MAX = 3;
/** Generous: the machine may be slow, but nothing may be unserved for good. */
const SETTLED_WITHIN_MS = 60_000;
/** What a member does all the time. */
const STEADY = ['append', 'offsets', 'commit', 'heartbeat'];

/** What a frozen member does not get through: everything, its heartbeats alone, or the answers alone. */
const KINDS = ['everything', 'heartbeats', 'answers'] as const;
export type FreezeKind = (typeof KINDS)[number];

/** A log with its topics, and the cold between it and its members. `embedded-freeze.ts`, `kafka-freeze.ts`. */
export interface FreezeWorld {
  /** What stands before the names of topics, and is the group's name; empty on a log of its own. */
  readonly of: string;
  /** Of the members. */
  readonly sessionMs: number;
  /** In the middle of what a freeze may begin; `undefined`: wherever the member is. */
  readonly moments: readonly (string | undefined)[];
  /** What was held, and how often. */
  readonly held: ReadonlyMap<string, number>;
  start(clientId: string, settings: MemberSettings): Promise<FreezeMember>;
  /** The log as nobody's freeze touches it. */
  readonly log: LogFactory;
  createTopic(topic: string, partitions: number): Promise<void>;
  produce(topic: string, records: readonly { readonly key: string; readonly value: Buffer }[]): Promise<void>;
  /** Everything committed, by its full name. */
  read(topic: string): Promise<readonly RawRecord[]>;
  isFrozen(clientId: string): boolean;
  freeze(clientId: string, kind: FreezeKind, at: string | undefined): void;
  thaw(clientId: string): void;
  /** Whatever is still held passes. Idempotent. */
  close(): Promise<void>;
}

/** What happened in a life, for the report. */
export interface FreezeReport {
  readonly freezes: number;
  readonly evictions: number;
  readonly acknowledged: number;
  readonly held: ReadonlyMap<string, number>;
}

interface Started {
  readonly clientId: string;
  readonly member: FreezeMember;
}

/** Rejects with what went wrong; everything is closed in any case. */
export async function freezeRun(seed: number, world: FreezeWorld): Promise<FreezeReport> {
  const directory = temporaryDirectory('freeze');
  const life = new FreezeLife(world, directory, seededRandom(seed));
  try {
    await life.live();
    return await life.judge();
  } finally {
    await life.end();
    await world.close();
  }
}

class FreezeLife {
  readonly #world: FreezeWorld;
  readonly #directory: string;
  readonly #random: SeededRandom;
  readonly #running: Started[] = [];
  /** All that ever were. */
  readonly #members: FreezeMember[] = [];
  readonly #thaws = new Set<Promise<void>>();
  /** What a plain loop holds. */
  readonly #expected = new Map<string, number>();
  /** Commands by their key: what its sum may be. */
  readonly #commands = new Map<string, readonly number[]>();
  readonly #answers: Promise<void>[] = [];
  #started = 0;
  #freezes = 0;
  #acknowledged = 0;

  constructor(world: FreezeWorld, directory: string, random: SeededRandom) {
    this.#world = world;
    this.#directory = directory;
    this.#random = random;
  }

  async live(): Promise<void> {
    await this.#world.createTopic('amounts', PARTITIONS);
    await this.#world.createTopic('totals', 1);
    await this.#start();
    await this.#start();
    for (const { member } of this.#running) await member.ready();
    for (let step = 0; step < STEPS; step++) {
      await this.#produce();
      this.#command();
      await this.#step();
      await sleep(this.#random.below(this.#world.sessionMs));
    }
    await Promise.all(this.#thaws);
    this.#thawAll();
    await this.#produce();
  }

  async judge(): Promise<FreezeReport> {
    await Promise.all(this.#answers);
    await this.#untilServed();
    for (const { member } of this.#running.splice(0)) await member.stop();
    await this.#expectOutputs();
    const changelog = `changelog__${groupOf(this.#world.of)}--totals`;
    await expectOneWriter(this.#world.log, changelog);
    expectPositionsRise(await this.#world.read(changelog));
    // The changelog alone holds the same.
    await this.#start('memory');
    await this.#untilServed();
    const [last] = this.#running;
    await last!.member.stop();
    return {
      freezes: this.#freezes,
      evictions: this.#members.reduce((sum, { evictions }) => sum + evictions, 0),
      acknowledged: this.#acknowledged,
      held: this.#world.held,
    };
  }

  async end(): Promise<void> {
    this.#thawAll();
    await Promise.allSettled(this.#running.map(({ member }) => member.stop({ deadlineMs: 5_000 })));
    await Promise.allSettled(this.#answers);
  }

  async #step(): Promise<void> {
    const choice = this.#random.below(6);
    if (choice >= 2) {
      const at = this.#freeze();
      // The other moments come with a rebalance only.
      if (at === undefined || STEADY.includes(at)) return;
    }
    if (this.#running.length < MANAGERS_MAX && (choice !== 1 || this.#running.length === 1))
      await this.#start();
    else await this.#stop();
  }

  async #start(engine?: 'memory'): Promise<void> {
    const clientId = `m${this.#started++}`;
    const member = await this.#world.start(clientId, {
      of: this.#world.of,
      stateDir: join(this.#directory, clientId),
      engine: engine ?? (this.#started % 3 === 0 ? 'memory' : 'level'),
      sessionMs: this.#world.sessionMs,
      parkMs: this.#random.pick([0, 300, 30_000]),
    });
    this.#members.push(member);
    this.#running.push({ clientId, member });
  }

  /** In order, also out of its sleep: it wakes while it stops. */
  async #stop(): Promise<void> {
    const [{ clientId, member }] = this.#running.splice(this.#random.below(this.#running.length), 1) as [
      Started,
    ];
    const stopped = member.stop();
    this.#world.thaw(clientId);
    await stopped;
  }

  /** In the middle of what, if it is for something. */
  #freeze(): string | undefined {
    const { clientId } = this.#random.pick(this.#running);
    if (this.#world.isFrozen(clientId)) return undefined;
    const at = this.#random.pick(this.#world.moments);
    this.#world.freeze(clientId, this.#random.pick(KINDS), at);
    this.#freezes++;
    // Mostly past the session, sometimes just about.
    const forMs = this.#world.sessionMs * (0.75 + 2 * this.#random.next());
    const thaw = sleep(forMs).then(() => {
      this.#world.thaw(clientId);
      this.#thaws.delete(thaw);
    });
    this.#thaws.add(thaw);
    return at;
  }

  #thawAll(): void {
    for (const { clientId } of this.#running) this.#world.thaw(clientId);
  }

  async #produce(): Promise<void> {
    const records = Array.from({ length: 40 }, () => {
      const key = `key-${this.#random.below(KEYS)}`;
      const amount = this.#random.below(100);
      this.#expected.set(key, (this.#expected.get(key) ?? 0) + amount);
      const value = Buffer.alloc(8);
      value.writeBigInt64BE(BigInt(amount));
      return { key, value };
    });
    await this.#world.produce('amounts', records);
  }

  /** Some, each with a key of its own, to whichever member. */
  #command(): void {
    for (let n = 0; n < COMMANDS_PER_STEP; n++) {
      const key = `command-${this.#commands.size}`;
      this.#commands.set(key, [0, 1]);
      const { member } = this.#random.pick(this.#running);
      this.#answers.push(this.#add(member, key));
    }
  }

  async #add(member: FreezeMember, key: string): Promise<void> {
    const answer = await member.add(key);
    if (answer === 'unknown') return;
    this.#commands.set(key, [answer === 'applied' ? 1 : 0]);
    if (answer === 'applied') this.#acknowledged++;
  }

  /** Every partition is served by one manager, and together they hold what a plain loop holds. */
  async #untilServed(): Promise<void> {
    const until = performance.now() + SETTLED_WITHIN_MS;
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
    for (const { member } of this.#running) {
      const described = await member.describe();
      if (described.startsWith('failed')) assert.fail(`a manager failed: ${described}`);
      try {
        for (const [partition, rows] of await member.all()) {
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
    for (const [key, sum] of this.#expected)
      if (found.get(key) !== sum) return `${key} is ${found.get(key)} instead of ${sum}`;
    for (const [key, allowed] of this.#commands)
      if (!allowed.includes(found.get(key) ?? 0))
        return `${key} was applied ${found.get(key) ?? 0} times instead of ${allowed.join(' or ')}`;
    return undefined;
  }

  async #describe(): Promise<string> {
    const members = await Promise.all(
      this.#running.map(async ({ clientId, member }) => `${clientId} ${await member.describe()}`),
    );
    return members.join('; ');
  }

  /** No committed output is missing, repeated, or of another state. */
  async #expectOutputs(): Promise<void> {
    const counts = new Map<string, number>();
    const sums = new Map<string, number>();
    for (const { key, value } of await this.#world.read(topicOf(this.#world.of, 'totals'))) {
      const name = Buffer.from(key!).toString();
      const { sum, n } = JSON.parse(Buffer.from(value!).toString()) as { sum: number; n: number };
      assert.equal(n, (counts.get(name) ?? 0) + 1, `an output of ${name} is missing or repeated`);
      counts.set(name, n);
      sums.set(name, sum);
    }
    assert.deepEqual(new Map([...sums].sort()), new Map([...this.#expected].sort()));
  }
}
