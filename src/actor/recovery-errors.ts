/** Why a recovery can't go on, and how it could: the errors that the decisions of `state-recovery.ts` end in. Pure functions. */
import type { PositionsDecision } from '../changelog/recovery-decision.js';
import { PartitaError } from '../core/errors.js';
import type { ActorSpec } from '../threads/protocol.js';

export function stateMissing({ id, changelog }: ActorSpec, why: string): PartitaError {
  const { stream, partition } = id;
  return new PartitaError(
    'STATE_MISSING',
    `The state of ${stream}-${String(partition)} is missing: ${why}. Restore the changelog, or choose by onStateMissing.`,
    { details: { stream, partition, changelog: changelog?.topic } },
  );
}

/** What the positions, as they were decided, are refused with. */
export function positionsRefused(
  spec: ActorSpec,
  decision: Exclude<PositionsDecision, { kind: 'positions' }>,
): PartitaError {
  const { stream, partition } = spec.id;
  const where = `${stream}-${String(partition)}`;
  const details = { stream, partition };
  switch (decision.kind) {
    case 'stateMissing':
      return stateMissing(spec, decision.why);
    case 'offsetsMoved':
      return new PartitaError(
        'OFFSETS_MOVED',
        `The offsets of ${where} were moved: ${decision.why}. ${wayOutOfMove(spec)}`,
        { details },
      );
    case 'outOfRange':
      return new PartitaError(
        'OFFSET_OUT_OF_RANGE',
        `${where} can't go on in ${decision.topic}: ${decision.why}. Choose by onOutOfRange.`,
        { details: { ...details, topic: decision.topic } },
      );
    case 'stale':
      return new PartitaError('LOG_UNAVAILABLE', `The offsets of ${where} stay stale: ${decision.why}.`);
  }
}

function wayOutOfMove({ options: { onOffsetsMoved, resets } }: ActorSpec): string {
  return onOffsetsMoved === 'resetState'
    ? `The resetId ${JSON.stringify(resets.moved)} has acted already: give a new one.`
    : 'Choose by onOffsetsMoved.';
}
