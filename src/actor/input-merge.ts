/**
 * Which of several co-partitioned inputs goes next (semantics.md 8.6): the head with the smallest timestamp, ties by
 * topic name; a topic with nothing buffered holds the others back until it is known to be at its end. Pure but for the
 * time that `maxTopicWaitMs` needs, which its caller passes in.
 */
import type { InputLane } from './input-lane.js';

/** `held`: a head is there, but `by` may still bring an earlier record. */
export type MergeChoice =
  | { readonly kind: 'take'; readonly lane: InputLane }
  | { readonly kind: 'held'; readonly by: InputLane }
  | { readonly kind: 'none' };

const NONE: MergeChoice = { kind: 'none' };

/** Lanes must be sorted by topic name. */
export function chooseLane(lanes: readonly InputLane[], waitedEnough: boolean): MergeChoice {
  let best: InputLane | undefined;
  for (const lane of lanes)
    if (lane.hasHead && (best === undefined || lane.reader.timestamp < best.reader.timestamp)) best = lane;
  if (best === undefined) return NONE;
  if (!waitedEnough)
    for (const lane of lanes)
      if (!lane.hasHead && lane.endAsOf < best.headFetch) return { kind: 'held', by: lane };
  return { kind: 'take', lane: best };
}
