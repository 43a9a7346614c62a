/**
 * Where one partition's actor is sent, and how it gets there: it commits while it still serves, ends, and its next incarnation, and
 * those after it, open at the new place. Owns the destination. Which actor moves, and where to, is decided by `movement.ts`; the
 * incarnations are `partition-keeper.ts`.
 */
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { PartitaError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import type { LogClient } from '../log/log-client.js';
import type { CloseOptions } from '../threads/protocol.js';
import type { ActorRun } from './actor-run.js';
import type { PlaceTable } from './placement.js';
import { presentTopics, type PresentTopics } from './present-topics.js';
import type { StreamPlan } from './stream-plan.js';

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
export const MOVES = new PartitaError('ACTOR_RESTARTED', 'The actor moves to another thread.');

/** A move does not wait longer for what only makes it shorter. */
const PREPARE_BUDGET_MS = 2_000;

/** The partition, as a move sees it. */
export interface Movable {
  readonly plan: StreamPlan;
  readonly partition: number;
  /** The present incarnation. */
  readonly run: () => ActorRun | undefined;
  readonly serves: () => boolean;
  /** It is given back, or can't go on: a move comes to nothing. */
  readonly isTakenAway: () => boolean;
  /** Settles when a resumption under way has ended. */
  readonly resuming: () => Promise<void>;
  readonly checkpoint: () => Promise<void>;
  /** Its state changes to moving. */
  readonly depart: () => void;
  /** Resolves at the next change of its state. */
  readonly changed: () => Promise<void>;
}

export interface RelocationEnvironment {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly log: LogClient;
  readonly placeTable: PlaceTable;
}

export class Relocation {
  readonly #actor: Movable;
  readonly #environment: RelocationEnvironment;
  /** Kept by all later incarnations as long as there is such a place. */
  #destination: number | undefined;
  /** What the next incarnation need not ask: an actor that moves asked it while it still served. */
  #described: PresentTopics | undefined;

  constructor(actor: Movable, environment: RelocationEnvironment) {
    this.#actor = actor;
    this.#environment = environment;
  }

  /** Where a move has sent the actor, if one has. */
  get destination(): number | undefined {
    return this.#destination;
  }

  /** Whether the incarnation was sent away after it had chosen its place. */
  isAstray({ place }: ActorRun): boolean {
    const to = this.#destination;
    return to !== undefined && to !== place && to < this.#environment.placeTable.size;
  }

  /** The topics for the next incarnation. */
  async takeTopics(): Promise<PresentTopics> {
    const described = this.#described;
    this.#described = undefined;
    return described ?? this.#presentTopics();
  }

  /**
   * The next incarnation, and those after it, are at `to`; it begins at once. An actor that serves commits within the
   * budget first. Resolves when the partition serves there; if it did not serve, when nothing of it is left at the old
   * place; with `undefined` if it was taken away, or can't go on.
   */
  async move(to: number, options: CloseOptions): Promise<MovedActor | undefined> {
    const actor = this.#actor;
    await actor.resuming();
    if (actor.isTakenAway()) return undefined;
    this.#destination = to;
    if (actor.serves()) await this.#prepare(options.budgetMs);
    if (actor.isTakenAway()) return undefined;
    const run = actor.run();
    // Between two incarnations: the next one goes there.
    if (run === undefined || run.place === to) return { how: 'next', pauseMs: 0 };
    const { clock } = this.#environment;
    const served = actor.serves();
    const since = clock.monotonic();
    actor.depart();
    run.fail(MOVES);
    const outcome = await run.close(options);
    if (!served) return actor.isTakenAway() ? undefined : { how: 'next', pauseMs: 0 };
    return (await this.#servesAgain()) ? { how: outcome, pauseMs: clock.monotonic() - since } : undefined;
  }

  /** While it still serves: what can be asked beforehand, and a checkpoint, so that the last one is short. */
  async #prepare(budgetMs: number): Promise<void> {
    const { clock, logger } = this.#environment;
    const deadline = Deadline.after(clock, Math.min(budgetMs, PREPARE_BUDGET_MS));
    try {
      const prepared = Promise.all([this.#presentTopics(), this.#actor.checkpoint()]);
      [this.#described] = await deadline.race(prepared, 'The preparation of a move');
    } catch (error) {
      // The move itself does the same, and tells what becomes of it.
      logger.debug({ err: error, partition: this.#actor.partition }, 'A move could not be prepared.');
    }
  }

  /** Whether it comes to serve, in whatever incarnation. */
  async #servesAgain(): Promise<boolean> {
    const actor = this.#actor;
    for (;;) {
      if (actor.isTakenAway()) return false;
      if (actor.serves()) return true;
      await actor.changed();
    }
  }

  #presentTopics(): Promise<PresentTopics> {
    return presentTopics(this.#actor.plan, this.#environment.log.topics);
  }
}
