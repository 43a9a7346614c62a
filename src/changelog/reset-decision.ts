/**
 * The one reset that is due on one partition's state, if any, and the checkpoint record that follows it: of the state, at other
 * positions, or of single stores, at the same ones (semantics.md 8.4). Pure: which resets have acted is `resets.ts`, where the
 * positions stand `recovery-decision.ts`; `actor/state-recovery.ts` carries out what is due.
 */
import type { CheckpointId, CheckpointRecord, InputPosition } from './checkpoint-record.js';
import {
  decideStatelessPositions,
  type InputFacts,
  type PositionPolicies,
  type PositionsDecision,
} from './recovery-decision.js';
import {
  isMovePending,
  isStatePending,
  pendingStores,
  settledMove,
  settledResets,
  settledStores,
  type WantedResets,
} from './resets.js';

export interface DueReset {
  readonly kind: 'reset';
  /** What is given up: everything, or these stores. */
  readonly given: 'state' | readonly string[];
  readonly why: string;
  /** The checkpoint that follows it. */
  readonly record: CheckpointRecord;
  /** What was decided against the ordinary, to be logged. */
  readonly notes: readonly string[];
}

/** `refused`: a reset is due, and the inputs don't allow the positions that it would go on at. */
export type ResetDecision =
  { readonly kind: 'none' } | DueReset | { readonly kind: 'refused'; readonly by: PositionsDecision };

export type ResetPolicies = PositionPolicies & { readonly resets: WantedResets };

const NONE: ResetDecision = { kind: 'none' };

/** @param decision where the positions would be without a reset */
export function decideReset(
  record: CheckpointRecord | undefined,
  inputs: readonly InputFacts[],
  decision: PositionsDecision,
  policies: ResetPolicies,
): ResetDecision {
  const { resets: wanted, onOffsetsMoved } = policies;
  // Without a checkpoint there is nothing to be reset; missing state is not made good by a reset that was meant before.
  if (record === undefined || decision.kind === 'stateMissing' || decision.kind === 'stale') return NONE;
  if (isStatePending(wanted, record.resets)) return resetOfState(record, inputs, wanted);
  if (decision.kind === 'offsetsMoved' && onOffsetsMoved === 'resetState')
    return isMovePending(wanted, record.resets) ? resetByMove(record, inputs, decision.why, policies) : NONE;
  return decision.kind === 'positions' ? resetOfStores(record, decision.positions, wanted) : NONE;
}

function resetOfState(
  record: CheckpointRecord,
  inputs: readonly InputFacts[],
  wanted: WantedResets,
): DueReset {
  const { id, to } = wanted.state!;
  const resets = settledResets(wanted, record.resets);
  return {
    kind: 'reset',
    given: 'state',
    why: `reset ${JSON.stringify(id)}, its inputs from the ${to} offset on`,
    record: { ...anew(record), positions: positionsAt(inputs, to), resets },
    notes: [],
  };
}

function resetByMove(
  record: CheckpointRecord,
  inputs: readonly InputFacts[],
  moved: string,
  policies: ResetPolicies,
): ResetDecision {
  const wanted = policies.resets;
  const decision = decideStatelessPositions(inputs, policies);
  if (decision.kind !== 'positions') return { kind: 'refused', by: decision };
  const { positions, notes } = decision;
  const resets = settledMove(wanted, record.resets);
  return {
    kind: 'reset',
    given: 'state',
    why: `reset ${JSON.stringify(wanted.moved)}: ${moved}`,
    record: { ...anew(record), positions, resets },
    notes,
  };
}

function resetOfStores(
  record: CheckpointRecord,
  positions: CheckpointRecord['positions'],
  wanted: WantedResets,
): ResetDecision {
  const given = pendingStores(wanted, record);
  if (given.length === 0) return NONE;
  const { incarnation, number, clock } = record;
  const stores = Object.fromEntries(Object.entries(record.stores).filter(([name]) => !given.includes(name)));
  const resets = settledStores(wanted, record.resets);
  return {
    kind: 'reset',
    given,
    why: `reset ${JSON.stringify(wanted.stores!.id)} of ${given.join(', ')}`,
    record: { incarnation, number: number + 1, clock, positions, stores, resets },
    notes: [],
  };
}

/** The next incarnation, with nothing in it. */
function anew({
  incarnation,
  number,
}: CheckpointId): Pick<CheckpointRecord, 'incarnation' | 'number' | 'clock' | 'stores'> {
  return { incarnation: incarnation + 1, number: number + 1, clock: -1, stores: {} };
}

/** A table is nothing without its beginning. */
function positionsAt(
  inputs: readonly InputFacts[],
  to: 'earliest' | 'latest',
): Readonly<Record<string, InputPosition>> {
  return Object.fromEntries(
    inputs.map(({ topic, topicId, bounds, isTable }) => {
      const offset = to === 'earliest' || isTable === true ? bounds.start : bounds.lastStable;
      return [topic, { topicId, offset }];
    }),
  );
}
