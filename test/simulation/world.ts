/**
 * A world that a seed decides: managers on hosts, threads, disks and one log, with what happens to them. Each step is one
 * message that arrives, time that passes, something that a user does, or a fault; then everything that follows without
 * further messages happens, and the invariants are checked. In the end all is healed, and compared with a plain loop.
 * A step draws from a generator of its own, so that leaving out one fault changes nothing in the others' draws.
 */
import { embeddedLog, isPartitaError } from '../../src/index.js';
import { silentLogger } from '../../src/core/logger.js';
import { heldDirectories } from '../../src/manager/directory-registry.js';
import { seededRandom, type SeededRandom } from '../support/seeded-random.js';
import { strike } from './faults.js';
import { Broken, Invariants, STREAM } from './invariants.js';
import { logMessages } from './log-messages.js';
import { Members } from './members.js';
import { OUTPUTS, PartitionModel, type Dump } from './model.js';
import { ownGlobals } from './own-globals.js';
import type { Delivery } from './scheduler.js';
import { Stage } from './stage.js';
import { Users } from './users.js';

export interface SimulationOptions {
  readonly seed: number;
  readonly steps: number;
  /** Steps whose fault is left out. */
  readonly without?: ReadonlySet<number>;
}

export interface SimulationResult {
  readonly seed: number;
  readonly steps: number;
  /** Of everything that happened. */
  readonly hash: string;
  readonly story: readonly string[];
  /** How many of each kind, and in which steps there was one. */
  readonly faults: Readonly<Record<string, number>>;
  readonly faultySteps: readonly number[];
  /** What users did to the running, by kind. */
  readonly happened: Readonly<Record<string, number>>;
  readonly checked: Readonly<Record<string, number>>;
  readonly records: number;
  /** What was broken; absent if nothing was. */
  readonly failure?: string;
}

const KIND_OF = {
  lost: 'messages lost or writes failed',
  torn: 'transactions torn',
  late: 'commits that arrive late',
} as const;
const COMPARISONS_MAX = 10;
const QUIET_MS_MAX = 120_000;
/** Runs one seed. Never rejects: what went wrong is in the result. */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  // What is loaded lazily is there before time begins.
  await import('zod');
  const random = seededRandom(options.seed);
  const globals = ownGlobals(seededRandom(options.seed ^ 0x5eed));
  const world = new World(options, random, globals.pending);
  try {
    return await world.run();
  } finally {
    globals.restore();
  }
}

class World {
  readonly #options: SimulationOptions;
  readonly #stage: Stage;
  readonly #members: Members;
  readonly #users: Users;
  readonly #faults: Record<string, number> = {};
  readonly #faultySteps: number[] = [];

  constructor(options: SimulationOptions, random: SeededRandom, pending: () => number) {
    this.#options = options;
    this.#stage = new Stage(random, pending);
    this.#members = new Members(this.#stage);
    this.#users = new Users(this.#stage, this.#members);
  }

  async run(): Promise<SimulationResult> {
    const { seed, steps } = this.#options;
    this.#stage.scheduler.tell(`seed ${seed}: ${JSON.stringify(this.#stage.nature)}`);
    let failure: string | undefined;
    try {
      await this.#begin();
      for (let step = 0; step < steps; step++) await this.#step(step);
      await this.#end();
    } catch (error) {
      failure =
        error instanceof Error
          ? error instanceof Broken
            ? error.message
            : String(error.stack)
          : String(error);
      this.#stage.scheduler.tell(`BROKEN: ${failure}`);
    }
    await this.#tearDown();
    return {
      seed,
      steps,
      hash: this.#stage.scheduler.hash,
      story: this.#stage.scheduler.story,
      faults: this.#faults,
      happened: this.#users.happened,
      faultySteps: this.#faultySteps,
      checked: this.#stage.invariants.checked,
      records: this.#users.records,
      ...(failure === undefined ? {} : { failure }),
    };
  }

  async #begin(): Promise<void> {
    const { partitions, exactlyOnce } = this.#stage.nature;
    this.#stage.log = await embeddedLog({
      clock: this.#stage.scheduler.clock,
      faults: logMessages(this.#stage),
    });
    for (const topic of ['events', ...OUTPUTS, 'done'])
      await this.#stage.log.createTopic({ topic, partitions });
    for (let partition = 0; partition < partitions; partition++)
      this.#stage.models.push(new PartitionModel());
    this.#stage.invariants = new Invariants(
      this.#stage.log,
      this.#stage.models,
      this.#stage.fates,
      exactlyOnce,
    );
    this.#members.join();
    await this.#users.produce(this.#stage.random, 5);
    // Most worlds begin with one that serves, the others in the middle of its start.
    if (this.#stage.random.chance(0.8)) await this.#until('the first serves', () => this.#isQuiet());
  }

  // ---- steps

  async #step(step: number): Promise<void> {
    const random = seededRandom(Math.imul(this.#options.seed, 0x9e3779b1) ^ Math.imul(step + 1, 0x85ebca6b));
    const faulty = this.#options.without?.has(step) !== true;
    const note = (kind: string): void => {
      this.#faults[kind] = (this.#faults[kind] ?? 0) + 1;
      this.#faultySteps.push(step);
    };
    this.#members.thawSome();
    if (this.#members.here.length === 0) this.#members.join();
    if (random.chance(this.#stage.nature.faultChance)) {
      const kind = faulty ? await strike(this.#stage, this.#members, random) : undefined;
      if (kind !== undefined) note(kind);
    } else await this.#ordinary(random, faulty, note);
    // Sometimes in the middle of what follows.
    if (random.chance(0.15)) await this.#stage.scheduler.settle(random.between(1, 3));
    else await this.#stage.scheduler.settle();
    await this.#stage.invariants.check();
    if (this.#stage.broken !== undefined) throw this.#stage.broken;
  }

  async #ordinary(random: SeededRandom, faulty: boolean, note: (kind: string) => void): Promise<void> {
    const choice = random.below(100);
    if (choice < 8) await this.#users.produce(random, random.between(1, 6));
    else if (choice < 13) this.#users.command(random);
    else if (choice < 16) this.#users.query(random);
    else if (choice === 16) this.#users.rearrange(random);
    else if (choice < 20 && this.#members.here.length < this.#stage.nature.hosts) this.#members.join();
    else if (choice < (this.#members.missing ? 60 : 32) && this.#stage.nature.restless)
      this.#members.letOnePass(random);
    else {
      const fate = (canBe: readonly Delivery[], text: string): Delivery => {
        // What is seldom sent is lost more often, or it would never be.
        const assigns = text.includes('log: assign');
        const more = assigns ? 8 : text.includes('log: commit') ? 4 : 1;
        const chance = assigns && this.#stage.nature.restless ? 0.5 : more * this.#stage.nature.lossChance;
        const rare = random.chance(chance);
        const how = random.pick(canBe);
        if (!rare || !faulty || how === 'arrives') return 'arrives';
        if (assigns && this.#stage.nature.restless) this.#members.missGeneration(text.split(' ')[0]!, note);
        note(KIND_OF[how]);
        return how;
      };
      // Messages travel fast, but time passes as well.
      if (random.chance(this.#stage.nature.passing)) this.#stage.passTime(random);
      else
        for (let messages = random.between(1, this.#stage.nature.pace); messages > 0; messages--)
          if (this.#stage.scheduler.deliver(random, fate)) await this.#stage.scheduler.settle();
          else {
            this.#stage.passTime(random);
            break;
          }
    }
  }

  // ---- the end

  async #end(): Promise<void> {
    this.#stage.scheduler.tell('everything is healed');
    this.#stage.ending = true;
    this.#stage.scheduler.unstall();
    this.#stage.disks.empty();
    for (const member of this.#members.all) {
      if (!member.owner.dead && member.owner.frozen) member.owner.thaw();
      member.thawAt = undefined;
    }
    if (!this.#members.all.some(({ state }) => state === 'running' || state === 'starting'))
      this.#members.join();
    await this.#until('all records are committed and all calls answered', () => this.#isQuiet());
    await this.#compare();
    for (const member of this.#members.running) this.#members.leave(member, 30_000);
    await this.#until('all managers have stopped', () => this.#members.here.length === 0);
    this.#expectNothingLeft();
    this.#stage.scheduler.tell('a manager without any database restores the changelog');
    this.#members.startOn('host-restored');
    await this.#until('it serves', () => this.#isQuiet());
    await this.#compare();
    this.#members.leave(this.#members.all.at(-1)!, 30_000);
    await this.#until('it has stopped', () => this.#members.here.length === 0);
    this.#expectNothingLeft();
  }

  async #isQuiet(): Promise<boolean> {
    const { here } = this.#members;
    if (here.length === 0) this.#members.join();
    if (here.length === 0 || here.some(({ state }) => state !== 'running')) return false;
    if (
      this.#stage.models.some(
        (model, partition) => this.#stage.invariants.committed(partition) !== model.records,
      )
    )
      return false;
    const stats = await Promise.all(here.map(({ manager }) => manager!.stats()));
    const serving = stats.flatMap(({ partitions }) => partitions);
    return (
      serving.length === this.#stage.nature.partitions && serving.every(({ state }) => state === 'running')
    );
  }

  async #compare(): Promise<void> {
    const applied = new Set<string>();
    let dumps = await this.#dumps();
    // A stale member that comes back takes partitions away in the middle of it; it does so once.
    for (let attempt = 1; dumps === undefined && attempt < COMPARISONS_MAX; attempt++) {
      this.#stage.passTime(this.#stage.random);
      await this.#until('all is quiet again', () => this.#isQuiet());
      dumps = await this.#dumps();
    }
    if (dumps === undefined)
      throw new Broken('the state is not to be had, although nothing goes wrong any more');
    for (let partition = 0; partition < this.#stage.nature.partitions; partition++) {
      const dump = dumps.get(partition);
      if (dump === undefined) throw new Broken(`partition ${partition} is served by nobody`);
      this.#stage.invariants.checkDump(partition, dump, true);
      for (const [id] of dump.commands) applied.add(id);
    }
    this.#stage.invariants.checkApplied(applied);
  }

  /** By partition; absent if it was moved meanwhile. */
  async #dumps(): Promise<ReadonlyMap<number, Dump> | undefined> {
    const dumps = new Map<number, Dump>();
    for (const { manager, state } of this.#members.all) {
      if (manager === undefined || state !== 'running') continue;
      try {
        for (const [partition, dump] of await this.#drive(manager.streams[STREAM].queryAll('dump', {})))
          dumps.set(partition, dump);
      } catch (error) {
        if (!isPartitaError(error, 'PARTITION_NOT_OWNED')) throw error;
        this.#stage.scheduler.tell(String(error));
        return undefined;
      }
    }
    return dumps.size === this.#stage.nature.partitions ? dumps : undefined;
  }

  #expectNothingLeft(): void {
    if (this.#stage.disks.open.length > 0)
      throw new Broken(`left open: ${this.#stage.disks.open.join(', ')}`);
    const stopped = this.#members.all
      .filter(({ crashed }) => !crashed)
      .map(({ owner, host }) => `/simulated/${this.#stage.world}/${host}@${owner.name}/`);
    const held = heldDirectories().filter((directory) => stopped.some((path) => directory.startsWith(path)));
    if (held.length > 0) throw new Broken(`left locked: ${held.join(', ')}`);
  }

  async #drive<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = promise.finally(() => (settled = true));
    done.catch(() => undefined);
    await this.#until('an answer comes', () => settled);
    return done;
  }

  /** Messages arrive, and time passes, until it is so. */
  async #until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    const { clock } = this.#stage.scheduler;
    const until = clock.monotonic() + QUIET_MS_MAX;
    for (;;) {
      await this.#stage.scheduler.settle();
      await this.#stage.invariants.check();
      if (this.#stage.broken !== undefined) throw this.#stage.broken;
      if (await condition()) return;
      if (clock.monotonic() > until)
        throw new Broken(
          `not within ${QUIET_MS_MAX} ms after the last fault: ${what}; ${await this.#state()}`,
        );
      let delivered = false;
      while (this.#stage.scheduler.deliver(this.#stage.random, () => 'arrives')) {
        delivered = true;
        if (!this.#stage.random.chance(0.8)) break;
      }
      if (!delivered) this.#stage.passTime(this.#stage.random);
    }
  }

  async #state(): Promise<string> {
    const parts = this.#stage.models.map(
      ({ records }, partition) =>
        `${partition}: ${this.#stage.invariants.committed(partition)} of ${records} committed`,
    );
    for (const { owner, manager, state } of this.#members.all) {
      if (state === 'gone') continue;
      const stats = await manager?.stats();
      const partitions = stats?.partitions.map((p) => `${p.partition} ${p.state}`).join(', ') ?? '';
      parts.push(`${owner.name} ${state} ${stats?.state ?? ''} [${partitions}]`);
    }
    return `${parts.join('; ')}; under way: ${this.#stage.scheduler.underWay.join('; ')}`;
  }

  async #tearDown(): Promise<void> {
    for (const member of this.#members.all) if (!member.owner.dead) this.#members.crash(member);
    this.#stage.log.close().catch((error: unknown) => {
      silentLogger.warn({ error }, 'closing');
    });
    await this.#stage.scheduler.settle();
  }
}
