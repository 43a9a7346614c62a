/**
 * The manager: what a program starts, talks to and stops. Owns the log client, the threads and the membership, and gives
 * each back in reverse order, also after a failure. It routes nothing itself: chunks go through `partition-router.ts`,
 * calls through `stream-router.ts`, and what the group says through `assignment.ts`.
 */
import { setMaxListeners } from 'node:events';
import type { Clock } from '../core/clock.js';
import { systemClock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { Emitter, type EventSource, type Listener } from '../core/emitter.js';
import { describeError, PartitaError } from '../core/errors.js';
import { Lifecycle } from '../core/lifecycle.js';
import { managerLifecycle, type ManagerState } from '../core/lifecycles.js';
import type { GroupSession, LogClient, OutputProducer } from '../log/log-client.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import { importProcessor } from '../processor/import-processor.js';
import type { ProcessorRef } from '../processor/processor-at.js';
import type { ActorPlaces } from '../threads/actor-places.js';
import { preloadEngine } from '../threads/preload-engine.js';
import type { ActorStats } from '../threads/protocol.js';
import { ThreadPool } from '../threads/thread-pool.js';
import { failedError, GroupAssignment } from './assignment.js';
import { AutoBalance } from './auto-balance.js';
import type { ManagerEvents } from './events.js';
import { Movement, type MovedPartition } from './movement.js';
import { recordMetrics } from './metrics-recorder.js';
import { resolveOptions, type ManagerOptions, type ResolvedOptions, type Streams } from './options.js';
import { PartitionRouter } from './partition-router.js';
import { PlaceTable } from './placement.js';
import { RecoveryScheduler } from './recovery-scheduler.js';
import { planStreams, type StreamPlan } from './stream-plan.js';
import { StreamRouter, type Router } from './stream-router.js';
import { ThreadDeaths } from './thread-deaths.js';

/** Routers by stream. */
export type RoutersOf<R> = {
  readonly [N in keyof R]: R[N] extends ProcessorRef<infer X> ? Router<X> : never;
};

export interface Location {
  readonly partition: number;
  /** Whether this manager owns the partition. */
  readonly local: boolean;
  /** The owner's advertised address, where known. */
  readonly address: string | undefined;
}

export interface PartitionStats {
  readonly stream: string;
  readonly partition: number;
  readonly state: string;
  readonly place: number | undefined;
  readonly epoch: number | undefined;
  /** Why it can't go on, if it has failed. */
  readonly failure: unknown;
  /** `undefined` while it does not serve. */
  readonly actor: ActorStats | undefined;
}

export interface ManagerStats {
  readonly state: ManagerState;
  readonly partitions: readonly PartitionStats[];
  readonly threads: readonly { readonly place: number; readonly state: string; readonly actors: number }[];
  /** Bytes of chunks that are with actors. */
  readonly outstandingBytes: number;
}

/** What the manager is given besides its options: everything that a test or the testing driver replaces. */
export interface ManagerEnvironment {
  readonly clock: Clock;
  readonly random: () => number;
  places(options: ResolvedOptions): Promise<ActorPlaces>;
  importProcessor(url: string): Promise<AnyDefinition>;
}

const systemEnvironment: ManagerEnvironment = {
  clock: systemClock,
  random: Math.random,
  importProcessor,
  places: async (options) => {
    await preloadEngine(options.engine);
    return ThreadPool.start({
      threads: options.workers,
      clock: systemClock,
      logger: options.logger,
      watchdogMs: options.watchdogMs,
      ...(options.memory.threadHeapMb === undefined ? {} : { maxHeapMb: options.memory.threadHeapMb }),
    });
  },
};

/** How long one suspect holds up others of its thread at most, without a watchdog that would end it. */
const SUSPECTS_TURN_MS = 30_000;
/**
 * By which share of a stop's deadline the partitions are to have committed, the log to have answered what it was asked, and
 * the group to know. What remains is for threads and connections.
 */
const STOP_SHARES = { committed: 0.6, answered: 0.7, left: 0.8 };
/** Past its deadline a stop gives each thing that is left so long to release itself, so that nothing stays locked. */
const LATE_STEP_MS = 1_000;
/** For the end of threads by force. */
const THREADS_END_MS = 10_000;

/**
 * A running manager. Started by `StateManager.start`; one per group and process is usual, several are possible.
 */
export class StateManager<R extends Streams = Streams>
  implements EventSource<ManagerEvents>, AsyncDisposable
{
  /** Queries, commands and sends, by stream. */
  readonly streams: RoutersOf<R>;
  readonly #parts: Parts;
  readonly #movement: Movement;
  readonly #autoBalance: AutoBalance;
  readonly #life = new Lifecycle(managerLifecycle, 'manager');
  readonly #routers = new Map<string, StreamRouter>();
  readonly #changes = new Set<() => void>();
  /** What the log has not answered is waited for no longer. */
  readonly #givesUp = new AbortController();
  #session: GroupSession | undefined;
  #failure: unknown;
  /** Why it left the group. */
  #left: PartitaError | undefined;
  #stopping: Promise<boolean> | undefined;

  private constructor(parts: Omit<Parts, 'assignment' | 'router'>, session: Promise<GroupSession>) {
    this.#life.move('starting');
    // Every partition that closes listens.
    setMaxListeners(0, this.#givesUp.signal);
    const { options, environment, log, places, emitter, plans, outputs } = parts;
    const router = new PartitionRouter(options.mailbox);
    const placeTable = new PlaceTable(places.size);
    const assignment = new GroupAssignment({
      plans,
      options,
      clock: environment.clock,
      logger: options.logger,
      emitter,
      listener: {
        onRebalancing: () => {
          if (this.#life.is('running')) this.#life.move('rebalancing');
        },
        onAssigned: () => {
          if (this.#life.is('rebalancing')) this.#life.move('running');
          this.#changed();
        },
        onChange: () => {
          this.#changed();
        },
        onFatal: (error) => {
          this.#fail(error);
        },
        onLeave: (error) => {
          this.#leaveBecause(error);
        },
      },
      environment: {
        options,
        clock: environment.clock,
        random: environment.random,
        logger: options.logger,
        log,
        session,
        outputs,
        places,
        placeTable,
        router,
        scheduler: new RecoveryScheduler(options.recovery.concurrency),
        givesUp: this.#givesUp.signal,
        deaths: new ThreadDeaths(environment.clock, options.watchdogMs || SUSPECTS_TURN_MS),
      },
    });
    this.#parts = { ...parts, router, assignment };
    this.#movement = new Movement({
      options,
      clock: environment.clock,
      logger: options.logger,
      emitter,
      places,
      placeTable,
      keepers: () => assignment.keepers(),
      absent: (stream, partition) => assignment.absent(stream, partition),
      expectUsable: () => {
        this.#expectUsable();
      },
    });
    this.#autoBalance = new AutoBalance({
      clock: environment.clock,
      logger: options.logger,
      places,
      router,
      movement: this.#movement,
      keepers: () => assignment.keepers(),
    });
    for (const plan of plans) this.#routers.set(plan.stream, this.#makeRouter(plan));
    this.streams = Object.fromEntries(
      [...this.#routers].map(([stream, router]) => [stream, bound(router)]),
    ) as unknown as RoutersOf<R>;
  }

  /**
   * Starts a manager: connects the log, checks topics and changelogs, starts threads, joins the group. Resolves when the
   * actors of the first assignment are opened; `ready` tells when they have recovered. Rejects INVALID_OPTIONS,
   * INVALID_NAME, INVALID_PROCESSOR, TOPIC_MISSING, PARTITIONS_UNEQUAL, CHANGELOG_INVALID, ENGINE_UNAVAILABLE, or
   * ACTOR_FAILED with the cause if a partition can't be opened; everything is released then.
   */
  static start<R extends Streams>(options: ManagerOptions<R>): Promise<StateManager<R>> {
    return StateManager.startIn(options, systemEnvironment);
  }

  /**
   * `start` in an environment of one's own: for the testing driver.
   * @internal
   */
  static async startIn<R extends Streams>(
    options: ManagerOptions<R>,
    environment: ManagerEnvironment,
  ): Promise<StateManager<R>> {
    const resolved = await resolveOptions(options as ManagerOptions);
    const { logger } = resolved;
    const log = await resolved.log.connect({ clientId: `partita-${resolved.group}`, logger });
    const release: (() => Promise<void>)[] = [() => log.close()];
    try {
      const emitter = new Emitter<ManagerEvents>(resolved.logger);
      recordMetrics(emitter, resolved.metrics);
      const plans = await planStreams(resolved, {
        topics: log.topics,
        importProcessor: (url) => environment.importProcessor(url),
        warn: (message, details) => {
          resolved.logger.warn(details, message);
          emitter.emit('warning', { message, details });
        },
      });
      const places = await environment.places(resolved);
      release.push(() => places.close({ budgetMs: resolved.stopDeadlineMs }));
      let opened: OutputProducer | undefined;
      const session = new Deferred<GroupSession>();
      const parts = {
        options: resolved,
        environment,
        log,
        places,
        emitter,
        plans,
        outputs: () => (opened ??= log.outputs()),
        closeOutputs: async () => opened?.close(),
      };
      const manager = new StateManager<R>(parts, session.promise);
      release.push(() => manager.#abandon());
      await manager.#join(session);
      await manager.#until(() => manager.#allKeepers((keeper) => keeper.everOpened));
      manager.#life.move('running');
      if (resolved.rebalance === 'auto') manager.#autoBalance.start();
      return manager;
    } catch (error) {
      for (const undo of release.reverse())
        await undo().catch((undoError: unknown) => {
          resolved.logger.warn({ err: undoError }, 'Something could not be released after a failed start.');
        });
      throw error;
    }
  }

  get state(): ManagerState {
    return this.#life.state;
  }

  /**
   * Resolves when every partition that is assigned now serves, but for those that have failed and stay down
   * (`onPartitionFailed: 'isolate'`). Rejects if the manager fails, leaves the group or stops before.
   */
  async ready(): Promise<void> {
    await this.#until(() => this.#allKeepers((keeper) => keeper.state === 'running'));
  }

  /**
   * Tries a partition again that has failed and stays down (`onPartitionFailed: 'isolate'`). Resolves when it serves, at once
   * if it already does; it may fail again at the same record afterwards. Rejects ACTOR_FAILED with the cause if it fails before
   * it serves, PARTITION_NOT_OWNED if it is not (or no longer) this manager's.
   */
  async reopen(stream: keyof R & string, partition: number): Promise<void> {
    this.#expectUsable();
    const { assignment } = this.#parts;
    const keeper = assignment.keeper(stream, partition);
    if (keeper !== undefined) assignment.reopen(keeper);
    await this.#until(
      () => keeper === undefined || keeper.stopped || ['running', 'failed', 'lost'].includes(keeper.state),
    );
    if (keeper?.state === 'failed') throw failedError(keeper);
    if (keeper?.state !== 'running')
      throw new PartitaError('PARTITION_NOT_OWNED', `The partition ${stream}-${partition} is not here.`, {
        details: { stream, partition },
      });
  }

  /** Which partition a key of a stream belongs to, and who owns it. */
  locate(stream: keyof R & string, key: unknown): Location {
    const router = this.#routers.get(stream);
    const plan = this.#parts.plans.find((candidate) => candidate.stream === stream);
    if (router === undefined || plan === undefined)
      throw new PartitaError('INVALID_ARGUMENT', `There is no stream ${stream}.`);
    const partition = router.partitionOf(key);
    const local = this.#parts.assignment.keeper(stream, partition) !== undefined;
    const at = { topic: plan.inputs[0]!.topic, partition };
    return {
      partition,
      local,
      address: local ? this.#parts.options.advertise : this.#session?.ownerOf(at),
    };
  }

  /** Commits everything that has been processed up to now, in every partition of this manager. */
  async checkpoint(): Promise<void> {
    this.#expectUsable();
    await Promise.all(this.#parts.assignment.keepers().map((keeper) => keeper.checkpoint()));
  }

  /**
   * Changes the number of worker threads while records flow: no rebalance, no loss, the order of each key kept. More:
   * they are started and actors move there until all carry equal shares. Fewer: actors move off those that go, which then
   * end. Resolves when it is done, amid a rebalance when that is over; of calls that overlap the last
   * one wins, and all resolve with it. Rejects INVALID_ARGUMENT, STOPPED.
   */
  scale(workers: number): Promise<void> {
    return this.#movement.scale(workers);
  }

  /**
   * Moves the actor of one partition to a thread, 0 to the number of threads − 1. It commits, closes, opens there and goes
   * on; commands and queries that have not started go with it. Resolves with the pause when it serves there, or, if it did
   * not serve, when its next incarnation is on its way there. Rejects INVALID_ARGUMENT, PARTITION_NOT_OWNED (also if a
   * rebalance takes it away meanwhile), ACTOR_FAILED, STOPPED, THREAD_DIED if the thread can't be started.
   */
  move(stream: keyof R & string, partition: number, thread: number): Promise<MovedPartition> {
    return this.#movement.move(stream, partition, thread, 'asked');
  }

  async stats(): Promise<ManagerStats> {
    const { assignment, places, router } = this.#parts;
    const partitions = await Promise.all(
      assignment.keepers().map(async (keeper) => ({
        stream: keeper.plan.stream,
        partition: keeper.partition,
        state: keeper.state,
        place: keeper.place,
        epoch: keeper.epoch,
        failure: keeper.failure,
        // One that ends in this very moment has no figures; that is no failure of the others.
        actor: await keeper.stats().catch(() => undefined),
      })),
    );
    return {
      state: this.#life.state,
      partitions,
      threads: places.states(),
      outstandingBytes: router.outstandingBytes,
    };
  }

  on<N extends keyof ManagerEvents>(name: N, listener: Listener<ManagerEvents[N]>): this {
    this.#parts.emitter.on(name, listener);
    return this;
  }

  once<N extends keyof ManagerEvents>(name: N, listener: Listener<ManagerEvents[N]>): this {
    this.#parts.emitter.once(name, listener);
    return this;
  }

  off<N extends keyof ManagerEvents>(name: N, listener: Listener<ManagerEvents[N]>): this {
    this.#parts.emitter.off(name, listener);
    return this;
  }

  /**
   * Leaves the group, commits what has been processed, closes the databases and ends the threads. Idempotent; afterwards
   * nothing keeps the process alive. Rejects STOP_DEADLINE if the deadline passed first: everything is released all the
   * same, and what was not committed will be processed again.
   */
  async stop(options: { readonly deadlineMs?: number } = {}): Promise<void> {
    this.#stopping ??= this.#stop(options.deadlineMs ?? this.#parts.options.stopDeadlineMs);
    const inTime = await this.#stopping;
    if (!inTime)
      throw new PartitaError('STOP_DEADLINE', 'The manager did not stop in order before its deadline.');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #join(joined: Deferred<GroupSession>): Promise<void> {
    const { options, log, plans, assignment, router } = this.#parts;
    try {
      const session = await log.join(
        {
          group: options.group,
          topics: plans.flatMap((plan) => plan.inputs.map(({ topic }) => topic)),
          strategy: options.assignment,
          streams: Object.fromEntries(
            plans.map((plan) => [plan.stream, plan.inputs.map(({ topic }) => topic)]),
          ),
          sessionTimeoutMs: options.sessionTimeoutMs,
          rebalanceTimeoutMs: options.rebalanceTimeoutMs,
          ...(options.chunkBytes === undefined ? {} : { maxBytesPerPartition: options.chunkBytes }),
          ...(options.advertise === undefined ? {} : { advertise: options.advertise }),
        },
        assignment,
      );
      this.#session = session;
      router.use(session);
      assignment.use(session);
      joined.resolve(session);
    } catch (error) {
      joined.reject(error);
      throw error;
    }
  }

  #makeRouter(plan: StreamPlan): StreamRouter {
    const { environment, options, outputs, assignment } = this.#parts;
    return new StreamRouter(plan, {
      clock: environment.clock,
      callTimeoutMs: options.callTimeoutMs,
      callsMax: options.mailbox.callsMax,
      waitMs: options.mailbox.waitMs,
      outputs,
      calls: (of, partition) => assignment.calls(of, partition),
      ownPartitions: (of) =>
        assignment
          .keepers()
          .filter((keeper) => keeper.plan === of)
          .map((keeper) => keeper.partition)
          .sort((a, b) => a - b),
      expectUsable: () => {
        this.#expectUsable();
      },
    });
  }

  #expectUsable(): void {
    if (this.#failure !== undefined || this.#stopping !== undefined) throw this.#unusable();
  }

  #unusable(): PartitaError {
    return this.#failure === undefined
      ? new PartitaError('STOPPED', 'The manager is stopped.')
      : new PartitaError('STOPPED', `The manager has failed: ${describeError(this.#failure)}`, {
          cause: this.#failure,
        });
  }

  /** Assigned, and `condition` holds for every partition that is ours, not lost, and not down for good. */
  #allKeepers(condition: (keeper: ReturnType<GroupAssignment['keepers']>[number]) => boolean): boolean {
    const { assignment } = this.#parts;
    return (
      assignment.assigned &&
      assignment
        .keepers()
        .every((keeper) => keeper.state === 'lost' || keeper.state === 'failed' || condition(keeper))
    );
  }

  async #until(condition: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure as Error;
      if (this.#stopping !== undefined) throw this.#unusable();
      if (this.#left !== undefined) throw this.#left;
      if (condition()) return;
      await new Promise<void>((resolve) => this.#changes.add(resolve));
    }
  }

  #changed(): void {
    const waiting = [...this.#changes];
    this.#changes.clear();
    for (const wake of waiting) wake();
  }

  /** Its partitions go to others, in order, the failed one too; it stays, to send and to locate. */
  #leaveBecause(error: PartitaError): void {
    if (this.#left !== undefined || this.#failure !== undefined || this.#stopping !== undefined) return;
    if (this.#life.is('starting')) {
      this.#fail(error);
      return;
    }
    this.#left = error;
    this.#changed();
    this.#giveBack(error).catch((failure: unknown) => {
      this.#fail(failure);
    });
  }

  async #giveBack(error: PartitaError): Promise<void> {
    const { assignment, emitter, environment, options } = this.#parts;
    const deadline = Deadline.after(environment.clock, options.rebalanceTimeoutMs);
    assignment.prepareToLeave(deadline);
    const left = await this.#step(deadline, async () => this.#session?.leave());
    await assignment.leave(500);
    if (this.#failure !== undefined || this.#stopping !== undefined) return;
    this.#life.move('left');
    emitter.emit('left', { committed: left && !assignment.dropped, error });
    this.#changed();
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined || this.#stopping !== undefined) return;
    const starting = this.#life.is('starting');
    this.#failure = error;
    this.#life.move('failed');
    this.#parts.options.logger.error({ err: error }, 'The manager has failed and stops.');
    this.#parts.emitter.emit('failed', { error });
    this.#changed();
    // A failed start releases everything itself, and rejects.
    if (!starting) this.#stopping = this.#stop(this.#parts.options.stopDeadlineMs);
  }

  /** Whether it stopped before the deadline. Never rejects. */
  async #stop(deadlineMs: number): Promise<boolean> {
    const { assignment, environment, emitter, options } = this.#parts;
    this.#life.move('stopping');
    this.#autoBalance.stop();
    this.#movement.stop();
    this.#changed();
    const deadline = Deadline.after(environment.clock, deadlineMs);
    const givingUp = environment.clock.setTimer(deadlineMs * STOP_SHARES.answered, () => {
      this.#giveUp();
    });
    await this.#step(deadline.within(deadlineMs * STOP_SHARES.left), () =>
      this.#leave(deadline.within(deadlineMs * STOP_SHARES.committed)),
    );
    await this.#release(deadline);
    givingUp.cancel();
    const inTime = !deadline.expired;
    this.#life.move('stopped');
    this.#changed();
    const committed = !assignment.dropped;
    emitter.emit('stopped', { committed });
    options.logger.info({ group: options.group, committed, inTime }, 'The manager has stopped.');
    emitter.removeAllListeners();
    return inTime;
  }

  /** Through the barrier of leaving: actors commit by the deadline and close while the group waits. */
  async #leave(commits: Deadline): Promise<void> {
    this.#parts.assignment.prepareToStop(() => this.#unusable(), commits);
    await this.#session?.leave();
  }

  #giveUp(): void {
    this.#givesUp.abort(new PartitaError('STOPPED', 'The manager stops and waits no longer.'));
  }

  /** Everything that is still there is given back, whatever state it is in. */
  async #release(deadline: Deadline): Promise<void> {
    const { assignment, places, closeOutputs, log, environment } = this.#parts;
    const grace = (): Deadline =>
      deadline.remainingMs > LATE_STEP_MS ? deadline : Deadline.after(environment.clock, LATE_STEP_MS);
    const closing = assignment.close(() => this.#unusable(), Math.min(500, deadline.remainingMs));
    if (deadline.expired) this.#giveUp();
    await this.#step(grace(), () => closing);
    this.#giveUp();
    await this.#step(Deadline.after(environment.clock, THREADS_END_MS), () =>
      places.close({ budgetMs: grace().remainingMs }),
    );
    // With their threads gone the last keepers are done.
    await this.#step(grace(), () => closing);
    await this.#step(grace(), closeOutputs);
    await this.#step(grace(), () => log.close());
  }

  /** After a failed start. The log and the places are released by `startIn`. */
  async #abandon(): Promise<void> {
    const { environment, assignment, closeOutputs } = this.#parts;
    this.#failure ??= new PartitaError('STOPPED', 'The manager did not start.');
    const deadline = Deadline.after(environment.clock, this.#parts.options.revokeBudgetMs + 2_000);
    await this.#step(deadline, () => this.#leave(deadline));
    await this.#step(deadline, () => assignment.close(() => this.#unusable(), 500));
    this.#giveUp();
    await closeOutputs();
  }

  /** Whether the step ended well in time; a failure is logged, since what follows must be released too. */
  async #step(deadline: Deadline, step: () => Promise<unknown>): Promise<boolean> {
    try {
      await deadline.race(step(), 'A step of stopping');
      return true;
    } catch (error) {
      this.#parts.options.logger.warn({ err: error }, 'A step of stopping did not succeed.');
      return false;
    }
  }
}

/** The router's methods, which may be taken apart: `const { query } = manager.streams.orders`. */
function bound(router: StreamRouter): Pick<StreamRouter, 'query' | 'queryAll' | 'command' | 'send'> {
  return {
    query: (name, options) => router.query(name, options),
    queryAll: (name, options) => router.queryAll(name, options),
    command: (name, options) => router.command(name, options),
    send: (input, record, options) => router.send(input, record, options),
  };
}

/** A promise settled from outside. Without a waiter its rejection is nobody's news. */
class Deferred<T> {
  readonly promise: Promise<T>;
  resolve: (value: T) => void = () => undefined;
  reject: (error: unknown) => void = () => undefined;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject as (error: unknown) => void;
    });
    this.promise.catch(() => undefined);
  }
}

interface Parts {
  readonly options: ResolvedOptions;
  readonly environment: ManagerEnvironment;
  readonly log: LogClient;
  readonly places: ActorPlaces;
  readonly emitter: Emitter<ManagerEvents>;
  readonly plans: readonly StreamPlan[];
  readonly outputs: () => OutputProducer;
  readonly closeOutputs: () => Promise<void>;
  readonly router: PartitionRouter;
  readonly assignment: GroupAssignment;
}
