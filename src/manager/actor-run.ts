/**
 * One incarnation of an actor, as the main thread sees it: from its directory and place through open, recover, serving and
 * parking to its close. Owns its uplink, its route and its directory, and gives each back whatever happens. Whether there
 * is a next incarnation is decided by `partition-keeper.ts`.
 */
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { isPartitaError, PartitaError } from '../core/errors.js';
import type { OffsetCommit, TopicPartition } from '../core/log-types.js';
import type { Logger } from '../core/logger.js';
import type { GroupSession, LogClient, OutputProducer } from '../log/log-client.js';
import type { ActorPlaces, PlacedActor } from '../threads/actor-places.js';
import type {
  ActorApi,
  ActorEvent,
  ActorSpec,
  ClosedActor,
  CloseOptions,
  OpenedActor,
  RecoveredActor,
  ResumedActor,
  ResumeOptions,
} from '../threads/protocol.js';
import { PartitionUplink, type CommitInDoubt } from './actor-uplink.js';
import { acquireDirectory, type HeldDirectory } from './directory-registry.js';
import type { PartitionCalls } from './partition-calls.js';
import type { PartitionRouter, Route } from './partition-router.js';
import { expectSameTopics, type TopicIds } from './present-topics.js';
import type { Ending } from './supervisor.js';

export interface RunOptions {
  readonly spec: ActorSpec;
  readonly place: number;
  readonly places: ActorPlaces;
  readonly session: GroupSession;
  readonly log: LogClient;
  readonly outputs: () => OutputProducer;
  readonly router: PartitionRouter;
  readonly calls: PartitionCalls;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly transactionTimeoutMs: number;
  readonly sessionTimeoutMs: number;
  /** Aborted when a stop has no time left: what the log has not answered is waited for no longer. */
  readonly givesUp: AbortSignal;
  readonly inherited: CommitInDoubt | undefined;
  readonly onEvent: (event: ActorEvent) => void;
  readonly onCommitted: (offsets: readonly OffsetCommit[]) => void;
  /** Another actor of this process waits for the directory. */
  readonly onWanted: () => void;
}

/** A close that the actor has not confirmed so long after its budget ends its thread. */
const CLOSE_GRACE_MS = 1_000;

export class ActorRun {
  readonly spec: ActorSpec;
  readonly place: number;
  /** Resolves once, with the first reason for its end. */
  readonly ended: Promise<Ending>;
  readonly #options: RunOptions;
  readonly #uplink: PartitionUplink;
  readonly #inputs: readonly TopicPartition[];
  readonly #abort = new AbortController();
  #end: (ending: Ending) => void = () => undefined;
  /** The directory and the place; settles before anything of the incarnation is given back. */
  #preparing: Promise<PlacedActor> | undefined;
  #placed: PlacedActor | undefined;
  #death: Error | undefined;
  #route: Route | undefined;
  #directory: HeldDirectory | undefined;
  #epoch: number;
  #served = false;
  #closing: Promise<ClosedActor['outcome']> | undefined;

  constructor(options: RunOptions) {
    this.#options = options;
    this.spec = options.spec;
    this.place = options.place;
    this.#epoch = options.spec.epoch;
    this.ended = new Promise((resolve) => (this.#end = resolve));
    this.#inputs = this.spec.inputs.map(({ topic }) => ({ topic, partition: this.spec.id.partition }));
    this.#uplink = new PartitionUplink(options.spec, {
      log: options.log,
      session: options.session,
      outputs: options.outputs,
      clock: options.clock,
      transactionTimeoutMs: options.transactionTimeoutMs,
      sessionTimeoutMs: options.sessionTimeoutMs,
      inherited: options.inherited,
      listener: {
        onCommitted: ({ commands, offsets }) => {
          options.calls.committed(commands);
          options.onCommitted(offsets);
        },
        onDecided: (outcome) => {
          options.calls.decided(outcome);
        },
        onNotOwned: (error) => {
          this.fail(error);
        },
        onEvent: (event) => {
          options.onEvent(event);
          if (event.type === 'failed') this.fail(event.error);
        },
      },
    });
  }

  /** Rises with every assignment. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Whether another actor of this process waits for the directory. */
  get wanted(): boolean {
    return this.#directory?.wanted === true;
  }

  /** The actor, once it stands. */
  get api(): ActorApi | undefined {
    return this.#placed?.api;
  }

  /** What killed its thread, if that has died under it: the same error for all actors of the thread. */
  get death(): Error | undefined {
    return this.#death;
  }

  /** A commit of this incarnation that nobody has settled. */
  get inDoubt(): CommitInDoubt | undefined {
    return this.#uplink.inDoubt;
  }

  /** Whether records have gone to it: otherwise there is nothing that could be dropped. */
  get served(): boolean {
    return this.#served;
  }

  /** Aborted when it closes. */
  get closing(): AbortSignal {
    return this.#abort.signal;
  }

  /** Ends it; the first reason counts. */
  fail(error: unknown, mended = false): void {
    this.#end({ error, mended, innocent: false });
  }

  /** The step's result; or, as soon as the incarnation ends, a rejection with the reason. */
  async unlessEnded<T>(step: Promise<T>): Promise<T> {
    const winner = await Promise.race([
      step.then((value) => ({ value })),
      this.ended.then((ending) => ({ ending })),
    ]);
    if ('value' in winner) return winner.value;
    // The step may still reject, for the same reason; that says nothing new.
    step.catch(() => undefined);
    throw winner.ending.error;
  }

  /** Takes the directory and a place, and opens the actor there. Rejects if the incarnation ends meanwhile. */
  open(): Promise<OpenedActor> {
    this.#options.session.pause(this.#inputs);
    this.#preparing = this.#prepare();
    return this.unlessEnded(this.#preparing.then((placed) => placed.api.open()));
  }

  /** How many changelog records recovery has before it; an estimate, taken before the id is fenced. */
  async remaining(opened: OpenedActor): Promise<number> {
    const { changelog, id } = this.spec;
    if (changelog === undefined || opened.storedOffset === undefined) return 0;
    // A log that doesn't answer must not hold up the end of the incarnation, for which a rebalance may wait.
    const [bounds] = await this.unlessEnded(
      this.#options.log.topics.bounds([{ topic: changelog.topic, partition: id.partition }]),
    );
    return Math.max(0, (bounds?.end ?? 0) - (opened.storedOffset + 1));
  }

  recover(): Promise<RecoveredActor> {
    const api = this.#placed?.api;
    if (api === undefined) throw new PartitaError('ILLEGAL_STATE', 'An actor recovers after it was opened.');
    return this.unlessEnded(api.recover());
  }

  /** Chunks and calls go to the actor from here on. */
  serve(recovered: RecoveredActor): void {
    // Closed in the very moment in which recovery ended: nobody would take the route away again.
    if (this.#closing !== undefined) return;
    const { session, router, calls } = this.#options;
    const api = this.#placed!.api;
    const { partition } = this.spec.id;
    const positions = new Map(recovered.positions.map(({ topic, offset }) => [topic, offset]));
    const inputs = this.#inputs.map((input) => {
      const offset = positions.get(input.topic);
      if (offset === undefined)
        throw new PartitaError('ILLEGAL_STATE', `Recovery gave no position for ${input.topic}-${partition}.`);
      const epoch = session.nextEpoch(input);
      session.seek(input, offset);
      return { topic: input.topic, epoch };
    });
    this.#route = {
      api,
      partition,
      epoch: this.#epoch,
      inputs,
      onError: (error) => {
        // Of its own failure and of its thread's death the actor's end is told elsewhere, with the real reason.
        if (!isPartitaError(error, 'ACTOR_RESTARTED') && !isPartitaError(error, 'THREAD_DIED'))
          this.fail(error);
      },
    };
    this.#served = true;
    router.attach(this.#route);
    calls.attach(api, this.spec.progress);
    session.resume(this.#inputs);
  }

  /**
   * Takes the actor out of service with everything committed and flushed; it keeps its database, cache and producer.
   * `false` if that was not possible within the budget: then it must be closed. Never rejects.
   */
  async park(options: CloseOptions): Promise<boolean> {
    const placed = this.#placed!;
    this.#withdraw();
    this.#options.session.pause(this.#inputs);
    const answer = await this.#confirmed(placed, placed.api.park(options), options.budgetMs, 'parking');
    if (answer?.outcome !== 'parked' || this.#closing !== undefined) return false;
    // Its commits are answered: what has not started waits for whoever serves next.
    this.#options.calls.settle(new Set());
    return true;
  }

  /** Serves, but commits nothing until the check has come out well. */
  holdCommits(check: Promise<void>): void {
    this.#uplink.holdCommits(check);
  }

  /** Whether the topics are those that a parked actor knew; otherwise it ends, and the next one starts anew. */
  async expectSameTopics(topicIds: Promise<TopicIds>): Promise<void> {
    try {
      expectSameTopics(this.spec, await topicIds);
    } catch (error) {
      this.fail(error, true);
      throw error;
    }
  }

  /** The parked actor again, to be served as after `recover`. */
  resume(options: ResumeOptions): Promise<ResumedActor> {
    this.#epoch = options.epoch;
    return this.unlessEnded(this.#placed!.api.resume(options));
  }

  /**
   * Ends the incarnation: the actor closes (committing first if asked and if the budget allows), what it has under way at
   * the log is answered, its calls are settled, its directory is free. Never rejects; idempotent, the first call counts.
   */
  close(options: CloseOptions): Promise<ClosedActor['outcome']> {
    this.#closing ??= this.#close(options);
    return this.#closing;
  }

  async #prepare(): Promise<PlacedActor> {
    const { spec, place, places, clock } = this.#options;
    if (spec.changelog !== undefined)
      this.#directory = await acquireDirectory(spec.directory, {
        holder: `${spec.group}/${spec.id.stream}/${spec.id.partition}`,
        budgetMs: spec.options.openBudgetMs,
        clock,
        signal: this.#abort.signal,
        onWanted: this.#options.onWanted,
      });
    this.#abort.signal.throwIfAborted();
    const placed = await places.create(place, spec, this.#uplink);
    this.#placed = placed;
    void placed.died.then((error) => {
      this.#death = error;
      this.fail(error);
    });
    this.#abort.signal.throwIfAborted();
    return placed;
  }

  async #close(options: CloseOptions): Promise<ClosedActor['outcome']> {
    const { calls, logger, session } = this.#options;
    this.#withdraw();
    session.pause(this.#inputs);
    this.#abort.abort(new PartitaError('STOPPED', 'The actor is being closed.'));
    this.fail(this.#abort.signal.reason);
    const outcome = await this.#closeActor(options);
    // The database is closed: whoever waits for it need not wait for what the log has to say too.
    this.#directory?.release();
    try {
      await this.#uplink.retire(this.#options.givesUp);
    } catch (error) {
      logger.warn(
        { err: error, ...this.spec.id },
        'What an actor had under way at the log was not answered.',
      );
    }
    calls.settle(new Set(this.#uplink.inDoubt?.commands.map(({ seq }) => seq)));
    return outcome;
  }

  async #closeActor(options: CloseOptions): Promise<ClosedActor['outcome']> {
    const placed = await this.#whenPlaced();
    if (placed === undefined) return 'dropped';
    const closed = await this.#confirmed(placed, placed.api.close(options), options.budgetMs, 'close');
    return closed?.outcome ?? 'dropped';
  }

  /** Nothing new reaches the actor. */
  #withdraw(): void {
    const { router, calls } = this.#options;
    if (this.#route !== undefined) router.detach(this.#route);
    this.#route = undefined;
    calls.pause();
  }

  /** The actor's answer; one that does not come ends its thread, since only that frees what the actor holds. */
  async #confirmed<T>(
    placed: PlacedActor,
    answer: Promise<T>,
    budgetMs: number,
    what: string,
  ): Promise<T | undefined> {
    const { clock, logger, places } = this.#options;
    try {
      return await Deadline.after(clock, budgetMs + CLOSE_GRACE_MS).race(
        answer,
        `The ${what} of ${this.spec.id.stream}-${this.spec.id.partition}`,
      );
    } catch (error) {
      if (!isPartitaError(error, 'THREAD_DIED')) {
        logger.error(
          { err: error, ...this.spec.id, place: this.place },
          `An actor did not confirm its ${what}; its thread is ended.`,
        );
        await places.end(this.place, `an actor did not confirm its ${what}`);
      }
      await placed.died;
      return undefined;
    }
  }

  /** The actor, if one was made; waits for one that is being made, which a thread's start bounds. */
  async #whenPlaced(): Promise<PlacedActor | undefined> {
    try {
      await this.#preparing;
    } catch {
      // Its caller was told; here only the actor itself is of interest.
      return this.#placed;
    }
    return this.#placed;
  }
}
