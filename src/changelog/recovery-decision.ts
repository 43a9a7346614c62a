/**
 * The decisions of recovery as pure functions (semantics.md 8): where replay begins, whether the local database may be
 * used, and which positions hold. `actor/state-recovery.ts` acts on them; nothing here touches a file or the log.
 */
import type { CommittedOffset, PartitionBounds } from '../core/log-types.js';
import {
  compareCheckpoints,
  parseCommitMetadata,
  type CheckpointId,
  type CheckpointRecord,
  type InputPosition,
} from './checkpoint-record.js';

/** What recovery knows of the local database. */
export interface LocalState {
  /** Changelog offset up to which everything is applied; -1: nothing. */
  readonly offset: number;
  /** Log append time of the last applied record in ms; -1: unknown. */
  readonly appendTime: number;
  /** Why the files can't be used, if so: corrupt, another engine or format, another changelog topic. */
  readonly mismatch: string | undefined;
  /** It holds a checkpoint, of which nothing counts as applied: it was becoming the new changelog, and did not get there. */
  readonly unfinished?: boolean;
}

export type ReplayDecision =
  | { readonly kind: 'resume'; readonly from: number }
  | { readonly kind: 'rebuild'; readonly from: number; readonly why: string };

/** Where replay begins (8.3): after the stored offset, or from the log start with the reason why. */
export function decideReplay(
  local: LocalState,
  bounds: PartitionBounds,
  facts: { readonly nowMs: number; readonly deleteRetentionMs: number },
): ReplayDecision {
  const rebuild = (why: string): ReplayDecision => ({ kind: 'rebuild', from: bounds.start, why });
  if (local.mismatch !== undefined) return rebuild(local.mismatch);
  if (local.unfinished === true) return rebuild('it was becoming the new changelog, which was not completed');
  if (local.offset < 0) return { kind: 'resume', from: bounds.start };
  const next = local.offset + 1;
  if (next < bounds.start)
    return rebuild(
      `the changelog begins at ${String(bounds.start)}, after the stored offset ${String(local.offset)}`,
    );
  if (local.offset >= bounds.end)
    return rebuild(
      `the stored offset ${String(local.offset)} is past the changelog's end ${String(bounds.end)}`,
    );
  // After a flush the stored offset is that of the last record: the marker that ends its transaction follows it.
  const grown = next + 1 < bounds.end;
  const ageMs = facts.nowMs - local.appendTime;
  if (grown && local.appendTime >= 0 && ageMs > facts.deleteRetentionMs / 2)
    return rebuild(
      `the last applied record is ${String(Math.round(ageMs / 1000))} s old, more than half of the changelog's delete.retention.ms: tombstones may be gone`,
    );
  return { kind: 'resume', from: next };
}

/**
 * Whether nobody has written to the changelog since the transaction that brought the database to its offset. After its
 * last record comes the marker that ends it; whatever another one commits takes two offsets at least.
 */
export function isUntouched(local: LocalState, bounds: PartitionBounds): boolean {
  if (local.mismatch !== undefined || local.offset < 0) return false;
  const { start, end, lastStable } = bounds;
  return start <= local.offset + 1 && local.offset < end && end <= local.offset + 2 && lastStable >= end;
}

/** The newest checkpoint with which the group's offsets were committed. */
export function newestCommitted(
  committed: readonly (CommittedOffset | undefined)[],
): CheckpointId | undefined {
  return committed
    .map((offset) => (offset === undefined ? undefined : parseCommitMetadata(offset.metadata)))
    .filter((id) => id !== undefined)
    .sort(compareCheckpoints)
    .at(-1);
}

/** Whether there is a record, and no older one than asked for. */
export function isAsNew(record: CheckpointRecord | undefined, asked: CheckpointId | undefined): boolean {
  return record !== undefined && (asked === undefined || compareCheckpoints(record, asked) >= 0);
}

export interface InputFacts {
  readonly topic: string;
  readonly topicId: string;
  readonly bounds: PartitionBounds;
  readonly committed: CommittedOffset | undefined;
  /** A table is nothing without its beginning. */
  readonly isTable?: boolean | undefined;
}

export interface PositionPolicies {
  readonly startFrom: 'earliest' | 'latest';
  readonly onOffsetsMoved: 'error' | 'useGroup' | 'useState' | 'resetState';
  readonly onOutOfRange: 'error' | 'earliest' | 'latest';
}

/**
 * What holds for the positions (8.4, 8.5). `positions`: go on there, and commit them before the first record if
 * `commitFirst`. `stale`: the group's offsets are older than the state: read them again. `stateMissing`: the changelog
 * does not hold what the group committed. The other two are errors by policy.
 */
export type PositionsDecision =
  | {
      readonly kind: 'positions';
      readonly positions: Readonly<Record<string, InputPosition>>;
      readonly commitFirst: boolean;
      /** What was decided against the ordinary, to be logged. */
      readonly notes: readonly string[];
    }
  | { readonly kind: 'stale'; readonly why: string }
  | { readonly kind: 'stateMissing'; readonly why: string }
  | { readonly kind: 'offsetsMoved'; readonly why: string }
  | { readonly kind: 'outOfRange'; readonly topic: string; readonly why: string };

/** Positions of an actor with state: the checkpoint record is the truth, the group's metadata tells how they relate. */
export function decidePositions(
  record: CheckpointRecord | undefined,
  inputs: readonly InputFacts[],
  policies: PositionPolicies,
): PositionsDecision {
  const notes: string[] = [];
  const source: Record<string, 'state' | 'group'> = {};
  let moved = false;
  for (const input of inputs) {
    const { topic, committed } = input;
    if (committed === undefined) continue;
    const theirs = parseCommitMetadata(committed.metadata);
    if (record === undefined || (theirs !== undefined && compareCheckpoints(theirs, record) > 0))
      return {
        kind: 'stateMissing',
        why: `the group committed ${topic} at ${String(committed.offset)} with metadata ${JSON.stringify(committed.metadata)}, which the changelog does not hold`,
      };
    const ours = record.positions[topic];
    if (theirs === undefined) {
      const why = `the group's offset of ${topic} is ${String(committed.offset)} without Partita's metadata, the state's position is ${String(ours?.offset)}`;
      if (policies.onOffsetsMoved === 'error' || policies.onOffsetsMoved === 'resetState')
        return { kind: 'offsetsMoved', why };
      const useGroup = policies.onOffsetsMoved === 'useGroup';
      if (useGroup && ours !== undefined && committed.offset < ours.offset)
        return { kind: 'offsetsMoved', why: `${why}; rewinding with the state kept is refused` };
      notes.push(`${why}; going on with the ${useGroup ? "group's" : "state's"}`);
      source[topic] = useGroup ? 'group' : 'state';
      moved = true;
    } else if (compareCheckpoints(theirs, record) < 0 && ours !== undefined)
      return {
        kind: 'stale',
        why: `the group's offset of ${topic} is of checkpoint ${committed.metadata}, the state of ${String(record.incarnation)}:${String(record.number)}`,
      };
  }
  return resolvePositions(inputs, policies, notes, moved, (input) =>
    source[input.topic] === 'group'
      ? { topicId: input.topicId, offset: input.committed!.offset }
      : record?.positions[input.topic],
  );
}

/** Positions of a stateless actor: the group's offsets are the truth. */
export function decideStatelessPositions(
  inputs: readonly InputFacts[],
  policies: PositionPolicies,
): PositionsDecision {
  return resolvePositions(inputs, policies, [], false, (input) =>
    input.committed === undefined ? undefined : { topicId: input.topicId, offset: input.committed.offset },
  );
}

/** Whether two sets of positions say the same of the same inputs. */
export function samePositions(
  a: Readonly<Record<string, InputPosition>>,
  b: Readonly<Record<string, InputPosition>>,
): boolean {
  const topics = Object.keys(a);
  return (
    topics.length === Object.keys(b).length &&
    topics.every((topic) => a[topic]!.offset === b[topic]?.offset && a[topic]!.topicId === b[topic].topicId)
  );
}

function resolvePositions(
  inputs: readonly InputFacts[],
  policies: PositionPolicies,
  notes: string[],
  moved: boolean,
  known: (input: InputFacts) => InputPosition | undefined,
): PositionsDecision {
  const positions: Record<string, InputPosition> = {};
  let commitFirst = moved;
  for (const input of inputs) {
    const { topic, topicId, bounds, committed } = input;
    const position = known(input);
    const fromStart = policies.startFrom === 'earliest' || input.isTable === true;
    let offset = position?.offset ?? (fromStart ? bounds.start : bounds.lastStable);
    const trouble =
      position === undefined
        ? undefined
        : position.topicId !== topicId
          ? `the topic was recreated: its id was ${position.topicId} and is ${topicId}`
          : offset < bounds.start || offset > bounds.end
            ? `the position ${String(offset)} is outside [${String(bounds.start)}, ${String(bounds.end)}]`
            : undefined;
    if (trouble !== undefined) {
      if (policies.onOutOfRange === 'error') return { kind: 'outOfRange', topic, why: trouble };
      offset = policies.onOutOfRange === 'earliest' ? bounds.start : bounds.lastStable;
      notes.push(`${topic}: ${trouble}; going on at the ${policies.onOutOfRange} offset ${String(offset)}`);
    }
    if (trouble !== undefined || position === undefined || committed === undefined) commitFirst = true;
    positions[topic] = { topicId, offset };
  }
  return { kind: 'positions', positions, commitFirst, notes };
}
