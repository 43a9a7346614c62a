/**
 * Actors from thread to thread while records flow: one that is told to go, all that must when there are more threads or
 * fewer. Owns the order of these: one move of a partition at a time, one scaling at a time. Where an actor should be is
 * decided in `placement.ts`; how one moves is `relocation.ts`.
 */
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import type { Emitter } from '../core/emitter.js';
import { isPartitaError, PartitaError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import type { ActorPlaces } from '../threads/actor-places.js';
import type { ManagerEvents, MoveReason } from './events.js';
import { failedError } from './keeper-reports.js';
import type { ResolvedOptions } from './options.js';
import { WORKERS_MAX } from './resolve-options.js';
import type { PartitionKeeper } from './partition-keeper.js';
import type { HowMoved } from './relocation.js';
import { planMoves, type PlaceTable } from './placement.js';

/** What became of a move. */
export interface MovedPartition {
  /** Where it was; `undefined` if it had not been anywhere yet. */
  readonly from: number | undefined;
  readonly to: number;
  /**
   * `committed`: its last checkpoint at the old thread holds all that it had processed. `dropped`: that was not possible
   * within `revokeBudgetMs`; what was not committed is processed again. `next`: it did not serve; its next incarnation
   * opens there. `stayed`: it was there already.
   */
  readonly how: HowMoved | 'stayed';
  /** From the moment at which it took nothing more until it served again, in ms; 0 if it did not serve. */
  readonly pauseMs: number;
}

export interface MovementOptions {
  readonly options: ResolvedOptions;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly emitter: Emitter<ManagerEvents>;
  readonly places: ActorPlaces;
  readonly placeTable: PlaceTable;
  /** Those of this member. */
  keepers(): readonly PartitionKeeper[];
  /** Why a partition is not there to be moved: INVALID_ARGUMENT or PARTITION_NOT_OWNED. */
  absent(stream: string, partition: number): PartitaError;
  /** @throws PartitaError STOPPED */
  expectUsable(): void;
}

/** So many actors move at once when the number of threads changes: each is out of service for a moment. */
const MOVES_AT_ONCE = 4;
/** How often it is looked whether actors have left that can't be moved now. */
const LOOK_EVERY_MS = 20;
/** What threads that have no actors any more get for their end. */
const DRAIN_BUDGET_MS = 5_000;

export class Movement {
  readonly #options: MovementOptions;
  /** The last move of each partition; it never rejects. */
  readonly #moves = new Map<PartitionKeeper, Promise<unknown>>();
  readonly #stopping = new AbortController();
  #scaling: Promise<unknown> = Promise.resolve();
  /** The scaling that waits for the one under way, and what it is to come to. */
  #waiting: Promise<void> | undefined;
  #wanted = 0;

  constructor(options: MovementOptions) {
    this.#options = options;
  }

  /**
   * One actor to one place. Rejects INVALID_ARGUMENT for a place or partition that there is not, PARTITION_NOT_OWNED,
   * ACTOR_FAILED, STOPPED, or what its thread can't be started with.
   */
  async move(stream: string, partition: number, to: number, why: MoveReason): Promise<MovedPartition> {
    this.#options.expectUsable();
    const keeper = this.#keeper(stream, partition);
    const previous = this.#moves.get(keeper);
    const moved = (previous ?? Promise.resolve()).then(() => this.#move(keeper, to, why));
    const settled = moved.then(
      () => undefined,
      () => undefined,
    );
    this.#moves.set(keeper, settled);
    try {
      return await moved;
    } finally {
      if (this.#moves.get(keeper) === settled) this.#moves.delete(keeper);
    }
  }

  /**
   * So many threads, with the actors spread evenly. One scaling at a time: of those that are asked for meanwhile the last
   * one is carried out next, and all of them resolve with it. Rejects INVALID_ARGUMENT, STOPPED.
   */
  async scale(workers: number): Promise<void> {
    this.#options.expectUsable();
    if (!Number.isInteger(workers) || workers < 1 || workers > WORKERS_MAX)
      throw new PartitaError(
        'INVALID_ARGUMENT',
        `The number of threads is an integer from 1 to ${WORKERS_MAX}, not ${String(workers)}.`,
        { details: { workers } },
      );
    this.#wanted = workers;
    this.#waiting ??= this.#afterThis();
    await this.#waiting;
  }

  /** Nothing waits any more. The manager is not usable by then; who asked for something is told so. */
  stop(): void {
    this.#stopping.abort();
  }

  /** One scaling, when the one under way has ended. */
  #afterThis(): Promise<void> {
    const done = this.#scaling.then(() => {
      this.#waiting = undefined;
      return this.#scale(this.#wanted);
    });
    this.#scaling = done.catch(() => undefined);
    return done;
  }

  async #move(keeper: PartitionKeeper, to: number, why: MoveReason): Promise<MovedPartition> {
    const { emitter, options } = this.#options;
    this.#expectPlace(to);
    const from = keeper.place;
    const { stream } = keeper.plan;
    const { partition } = keeper;
    if (this.#isPassing(keeper)) throw this.#gone(keeper);
    if (from === to && keeper.state === 'running') return { from, to, how: 'stayed', pauseMs: 0 };
    await this.#prepare(to, keeper);
    this.#expectPlace(to);
    const moved = await keeper.move(to, { commit: true, budgetMs: options.revokeBudgetMs });
    if (moved === undefined) throw this.#gone(keeper);
    const at = moved.how === 'next' ? to : (keeper.place ?? to);
    emitter.emit('moved', { stream, partition, from, to: at, why, ...moved });
    return { from, to: at, ...moved };
  }

  /** The thread runs and has loaded what the actor needs, so that its pause has none of it. */
  async #prepare(to: number, { plan }: PartitionKeeper): Promise<void> {
    const { places, options } = this.#options;
    const engine = plan.changelog === undefined ? undefined : options.engine;
    await places.prepare(to, { processorUrl: plan.url, engine });
  }

  async #scale(workers: number): Promise<void> {
    const { places, placeTable, logger, options } = this.#options;
    this.#options.expectUsable();
    const before = placeTable.size;
    // More of them first, so that actors may go there; fewer last, when none is there any more.
    if (workers > before) await places.resize(workers, { budgetMs: DRAIN_BUDGET_MS });
    placeTable.resize(workers);
    await this.#settle(Deadline.after(this.#options.clock, 2 * options.revokeBudgetMs));
    if (workers < places.size) await places.resize(workers, { budgetMs: DRAIN_BUDGET_MS });
    this.#options.expectUsable();
    logger.info({ before, workers }, 'The number of threads has changed.');
  }

  /**
   * Nobody is left at places that are gone, and the others carry equal shares. Amid a rebalance that is so only after it:
   * who is parked can't be moved, and may come back to where it was.
   */
  async #settle(deadline: Deadline): Promise<void> {
    const { placeTable, clock, logger } = this.#options;
    while (!deadline.expired) {
      for (const keeper of this.#options.keepers())
        if (keeper.place !== undefined && keeper.place >= placeTable.size)
          keeper.giveWay('its thread is being ended');
      await this.#spread(placeTable.size);
      const inRebalance = this.#options.keepers().some((keeper) => keeper.parked || keeper.leaving);
      if (placeTable.displaced === 0 && !inRebalance) return;
      // Or what is closing anyhow has not closed yet.
      // Cut short by a stop, of which the next line tells.
      await clock.sleep(LOOK_EVERY_MS, this.#stopping.signal).catch(() => undefined);
      this.#options.expectUsable();
    }
    if (placeTable.displaced > 0)
      logger.warn(
        { actors: placeTable.displaced },
        'Actors did not leave their threads in time; they go with them and restart elsewhere.',
      );
  }

  async #spread(workers: number): Promise<void> {
    const placed = this.#options
      .keepers()
      .filter((keeper) => keeper.place !== undefined && !this.#isPassing(keeper))
      .map((keeper) => ({
        keeper,
        stream: keeper.plan.stream,
        partition: keeper.partition,
        place: keeper.place!,
      }));
    const moves = planMoves(placed, workers);
    const next = moves[Symbol.iterator]();
    const lane = async (): Promise<void> => {
      for (const { stream, partition, to } of next) await this.#moveIfThere(stream, partition, to);
    };
    await Promise.all(Array.from({ length: MOVES_AT_ONCE }, lane));
    this.#options.expectUsable();
  }

  /** What a rebalance, a failure or a stop takes away meanwhile needs no move. */
  async #moveIfThere(stream: string, partition: number, to: number): Promise<void> {
    try {
      await this.move(stream, partition, to, 'scale');
    } catch (error) {
      if (!isPartitaError(error)) throw error;
      this.#options.expectUsable();
      this.#options.logger.warn({ err: error, stream, partition, to }, 'An actor was not moved.');
    }
  }

  /** Not ours (any more), or it can't go on. */
  #isPassing(keeper: PartitionKeeper): boolean {
    return keeper.parked || keeper.leaving || keeper.state === 'lost' || keeper.state === 'failed';
  }

  #keeper(stream: string, partition: number): PartitionKeeper {
    const found = this.#options
      .keepers()
      .find((keeper) => keeper.plan.stream === stream && keeper.partition === partition);
    if (found === undefined) throw this.#options.absent(stream, partition);
    return found;
  }

  #gone(keeper: PartitionKeeper): Error {
    this.#options.expectUsable();
    const { stream } = keeper.plan;
    const { partition } = keeper;
    return keeper.state === 'failed' ? failedError(keeper) : this.#options.absent(stream, partition);
  }

  #expectPlace(place: number): void {
    this.#options.expectUsable();
    const { size } = this.#options.placeTable;
    if (Number.isInteger(place) && place >= 0 && place < size) return;
    throw new PartitaError('INVALID_ARGUMENT', `There is no thread ${place}; there are 0 to ${size - 1}.`, {
      details: { place },
    });
  }
}
