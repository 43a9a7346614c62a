/**
 * Keeps one partition's actor alive from its assignment to its revocation: an incarnation, and after a failure another,
 * with back-off, until the partition is taken away or can't go on. Taken away with everything committed, the actor is
 * parked for a while, in case the partition comes back. Owns the order of things for one partition; what one
 * incarnation does is `actor-run.ts`, what a failure means `failure-history.ts`, how it changes its thread `relocation.ts`.
 */
import type {
  ActorStats,
  ClosedActor,
  CloseOptions,
  OpenedActor,
  RecoveredActor,
  ResumedActor,
} from '../threads/protocol.js';
import { ActorRun } from './actor-run.js';
import { actorSpec } from './actor-spec.js';
import type { CommitInDoubt } from './actor-uplink.js';
import { FailureHistory } from './failure-history.js';
import type { KeeperEnvironment, KeeperListener, KeeperState } from './keeper-environment.js';
import { isNext, Parking, type Membership } from './parking.js';
import type { PartitionCalls } from './partition-calls.js';
import type { TopicIds } from './present-topics.js';
import { MOVES, Relocation, type MovedActor } from './relocation.js';
import { Standstill } from './standstill.js';
import type { StreamPlan } from './stream-plan.js';
import type { Ending } from './supervisor.js';

/** What a failed incarnation gets for its close. */
const DISCARD_BUDGET_MS = 5_000;

export class PartitionKeeper {
  readonly plan: StreamPlan;
  readonly partition: number;
  /** When everything of the partition is released. Never rejects. */
  readonly done: Promise<void>;
  readonly #environment: KeeperEnvironment;
  readonly #listener: KeeperListener;
  readonly #calls: PartitionCalls;
  readonly #failures: FailureHistory;
  readonly #relocation: Relocation;
  readonly #standstill: Standstill;
  readonly #stopping = new AbortController();
  #state: KeeperState = 'waiting';
  #everOpened = false;
  #run: ActorRun | undefined;
  #place: number | undefined;
  readonly #changes = new Set<() => void>();
  #inherited: CommitInDoubt | undefined;
  #failure: unknown;
  /** From the barrier that takes the partition away until it comes back, or for good. */
  #parking: Parking | undefined;
  /** A resumption without a word to the log, which is short. */
  #resuming: Promise<void> = Promise.resolve();
  #close: CloseOptions = { commit: false, budgetMs: DISCARD_BUDGET_MS };
  /** What a failure drops is told by the failure, not when the partition is given back. */
  #stopOutcome: ClosedActor['outcome'] = 'committed';
  /** Of the last incarnation that served. */
  #outcome: ClosedActor['outcome'] = 'committed';

  /**
   * @param before what must end first: the partition's previous keeper
   * @param place where the partition was before, if it was
   */
  constructor(
    plan: StreamPlan,
    partition: number,
    calls: PartitionCalls,
    environment: KeeperEnvironment,
    listener: KeeperListener,
    before: Promise<void>,
    place: number | undefined,
  ) {
    this.plan = plan;
    this.partition = partition;
    this.#calls = calls;
    this.#environment = environment;
    this.#listener = listener;
    this.#place = place;
    this.#failures = new FailureHistory(this, environment);
    this.#standstill = new Standstill(environment.clock, this.#stopping.signal);
    this.#relocation = new Relocation(
      {
        plan,
        partition,
        run: () => this.#run,
        serves: () => this.#state === 'running',
        isTakenAway: () => this.#isTakenAway(),
        resuming: () => this.#resuming,
        checkpoint: () => this.checkpoint(),
        depart: () => {
          this.#move('moving');
        },
        changed: () => new Promise((resolve) => this.#changes.add(resolve)),
      },
      environment,
    );
    this.done = this.#keep(before);
  }

  get state(): KeeperState {
    return this.#state;
  }

  /** Why it can't go on, if it has failed. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Whether some incarnation was opened: what `start` waits for. */
  get everOpened(): boolean {
    return this.#everOpened;
  }

  get stopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  /** Where it runs, or ran last. */
  get place(): number | undefined {
    return this.#place;
  }

  get epoch(): number | undefined {
    return this.#run?.epoch;
  }

  /** Not ours, and ready to serve again. */
  get parked(): boolean {
    return (
      this.#state === 'parked' && this.#parking !== undefined && this.#run !== undefined && !this.stopped
    );
  }

  /** Not ours, and not yet parked, or not any more: its thread may just have died. */
  get leaving(): boolean {
    return this.#parking !== undefined && !this.parked;
  }

  /** Ends the present incarnation from outside; it is restarted if that helps. */
  fail(error: unknown, mended = false): void {
    this.#run?.fail(error, mended);
  }

  /** A failed partition is tried again, with nothing held against it. Does nothing otherwise. */
  reopen(): void {
    if (this.#state !== 'failed' || this.stopped) return;
    this.#failure = undefined;
    this.#failures.forgive();
    this.#move('restarting');
    this.#standstill.reopen();
  }

  /**
   * The partition is revoked: a serving actor commits within the budget and is parked, anything else is stopped. Resolves
   * to whether everything that was processed is committed.
   */
  async park(options: CloseOptions, membership: Membership): Promise<ClosedActor['outcome']> {
    await this.#resuming;
    if (this.parked) return 'committed';
    const run = this.#run;
    if (this.#state !== 'running' || run === undefined || this.stopped) return this.stop(options);
    const { clock, options: resolved } = this.#environment;
    const parking = new Parking(clock, membership);
    this.#parking = parking;
    if (!(await run.park(options))) return this.stop({ commit: false, budgetMs: 0 });
    if (this.#stopping.signal.aborted) return this.stop(options);
    this.#move('parked');
    this.#listener.onParked(this);
    parking.watch({
      parkMs: resolved.parkMs,
      directory: this.#hasFiles() ? run.spec.directory : undefined,
      onOver: (why) => {
        this.#endParking(why);
      },
    });
    if (run.wanted) this.#endParking('another actor waits for its directory');
    return 'committed';
  }

  /** The partition of a parked actor is ours again. `topicIds`: by topic, as they are now. */
  resume(membership: Membership, topicIds: () => Promise<TopicIds>): void {
    const parking = this.#parking;
    const run = this.#run;
    if (parking === undefined || run === undefined) return;
    parking.end();
    this.#parking = undefined;
    const checked = run.expectSameTopics(topicIds());
    const unchanged = isNext(parking.membership, membership);
    // Whether the topics are the same ones is learned while it serves, and before anything is committed.
    if (unchanged) run.holdCommits(checked);
    const resumed = this.#serveAgain(run, parking, async () => {
      const epoch = this.#environment.nextEpoch();
      return unchanged ? run.resume({ epoch, verify: false }) : this.#verify(run, epoch, checked);
    });
    if (unchanged) this.#resuming = resumed;
  }

  /** Resolves when everything is released: whether all that was processed is committed. Idempotent. */
  async stop(options: CloseOptions): Promise<ClosedActor['outcome']> {
    if (!this.stopped) {
      this.#close = options;
      this.#parking?.end();
      this.#stopping.abort();
      // Starts closing at once, also out of the middle of an open or a recovery.
      await this.#run?.close(options);
    }
    await this.done;
    return this.#stopOutcome;
  }

  /**
   * The next incarnation, and those after it, are at `to`; it begins at once. An actor that serves commits within the
   * budget first. Resolves when the partition serves there; if it did not serve, when nothing of it is left at the old
   * place; with `undefined` if it was taken away, or can't go on.
   */
  move(to: number, options: CloseOptions): Promise<MovedActor | undefined> {
    return this.#relocation.move(to, options);
  }

  /** A parked actor makes room at its place. */
  giveWay(why: string): void {
    if (this.parked) this.#endParking(why);
  }

  async setCacheBytes(bytes: number): Promise<void> {
    if (this.#state !== 'running' && this.#state !== 'parked') return;
    await this.#run?.api?.setCacheBytes(bytes);
  }

  /** Commits what has been processed; while nobody serves that is nothing. */
  async checkpoint(): Promise<void> {
    if (this.#state === 'running') await this.#run?.api?.checkpoint('asked');
    // One that moves is committing already.
    else if (this.#state === 'moving') await this.#run?.close(this.#close);
  }

  /** The actor's own figures; `undefined` while none serves. */
  async stats(): Promise<ActorStats | undefined> {
    return this.#state === 'running' ? this.#run?.api?.stats() : undefined;
  }

  async #keep(before: Promise<void>): Promise<void> {
    await before;
    // Taken away before it began: then there is nothing to open.
    if (!this.stopped) while (await this.#goesOn(await this.#oneRun()));
    this.#move('closed');
  }

  async #oneRun(): Promise<Ending> {
    const environment = this.#environment;
    const { destination } = this.#relocation;
    const place = environment.placeTable.enter(destination ?? this.#place, destination !== undefined);
    this.#place = place;
    try {
      const run = await this.#makeRun(place);
      // Whoever stops the keeper from here on closes this run.
      this.#run = run;
      environment.deaths.enter(place, run.spec, this);
      const ending = await this.#live(run);
      if (this.stopped) this.#move('closing');
      const discard = { commit: false, budgetMs: DISCARD_BUDGET_MS };
      const outcome = await run.close(this.stopped ? this.#close : discard);
      // One that never served has processed nothing: what its predecessor left holds.
      if (run.served) this.#outcome = outcome;
      if (run.served && this.stopped) this.#stopOutcome = outcome;
      this.#inherited = run.inDoubt;
      return this.#failures.judge(run, ending);
    } catch (error) {
      return { error, mended: false, innocent: false };
    } finally {
      if (this.#run !== undefined) environment.deaths.leave(place, this.#run.spec);
      environment.deaths.endTurn(place, this);
      this.#run = undefined;
      environment.placeTable.leave(place);
    }
  }

  async #makeRun(place: number): Promise<ActorRun> {
    const { options, session, ...shared } = this.#environment;
    return new ActorRun({
      ...shared,
      session: await session,
      spec: actorSpec({ ...this.plan, ...(await this.#relocation.takeTopics()) }, options, this.partition, {
        epoch: shared.nextEpoch(),
        cacheBytes: shared.cacheBytes(),
        suspect: this.#failures.suspect,
      }),
      place,
      calls: this.#calls,
      transactionTimeoutMs: options.transactionTimeoutMs,
      sessionTimeoutMs: options.sessionTimeoutMs,
      inherited: this.#inherited,
      onEvent: (event) => {
        this.#listener.onEvent(this, event);
      },
      onCommitted: (offsets) => {
        this.#failures.committed(offsets, place);
      },
      onWanted: () => {
        if (this.parked) this.#endParking('another actor waits for its directory');
      },
    });
  }

  /** From open to the end, for whatever reason. */
  async #live(run: ActorRun): Promise<Ending> {
    try {
      if (this.stopped) return { error: undefined, mended: false, innocent: false };
      // Sent away after it had chosen its place.
      if (this.#relocation.isAstray(run)) return { error: MOVES, mended: false, innocent: false };
      this.#move('opening');
      const opened = await run.open();
      this.#everOpened = true;
      this.#move('opened');
      const recovered = await this.#recover(run, opened);
      await run.unlessEnded(this.#failures.turn(run, this.#stopping.signal));
      run.serve(recovered);
      this.#move('running');
      this.#listener.onRecovered(this, recovered);
    } catch (error) {
      // If the run has ended already, its own reason counts, not what it did to the step under way.
      run.fail(error);
    }
    const { clock } = this.#environment;
    const since = clock.monotonic();
    const ending = await run.ended;
    this.#failures.served(clock.monotonic() - since);
    return ending;
  }

  /** In its turn, by what it has before it; one that just came from another place has nothing, and waits for nobody. */
  async #recover(run: ActorRun, opened: OpenedActor): Promise<RecoveredActor> {
    const recover = (): Promise<RecoveredActor> => {
      this.#move('recovering');
      return run.recover();
    };
    const moved = this.#outcome === 'committed' && opened.rebuild === undefined && opened.storedOffset !== -1;
    if (moved) return recover();
    return this.#environment.scheduler.run(await run.remaining(opened), this.#stopping.signal, recover);
  }

  #isTakenAway(): boolean {
    return this.stopped || this.#parking !== undefined || this.#state === 'lost' || this.#state === 'failed';
  }

  /** Never rejects: an actor that can't be resumed ends, and the partition gets another one. */
  async #serveAgain(run: ActorRun, parking: Parking, resume: () => Promise<ResumedActor>): Promise<void> {
    try {
      const resumed = await resume();
      run.serve(resumed);
      if (this.stopped || this.#state === 'moving') return;
      this.#move('running');
      this.#listener.onResumed(this, resumed, parking.durationMs);
    } catch (error) {
      run.fail(error);
    }
  }

  async #verify(run: ActorRun, epoch: number, checked: Promise<void>): Promise<ResumedActor> {
    await checked;
    // Nothing is known of what it has before it; most have nothing.
    return this.#environment.scheduler.run(0, this.#stopping.signal, () => {
      this.#move('recovering');
      return run.resume({ epoch, verify: true });
    });
  }

  /** It makes room; should the partition come back all the same, it is opened anew. */
  #endParking(why: string): void {
    const { logger } = this.#environment;
    logger.debug({ stream: this.plan.stream, partition: this.partition, why }, 'A parked actor is closed.');
    void this.stop({ commit: false, budgetMs: DISCARD_BUDGET_MS });
  }

  #hasFiles(): boolean {
    return this.plan.changelog !== undefined && this.#environment.options.engine !== 'memory';
  }

  /** Whether there is another incarnation after this ending; waits until its time. */
  async #goesOn(ending: Ending): Promise<boolean> {
    if (this.stopped) return false;
    if (this.#parking !== undefined) {
      // It ended without an owner: whoever is assigned the partition next opens it.
      this.#parking.end();
      this.#stopping.abort();
      return false;
    }
    if (ending.error === MOVES) return true;
    const decision = this.#failures.decide(ending);
    if (decision.kind === 'restart') {
      this.#move('restarting');
      this.#listener.onRestart(this, ending.error, decision.delayMs);
      await this.#standstill.sleep(decision.delayMs);
      return !this.#stopping.signal.aborted;
    }
    return decision.kind === 'lost' ? this.#untilOursAgain() : this.#untilReopened(ending.error);
  }

  /** Mostly the group says next that the partition is gone, which stops this keeper. */
  async #untilOursAgain(): Promise<boolean> {
    this.#move('lost');
    const input = { topic: this.plan.inputs[0]!.topic, partition: this.partition };
    if (!(await this.#standstill.untilOwned(await this.#environment.session, input))) return false;
    this.#calls.admit();
    this.#move('restarting');
    return true;
  }

  async #untilReopened(failure: unknown): Promise<boolean> {
    this.#failure = failure;
    const reopened = this.#standstill.untilReopened();
    this.#move('failed');
    this.#listener.onFailed(this);
    await reopened;
    return !this.stopped;
  }

  #move(state: KeeperState): void {
    this.#state = state;
    this.#listener.onChange(this);
    const waiting = [...this.#changes];
    this.#changes.clear();
    for (const wake of waiting) wake();
  }
}
