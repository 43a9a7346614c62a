/**
 * A world that a seed decides: managers on hosts, threads, disks and one log, with what happens to them. Each step is one
 * message that arrives, time that passes, something that a user does, or a fault; then everything that follows without
 * further messages happens, and the invariants are checked. In the end all is healed, and compared with a plain loop.
 * A step draws from a generator of its own, so that leaving out one fault changes nothing in the others' draws.
 */
import { embeddedLog, isPartitaError, processorAt, type EmbeddedLog } from '../../src/index.js';
import { silentLogger } from '../../src/core/logger.js';
import type { FaultInfo, LogFaults, LogOperation } from '../../src/log/embedded/log-faults.js';
import { heldDirectories } from '../../src/manager/directory-registry.js';
import { StateManager } from '../../src/manager/state-manager.js';
import { partitionForKey } from '../../src/codec/murmur2.js';
import { seededRandom, type SeededRandom } from '../support/seeded-random.js';
import { Disks } from './disks.js';
import { Broken, CHANGELOG, GROUP, Invariants, STREAM, type CommandFate } from './invariants.js';
import { Holders } from './holders.js';
import { OUTPUTS, PartitionModel, simulatedDefinition, type simulatedProcessor, type Dump } from './model.js';
import { ownGlobals } from './own-globals.js';
import { SimulatedPlaces } from './places.js';
import { Owner, OwnedClock, Scheduler, type Delivery } from './scheduler.js';

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

const streams = { [STREAM]: processorAt<typeof simulatedProcessor>(new URL('file:///simulated-processor')) };
type Manager = StateManager<typeof streams>;

interface Member {
  readonly owner: Owner;
  readonly host: string;
  manager: Manager | undefined;
  places: SimulatedPlaces | undefined;
  state: 'starting' | 'running' | 'stopping' | 'gone';
  thawAt: number | undefined;
  crashed: boolean;
  /** Checkpoints that it has heard of. */
  commits: number;
}

/** How a seed's world is made. */
interface Nature {
  readonly exactlyOnce: boolean;
  readonly partitions: number;
  readonly hosts: number;
  readonly workers: number;
  readonly cacheBytes: number;
  readonly parkMs: number;
  readonly chunkBytes: number;
  readonly checkpointMs: number;
  /** Of a step. */
  readonly faultChance: number;
  /** Of a message. */
  readonly lossChance: number;
  readonly ghosts: boolean;
  /** Members come and go. */
  readonly restless: boolean;
  readonly sessionMs: number;
  /** Messages that arrive in one step, at most. */
  readonly pace: number;
}

const KIND_OF = {
  lost: 'messages lost or writes failed',
  torn: 'transactions torn',
  late: 'commits that arrive late',
} as const;
const KEYS = 5;
const COMPARISONS_MAX = 10;
const QUIET_MS_MAX = 120_000;
/** Directories of one world are not those of another, not even of the same seed: a broken one leaves its locks behind. */
let runs = 0;
/** Carries what its sender does not wait for any more. */
const NETWORK = new Owner('the network');

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
  readonly #nature: Nature;
  readonly #scheduler: Scheduler;
  readonly #disks: Disks;
  readonly #models: PartitionModel[] = [];
  readonly #fates = new Map<string, CommandFate>();
  readonly #members: Member[] = [];
  readonly #owners = new Map<string, Owner>();
  readonly #random: SeededRandom;
  readonly #holders = new Holders();
  readonly #run = ++runs;
  readonly #happened: Record<string, number> = {};
  readonly #faults: Record<string, number> = {};
  readonly #faultySteps: number[] = [];
  #log!: EmbeddedLog;
  #invariants!: Invariants;
  #events = 0;
  #guest: Member | undefined;
  /** Who does not know the present generation. */
  #missing: Member | undefined;
  #late = 0;
  #resets = 0;
  #broken: Error | undefined;
  #ending = false;

  constructor(options: SimulationOptions, random: SeededRandom, pending: () => number) {
    this.#options = options;
    this.#random = random;
    this.#scheduler = new Scheduler(pending);
    this.#disks = new Disks(this.#scheduler);
    this.#nature = {
      exactlyOnce: random.chance(0.8),
      partitions: random.between(2, 4),
      hosts: random.between(1, 3),
      workers: random.between(1, 2),
      cacheBytes: random.pick([0, 0, 600, 1 << 20]),
      parkMs: random.pick([0, 300, 30_000, 30_000]),
      chunkBytes: random.pick([200, 600, 1 << 18]),
      checkpointMs: random.pick([10, 40, 150, 600]),
      faultChance: random.pick([0, 0.015, 0.04, 0.1]),
      lossChance: random.pick([0, 0.005, 0.02, 0.05]),
      ghosts: random.chance(0.5),
      sessionMs: random.pick([1_000, 1_000, 3_000]),
      restless: random.chance(0.4),
      pace: random.pick([1, 3, 8]),
    };
  }

  async run(): Promise<SimulationResult> {
    const { seed, steps } = this.#options;
    this.#scheduler.tell(`seed ${seed}: ${JSON.stringify(this.#nature)}`);
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
      this.#scheduler.tell(`BROKEN: ${failure}`);
    }
    await this.#tearDown();
    return {
      seed,
      steps,
      hash: this.#scheduler.hash,
      story: this.#scheduler.story,
      faults: this.#faults,
      happened: this.#happened,
      faultySteps: this.#faultySteps,
      checked: this.#invariants.checked,
      records: this.#events,
      ...(failure === undefined ? {} : { failure }),
    };
  }

  async #begin(): Promise<void> {
    const { partitions, exactlyOnce } = this.#nature;
    this.#log = await embeddedLog({ clock: this.#scheduler.clock, faults: this.#logFaults() });
    for (const topic of ['events', ...OUTPUTS, 'done']) await this.#log.createTopic({ topic, partitions });
    for (let partition = 0; partition < partitions; partition++) this.#models.push(new PartitionModel());
    this.#invariants = new Invariants(this.#log, this.#models, this.#fates, exactlyOnce);
    this.#join();
    await this.#produce(this.#random, 5);
    // Most worlds begin with one that serves, the others in the middle of its start.
    if (this.#random.chance(0.8)) await this.#until('the first serves', () => this.#isQuiet());
  }

  // ---- steps

  async #step(step: number): Promise<void> {
    const random = seededRandom(Math.imul(this.#options.seed, 0x9e3779b1) ^ Math.imul(step + 1, 0x85ebca6b));
    const faulty = this.#options.without?.has(step) !== true;
    const note = (kind: string): void => {
      this.#faults[kind] = (this.#faults[kind] ?? 0) + 1;
      this.#faultySteps.push(step);
    };
    this.#thawSome();
    if (this.#members.every(({ state }) => state === 'gone')) this.#join();
    if (random.chance(this.#nature.faultChance)) {
      const kind = faulty ? await this.#fault(random) : undefined;
      if (kind !== undefined) note(kind);
    } else await this.#ordinary(random, faulty, note);
    // Sometimes in the middle of what follows.
    if (random.chance(0.15)) await this.#scheduler.settle(random.between(1, 3));
    else await this.#scheduler.settle();
    await this.#invariants.check();
    if (this.#broken !== undefined) throw this.#broken;
  }

  async #ordinary(random: SeededRandom, faulty: boolean, note: (kind: string) => void): Promise<void> {
    const choice = random.below(100);
    if (choice < 8) await this.#produce(random, random.between(1, 6));
    else if (choice < 13) this.#command(random);
    else if (choice < 16) this.#query(random);
    else if (choice === 16) this.#rearrange(random);
    else if (choice < 20 && this.#here().length < this.#nature.hosts) this.#join();
    else if (choice < (this.#missing?.owner.frozen === true ? 60 : 32) && this.#nature.restless)
      this.#letOnePass(random);
    else {
      const fate = (canBe: readonly Delivery[], text: string): Delivery => {
        // What is seldom sent is lost more often, or it would never be.
        const assigns = text.includes('log: assign');
        const more = assigns ? 8 : text.includes('log: commit') ? 4 : 1;
        const chance = assigns && this.#nature.restless ? 0.3 : more * this.#nature.lossChance;
        const rare = random.chance(chance);
        const how = random.pick(canBe);
        if (!rare || !faulty || how === 'arrives') return 'arrives';
        if (assigns && this.#nature.restless) this.#missGeneration(text.split(' ')[0]!, note);
        note(KIND_OF[how]);
        return how;
      };
      // Messages travel fast, but time passes as well.
      if (random.chance(0.12)) this.#passTime(random);
      else
        for (let messages = random.between(1, this.#nature.pace); messages > 0; messages--)
          if (this.#scheduler.deliver(random, fate)) await this.#scheduler.settle();
          else {
            this.#passTime(random);
            break;
          }
    }
  }

  #here(): readonly Member[] {
    return this.#members.filter(({ state }) => state !== 'gone');
  }

  /** One comes, takes a share, commits and leaves: the others get back what they had, with somebody in between. */
  #letOnePass(random: SeededRandom): void {
    const guest = this.#guest;
    if (guest?.state === 'running' && guest.commits > 0) this.#leave(guest, 5_000);
    else if (guest === undefined || guest.state === 'gone')
      this.#guest = random.chance(0.1) ? this.#startOn('host-guest') : undefined;
  }

  /** Whoever did not hear of its assignment sleeps as long as it may stay a member: others come and go meanwhile. */
  #missGeneration(name: string, note: (kind: string) => void): void {
    const member = this.#members.find(({ owner, state }) => owner.name === name && state === 'running');
    if (member === undefined || member.owner.frozen) return;
    note('generations missed');
    this.#freeze(member, this.#nature.sessionMs - 250);
    this.#missing = member;
  }

  #freeze(member: Member, ms: number): void {
    member.thawAt = this.#scheduler.clock.monotonic() + ms;
    this.#scheduler.tell(`${member.owner.name} freezes until ${member.thawAt} ms`);
    member.owner.freeze();
  }

  #passTime(random: SeededRandom): void {
    const { clock } = this.#scheduler;
    const next = clock.nextTimerAt;
    const ms = next === undefined ? 10 : Math.min(200, Math.max(0, next - clock.now()));
    clock.advance(random.chance(0.1) ? ms + random.below(60) : ms);
  }

  async #fault(random: SeededRandom): Promise<string | undefined> {
    const kinds = [
      'threads killed',
      'threads killed',
      'managers frozen',
      'managers crashed',
      'managers stopped',
      'lines stalled',
      'lines stalled',
      'chunks sent again',
      'databases lost',
      'changelogs compacted',
      'commits delayed past their thread',
      'commits delayed past their thread',
      'commits that arrive late',
      'commits that arrive late',
      'disks full',
      'disks slow',
      'resets',
    ] as const;
    const kind = random.pick(kinds);
    const running = this.#members.filter(({ state }) => state === 'running' || state === 'starting');
    const member = running.length === 0 ? undefined : random.pick(running);
    switch (kind) {
      case 'threads killed': {
        if (member?.places === undefined) return undefined;
        const place = random.below(member.places.size);
        this.#scheduler.tell(`${member.owner.name} loses its thread ${place}`);
        await member.places.end(place, 'killed by the simulation');
        return kind;
      }
      case 'managers frozen': {
        if (member === undefined || member.owner.frozen) return undefined;
        this.#freeze(member, random.pick([50, 400, this.#nature.sessionMs * 3]));
        return kind;
      }
      case 'managers crashed': {
        // What has just started has little to lose.
        if (member === undefined || (member.state === 'starting' && random.chance(0.7))) return undefined;
        this.#crash(member);
        return kind;
      }
      case 'managers stopped': {
        if (member?.state !== 'running') return undefined;
        this.#leave(member, random.pick([100, 5_000]));
        return kind;
      }
      case 'lines stalled': {
        const line = this.#scheduler.stall(random, random.pick([30, 300, 2_000]));
        if (line === undefined) return undefined;
        this.#scheduler.tell(`nothing moves on the line "${line}"`);
        return kind;
      }
      case 'chunks sent again': {
        const sent = member?.places?.sendAgain((of) => random.pick(of));
        if (sent === undefined) return undefined;
        this.#scheduler.tell(sent.text);
        void sent.accepted.then((accepted) => {
          if (accepted && sent.stale) this.#broken = new Broken(`${sent.text}, and takes it`);
        });
        return kind;
      }
      case 'databases lost': {
        const lost = this.#disks.wipe((of) => random.pick(of));
        if (lost === undefined) return undefined;
        this.#scheduler.tell(`the database ${lost} is lost`);
        return kind;
      }
      case 'commits delayed past their thread': {
        const owner = this.#scheduler.stallWhere('→ log: commit', random.pick([1_500, 3_000]));
        const places = this.#members.find((candidate) => candidate.owner === owner)?.places;
        if (owner === undefined || places === undefined) return undefined;
        this.#scheduler.tell(`a commit of ${owner.name} is stuck, and its threads die`);
        for (let place = 0; place < places.size; place++) await places.end(place, 'killed by the simulation');
        return kind;
      }
      case 'commits that arrive late':
        return this.#scheduler.deliverWhere('→ log: commit', 'late') ? kind : undefined;
      case 'disks full': {
        const ms = random.pick([50, 500]);
        this.#scheduler.tell(`the disks are full for ${ms} ms`);
        this.#disks.fill(ms);
        return kind;
      }
      case 'disks slow': {
        if (this.#scheduler.stallWhere(' writes ', random.pick([100, 1_000])) === undefined) return undefined;
        this.#scheduler.tell('a write takes its time');
        return kind;
      }
      case 'resets': {
        // Outputs behind the last checkpoint come again after it, which only exactly-once takes back.
        if (!this.#nature.exactlyOnce) return undefined;
        this.#resets++;
        this.#scheduler.tell(`who starts from now on resets the totals, ${this.#resets}`);
        if (member?.state === 'running' && random.chance(0.7)) this.#leave(member, 5_000);
        else if (member !== undefined) this.#crash(member);
        this.#join();
        return kind;
      }
      case 'changelogs compacted': {
        if ((await this.#log.describeTopic(CHANGELOG)) === undefined) return undefined;
        this.#scheduler.tell('the changelog is compacted');
        await this.#log.compact(CHANGELOG);
        return kind;
      }
    }
  }

  // ---- members

  #join(): Member {
    const busy = new Set(this.#members.filter(({ state }) => state !== 'gone').map(({ host }) => host));
    const hosts = Array.from({ length: this.#nature.hosts }, (_, at) => `host${at}`);
    return this.#startOn(hosts.find((host) => !busy.has(host)) ?? 'host-spare');
  }

  #startOn(host: string): Member {
    const { exactlyOnce, workers, parkMs, chunkBytes, checkpointMs, cacheBytes } = this.#nature;
    const { clock } = this.#scheduler;
    const owner = new Owner(`m${this.#owners.size + 1}`);
    this.#owners.set(owner.name, owner);
    const member: Member = {
      owner,
      host,
      manager: undefined,
      places: undefined,
      state: 'starting',
      thawAt: undefined,
      crashed: false,
      commits: 0,
    };
    this.#members.push(member);
    this.#scheduler.tell(`${owner.name} starts on ${host}`);
    const log = this.#log;
    const started = StateManager.startIn(
      {
        group: GROUP,
        streams,
        log: { kind: log.kind, connect: () => log.connect({ clientId: owner.name }) },
        // Each process has a registry of its own; the disk is the host's.
        stateDir: `/simulated/${this.#run}/${host}@${owner.name}`,
        workers,
        engine: 'memory',
        guarantee: exactlyOnce ? 'exactly-once' : 'at-least-once',
        checkpoint: { intervalMs: checkpointMs },
        chunkBytes,
        parkMs,
        sessionTimeoutMs: this.#nature.sessionMs,
        rebalanceTimeoutMs: 3_000,
        transactionTimeoutMs: 1_000,
        restarts: { max: 1_000, firstMs: 5, maxMs: 100 },
        ...(this.#resets === 0
          ? {}
          : { resetStores: { id: `${this.#resets}`, stores: { [STREAM]: ['totals'] } } }),
        onPartitionFailed: 'isolate',
        callTimeoutMs: 4_000,
        watchdogMs: 0,
      },
      {
        clock: new OwnedClock(clock, owner),
        random: () => this.#random.next(),
        importProcessor: async () => simulatedDefinition,
        places: async (options) =>
          (member.places = new SimulatedPlaces(options.workers, {
            scheduler: this.#scheduler,
            disks: this.#disks,
            process: owner,
            definition: simulatedDefinition,
            cacheBytes,
            ghosts: this.#nature.ghosts,
            onTaken: (text) => {
              this.#broken ??= new Broken(`${text}, and takes it`);
            },
          })),
      },
    );
    started.then(
      (manager) => {
        if (owner.dead) return;
        member.manager = manager;
        member.state = 'running';
        this.#scheduler.tell(`${owner.name} has started`);
        this.#listen(member, manager);
      },
      (error: unknown) => {
        if (owner.dead) return;
        member.state = 'gone';
        this.#scheduler.tell(`${owner.name} could not start: ${String(error)}`);
      },
    );
    return member;
  }

  #listen(member: Member, manager: Manager): void {
    const { owner } = member;
    const tell = (text: string): void => {
      this.#scheduler.tell(`${owner.name}: ${text}`);
    };
    manager.on('assigned', ({ partitions }) => {
      tell(`owns ${partitions.map(({ partition }) => partition).join(', ') || 'nothing'}`);
    });
    manager.on('checkpoint', () => {
      member.commits++;
    });
    manager.on('lost', () => {
      tell('has lost its membership');
    });
    manager.on('restarting', ({ partition, error }) => {
      tell(`partition ${partition} restarts: ${String(error)}`);
    });
    manager.on('recovered', ({ partition, restoredRecords }) => {
      tell(`partition ${partition} serves, ${restoredRecords} records restored`);
    });
    manager.on('resumed', ({ partition, how }) => {
      tell(`partition ${partition} resumes, ${how}`);
      this.#invariants.count('who goes on with what it holds was the last to commit');
      const other = this.#holders.between(owner.name, partition);
      if (how !== 'recovered' && other !== undefined)
        this.#broken ??= new Broken(`partition ${partition} resumes ${how}, though ${other} was between`);
    });
    manager.on('partitionFailed', ({ partition, error }) => {
      tell(`partition ${partition} has failed: ${String(error)}`);
      this.#broken ??= new Broken(`partition ${partition} gives up: ${String(error)}`);
    });
    manager.on('failed', ({ error }) => {
      this.#broken ??= new Broken(`${owner.name} gives up: ${String(error)}`);
    });
  }

  #leave(member: Member, deadlineMs: number): void {
    member.state = 'stopping';
    this.#scheduler.tell(`${member.owner.name} is stopped within ${deadlineMs} ms`);
    const over = (how: string): void => {
      if (member.owner.dead) return;
      member.state = 'gone';
      this.#scheduler.tell(`${member.owner.name} has stopped${how}`);
      const { size } = member.owner.timers;
      if (size > 0) this.#broken ??= new Broken(`${member.owner.name} has left ${size} timers behind`);
      this.#owners.get(member.owner.name)!.die();
      this.#free(member);
    };
    member.manager!.stop({ deadlineMs }).then(
      () => {
        over('');
      },
      (error: unknown) => {
        over(`: ${String(error)}`);
      },
    );
  }

  #crash(member: Member): void {
    this.#scheduler.tell(`${member.owner.name} crashes`);
    member.state = 'gone';
    member.crashed = true;
    member.owner.die();
    this.#free(member);
  }

  #free(member: Member): void {
    this.#scheduler.cut();
    this.#disks.cut();
    member.thawAt = undefined;
  }

  #thawSome(): void {
    const now = this.#scheduler.clock.monotonic();
    for (const member of this.#members) {
      if (member.thawAt === undefined || member.thawAt > now) continue;
      member.thawAt = undefined;
      this.#scheduler.tell(`${member.owner.name} wakes`);
      member.owner.thaw();
    }
  }

  // ---- what users do

  async #produce(random: SeededRandom, count: number): Promise<void> {
    const { clock } = this.#scheduler;
    const records = Array.from({ length: count }, () => {
      const event = {
        n: ++this.#events,
        ...(random.chance(0.3) ? { timerIn: random.below(600) } : {}),
      };
      const timestamp = clock.now() - (random.chance(0.2) ? random.below(1_500) : 0);
      return { key: `k${random.below(KEYS)}`, event, timestamp };
    });
    const appended = await this.#log.produce(
      'events',
      records.map(({ key, event, timestamp }) => ({ key, value: JSON.stringify(event), timestamp })),
    );
    records.forEach(({ key, event, timestamp }, at) => {
      this.#models[appended[at]!.partition]!.take(key, event, timestamp);
    });
    this.#scheduler.tell(`${count} records are produced, up to ${this.#events}`);
  }

  #command(random: SeededRandom): void {
    const id = `c${this.#fates.size}`;
    const name = random.chance(0.15) ? 'refuse' : 'add';
    const manager = this.#ownerOf(id, random);
    if (manager === undefined) return;
    this.#fates.set(id, 'pending');
    this.#scheduler.tell(`the command ${name} ${id} is sent`);
    manager.streams[STREAM].command(name, { key: id }).then(
      () => {
        this.#settled(id, name === 'add' ? 'acknowledged' : 'notApplied');
        if (name === 'refuse') this.#broken ??= new Broken(`the command ${id} was not refused`);
      },
      (error: unknown) => {
        const notApplied =
          String(error).includes('refused') ||
          (isPartitaError(error, 'ACTOR_RESTARTED') && error.details['outcome'] === 'notApplied');
        if (!isPartitaError(error)) this.#broken ??= error as Error;
        this.#settled(id, notApplied ? 'notApplied' : 'unknown', String(error));
      },
    );
  }

  #settled(id: string, fate: CommandFate, why = ''): void {
    this.#fates.set(id, fate);
    this.#scheduler.tell(`the command ${id} is ${fate} ${why}`);
  }

  /** Whoever owns a key, or anybody. */
  #ownerOf(key: string, random: SeededRandom): Manager | undefined {
    const managers = this.#members.flatMap(({ manager, state }) =>
      manager === undefined || state !== 'running' ? [] : [manager],
    );
    if (managers.length === 0) return undefined;
    return managers.find((manager) => manager.locate(STREAM, key).local) ?? random.pick(managers);
  }

  #query(random: SeededRandom): void {
    const key = `k${random.below(KEYS)}`;
    const manager = this.#ownerOf(key, random);
    if (manager === undefined) return;
    const partition = partitionForKey(Buffer.from(key), this.#nature.partitions);
    const read = random.chance(0.5) ? 'latest' : 'committed';
    this.#scheduler.tell(`partition ${partition} is asked for its state (${read})`);
    manager.streams[STREAM].query('dump', { partition, read }).then(
      (dump) => {
        try {
          this.#invariants.checkDump(partition, dump, false);
        } catch (error) {
          this.#broken ??= error as Error;
        }
      },
      (error: unknown) => {
        if (!isPartitaError(error)) this.#broken ??= error as Error;
      },
    );
  }

  /** Moves a partition to another thread, or changes their number. */
  #rearrange(random: SeededRandom): void {
    const running = this.#members.filter(({ state }) => state === 'running');
    if (running.length === 0) return;
    const { manager, owner, places } = random.pick(running);
    const partition = random.below(this.#nature.partitions);
    const workers = random.between(1, 3);
    const thread = random.below(places!.size);
    const isMove = random.chance(0.7);
    const what = isMove ? 'moves' : 'scalings';
    this.#scheduler.tell(
      isMove
        ? `${owner.name} moves partition ${partition} to thread ${thread}`
        : `${owner.name} scales to ${workers} threads`,
    );
    const done: Promise<unknown> = isMove
      ? manager!.move(STREAM, partition, thread)
      : manager!.scale(workers);
    this.#happened[what] = (this.#happened[what] ?? 0) + 1;
    done.catch((error: unknown) => {
      if (!isPartitaError(error)) this.#broken ??= error as Error;
      this.#scheduler.tell(`${owner.name}: ${String(error)}`);
    });
  }

  // ---- the log

  #logFaults(): LogFaults {
    const hold = async (
      operation: LogOperation,
      info: FaultInfo,
      answer: boolean,
      canBe: readonly Delivery[],
    ): Promise<Delivery> => {
      const owner = this.#owners.get(info.clientId)!;
      const about =
        info.transactionalId ?? (info.topic === undefined ? '' : `${info.topic}/${info.partition ?? ''}`);
      const connection =
        info.transactionalId ?? (info.memberId === undefined ? `${operation} ${about}` : 'group');
      const text = answer
        ? `${owner.name} ← log: ${operation} ${about} answered${answerText(info.answer)}`
        : `${owner.name} → log: ${operation} ${about}`;
      const line = `${owner.name} ${answer ? '←' : '→'} log ${connection}`;
      return this.#scheduler.hold(line, text, owner, this.#ending ? ['arrives'] : canBe);
    };
    const loses = (operation: LogOperation): boolean =>
      operation !== 'describe' && operation !== 'ensure' && operation !== 'leave';
    return {
      before: async (operation, info) => {
        const delivery = await hold(operation, info, false, [
          'arrives',
          // A producer that fails a batch fails those behind it, which this port can't; its answer may be lost.
          ...(loses(operation) && operation !== 'produce' ? (['lost'] as const) : []),
          ...(operation === 'commit' ? (['torn', 'late'] as const) : []),
        ]);
        if (delivery === 'lost') throw new Error('the request was lost');
        if (delivery === 'late') return { late: this.#onItsWay(info) };
        return delivery === 'torn' ? 'torn' : undefined;
      },
      after: async (operation, info) => {
        const arrived = this.#holders.took(operation, info);
        const canBe: readonly Delivery[] = loses(operation) ? ['arrives', 'lost'] : ['arrives'];
        if ((await hold(operation, info, true, canBe)) === 'lost') return 'lost';
        arrived();
        return undefined;
      },
    };
  }

  /** What its sender has given up, and what may come long after the sender is gone. */
  #onItsWay({ clientId, transactionalId }: FaultInfo): Promise<unknown> {
    const text = `a commit of ${clientId} for ${transactionalId ?? ''}, given up before, arrives`;
    const line = `the network, ${++this.#late}`;
    this.#scheduler.stallLine(line, (this.#late % 5) * 400);
    return this.#scheduler.hold(line, text, NETWORK);
  }

  // ---- the end

  async #end(): Promise<void> {
    this.#scheduler.tell('everything is healed');
    this.#ending = true;
    this.#scheduler.unstall();
    this.#disks.empty();
    for (const member of this.#members) {
      if (!member.owner.dead && member.owner.frozen) member.owner.thaw();
      member.thawAt = undefined;
    }
    if (!this.#members.some(({ state }) => state === 'running' || state === 'starting')) this.#join();
    await this.#until('all records are committed and all calls answered', () => this.#isQuiet());
    await this.#compare();
    for (const member of this.#members) if (member.state === 'running') this.#leave(member, 30_000);
    await this.#until('all managers have stopped', () =>
      this.#members.every(({ state }) => state === 'gone'),
    );
    this.#expectNothingLeft();
    this.#scheduler.tell('a manager without any database restores the changelog');
    this.#startOn('host-restored');
    await this.#until('it serves', () => this.#isQuiet());
    await this.#compare();
    this.#leave(this.#members.at(-1)!, 30_000);
    await this.#until('it has stopped', () => this.#members.every(({ state }) => state === 'gone'));
    this.#expectNothingLeft();
  }

  async #isQuiet(): Promise<boolean> {
    const here = this.#members.filter(({ state }) => state !== 'gone');
    if (here.length === 0 && this.#members.every(({ state }) => state === 'gone')) this.#join();
    if (here.length === 0 || here.some(({ state }) => state !== 'running')) return false;
    if (this.#models.some((model, partition) => this.#invariants.committed(partition) !== model.records))
      return false;
    const alive = here.flatMap(({ manager }) => (manager === undefined ? [] : [manager]));
    const stats = await Promise.all(alive.map((manager) => manager.stats()));
    const serving = stats.flatMap(({ partitions }) => partitions);
    return serving.length === this.#nature.partitions && serving.every(({ state }) => state === 'running');
  }

  async #compare(): Promise<void> {
    const applied = new Set<string>();
    let dumps = await this.#dumps();
    // A stale member that comes back takes partitions away in the middle of it; it does so once.
    for (let attempt = 1; dumps === undefined && attempt < COMPARISONS_MAX; attempt++) {
      this.#passTime(this.#random);
      await this.#until('all is quiet again', () => this.#isQuiet());
      dumps = await this.#dumps();
    }
    if (dumps === undefined)
      throw new Broken('the state is not to be had, although nothing goes wrong any more');
    for (let partition = 0; partition < this.#nature.partitions; partition++) {
      const dump = dumps.get(partition);
      if (dump === undefined) throw new Broken(`partition ${partition} is served by nobody`);
      this.#invariants.checkDump(partition, dump, true);
      for (const [id] of dump.commands) applied.add(id);
    }
    this.#invariants.checkApplied(applied);
  }

  /** By partition; absent if it was moved meanwhile. */
  async #dumps(): Promise<ReadonlyMap<number, Dump> | undefined> {
    const dumps = new Map<number, Dump>();
    for (const { manager, state } of this.#members) {
      if (manager === undefined || state !== 'running') continue;
      try {
        for (const [partition, dump] of await this.#drive(manager.streams[STREAM].queryAll('dump', {})))
          dumps.set(partition, dump);
      } catch (error) {
        if (!isPartitaError(error, 'PARTITION_NOT_OWNED')) throw error;
        this.#scheduler.tell(String(error));
        return undefined;
      }
    }
    return dumps.size === this.#nature.partitions ? dumps : undefined;
  }

  #expectNothingLeft(): void {
    if (this.#disks.open.length > 0) throw new Broken(`left open: ${this.#disks.open.join(', ')}`);
    const stopped = this.#members
      .filter(({ crashed }) => !crashed)
      .map(({ owner, host }) => `/simulated/${this.#run}/${host}@${owner.name}/`);
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
    const { clock } = this.#scheduler;
    const until = clock.monotonic() + QUIET_MS_MAX;
    for (;;) {
      await this.#scheduler.settle();
      await this.#invariants.check();
      if (this.#broken !== undefined) throw this.#broken;
      if (await condition()) return;
      if (clock.monotonic() > until)
        throw new Broken(
          `not within ${QUIET_MS_MAX} ms after the last fault: ${what}; ${await this.#state()}`,
        );
      let delivered = false;
      while (this.#scheduler.deliver(this.#random, () => 'arrives')) {
        delivered = true;
        if (!this.#random.chance(0.8)) break;
      }
      if (!delivered) this.#passTime(this.#random);
    }
  }

  async #state(): Promise<string> {
    const parts = this.#models.map(
      ({ records }, partition) =>
        `${partition}: ${this.#invariants.committed(partition)} of ${records} committed`,
    );
    for (const { owner, manager, state } of this.#members) {
      if (state === 'gone') continue;
      const stats = await manager?.stats();
      const partitions = stats?.partitions.map((p) => `${p.partition} ${p.state}`).join(', ') ?? '';
      parts.push(`${owner.name} ${state} ${stats?.state ?? ''} [${partitions}]`);
    }
    return `${parts.join('; ')}; under way: ${this.#scheduler.underWay.join('; ')}`;
  }

  async #tearDown(): Promise<void> {
    for (const member of this.#members) if (!member.owner.dead) this.#crash(member);
    this.#log.close().catch((error: unknown) => {
      silentLogger.warn({ error }, 'closing');
    });
    await this.#scheduler.settle();
  }
}

function answerText(answer: unknown): string {
  const kind = (answer as { readonly kind?: unknown } | undefined)?.kind;
  return typeof kind === 'string' ? `: ${kind}` : typeof answer === 'string' ? `: ${answer}` : '';
}
