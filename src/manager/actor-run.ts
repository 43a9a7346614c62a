/**
 * One incarnation of an actor, as the main thread sees it: from its directory and place through open, recover and serving
 * to its close. Owns its uplink, its route and its directory, and gives each back whatever happens. Whether there is a
 * next incarnation is decided by `partition-keeper.ts`.
 */
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { isPartitaError, PartitaError } from '../core/errors.js';
import type { TopicPartition } from '../core/log-types.js';
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
} from '../threads/protocol.js';
import { PartitionUplink, type CommitInDoubt } from './actor-uplink.js';
import { acquireDirectory, type ReleaseDirectory } from './directory-registry.js';
import type { PartitionCalls } from './partition-calls.js';
import type { PartitionRouter, Route } from './partition-router.js';

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
  readonly inherited: CommitInDoubt | undefined;
  readonly onEvent: (event: ActorEvent) => void;
  readonly onCommitted: () => void;
}

/** Why an incarnation ended. `restartable`: what the actor itself said of it, if it did. */
export interface RunEnding {
  readonly error: unknown;
  readonly restartable: boolean | undefined;
}

/** A close that the actor has not confirmed so long after its budget ends its thread. */
const CLOSE_GRACE_MS = 1_000;

export class ActorRun {
  readonly spec: ActorSpec;
  readonly place: number;
  /** Resolves once, with the first reason for its end. */
  readonly ended: Promise<RunEnding>;
  readonly #options: RunOptions;
  readonly #uplink: PartitionUplink;
  readonly #inputs: readonly TopicPartition[];
  readonly #abort = new AbortController();
  #end: (ending: RunEnding) => void = () => undefined;
  /** The directory and the place; settles before anything of the incarnation is given back. */
  #preparing: Promise<PlacedActor> | undefined;
  #placed: PlacedActor | undefined;
  #route: Route | undefined;
  #release: ReleaseDirectory | undefined;
  #closing: Promise<ClosedActor['outcome']> | undefined;

  constructor(options: RunOptions) {
    this.#options = options;
    this.spec = options.spec;
    this.place = options.place;
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
        onCommitted: (commands) => {
          options.calls.committed(commands);
          options.onCommitted();
        },
        onDecided: (outcome) => {
          options.calls.decided(outcome);
        },
        onNotOwned: (error) => {
          this.fail(error);
        },
        onEvent: (event) => {
          options.onEvent(event);
          if (event.type === 'failed') this.fail(event.error, event.restart);
        },
      },
    });
  }

  /** The actor, once it stands. */
  get api(): ActorApi | undefined {
    return this.#placed?.api;
  }

  /** A commit of this incarnation that nobody has settled. */
  get inDoubt(): CommitInDoubt | undefined {
    return this.#uplink.inDoubt;
  }

  /** Ends it; the first reason counts. */
  fail(error: unknown, restartable?: boolean): void {
    this.#end({ error, restartable });
  }

  /** Takes the directory and a place, and opens the actor there. Rejects if the incarnation ends meanwhile. */
  open(): Promise<OpenedActor> {
    this.#options.session.pause(this.#inputs);
    this.#preparing = this.#prepare();
    return this.#unlessEnded(this.#preparing.then((placed) => placed.api.open()));
  }

  /** How many changelog records recovery has before it; an estimate, taken before the id is fenced. */
  async remaining(opened: OpenedActor): Promise<number> {
    const { changelog, id } = this.spec;
    if (changelog === undefined || opened.storedOffset === undefined) return 0;
    const [bounds] = await this.#options.log.topics.bounds([
      { topic: changelog.topic, partition: id.partition },
    ]);
    return Math.max(0, (bounds?.end ?? 0) - (opened.storedOffset + 1));
  }

  recover(): Promise<RecoveredActor> {
    const api = this.#placed?.api;
    if (api === undefined) throw new PartitaError('ILLEGAL_STATE', 'An actor recovers after it was opened.');
    return this.#unlessEnded(api.recover());
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
      epoch: this.spec.epoch,
      inputs,
      onError: (error) => {
        // Of its own failure and of its thread's death the actor's end is told elsewhere, with the real reason.
        if (!isPartitaError(error, 'ACTOR_RESTARTED') && !isPartitaError(error, 'THREAD_DIED'))
          this.fail(error);
      },
    };
    router.attach(this.#route);
    calls.attach(api, this.spec.progress);
    session.resume(this.#inputs);
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
      this.#release = await acquireDirectory(spec.directory, {
        holder: `${spec.group}/${spec.id.stream}/${spec.id.partition}`,
        budgetMs: spec.options.openBudgetMs,
        clock,
        signal: this.#abort.signal,
      });
    this.#abort.signal.throwIfAborted();
    const placed = await places.create(place, spec, this.#uplink);
    this.#placed = placed;
    void placed.died.then((error) => {
      this.fail(error);
    });
    this.#abort.signal.throwIfAborted();
    return placed;
  }

  async #close(options: CloseOptions): Promise<ClosedActor['outcome']> {
    const { router, calls, logger } = this.#options;
    if (this.#route !== undefined) router.detach(this.#route);
    calls.pause();
    this.#abort.abort(new PartitaError('STOPPED', 'The actor is being closed.'));
    this.fail(this.#abort.signal.reason);
    const outcome = await this.#closeActor(options);
    try {
      await this.#uplink.retire();
    } catch (error) {
      logger.warn(
        { err: error, ...this.spec.id },
        'What an actor had under way at the log was not answered.',
      );
    }
    calls.settle(new Set(this.#uplink.inDoubt?.commands.map(({ seq }) => seq)));
    this.#release?.();
    return outcome;
  }

  async #closeActor(options: CloseOptions): Promise<ClosedActor['outcome']> {
    const placed = await this.#whenPlaced();
    if (placed === undefined) return 'dropped';
    const { clock, logger, places } = this.#options;
    try {
      const closed = await Deadline.after(clock, options.budgetMs + CLOSE_GRACE_MS).race(
        placed.api.close(options),
        `The close of ${this.spec.id.stream}-${this.spec.id.partition}`,
      );
      return closed.outcome;
    } catch (error) {
      if (!isPartitaError(error, 'THREAD_DIED')) {
        logger.error(
          { err: error, ...this.spec.id, place: this.place },
          'An actor did not confirm its close; its thread is ended.',
        );
        await places.end(this.place, 'an actor did not confirm its close');
      }
      await placed.died;
      return 'dropped';
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

  /** The step's result; or, as soon as the incarnation ends, a rejection with the reason. */
  async #unlessEnded<T>(step: Promise<T>): Promise<T> {
    const winner = await Promise.race([
      step.then((value) => ({ value })),
      this.ended.then((ending) => ({ ending })),
    ]);
    if ('value' in winner) return winner.value;
    // The step may still reject, for the same reason; that says nothing new.
    step.catch(() => undefined);
    throw winner.ending.error;
  }
}
