/**
 * `rebalance: 'auto'`: looks at the threads every second and lets `balancer.ts` decide whether an actor should leave the
 * busiest one. Owns the timer and the figures of the last look; one look, and one move, at a time.
 */
import type { Clock, Timer } from '../core/clock.js';
import { isPartitaError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import type { ActorPlaces } from '../threads/actor-places.js';
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
  /** Bytes that each actor was done with at the last look. */
  #done = new Map<PartitionKeeper, number>();
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
      threads.push({ place, utilisation: Math.max(0, utilisation ?? 0) });
    const actors = this.#actors();
    const move = this.#stopped ? undefined : this.#balancer.next({ threads, actors });
    if (move === undefined) return;
    try {
      await this.#options.movement.move(move.stream, move.partition, move.to, 'balance');
    } catch (error) {
      // A rebalance, a scaling or a stop came first.
      if (!isPartitaError(error)) throw error;
    }
  }

  /** What the main thread sees of them: a busy thread can't be asked. */
  #actors(): ActorLoad[] {
    const before = this.#done;
    this.#done = new Map();
    const actors: ActorLoad[] = [];
    for (const keeper of this.#options.keepers()) {
      const { place, partition, plan } = keeper;
      if (place === undefined || keeper.state !== 'running') continue;
      const topics = plan.inputs.map(({ topic }) => topic);
      const { waiting, done } = this.#options.router.load(topics, partition);
      this.#done.set(keeper, done);
      // A new incarnation counts from 0 again.
      const doneBytes = Math.max(0, done - (before.get(keeper) ?? 0));
      actors.push({ stream: plan.stream, partition, place, doneBytes, waitingBytes: waiting });
    }
    return actors;
  }
}
