/**
 * `stop` at any moment, in one thread on a clock that is moved: whatever the manager, its partitions and the log are in the
 * middle of, it ends by its deadline, leaves no lock and no timer, and whoever starts next loses and repeats nothing. What
 * needs real threads is in shutdown-threads.test.ts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { embeddedLog, isPartitaError, StateManager, type EmbeddedLog } from '../../src/index.js';
import type { LogFaults, LogOperation } from '../../src/log/embedded/log-faults.js';
import { acquireDirectory, heldDirectories } from '../../src/manager/directory-registry.js';
import type { ManagerOptions } from '../../src/manager/options.js';
import { DeadlyTopics, deadlyStream, keyOf, type DeadlyManager } from '../support/deadly-run.js';
import { OneThread } from '../support/one-thread.js';
import { seededRandom } from '../support/seeded-random.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const PARTITIONS = 3;
/** Past its deadline a stop gives what is left two steps of a second to release itself, and a moment for the rest. */
const GRACE_MS = 3_500;
const SESSION_MS = 14_000;
const SETTLE_STEPS_MAX = 2_000;

type Options = Partial<Omit<ManagerOptions, 'streams' | 'log'>>;

/** Calls of the log that nobody answers, before or after they have happened, until it is opened for good. */
class Gate {
  readonly faults: LogFaults = {
    before: (operation) => this.#wait(`before ${operation}`),
    after: (operation) => this.#wait(`after ${operation}`),
  };
  readonly #held = new Set<string>();
  #waiting = 0;
  #open: () => void = () => undefined;
  #opened = new Promise<void>((resolve) => (this.#open = resolve));

  /** Calls that wait at the gate. */
  get waiting(): number {
    return this.#waiting;
  }

  hold(when: 'before' | 'after', ...operations: readonly LogOperation[]): void {
    for (const operation of operations) this.#held.add(`${when} ${operation}`);
  }

  /** New calls pass; those that wait go on waiting. */
  letPass(): void {
    this.#held.clear();
  }

  /** Those that wait go on, however late. */
  open(): void {
    this.letPass();
    this.#open();
    this.#opened = new Promise<void>((resolve) => (this.#open = resolve));
  }

  async #wait(what: string): Promise<void> {
    if (!this.#held.has(what)) return;
    this.#waiting++;
    await this.#opened;
    this.#waiting--;
  }
}

/** A log, its topics, and the managers that a test starts on it. */
class World {
  readonly gate = new Gate();
  readonly threads: OneThread;
  readonly log: EmbeddedLog;
  readonly topics: DeadlyTopics;
  readonly stateDir = temporaryDirectory('shutdown');
  readonly #managers: DeadlyManager[] = [];
  readonly #starting: Promise<unknown>[] = [];
  readonly #atStop: (() => Promise<void>)[] = [];

  private constructor(threads: OneThread, log: EmbeddedLog, topics: DeadlyTopics, gate: Gate) {
    this.threads = threads;
    this.log = log;
    this.topics = topics;
    this.gate = gate;
  }

  static async open(): Promise<World> {
    const threads = new OneThread(seededRandom(1));
    const gate = new Gate();
    const log = await embeddedLog({ clock: threads.clock, faults: gate.faults });
    return new World(threads, log, await DeadlyTopics.create(log, PARTITIONS), gate);
  }

  start(options: Options = {}): Promise<DeadlyManager> {
    return this.drive(this.starting(options));
  }

  /** Not awaited by anybody: a member that can't get in yet. */
  begin(options: Options): void {
    const starting = this.starting(options);
    this.#starting.push(starting);
    starting.catch(() => undefined);
  }

  async starting(options: Options = {}): Promise<DeadlyManager> {
    // In memory: a disk would take the machine's time, and the clock that is moved would not wait for it.
    const all = { group: 'g', stateDir: this.stateDir, engine: 'memory', workers: 2, ...options } as const;
    const manager = await StateManager.startIn(
      { ...all, log: this.log, streams: deadlyStream('skip') },
      this.threads.environment,
    );
    this.#managers.push(manager);
    return manager;
  }

  drive<T>(promise: Promise<T>): Promise<T> {
    return this.threads.drive(promise);
  }

  async pass(ms: number): Promise<void> {
    await this.drive(this.threads.clock.sleep(ms));
  }

  async until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    for (let step = 0; !(await condition()); step++) {
      assert.ok(step < SETTLE_STEPS_MAX, `${what} did not come about`);
      await this.pass(20);
    }
  }

  /** Records in every partition that are processed and committed. */
  async settled(manager: DeadlyManager): Promise<void> {
    await this.topics.fill(4);
    await this.pass(100);
    await this.drive(manager.checkpoint());
    await this.processed();
  }

  async processed(): Promise<void> {
    await this.until('everything processed', () => this.topics.settled());
  }

  get held(): readonly string[] {
    return heldDirectories().filter((directory) => directory.startsWith(`${this.stateDir}/g/`));
  }

  /** Something of the moment that goes when the manager has stopped. */
  atStop(then: () => Promise<void>): void {
    this.#atStop.push(then);
  }

  async stopped(): Promise<void> {
    for (const then of this.#atStop.splice(0)) await then();
  }

  /** Members that came beside the one that is stopped. */
  async endOthers(): Promise<void> {
    await this.drive(Promise.all(this.#starting));
    await this.drive(Promise.all(this.#managers.slice(1).map((manager) => manager.stop())));
  }

  async close(): Promise<void> {
    this.gate.open();
    await this.drive(Promise.allSettled(this.#managers.map((manager) => manager.stop())));
    await this.log.close();
  }
}

interface Moment {
  readonly title: string;
  readonly options?: Options;
  /** How a stop with time enough ends: everything that was processed is committed, or some of it is dropped. */
  readonly ends: 'committed' | 'dropped';
  /** Takes a manager that has settled to the moment. Calls to it that are under way then must end with it. */
  readonly reach: (world: World, manager: DeadlyManager) => Promise<readonly Promise<unknown>[] | undefined>;
}

const held = (
  title: string,
  when: 'before' | 'after',
  operations: readonly LogOperation[],
  ends: Moment['ends'],
  then: (world: World, manager: DeadlyManager) => Promise<unknown>,
  options: Options = {},
): Moment => ({
  title,
  ends,
  options,
  reach: async (world, manager) => {
    world.gate.hold(when, ...operations);
    await then(world, manager);
    await world.until('a call that waits at the gate', () => world.gate.waiting > 0);
    return undefined;
  },
});

const fill = (world: World): Promise<void> => world.topics.fill(5);
const kill = async (world: World): Promise<void> => {
  await world.threads.kill(0);
};
/** Another member, which takes part in a rebalance that does not get to its end. */
const joined = async (world: World): Promise<void> => {
  world.begin({ instanceId: 'other' });
  await world.pass(50);
};

const MOMENTS: readonly Moment[] = [
  { title: 'nothing to do', ends: 'committed', reach: () => Promise.resolve(undefined) },
  {
    title: 'records that are not committed yet',
    options: { checkpoint: { intervalMs: 60_000 } },
    ends: 'committed',
    reach: async (world) => {
      await fill(world);
      await world.pass(50);
      return undefined;
    },
  },
  held('a commit that the log has not got', 'before', ['commit'], 'dropped', fill),
  held('a commit that the log has done and does not answer', 'after', ['commit'], 'dropped', fill),
  held('a checkpoint that was asked for', 'before', ['commit'], 'dropped', async (world, manager) => {
    await fill(world);
    manager.checkpoint().catch(() => undefined);
  }),
  held('outputs that the log does not take', 'before', ['produce'], 'dropped', fill, {
    guarantee: 'at-least-once',
  }),
  ...(['read', 'init', 'committed', 'bounds', 'owns'] as const).map((operation) =>
    held(
      `a recovery that waits for the log's answer to ${operation}`,
      'before',
      [operation],
      'committed',
      kill,
    ),
  ),
  held('a group that does not answer heartbeats', 'before', ['heartbeat'], 'committed', (world) =>
    world.pass(5_000),
  ),
  held(
    'parked partitions and an assignment that does not come',
    'after',
    ['assign'],
    'committed',
    async (world) => {
      await joined(world);
      world.atStop(() => {
        world.gate.open();
        return Promise.resolve();
      });
    },
  ),
  held('a rebalance that waits for a commit', 'before', ['commit'], 'dropped', async (world) => {
    await fill(world);
    await world.pass(20);
    await joined(world);
    // A parking that is cut short has set its timers in the thread, which ends; here that is the test's own.
    world.atStop(() => world.pass(SESSION_MS));
  }),
  {
    title: 'a rebalance in which its partitions are taken away',
    ends: 'committed',
    reach: async (world) => {
      await fill(world);
      await joined(world);
      return undefined;
    },
  },
  {
    title: 'a group that can not be told that it leaves',
    ends: 'committed',
    reach: (world) => {
      world.gate.hold('before', 'leave');
      // Until then the group takes it for a member.
      world.atStop(() => world.pass(SESSION_MS));
      return Promise.resolve(undefined);
    },
  },
  {
    title: 'a command that never ends, and calls that wait behind it',
    options: { watchdogMs: 0 },
    ends: 'dropped',
    reach: async (world, { streams: { deadly } }) => {
      const stuck = deadly.command('die', { partition: 0, args: ['hang'] });
      await fill(world);
      const [key, other] = [keyOf(0, PARTITIONS), keyOf(1, PARTITIONS)];
      const calls = [
        stuck,
        deadly.command('add', { key, args: [1] }),
        deadly.query('all', { key, read: 'latest' }),
        deadly.query('all', { key: other, read: 'committed' }),
      ];
      for (const call of calls) call.catch(() => undefined);
      await world.pass(100);
      return calls;
    },
  },
  {
    title: 'a record that never ends',
    options: { watchdogMs: 0 },
    ends: 'dropped',
    reach: async (world) => {
      await world.topics.deed(1, 'hang');
      await fill(world);
      await world.pass(100);
      return undefined;
    },
  },
  {
    title: 'partitions that wait for their restart, and calls that wait for them',
    options: { restarts: { firstMs: 300_000, maxMs: 300_000, max: 5 }, watchdogMs: 0 },
    ends: 'committed',
    reach: async (world, manager) => {
      const { deadly } = manager.streams;
      // Not innocent: each is in a command.
      const stuck = [0, 1, 2].map((partition) => deadly.command('die', { partition, args: ['hang'] }));
      for (const call of stuck) call.catch(() => undefined);
      await world.pass(50);
      await kill(world);
      await world.threads.kill(1);
      await world.pass(50);
      const waiting = [0, 1, 2].map((partition) => deadly.query('all', { partition }));
      for (const call of waiting) call.catch(() => undefined);
      await world.until('partitions that wait', async () =>
        (await manager.stats()).partitions.every(({ state }) => state === 'restarting'),
      );
      return [...stuck, ...waiting];
    },
  },
  {
    title: 'partitions that have failed and stay down',
    options: { restarts: { max: 0 }, onPartitionFailed: 'isolate', watchdogMs: 0 },
    ends: 'committed',
    reach: async (world, manager) => {
      const stuck = manager.streams.deadly.command('die', { partition: 0, args: ['hang'] });
      stuck.catch(() => undefined);
      await world.pass(50);
      await kill(world);
      await world.threads.kill(1);
      await world.until('a partition that is down', async () =>
        (await manager.stats()).partitions.some(({ state }) => state === 'failed'),
      );
      return [stuck];
    },
  },
  {
    // By its own deadline: the first stop counts.
    title: 'a manager that has failed and is stopping by itself',
    options: { stopDeadlineMs: 1_000, restarts: { max: 0 }, watchdogMs: 0 },
    ends: 'dropped',
    reach: async (world, manager) => {
      const stuck = manager.streams.deadly.command('die', { partition: 0, args: ['hang'] });
      stuck.catch(() => undefined);
      await world.pass(50);
      await kill(world);
      await world.threads.kill(1);
      await world.until('the failure', () => manager.state !== 'running');
      return [stuck];
    },
  },
  {
    title: 'a manager that leaves the group for a failed partition',
    options: { restarts: { max: 0 }, onPartitionFailed: 'leaveGroup', watchdogMs: 0 },
    ends: 'committed',
    reach: async (world, manager) => {
      await fill(world);
      const stuck = manager.streams.deadly.command('die', { partition: 0, args: ['hang'] });
      stuck.catch(() => undefined);
      await world.pass(50);
      world.gate.hold('before', 'commit');
      await fill(world);
      await kill(world);
      await world.threads.kill(1);
      await world.pass(20);
      return [stuck];
    },
  },
  {
    title: 'a thread that has just died',
    ends: 'dropped',
    reach: async (world) => {
      await fill(world);
      await kill(world);
      return undefined;
    },
  },
  {
    title: 'a directory that somebody else holds',
    ends: 'committed',
    reach: async (world) => {
      const { clock } = world.threads;
      const directory = `${world.stateDir}/g/deadly/0`;
      const signal = new AbortController().signal;
      const taking = acquireDirectory(directory, { holder: 'the test', budgetMs: 60_000, clock, signal });
      await kill(world);
      await world.threads.kill(1);
      const holding = await world.drive(taking);
      await world.pass(500);
      world.atStop(() => {
        holding.release();
        return Promise.resolve();
      });
      return undefined;
    },
  },
];

const DEADLINES = [0, 400, 30_000];

for (const moment of MOMENTS)
  for (const deadlineMs of DEADLINES)
    test(`stop({ deadlineMs: ${deadlineMs} }) with ${moment.title} leaves nothing behind and loses nothing`, async () => {
      const world = await World.open();
      try {
        await stopped(world, moment, deadlineMs);
      } finally {
        await world.close();
      }
    });

async function stopped(world: World, moment: Moment, deadlineMs: number): Promise<void> {
  const { clock } = world.threads;
  const timers = clock.pendingTimers;
  const manager = await world.start(moment.options);
  await world.drive(manager.ready());
  await world.settled(manager);
  const committed: boolean[] = [];
  manager.on('stopped', (event) => committed.push(event.committed));
  const calls = await moment.reach(world, manager);

  const { late, tookMs } = await stop(world, manager, deadlineMs);
  assert.ok(tookMs <= deadlineMs + GRACE_MS, `it took ${tookMs} ms`);
  if (moment.options?.stopDeadlineMs === undefined)
    assert.equal(late, tookMs >= deadlineMs, `${late ? 'late' : 'in time'} after ${tookMs} ms`);
  if (deadlineMs === DEADLINES.at(-1))
    assert.deepEqual([late, committed], [false, [moment.ends === 'committed']]);
  assert.equal(committed.length, 1);
  assert.equal(manager.state, 'stopped');
  // The one that the test holds is not its own.
  await world.stopped();
  assert.deepEqual(world.held, [], 'directories that are held');
  world.gate.letPass();
  if (calls !== undefined) await world.drive(Promise.allSettled(calls));
  await world.endOthers();
  assert.equal(clock.pendingTimers, timers, 'timers that are left');
  await goesOn(world);
}

/** Twice at once, which is once. */
async function stop(
  world: World,
  manager: DeadlyManager,
  deadlineMs: number,
): Promise<{ readonly late: boolean; readonly tookMs: number }> {
  const { clock } = world.threads;
  const startedAt = clock.monotonic();
  const outcomes = await world.drive(Promise.allSettled([manager.stop({ deadlineMs }), manager.stop()]));
  const tookMs = clock.monotonic() - startedAt;
  for (const outcome of outcomes) {
    assert.equal(outcome.status, outcomes[0].status);
    if (outcome.status === 'rejected')
      assert.ok(isPartitaError(outcome.reason, 'STOP_DEADLINE'), String(outcome.reason));
  }
  return { late: outcomes[0].status === 'rejected', tookMs };
}

/** On the same directory, at once; and what the log is told late changes nothing any more. */
async function goesOn(world: World): Promise<void> {
  const next = await world.start({ watchdogMs: 1_000 });
  await world.drive(next.ready());
  await world.processed();
  await world.drive(world.topics.assertEqual(next));
  world.gate.open();
  await world.settled(next);
  await world.drive(world.topics.assertEqual(next));
  await world.drive(next.stop());
}
