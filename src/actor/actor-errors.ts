/** How an actor's end is told: to its callers, and to the manager, which decides about a next one. Pure functions. */
import { isPartitaError, PartitaError } from '../core/errors.js';
import type { ActorId } from '../threads/protocol.js';
import type { CommandOutcome } from './call-queue.js';

/** What callers get whose call, or the actor under it, has ended. */
export function restartedError(
  id: ActorId,
  outcome: CommandOutcome,
  cause: PartitaError | undefined,
): PartitaError {
  const { stream, partition } = id;
  return new PartitaError(
    'ACTOR_RESTARTED',
    `The actor ${stream}-${String(partition)} was closed, parked or restarted.`,
    { ...(cause === undefined ? {} : { cause }), details: { stream, partition, outcome } },
  );
}

export function toPartitaError(error: unknown, where: string): PartitaError {
  return isPartitaError(error)
    ? error
    : new PartitaError('ACTOR_FAILED', `The actor ${where} failed: ${String(error)}`, { cause: error });
}

/** Errors that a restart can't mend: the same files, log and declarations would give them again. */
export function mayRestart(error: PartitaError): boolean {
  return ![
    'STATE_MISSING',
    'OFFSETS_MOVED',
    'STORE_INCOMPATIBLE',
    'INVALID_PROCESSOR',
    'PARTITION_NOT_OWNED',
  ].includes(error.code);
}
