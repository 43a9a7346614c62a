/**
 * Divides `memory.cacheMb` over the actors that have state, in equal shares, and tells each its share when others come or go. How
 * a cache keeps to it is the actor's business.
 */
import type { Logger } from '../core/logger.js';
import type { PartitionKeeper } from './partition-keeper.js';

/** No actor gets less: below it a cache is only overhead. */
const SHARE_MIN_BYTES = 256 * 1024;

export class CacheBudget {
  readonly #bytes: number;
  readonly #logger: Logger;
  readonly #keepers: () => readonly PartitionKeeper[];

  /** @param keepers those of the partitions that are this member's now */
  constructor(bytes: number, logger: Logger, keepers: () => readonly PartitionKeeper[]) {
    this.#bytes = bytes;
    this.#logger = logger;
    this.#keepers = keepers;
  }

  /** What an actor gets now. */
  get share(): number {
    const withState = this.#keepers().filter((keeper) => keeper.plan.changelog !== undefined);
    return cacheShare(this.#bytes, withState.length);
  }

  redivide(): void {
    const { share } = this;
    for (const keeper of this.#keepers()) this.#resize(keeper, share);
  }

  /** One that was away: others may have come or gone since it was made with its share. */
  refresh(keeper: PartitionKeeper): void {
    this.#resize(keeper, this.share);
  }

  #resize(keeper: PartitionKeeper, bytes: number): void {
    keeper.setCacheBytes(bytes).catch((error: unknown) => {
      // Its actor is going away; the next one is made with its share.
      const { plan, partition } = keeper;
      this.#logger.debug({ err: error, stream: plan.stream, partition }, 'A cache could not be resized.');
    });
  }
}

/** Bytes for each of `actors`. With very many actors the minimum may add up to more than the budget. */
export function cacheShare(budgetBytes: number, actors: number): number {
  return Math.max(SHARE_MIN_BYTES, Math.floor(budgetBytes / Math.max(1, actors)));
}
