/**
 * What to do about an actor that failed: a pure decision from the error and the restarts so far. The acting is
 * `partition-keeper.ts`. Policies beyond restart and fail come with their own issue.
 */
import type { Backoff } from '../core/backoff.js';
import { PartitaError, type ErrorCode } from '../core/errors.js';

/** A fresh start from what is committed would meet the same again. */
const HOPELESS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'INVALID_OPTIONS',
  'INVALID_NAME',
  'INVALID_PROCESSOR',
  'INVALID_ARGUMENT',
  'HANDLER_FAILED',
  'SERDE_FAILED',
  'RECORD_TOO_LARGE',
  'TIMESTAMP_OUT_OF_RANGE',
  'COMPRESSION_UNAVAILABLE',
  'ENGINE_UNAVAILABLE',
  'STORE_INCOMPATIBLE',
  'TOPIC_MISSING',
  'TOPIC_INVALID',
  'PARTITIONS_CHANGED',
  'OFFSET_OUT_OF_RANGE',
  'LOG_CLOSED',
  'LOG_UNSUPPORTED',
  'LOG_AUTHENTICATION_FAILED',
  'LOG_AUTHORIZATION_FAILED',
  'GROUP_INVALID',
  'CHANGELOG_INVALID',
  'STATE_MISSING',
  'OFFSETS_MOVED',
]);

export type RestartDecision =
  | { readonly kind: 'restart'; readonly delayMs: number }
  | { readonly kind: 'fail' }
  /** The partition is somebody else's now: wait for the group to say so. */
  | { readonly kind: 'lost' };

/** @param restartable what the actor itself said of its failure, if it was the actor who reported it */
export function decideRestart(
  error: unknown,
  restartable: boolean | undefined,
  backoff: Backoff,
): RestartDecision {
  if (error instanceof PartitaError) {
    if (error.code === 'PARTITION_NOT_OWNED') return { kind: 'lost' };
    if (HOPELESS.has(error.code) && restartable !== true) return { kind: 'fail' };
  }
  if (restartable === false) return { kind: 'fail' };
  const delayMs = backoff.next();
  return delayMs === undefined ? { kind: 'fail' } : { kind: 'restart', delayMs };
}
