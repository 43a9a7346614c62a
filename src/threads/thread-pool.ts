/**
 * The worker threads: one Piscina, one never-ending host task per thread, so that placement stays ours and is stable.
 * Owns each thread's life from start to exit; a thread that dies is replaced by the next `create` at its place. It knows
 * actors only as what a thread hosts; who restarts them is the manager's business.
 */
import type { EventLoopUtilization } from 'node:perf_hooks';
import type { Worker } from 'node:worker_threads';
import type { Piscina } from 'piscina';
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { isDebugged } from '../core/debugged.js';
import { describeError, PartitaError } from '../core/errors.js';
import { Lifecycle } from '../core/lifecycle.js';
import { threadLifecycle } from '../core/lifecycles.js';
import type { Logger } from '../core/logger.js';
import { Watchdog } from '../core/watchdog.js';
import type { ActorPlaces, PlacedActor } from './actor-places.js';
import { HostLink } from './host-link.js';
import type { ActorSpec, ActorUplink, PlaceNeeds } from './protocol.js';
import { ThreadPulse } from './pulse.js';

export interface ThreadPoolOptions {
  readonly threads: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long the event loop of a thread may be blocked before it is ended; 0: for ever. */
  readonly watchdogMs: number;
  /** Bound on a thread's heap; beyond it the thread dies, not the process. */
  readonly maxHeapMb?: number;
  /** The entry module; default: `workers/actor-host.js` of this package. */
  readonly entry?: string;
}

// dist mirrors the tree: from dist/src/threads to dist/workers.
const ENTRY = new URL('../../workers/actor-host.js', import.meta.url).href;
/** A killed thread's exit is waited for, so that its databases are free; after this long it counts as gone. */
const EXIT_BUDGET_MS = 5_000;

/** More are never asked for. */
const THREADS_MAX = 256;

/** What a record leaves behind is dead at once: a quarter of Node's default costs no rate, and saves 40 MB with two threads. */
const YOUNG_GENERATION_MB = 12;

export class ThreadPool implements ActorPlaces {
  #size: number;
  readonly #options: ThreadPoolOptions;
  readonly #piscina: Piscina;
  readonly #threads: (HostThread | undefined)[];
  readonly #watchdog: Watchdog;
  #closing: Promise<void> | undefined;

  private constructor(options: ThreadPoolOptions, piscina: Piscina) {
    this.#size = options.threads;
    this.#options = options;
    this.#piscina = piscina;
    this.#threads = Array.from({ length: options.threads }, () => undefined);
    this.#watchdog = new Watchdog({
      clock: options.clock,
      limitMs: options.watchdogMs,
      isDebugged: () => this.#isDebugged(),
    });
    // A thread's failure rejects its task, which is where it is dealt with. One that fails before it has a task leaves
    // the task waiting: those that are starting are given up, and whoever wants them tries again.
    piscina.on('error', (error: unknown) => {
      options.logger.warn({ err: error }, 'A worker thread failed outside its task.');
      for (const thread of this.#threads) if (thread?.state === 'starting') thread.kill(describeError(error));
    });
  }

  static async start(options: ThreadPoolOptions): Promise<ThreadPool> {
    const { Piscina } = await import('piscina');
    const piscina = new Piscina({
      filename: options.entry ?? ENTRY,
      minThreads: 0,
      // How many there are is decided here, thread by thread.
      maxThreads: THREADS_MAX,
      idleTimeout: 0,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      recordTiming: false,
      resourceLimits: {
        maxYoungGenerationSizeMb: YOUNG_GENERATION_MB,
        ...(options.maxHeapMb === undefined ? {} : { maxOldGenerationSizeMb: options.maxHeapMb }),
      },
    });
    return new ThreadPool(options, piscina);
  }

  get size(): number {
    return this.#size;
  }

  async prepare(place: number, needs: PlaceNeeds): Promise<void> {
    const thread = this.#threadAt(place);
    await thread.ready;
    await thread.link.prepare(needs);
  }

  async resize(size: number, options: { readonly budgetMs: number }): Promise<void> {
    this.#size = size;
    while (this.#threads.length < size) this.#threads.push(undefined);
    await this.#endInOrder(this.#threads.slice(size), options.budgetMs, 'there are fewer threads now');
    this.#threads.length = size;
  }

  utilisations(): readonly (number | undefined)[] {
    return this.#threads.slice(0, this.#size).map((thread) => thread?.utilisation());
  }

  async create(place: number, spec: ActorSpec, uplink: ActorUplink): Promise<PlacedActor> {
    const thread = this.#threadAt(place);
    try {
      await thread.ready;
      const api = await thread.link.create(spec, uplink);
      return { api, died: thread.died };
    } catch (error) {
      if (thread.alive) throw error;
      throw await thread.died;
    }
  }

  async end(place: number, reason: string): Promise<void> {
    const thread = this.#threads[place];
    if (thread === undefined) return;
    thread.kill(reason);
    await thread.gone;
  }

  states(): readonly { readonly place: number; readonly state: string; readonly actors: number }[] {
    return this.#threads.map((thread, place) => ({
      place,
      state: thread?.state ?? 'exited',
      actors: thread?.link.actors ?? 0,
    }));
  }

  close(options: { readonly budgetMs: number }): Promise<void> {
    this.#closing ??= this.#close(options.budgetMs);
    return this.#closing;
  }

  async #close(budgetMs: number): Promise<void> {
    await this.#endInOrder(this.#threads, budgetMs, 'the pool closed');
    await this.#piscina.destroy();
  }

  /** Drained within the budget, then by force. */
  async #endInOrder(
    threads: readonly (HostThread | undefined)[],
    budgetMs: number,
    why: string,
  ): Promise<void> {
    const deadline = Deadline.after(this.#options.clock, budgetMs);
    await Promise.all(
      threads.map(async (thread) => {
        if (thread === undefined) return;
        thread.drain();
        try {
          await deadline.race(thread.gone, `Thread ${thread.place}`);
        } catch {
          // Out of time: by force, as the contract says.
          thread.kill(why);
          await thread.gone;
        }
      }),
    );
  }

  /** Asked at every look of the watchdog; the threads, which look after their actors, learn it too. */
  #isDebugged(): boolean {
    const debugged = isDebugged();
    for (const thread of this.#threads) thread?.debugged(debugged);
    return debugged;
  }

  #threadAt(place: number): HostThread {
    if (this.#closing !== undefined) throw new PartitaError('STOPPED', 'The threads are closed.');
    // As a thread's death, since that is what an actor meets that was on its way there when the place went.
    if (!(place >= 0 && place < this.#size))
      throw new PartitaError('THREAD_DIED', `There is no thread ${place}; there are ${this.#size}.`, {
        details: { thread: place },
      });
    const existing = this.#threads[place];
    if (existing?.alive === true) return existing;
    const thread = new HostThread(place, this.#piscina, this.#options, this.#watchdog);
    this.#threads[place] = thread;
    return thread;
  }
}

/** One thread from its start to its exit. */
class HostThread {
  readonly place: number;
  readonly link: HostLink;
  /** Resolves when it serves calls; rejects if it never will. */
  readonly ready: Promise<void>;
  /** Resolves with the reason when it has died and is gone. */
  readonly died: Promise<Error>;
  /** Resolves when it is gone, in whatever way. */
  readonly gone: Promise<void>;
  readonly #life: Lifecycle<'starting' | 'ready' | 'draining' | 'exited' | 'died'>;
  readonly #abort = new AbortController();
  readonly #options: ThreadPoolOptions;
  readonly #pulse = new ThreadPulse();
  #exit: Promise<void> = Promise.resolve();
  #killed: string | undefined;
  #worker: Worker | undefined;
  /** What its event loop had done when it was last looked at. */
  #loop: EventLoopUtilization | undefined;

  constructor(place: number, piscina: Piscina, options: ThreadPoolOptions, watchdog: Watchdog) {
    this.place = place;
    this.#options = options;
    this.#life = new Lifecycle(threadLifecycle, `thread ${place}`);
    const logger = options.logger;
    const { watchdogMs } = options;
    this.link = new HostLink(place, { pulse: this.#pulse.shared, watchdogMs }, (level, fields, message) => {
      logger[level]({ thread: place, ...fields }, message);
    });
    const task = this.link.task;
    const run = piscina.run(task, {
      transferList: [task.calls, task.uplink],
      signal: this.#abort.signal,
    }) as Promise<void>;
    let died: (error: Error) => void = () => undefined;
    this.died = new Promise((resolve) => (died = resolve));
    this.ready = this.#becomeReady(piscina);
    // Who waits for it is told; a thread that nobody waits for reports by `died`.
    this.ready.catch(() => undefined);
    this.gone = this.#ended(run, died);
    const unwatch = watchdog.watch(
      () => (this.#life.is('ready', 'draining') ? this.#pulse.beats : undefined),
      () => {
        this.kill(`its event loop was blocked for ${watchdogMs} ms`);
      },
    );
    void this.gone.then(unwatch);
  }

  get state(): string {
    return this.#life.state;
  }

  /** Whether it may still take actors. */
  get alive(): boolean {
    return this.#life.is('starting', 'ready');
  }

  /** Tells it that a debugger is attached to the main thread, or no longer. */
  debugged(isDebugged: boolean): void {
    this.#pulse.isDebugged = isDebugged;
  }

  /** How much of the time its event loop was busy since the last call, 0 to 1; `undefined` while it has not begun. */
  utilisation(): number | undefined {
    if (this.#worker === undefined || !this.alive) return undefined;
    const before = this.#loop;
    this.#loop = this.#worker.performance.eventLoopUtilization();
    return this.#worker.performance.eventLoopUtilization(this.#loop, before).utilization;
  }

  /** Asks it to end; what it still hosts is abandoned. */
  drain(): void {
    if (!this.alive) return;
    this.#life.move('draining');
    this.ready
      .then(() => this.link.drain())
      .catch((error: unknown) => {
        if (!this.#life.is('exited', 'died')) this.kill(`it could not be drained: ${describeError(error)}`);
      });
  }

  /** Ends it at once. */
  kill(reason: string): void {
    if (this.#life.is('exited', 'died')) return;
    this.#killed ??= reason;
    this.#abort.abort();
  }

  async #becomeReady(piscina: Piscina): Promise<void> {
    const id = await this.link.ready();
    const worker = (piscina.threads as readonly Worker[]).find((thread) => thread.threadId === id);
    this.#worker = worker;
    if (worker !== undefined)
      this.#exit = new Promise((resolve) =>
        worker.once('exit', () => {
          resolve();
        }),
      );
    if (this.#life.is('starting')) this.#life.move('ready');
  }

  async #ended(run: Promise<void>, died: (error: Error) => void): Promise<void> {
    let cause: unknown;
    let failed = false;
    try {
      await run;
    } catch (error) {
      failed = true;
      cause = error;
    }
    const inOrder = !failed && this.#life.is('draining');
    this.#life.move(inOrder ? 'exited' : 'died');
    const makeError = (): PartitaError => this.#deathError(cause);
    this.link.fail(makeError);
    // Its databases are free only once it has really exited.
    try {
      await Deadline.after(this.#options.clock, EXIT_BUDGET_MS).race(this.#exit, `Thread ${this.place}`);
    } catch (error) {
      this.#options.logger.warn({ thread: this.place, err: error }, 'A dead thread has not exited yet.');
    }
    if (!inOrder) died(makeError());
  }

  #deathError(cause: unknown): PartitaError {
    const why = this.#killed ?? (cause === undefined ? 'its task ended' : describeError(cause));
    return new PartitaError('THREAD_DIED', `Thread ${this.place} died: ${why}.`, {
      ...(cause === undefined ? {} : { cause }),
      details: { thread: this.place },
    });
  }
}
