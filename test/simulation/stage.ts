/**
 * What everybody in a simulated world shares: time and messages, disks, the log, the truth, and the first promise that was
 * found broken. It does nothing by itself; who acts upon it are members, users and faults.
 */
import type { EmbeddedLog } from '../../src/index.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { Disks } from './disks.js';
import { Holders } from './holders.js';
import type { CommandFate, Invariants } from './invariants.js';
import type { PartitionModel } from './model.js';
import { natureOf, type Nature } from './nature.js';
import { Scheduler, type Owner } from './scheduler.js';

/** Directories of one world are not those of another, not even of the same seed: a broken one leaves its locks behind. */
let worlds = 0;

export class Stage {
  /** Tells the worlds of a process apart. */
  readonly world = ++worlds;
  readonly nature: Nature;
  /** For what no step decides. */
  readonly random: SeededRandom;
  readonly scheduler: Scheduler;
  readonly disks: Disks;
  readonly holders = new Holders();
  /** By partition. */
  readonly models: PartitionModel[] = [];
  /** By command. */
  readonly fates = new Map<string, CommandFate>();
  /** By the name of a process, dead ones too. */
  readonly owners = new Map<string, Owner>();
  log!: EmbeddedLog;
  invariants!: Invariants;
  /** Nothing goes wrong any more. */
  ending = false;
  #broken: Error | undefined;

  constructor(random: SeededRandom, pending: () => number) {
    this.random = random;
    this.scheduler = new Scheduler(pending);
    this.disks = new Disks(this.scheduler);
    this.nature = natureOf(random);
  }

  get broken(): Error | undefined {
    return this.#broken;
  }

  /** The first one counts. */
  breaks(error: unknown): void {
    this.#broken ??= error as Error;
  }

  passTime(random: SeededRandom): void {
    const { clock } = this.scheduler;
    const next = clock.nextTimerAt;
    const ms = next === undefined ? 10 : Math.min(200, Math.max(0, next - clock.now()));
    clock.advance(random.chance(0.1) ? ms + random.below(60) : ms);
  }
}
