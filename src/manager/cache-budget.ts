/** Divides `memory.cacheMb` over the actors that have state, in equal shares. */

/** No actor gets less: below it a cache is only overhead. */
const SHARE_MIN_BYTES = 256 * 1024;

/** Bytes for each of `actors`. With very many actors the minimum may add up to more than the budget. */
export function cacheShare(budgetBytes: number, actors: number): number {
  return Math.max(SHARE_MIN_BYTES, Math.floor(budgetBytes / Math.max(1, actors)));
}
