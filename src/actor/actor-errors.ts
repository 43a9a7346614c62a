/** How an actor's end is told to its callers and to the manager, which decides about a next one. Pure functions. */
import { isPartitaError, PartitaError } from '../core/errors.js';
import type { ActorId, ActorSpec } from '../threads/protocol.js';
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

/** @param at the record under way, if it is one */
export function stuckError(
  { id, inputs, options: { watchdogMs } }: ActorSpec,
  at: { readonly input: number; readonly offset: number } | undefined,
): PartitaError {
  const { stream, partition } = id;
  const topic = at === undefined ? undefined : inputs[at.input]?.topic;
  const where =
    at === undefined ? '' : ` at ${String(topic)}-${String(partition)} offset ${String(at.offset)}`;
  return new PartitaError(
    'ACTOR_STUCK',
    `A handler of ${stream}-${String(partition)} has not settled for ${String(watchdogMs)} ms${where}.`,
    { details: { stream, partition, topic, offset: at?.offset } },
  );
}
