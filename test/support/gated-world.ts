/**
 * A log behind a gate, the topics of the deadly processor, and the managers that a test starts on them, in one thread on a clock
 * that is moved. Whatever the log is made to hold back, nothing of it outlives `close`.
 */
import assert from 'node:assert/strict';
import { embeddedLog, StateManager, type EmbeddedLog } from '../../src/index.js';
import type { LogFaults } from '../../src/log/embedded/log-faults.js';
import { heldDirectories } from '../../src/manager/directory-registry.js';
import type { ManagerOptions } from '../../src/manager/options.js';
import { DeadlyTopics, deadlyStream, type DeadlyManager } from './deadly-run.js';
import { LogGate } from './log-gate.js';
import { OneThread } from './one-thread.js';
import { seededRandom } from './seeded-random.js';
import { temporaryDirectory } from './temporary-directory.js';

export const PARTITIONS = 3;
const SETTLE_STEPS_MAX = 2_000;

export type WorldOptions = Partial<Omit<ManagerOptions, 'streams' | 'log'>>;

/** A log, its topics, and the managers that a test starts on it. */
export class GatedWorld {
  readonly gate = new LogGate();
  readonly threads: OneThread;
  readonly log: EmbeddedLog;
  readonly topics: DeadlyTopics;
  readonly stateDir = temporaryDirectory('gated');
  readonly #managers: DeadlyManager[] = [];
  readonly #starting: Promise<unknown>[] = [];
  readonly #atStop: (() => Promise<void>)[] = [];

  private constructor(threads: OneThread, log: EmbeddedLog, topics: DeadlyTopics, gate: LogGate) {
    this.threads = threads;
    this.log = log;
    this.topics = topics;
    this.gate = gate;
  }

  /** @param faults in the gate's place */
  static async open(faults?: LogFaults): Promise<GatedWorld> {
    const threads = new OneThread(seededRandom(1));
    const gate = new LogGate();
    const log = await embeddedLog({ clock: threads.clock, faults: faults ?? gate.faults });
    return new GatedWorld(threads, log, await DeadlyTopics.create(log, PARTITIONS), gate);
  }

  start(options: WorldOptions = {}): Promise<DeadlyManager> {
    return this.drive(this.starting(options));
  }

  /** Not awaited by anybody: a member that can't get in yet. */
  begin(options: WorldOptions): void {
    const starting = this.starting(options);
    this.#starting.push(starting);
    starting.catch(() => undefined);
  }

  async starting(options: WorldOptions = {}): Promise<DeadlyManager> {
    // In memory: a disk would take the machine's time, and the clock that is moved would not wait for it.
    const all = { group: 'g', stateDir: this.stateDir, workers: 2, engine: 'memory' as const, ...options };
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
