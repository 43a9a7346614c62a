/**
 * What to do about an actor that ended: a pure decision from the error and the restarts so far. The acting is
 * `partition-keeper.ts`; what a failed partition is to the others is `keeper-reports.ts`.
 */
import type { Backoff } from '../core/backoff.js';
import { isPartitaError, mendability } from '../core/errors.js';
import type { ResolvedOptions } from './options.js';

export type RestartDecision =
  | { readonly kind: 'restart'; readonly delayMs: number }
  | { readonly kind: 'fail' }
  /** The partition is somebody else's now: wait for the group to say so. */
  | { readonly kind: 'lost' };

/** Why an actor ended, and what is known of it besides. */
export interface Ending {
  readonly error: unknown;
  /** The next one will not meet the same, whatever the error's code says. */
  readonly mended: boolean;
  /** It died with its thread, of what another actor did. */
  readonly innocent: boolean;
}

/**
 * @param repeated the ending before had the same code, and nothing was committed since
 * @param backoff of the partition's restarts in a row; what others did to it does not count among them
 * @param options a corrupt database that is not rebuilt is corrupt at the next open too
 */
export function decideRestart(
  { error, mended, innocent }: Ending,
  repeated: boolean,
  backoff: Backoff,
  options: Pick<ResolvedOptions, 'rebuildOnCorruption'>,
): RestartDecision {
  if (isPartitaError(error, 'PARTITION_NOT_OWNED')) return { kind: 'lost' };
  if (innocent) return { kind: 'restart', delayMs: 0 };
  const stays = isPartitaError(error, 'CORRUPT') && !options.rebuildOnCorruption;
  const mendable = mended || (!stays && mendability(error));
  if (mendable === false || (mendable === 'once' && repeated)) return { kind: 'fail' };
  const delayMs = backoff.next();
  return delayMs === undefined ? { kind: 'fail' } : { kind: 'restart', delayMs };
}
