/**
 * Keeps one partition's actor alive from its assignment to its revocation: an incarnation, and after a failure another,
 * with back-off, until the partition is taken away or can't go on. Taken away with everything committed, the actor is
 * parked for a while, in case the partition comes back. Owns the order of things for one partition; what one
 * incarnation does is `actor-run.ts`, what a failure means is `supervisor.ts`.
 */
import { Backoff } from '../core/backoff.js';
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { isPartitaError, PartitaError, type ErrorCode } from '../core/errors.js';
import type { TopicLimits } from '../core/log-types.js';
import type { Logger } from '../core/logger.js';
import type { GroupSession, LogClient, OutputProducer } from '../log/log-client.js';
import type { ActorPlaces } from '../threads/actor-places.js';
import type {
  ActorEvent,
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
import type { ResolvedOptions } from './options.js';
import { isNext, Parking, type Membership } from './parking.js';
import type { PartitionCalls } from './partition-calls.js';
import type { PartitionRouter } from './partition-router.js';
import type { PlaceTable } from './placement.js';
import type { RecoveryScheduler } from './recovery-scheduler.js';
import type { StreamPlan } from './stream-plan.js';
import { decideRestart, type Ending } from './supervisor.js';
import { callUnderWay, stuckIn, Suspicion } from './suspects.js';
import type { ThreadDeaths } from './thread-deaths.js';

export type KeeperState =
  | 'waiting'
  | 'opening'
  | 'opened'
  | 'recovering'
  | 'running'
  | 'moving'
  | 'parked'
  | 'restarting'
  | 'lost'
  | 'failed'
  | 'closing'
  | 'closed';

/** What all keepers of a manager share. */
export interface KeeperEnvironment {
  readonly options: ResolvedOptions;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly log: LogClient;
  readonly session: Promise<GroupSession>;
  readonly outputs: () => OutputProducer;
  readonly places: ActorPlaces;
  readonly placeTable: PlaceTable;
  readonly router: PartitionRouter;
  readonly scheduler: RecoveryScheduler;
  readonly deaths: ThreadDeaths;
  /** Aborted when a stop has no time left: what the log has not answered is waited for no longer. */
  readonly givesUp: AbortSignal;
  /** A number that has not been given before. */
  nextEpoch(): number;
  cacheBytes(): number;
}

/** Ids of topics by name; a topic that is not there has none. */
export type TopicIds = ReadonlyMap<string, string | undefined>;

export interface KeeperListener {
  /** A state has changed. */
  onChange(keeper: PartitionKeeper): void;
  onEvent(keeper: PartitionKeeper, event: ActorEvent): void;
  onRecovered(keeper: PartitionKeeper, recovered: RecoveredActor): void;
  onParked(keeper: PartitionKeeper): void;
  /** It serves again, `parkedMs` after the beginning of the barrier that took it away. */
  onResumed(keeper: PartitionKeeper, resumed: ResumedActor, parkedMs: number): void;
  onRestart(keeper: PartitionKeeper, error: unknown, delayMs: number): void;
  /** It can't go on: no restart would help, or there were too many. */
  onFailed(keeper: PartitionKeeper): void;
}

/**
 * How an actor left its place. `committed`: its last checkpoint holds all that it had processed; `dropped`: there was no
 * such checkpoint in time, what it had not committed is processed again; `next`: it did not serve, only its next
 * incarnation will.
 */
export type HowMoved = 'committed' | 'dropped' | 'next';

export interface MovedActor {
  readonly how: HowMoved;
  /** From its last record at the old place until it served at the new one; 0 for one that did not serve. */
  readonly pauseMs: number;
}

/** Why an incarnation ends that moves: never seen by anybody's call. */
const MOVES = new PartitaError('ACTOR_RESTARTED', 'The actor moves to another thread.');

/** What a failed incarnation gets for its close. */
const DISCARD_BUDGET_MS = 5_000;
/** How long the others of a thread process undisturbed before one goes on that may kill it. */
const NEIGHBOURS_FIRST_MS = 1_000;
/** How often a group is asked whether a partition that was given up is ours all the same. */
const LOST_ASK_MS = 1_000;
/** An incarnation that served for so long ends a row of failures, also if there was nothing to commit. */
const SERVED_LONG_MS = 60_000;
/** A move does not wait longer for what only makes it shorter. */
const PREPARE_BUDGET_MS = 2_000;

/** The plan's topics, as they are at present. */
type PresentTopics = Pick<StreamPlan, 'inputs' | 'changelog' | 'outputs' | 'deadLetters'>;

export class PartitionKeeper {
  readonly plan: StreamPlan;
  readonly partition: number;
  /** When everything of the partition is released. Never rejects. */
  readonly done: Promise<void>;
  readonly #environment: KeeperEnvironment;
  readonly #listener: KeeperListener;
  readonly #calls: PartitionCalls;
  readonly #backoff: Backoff;
  readonly #stopping = new AbortController();
  #state: KeeperState = 'waiting';
  #everOpened = false;
  #run: ActorRun | undefined;
  #place: number | undefined;
  /** Where a move has sent it; kept by all later incarnations as long as there is such a place. */
  #destination: number | undefined;
  /** What the next incarnation need not ask: an actor that moves asked it while it still served. */
  #described: PresentTopics | undefined;
  readonly #changes = new Set<() => void>();
  #inherited: CommitInDoubt | undefined;
  #suspicion = new Suspicion();
  /** Of the last ending, since the last commit. */
  #endedBy: ErrorCode | undefined;
  #failure: unknown;
  /** Ends the wait of a failed partition. */
  #reopen: () => void = () => undefined;
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
    const { restarts } = environment.options;
    this.#backoff = new Backoff({
      firstMs: restarts.firstMs,
      maxMs: restarts.maxMs,
      attemptsMax: restarts.max,
      random: environment.random,
    });
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
    this.#suspicion = new Suspicion();
    this.#endedBy = undefined;
    this.#backoff.reset();
    this.#move('restarting');
    this.#reopen();
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
    const checked = this.#expectSameTopics(run, topicIds());
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
  async move(to: number, options: CloseOptions): Promise<MovedActor | undefined> {
    await this.#resuming;
    if (this.#isTakenAway()) return undefined;
    this.#destination = to;
    if (this.#state === 'running') await this.#prepareToMove(options.budgetMs);
    if (this.#isTakenAway()) return undefined;
    const run = this.#run;
    // Between two incarnations: the next one goes there.
    if (run === undefined || run.place === to) return { how: 'next', pauseMs: 0 };
    const { clock } = this.#environment;
    const served = this.#state === 'running';
    const since = clock.monotonic();
    this.#move('moving');
    run.fail(MOVES);
    const outcome = await run.close(options);
    if (!served) return this.#isTakenAway() ? undefined : { how: 'next', pauseMs: 0 };
    return (await this.#serves()) ? { how: outcome, pauseMs: clock.monotonic() - since } : undefined;
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
    const sent = this.#destination !== undefined;
    const place = environment.placeTable.enter(this.#destination ?? this.#place, sent);
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
      return this.#judge(run, ending);
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
      spec: actorSpec({ ...this.plan, ...(await this.#takeTopics()) }, options, this.partition, {
        epoch: shared.nextEpoch(),
        cacheBytes: shared.cacheBytes(),
        suspect: this.#suspicion.suspect,
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
        this.#backoff.reset();
        this.#endedBy = undefined;
        if (this.#suspicion.committed(offsets)) shared.deaths.endTurn(place, this);
      },
      onWanted: () => {
        if (this.parked) this.#endParking('another actor waits for its directory');
      },
    });
  }

  async #takeTopics(): Promise<PresentTopics> {
    const described = this.#described;
    this.#described = undefined;
    return described ?? this.#presentTopics();
  }

  /**
   * A topic may have been deleted and created anew since the plan was made: positions in the old one mean nothing. And what may
   * be written to it may have changed.
   */
  async #presentTopics(): Promise<PresentTopics> {
    const { inputs, changelog, outputs, deadLetters } = this.plan;
    const written = [...outputs, ...deadLetters, ...(changelog === undefined ? [] : [changelog])];
    const topics = [...new Set([...inputs, ...written].map(({ topic }) => topic))];
    const described = await this.#environment.log.topics.describe(topics);
    const now = new Map(described.map((description, i) => [topics[i]!, description]));
    const id = <T extends { readonly topic: string; readonly topicId: string }>(of: T): T => ({
      ...of,
      topicId: now.get(of.topic)?.topicId ?? of.topicId,
    });
    const limits = <T extends { readonly topic: string; readonly limits: TopicLimits }>(of: T): T => ({
      ...of,
      limits: now.get(of.topic)?.limits ?? of.limits,
    });
    return {
      inputs: inputs.map(id),
      changelog: changelog === undefined ? undefined : limits(id(changelog)),
      outputs: outputs.map(limits),
      deadLetters: deadLetters.map(limits),
    };
  }

  /** From open to the end, for whatever reason. */
  async #live(run: ActorRun): Promise<Ending> {
    try {
      if (this.stopped) return { error: undefined, mended: false, innocent: false };
      // Sent away after it had chosen its place.
      if (this.#isAstray(run)) return { error: MOVES, mended: false, innocent: false };
      this.#move('opening');
      const opened = await run.open();
      this.#everOpened = true;
      this.#move('opened');
      const recovered = await this.#recover(run, opened);
      await run.unlessEnded(this.#turn(run));
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
    if (clock.monotonic() - since >= SERVED_LONG_MS) this.#backoff.reset();
    return ending;
  }

  /**
   * With a record before it that may kill its thread: the others there get somewhere first; and of several suspects one goes
   * on after the other, so that the next death tells which it was.
   */
  async #turn(run: ActorRun): Promise<void> {
    const { suspect } = this.#suspicion;
    if (suspect === undefined || suspect.isPoison) return;
    const { deaths, options } = this.#environment;
    const signal = AbortSignal.any([this.#stopping.signal, run.closing]);
    await deaths.turn(run.place, this, signal);
    const whileMs = Math.min(NEIGHBOURS_FIRST_MS, options.checkpoint.intervalMs);
    await deaths.neighboursFirst(run.place, run.spec, whileMs, signal);
  }

  /** What is to be held against the partition, now that the incarnation is gone. */
  #judge(run: ActorRun, ending: Ending): Ending {
    const stuck = stuckIn(ending.error);
    if (stuck !== undefined) this.#suspicion.died(stuck, ending.error);
    const { death } = run;
    if (death === undefined || !isPartitaError(ending.error, 'THREAD_DIED')) return ending;
    if (!this.#environment.deaths.isAccused(run.place, run.spec, death))
      return { error: death, mended: true, innocent: true };
    this.#suspicion.died(callUnderWay(run.spec), death);
    return { ...ending, error: death };
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

  #isAstray({ place }: ActorRun): boolean {
    const to = this.#destination;
    return to !== undefined && to !== place && to < this.#environment.placeTable.size;
  }

  #isTakenAway(): boolean {
    return this.stopped || this.#parking !== undefined || this.#state === 'lost' || this.#state === 'failed';
  }

  /** While it still serves: what can be asked beforehand, and a checkpoint, so that the last one is short. */
  async #prepareToMove(budgetMs: number): Promise<void> {
    const { clock, logger } = this.#environment;
    const deadline = Deadline.after(clock, Math.min(budgetMs, PREPARE_BUDGET_MS));
    try {
      const prepared = Promise.all([this.#presentTopics(), this.checkpoint()]);
      [this.#described] = await deadline.race(prepared, 'The preparation of a move');
    } catch (error) {
      // The move itself does the same, and tells what becomes of it.
      logger.debug({ err: error, partition: this.partition }, 'A move could not be prepared.');
    }
  }

  /** Whether it comes to serve, in whatever incarnation. */
  async #serves(): Promise<boolean> {
    for (;;) {
      if (this.#isTakenAway()) return false;
      if (this.#state === 'running') return true;
      await new Promise<void>((resolve) => this.#changes.add(resolve));
    }
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

  /** What an actor knows of a topic that was deleted and created again is worth nothing: it starts anew. */
  async #expectSameTopics(run: ActorRun, topicIds: Promise<TopicIds>): Promise<void> {
    const { id, inputs, changelog } = run.spec;
    try {
      const now = await topicIds;
      const known = changelog === undefined ? inputs : [...inputs, changelog];
      const other = known.find(({ topic, topicId }) => now.get(topic) !== topicId);
      if (other === undefined) return;
      throw new PartitaError(
        'ACTOR_RESTARTED',
        `The topic ${other.topic} is another one than before ${id.stream}-${this.partition} was parked.`,
        { details: { ...id, topic: other.topic } },
      );
    } catch (error) {
      run.fail(error, true);
      throw error;
    }
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
    const code = isPartitaError(ending.error) ? ending.error.code : undefined;
    const repeated = code !== undefined && code === this.#endedBy;
    const decision = decideRestart(ending, repeated, this.#backoff, this.#environment.options);
    this.#endedBy = code;
    if (decision.kind === 'restart') {
      this.#move('restarting');
      this.#listener.onRestart(this, ending.error, decision.delayMs);
      await this.#sleep(decision.delayMs);
      return !this.#stopping.signal.aborted;
    }
    if (decision.kind === 'fail') this.#failure = ending.error;
    this.#move(decision.kind === 'lost' ? 'lost' : 'failed');
    if (decision.kind === 'lost') return this.#untilOursAgain();
    this.#listener.onFailed(this);
    await this.#untilStoppedOrReopened();
    return !this.stopped;
  }

  /**
   * Mostly the group says next that the partition is gone, which stops this keeper. But a group that was only silent for a
   * session may still count it as ours, and would assign it to nobody: so it is asked for as long as that takes.
   */
  async #untilOursAgain(): Promise<boolean> {
    const { session } = this.#environment;
    const input = { topic: this.plan.inputs[0]!.topic, partition: this.partition };
    const over = this.#untilStoppedOrReopened();
    for (;;) {
      await this.#sleep(LOST_ASK_MS);
      // An answer that doesn't come holds up no stop.
      const answer = await Promise.race([session.then((group) => group.owns(input)), over]);
      if (this.stopped) return false;
      if (answer !== 'yes') continue;
      this.#calls.admit();
      this.#move('restarting');
      return true;
    }
  }

  async #sleep(ms: number): Promise<void> {
    try {
      await this.#environment.clock.sleep(ms, this.#stopping.signal);
    } catch (error) {
      // Stopped: the loop looks next.
      if (!this.stopped) throw error;
    }
  }

  #untilStoppedOrReopened(): Promise<void> {
    return new Promise((resolve) => {
      this.#reopen = resolve;
      if (this.stopped || this.#state === 'restarting') resolve();
      else
        this.#stopping.signal.addEventListener(
          'abort',
          () => {
            resolve();
          },
          { once: true },
        );
    });
  }

  #move(state: KeeperState): void {
    this.#state = state;
    this.#listener.onChange(this);
    const waiting = [...this.#changes];
    this.#changes.clear();
    for (const wake of waiting) wake();
  }
}
