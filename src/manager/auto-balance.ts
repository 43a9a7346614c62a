/**
 * `rebalance: 'auto'`: looks at the threads every second and lets `balancer.ts` decide whether an actor should leave the
 * busiest one. Owns the timer and the figures of the last look; one look, and one move, at a time.
 */
import type { Clock, Timer } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { isPartitaError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import type { ActorPlaces } from '../threads/actor-places.js';
import type { ActorStats } from '../threads/protocol.js';
import { Balancer, type ActorLoad, type ThreadLoad } from './balancer.js';
import type { Movement } from './movement.js';
import type { PartitionKeeper } from './partition-keeper.js';
import type { PartitionRouter } from './partition-router.js';

export interface AutoBalanceOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly places: ActorPlaces;
  readonly router: PartitionRouter;
  readonly movement: Movement;
  keepers(): readonly PartitionKeeper[];
}

const LOOK_EVERY_MS = 1_000;

export class AutoBalance {
  readonly #options: AutoBalanceOptions;
  readonly #balancer = new Balancer();
  /** Records of each actor at the last look. */
  #records = new Map<PartitionKeeper, number>();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: AutoBalanceOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.setTimer(
      LOOK_EVERY_MS,
      () => {
        this.#look().then(
          () => {
            this.start();
          },
          (error: unknown) => {
            this.#options.logger.warn({ err: error }, 'The load of the threads could not be balanced.');
            this.start();
          },
        );
      },
      { ref: false },
    );
  }

  /** Idempotent. A move under way ends with the manager. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    const threads: ThreadLoad[] = [];
    for (const [place, utilisation] of this.#options.places.utilisations().entries())
      // One that has not been started has nothing to do.
      threads.push({ place, utilisation: utilisation ?? 0 });
    const actors = await this.#actors();
    const move = this.#stopped ? undefined : this.#balancer.next({ threads, actors });
    if (move === undefined) return;
    try {
      await this.#options.movement.move(move.stream, move.partition, move.to, 'balance');
    } catch (error) {
      // A rebalance, a scaling or a stop came first.
      if (!isPartitaError(error)) throw error;
    }
  }

  async #actors(): Promise<ActorLoad[]> {
    const before = this.#records;
    this.#records = new Map();
    const loads = await Promise.all(this.#options.keepers().map((keeper) => this.#load(keeper, before)));
    return loads.filter((load) => load !== undefined);
  }

  /** One whose handler blocks does not answer, and must not keep the others from being looked at. */
  #inTime(keeper: PartitionKeeper): Promise<ActorStats | undefined> {
    const deadline = Deadline.after(this.#options.clock, LOOK_EVERY_MS);
    return deadline.race(keeper.stats(), `A look at ${keeper.plan.stream}-${keeper.partition}`);
  }

  async #load(
    keeper: PartitionKeeper,
    before: ReadonlyMap<PartitionKeeper, number>,
  ): Promise<ActorLoad | undefined> {
    const { place, partition, plan } = keeper;
    // One that ends in this very moment, or does not answer, has no load.
    const stats = await this.#inTime(keeper).catch(() => undefined);
    if (place === undefined || stats === undefined) return undefined;
    this.#records.set(keeper, stats.records);
    const since = stats.records - (before.get(keeper) ?? 0);
    const waitingBytes = this.#options.router.waitingBytes(
      plan.inputs.map(({ topic }) => topic),
      partition,
    );
    // A new incarnation counts from 0 again.
    return { stream: plan.stream, partition, place, records: Math.max(0, since), waitingBytes };
  }
}
