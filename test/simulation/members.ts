/**
 * The members of a group on their hosts: how they start, stop, crash, freeze and wake, and what is noted of what they say.
 * Each is a process of its own with a manager in it. When something happens to them decides `world.ts`.
 */
import { processorAt } from '../../src/index.js';
import { StateManager } from '../../src/manager/state-manager.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { Broken, GROUP, STREAM } from './invariants.js';
import { simulatedDefinition, type simulatedProcessor } from './model.js';
import { SimulatedPlaces } from './places.js';
import { Owner, OwnedClock } from './scheduler.js';
import type { Stage } from './stage.js';

const streams = { [STREAM]: processorAt<typeof simulatedProcessor>(new URL('file:///simulated-processor')) };
export type Manager = StateManager<typeof streams>;

export interface Member {
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

export class Members {
  readonly #stage: Stage;
  readonly #all: Member[] = [];
  #guest: Member | undefined;
  /** Who does not know the present generation. */
  #missing: Member | undefined;
  #resets = 0;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** Also those that are gone. */
  get all(): readonly Member[] {
    return this.#all;
  }

  get running(): readonly Member[] {
    return this.#all.filter(({ state }) => state === 'running');
  }

  /** Whether somebody sleeps through a generation in which a guest has committed. */
  get missing(): boolean {
    const guest = this.#guest;
    return this.#missing?.owner.frozen === true && guest?.state === 'running' && guest.commits > 0;
  }

  /** Who starts from now on has one reset more in its options. */
  resetFromNowOn(): number {
    return ++this.#resets;
  }

  get here(): readonly Member[] {
    return this.#all.filter(({ state }) => state !== 'gone');
  }

  /** One comes, takes a share, commits and leaves: the others get back what they had, with somebody in between. */
  letOnePass(random: SeededRandom): void {
    const guest = this.#guest;
    if (guest?.state === 'running' && guest.commits > 0) this.leave(guest, 5_000);
    else if (guest === undefined || guest.state === 'gone')
      this.#guest = random.chance(0.1) ? this.startOn('host-guest') : undefined;
  }

  /** Whoever did not hear of its assignment sleeps as long as it may stay a member: others come and go meanwhile. */
  missGeneration(name: string, note: (kind: string) => void): void {
    const member = this.running.find(({ owner }) => owner.name === name);
    if (member === undefined || member.owner.frozen) return;
    note('generations missed');
    this.freeze(member, this.#stage.nature.sessionMs - 250);
    this.#missing = member;
  }

  freeze(member: Member, ms: number): void {
    member.thawAt = this.#stage.scheduler.clock.monotonic() + ms;
    this.#stage.scheduler.tell(`${member.owner.name} freezes until ${member.thawAt} ms`);
    member.owner.freeze();
  }

  join(): Member {
    const busy = new Set(this.here.map(({ host }) => host));
    const hosts = Array.from({ length: this.#stage.nature.hosts }, (_, at) => `host${at}`);
    return this.startOn(hosts.find((host) => !busy.has(host)) ?? 'host-spare');
  }

  startOn(host: string): Member {
    const { exactlyOnce, workers, parkMs, chunkBytes, checkpointMs, cacheBytes } = this.#stage.nature;
    const { clock } = this.#stage.scheduler;
    const owner = new Owner(`m${this.#stage.owners.size + 1}`);
    this.#stage.owners.set(owner.name, owner);
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
    this.#all.push(member);
    this.#stage.scheduler.tell(`${owner.name} starts on ${host}`);
    const log = this.#stage.log;
    const started = StateManager.startIn(
      {
        group: GROUP,
        streams,
        log: { kind: log.kind, connect: () => log.connect({ clientId: owner.name }) },
        // Each process has a registry of its own; the disk is the host's.
        stateDir: `/simulated/${this.#stage.world}/${host}@${owner.name}`,
        workers,
        engine: 'memory',
        guarantee: exactlyOnce ? 'exactly-once' : 'at-least-once',
        checkpoint: { intervalMs: checkpointMs },
        chunkBytes,
        parkMs,
        sessionTimeoutMs: this.#stage.nature.sessionMs,
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
        random: () => this.#stage.random.next(),
        importProcessor: async () => simulatedDefinition,
        places: async (options) =>
          (member.places = new SimulatedPlaces(options.workers, {
            scheduler: this.#stage.scheduler,
            disks: this.#stage.disks,
            process: owner,
            definition: simulatedDefinition,
            cacheBytes,
            ghosts: this.#stage.nature.ghosts,
            onTaken: (text) => {
              this.#stage.breaks(new Broken(`${text}, and takes it`));
            },
          })),
      },
    );
    started.then(
      (manager) => {
        if (owner.dead) return;
        member.manager = manager;
        member.state = 'running';
        this.#stage.scheduler.tell(`${owner.name} has started`);
        this.#listen(member, manager);
      },
      (error: unknown) => {
        if (owner.dead) return;
        member.state = 'gone';
        this.#stage.scheduler.tell(`${owner.name} could not start: ${String(error)}`);
      },
    );
    return member;
  }

  #listen(member: Member, manager: Manager): void {
    const { owner } = member;
    const tell = (text: string): void => {
      this.#stage.scheduler.tell(`${owner.name}: ${text}`);
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
      this.#stage.invariants.count('who goes on with what it holds was the last to commit');
      const other = this.#stage.holders.between(owner.name, partition);
      if (how !== 'recovered' && other !== undefined)
        this.#stage.breaks(new Broken(`partition ${partition} resumes ${how}, though ${other} was between`));
    });
    manager.on('partitionFailed', ({ partition, error }) => {
      tell(`partition ${partition} has failed: ${String(error)}`);
      this.#stage.breaks(new Broken(`partition ${partition} gives up: ${String(error)}`));
    });
    manager.on('failed', ({ error }) => {
      this.#stage.breaks(new Broken(`${owner.name} gives up: ${String(error)}`));
    });
  }

  leave(member: Member, deadlineMs: number): void {
    member.state = 'stopping';
    this.#stage.scheduler.tell(`${member.owner.name} is stopped within ${deadlineMs} ms`);
    const over = (how: string): void => {
      if (member.owner.dead) return;
      member.state = 'gone';
      this.#stage.scheduler.tell(`${member.owner.name} has stopped${how}`);
      const { size } = member.owner.timers;
      if (size > 0) this.#stage.breaks(new Broken(`${member.owner.name} has left ${size} timers behind`));
      member.owner.die();
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

  crash(member: Member): void {
    this.#stage.scheduler.tell(`${member.owner.name} crashes`);
    member.state = 'gone';
    member.crashed = true;
    member.owner.die();
    this.#free(member);
  }

  #free(member: Member): void {
    this.#stage.scheduler.cut();
    this.#stage.disks.cut();
    member.thawAt = undefined;
  }

  thawSome(): void {
    const now = this.#stage.scheduler.clock.monotonic();
    for (const member of this.#all) {
      if (member.thawAt === undefined || member.thawAt > now) continue;
      member.thawAt = undefined;
      this.#stage.scheduler.tell(`${member.owner.name} wakes`);
      member.owner.thaw();
    }
  }
}
