/**
 * Which actors a set of assigned partitions makes: a pure decision. An actor has all its inputs or none, and none beyond the
 * partitions that its state was made with; what does not fit is told, never worked on. What becomes of the actors is
 * `assignment.ts`.
 */
import { PartitaError } from '../core/errors.js';
import type { TopicPartition } from '../core/log-types.js';
import { partitionKey, type StreamPlan } from './stream-plan.js';

export interface AssignedActor {
  readonly plan: StreamPlan;
  readonly partition: number;
}

/**
 * The actors whose inputs these partitions are.
 * @param streamOf by topic; partitions of other topics are nobody's
 * @param refuse is told ILLEGAL_STATE of an actor with some of its inputs, PARTITIONS_CHANGED of one beyond its state
 */
export function assignedActors(
  partitions: readonly TopicPartition[],
  streamOf: ReadonlyMap<string, StreamPlan>,
  refuse: (error: PartitaError) => void,
): AssignedActor[] {
  const found = new Map<string, AssignedActor & { inputs: number }>();
  for (const { topic, partition } of partitions) {
    const plan = streamOf.get(topic);
    if (plan === undefined) continue;
    const key = partitionKey(plan.stream, partition);
    const entry = found.get(key) ?? { plan, partition, inputs: 0 };
    entry.inputs++;
    found.set(key, entry);
  }
  return [...found.values()].filter(({ plan, partition, inputs }) => {
    const error = isBeyondState(plan, partition)
      ? partitionsChanged(plan, partition)
      : inputs === plan.inputs.length
        ? undefined
        : inputsMissing(plan, partition, inputs);
    if (error !== undefined) refuse(error);
    return error === undefined;
  });
}

function inputsMissing(plan: StreamPlan, partition: number, inputs: number): PartitaError {
  return new PartitaError(
    'ILLEGAL_STATE',
    `The group assigned ${inputs} of the ${plan.inputs.length} inputs of ${plan.stream}-${partition}: every member of a group must run the same streams.`,
    { details: { stream: plan.stream, partition } },
  );
}

/** Partitions added to an input move its keys: their state would stay behind in the old ones. */
function isBeyondState(plan: StreamPlan, partition: number): boolean {
  return plan.changelog !== undefined && partition >= plan.partitions;
}

function partitionsChanged(plan: StreamPlan, partition: number): PartitaError {
  const topics = plan.inputs.map(({ topic }) => topic);
  return new PartitaError(
    'PARTITIONS_CHANGED',
    `The stream ${plan.stream} was started with ${plan.partitions} partitions of ${topics.join(', ')}; there are more now, so that keys have moved away from their state. None of the new partitions' records was processed.`,
    { details: { stream: plan.stream, topics, partitions: plan.partitions, partition } },
  );
}
