/**
 * The manager: what a program starts, talks to and stops. Owns its own life, from what `manager-parts.ts` has got hold of to the
 * end by `shutdown.ts`. It routes nothing itself: chunks go through `partition-router.ts`, calls through `stream-router.ts`,
 * and what the group says through `assignment.ts`.
 */
import { setMaxListeners } from 'node:events';
import type { EventSource, Listener } from '../core/emitter.js';
import { describeError, PartitaError } from '../core/errors.js';
import { Deferred } from '../core/deferred.js';
import { Lifecycle } from '../core/lifecycle.js';
import { managerLifecycle, type ManagerState } from '../core/lifecycles.js';
import { unlessAborted } from '../core/unless-aborted.js';
import type { GroupSession } from '../log/log-client.js';
import { GroupAssignment } from './assignment.js';
import { AutoBalance } from './auto-balance.js';
import type { ManagerEvents } from './events.js';
import { failedError } from './keeper-reports.js';
import {
  acquireParts,
  startAborted,
  systemEnvironment,
  type ManagerEnvironment,
  type ManagerParts,
} from './manager-parts.js';
import { managerStats, type ManagerStats } from './manager-stats.js';
import { Movement, type MovedPartition } from './movement.js';
import type { ManagerOptions, Streams } from './options.js';
import { PartitionRouter } from './partition-router.js';
import { PlaceTable } from './placement.js';
import { RecoveryScheduler } from './recovery-scheduler.js';
import { resolveOptions } from './resolve-options.js';
import { Shutdown } from './shutdown.js';
import { joinOptions } from './stream-plan.js';
import { StreamRouters, type Location, type RoutersOf } from './stream-routers.js';
import { ThreadDeaths } from './thread-deaths.js';

/** How long one suspect holds up others of its thread at most, without a watchdog that would end it. */
const SUSPECTS_TURN_MS = 30_000;

/**
 * A running manager. Started by `StateManager.start`; one per group and process is usual, several are possible.
 */
export class StateManager<R extends Streams = Streams>
  implements EventSource<ManagerEvents>, AsyncDisposable
{
  /** Queries, commands and sends, by stream. */
  readonly streams: RoutersOf<R>;
  readonly #parts: Parts;
  readonly #shutdown: Shutdown;
  readonly #movement: Movement;
  readonly #autoBalance: AutoBalance;
  readonly #life = new Lifecycle(managerLifecycle, 'manager');
  readonly #routers: StreamRouters;
  readonly #changes = new Set<() => void>();
  /** What the log has not answered is waited for no longer. */
  readonly #givesUp = new AbortController();
  #session: GroupSession | undefined;
  #failure: unknown;
  /** Why it left the group. */
  #left: PartitaError | undefined;
  #stopping: Promise<boolean> | undefined;

  private constructor(parts: ManagerParts, session: Promise<GroupSession>) {
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
    this.#shutdown = new Shutdown({
      clock: environment.clock,
      logger: options.logger,
      assignment,
      places,
      closeOutputs: parts.closeOutputs,
      log,
      session: () => this.#session,
      givesUp: this.#givesUp,
    });
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
    this.#routers = new StreamRouters({
      plans,
      options,
      clock: environment.clock,
      outputs,
      assignment,
      ownerOf: (partition) => this.#session?.ownerOf(partition),
      expectUsable: () => {
        this.#expectUsable();
      },
    });
    this.streams = this.#routers.streams as unknown as RoutersOf<R>;
  }

  /**
   * Starts a manager: connects the log, checks topics and changelogs, starts threads, joins the group. Resolves when the
   * actors of the first assignment are opened; `ready` tells when they have recovered. Rejects INVALID_OPTIONS,
   * INVALID_NAME, INVALID_PROCESSOR, TOPIC_MISSING, PARTITIONS_UNEQUAL, CHANGELOG_INVALID, ENGINE_UNAVAILABLE,
   * ACTOR_FAILED with the cause if a partition can't be opened, CALL_ABORTED if the options' signal is aborted; everything is
   * released then.
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
    const session = new Deferred<GroupSession>();
    const manager = new StateManager<R>(await acquireParts(resolved, environment), session.promise);
    return manager.#start(session);
  }

  get state(): ManagerState {
    return this.#life.state;
  }

  /**
   * Resolves when every partition that is assigned now serves, but for those that have failed and stay down
   * (`onPartitionFailed: 'isolate'`). Rejects if the manager fails, leaves the group or stops before.
   */
  async ready(): Promise<void> {
    // Whoever waits has added the listeners that he wants: what is added later hears of what comes later.
    this.#parts.emitter.release();
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
    return this.#routers.locate(stream, key);
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

  stats(): Promise<ManagerStats> {
    return managerStats(this.#life.state, this.#parts);
  }

  /** Added right behind `start`, a listener hears what happened during it too. */
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

  /** Releases everything if it fails, or is aborted. */
  async #start(session: Deferred<GroupSession>): Promise<this> {
    const { options } = this.#parts;
    try {
      await unlessAborted(this.#joined(session), options.signal, startAborted);
      this.#life.move('running');
      if (options.rebalance === 'auto') this.#autoBalance.start();
      // By then whoever has waited for the start has added his listeners, if he waits for nothing else first.
      setImmediate(() => {
        this.#parts.emitter.release();
      });
      return this;
    } catch (error) {
      await (this.#stopping ??= this.#stop(options.stopDeadlineMs));
      throw error;
    }
  }

  /** A member of the group, and every actor of the first assignment opened. */
  async #joined(session: Deferred<GroupSession>): Promise<void> {
    await this.#join(session);
    await this.#until(() => this.#allKeepers((keeper) => keeper.everOpened));
  }

  async #join(joined: Deferred<GroupSession>): Promise<void> {
    const { options, log, plans, assignment, router } = this.#parts;
    try {
      const session = await log.join(joinOptions(plans, options), assignment);
      this.#session = session;
      router.use(session);
      assignment.use(session);
      joined.resolve(session);
    } catch (error) {
      joined.reject(error);
      throw error;
    }
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
    const { assignment, emitter, options } = this.#parts;
    const left = await this.#shutdown.leaveGroup(options.rebalanceTimeoutMs);
    if (this.#failure !== undefined || this.#stopping !== undefined) return;
    this.#life.move('left');
    emitter.emit('left', { committed: left && !assignment.dropped, error });
    this.#changed();
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined || this.#stopping !== undefined) return;
    this.#failure = error;
    this.#life.move('failed');
    this.#parts.options.logger.error({ err: error }, 'The manager has failed and stops.');
    this.#parts.emitter.emit('failed', { error });
    this.#changed();
    this.#stopping = this.#stop(this.#parts.options.stopDeadlineMs);
  }

  /** Whether it stopped before the deadline. Never rejects. */
  async #stop(deadlineMs: number): Promise<boolean> {
    const { assignment, emitter, options } = this.#parts;
    this.#life.move('stopping');
    this.#autoBalance.stop();
    this.#movement.stop();
    this.#changed();
    const inTime = await this.#shutdown.stop(deadlineMs, () => this.#unusable());
    this.#life.move('stopped');
    this.#changed();
    const committed = !assignment.dropped;
    emitter.emit('stopped', { committed });
    options.logger.info({ group: options.group, committed, inTime }, 'The manager has stopped.');
    emitter.removeAllListeners();
    return inTime;
  }
}

interface Parts extends ManagerParts {
  readonly router: PartitionRouter;
  readonly assignment: GroupAssignment;
}
