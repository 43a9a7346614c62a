/**
 * A plan's topics as they are at present: between two incarnations of an actor a topic may have been deleted and created anew, so
 * that positions in the old one mean nothing, and what may be written to it may have changed. It only asks the log; what differs
 * is for `actor-run.ts` to act on.
 */
import { PartitaError } from '../core/errors.js';
import type { TopicLimits } from '../core/log-types.js';
import type { LogTopics } from '../log/log-client.js';
import type { ActorSpec } from '../threads/protocol.js';
import type { StreamPlan } from './stream-plan.js';

/** The part of a plan that may change under it. */
export type PresentTopics = Pick<StreamPlan, 'inputs' | 'changelog' | 'outputs' | 'deadLetters'>;

/** Ids of topics by name; a topic that is not there has none. */
export type TopicIds = ReadonlyMap<string, string | undefined>;

/** The plan's topics with their ids and limits of now; one that is gone keeps those it had. */
export async function presentTopics(plan: StreamPlan, log: LogTopics): Promise<PresentTopics> {
  const { inputs, changelog, outputs, deadLetters } = plan;
  const written = [...outputs, ...deadLetters, ...(changelog === undefined ? [] : [changelog])];
  const topics = [...new Set([...inputs, ...written].map(({ topic }) => topic))];
  const described = await log.describe(topics);
  const now = new Map(described.map((description, i) => [topics[i]!, description]));
  const id = <T extends { readonly topic: string; readonly topicId: string }>(of: T): T => ({
    ...of,
    topicId: now.get(of.topic)?.topicId ?? of.topicId,
  });
  const limits = <T extends { readonly topic: string; readonly limits: TopicLimits }>(of: T): T => ({
    ...of,
    limits: now.get(of.topic)?.limits ?? of.limits,
  });
  return {
    inputs: inputs.map(id),
    changelog: changelog === undefined ? undefined : limits(id(changelog)),
    outputs: outputs.map(limits),
    deadLetters: deadLetters.map(limits),
  };
}

/** What an actor knows of a topic that was deleted and created again is worth nothing. @throws PartitaError ACTOR_RESTARTED */
export function expectSameTopics({ id, inputs, changelog }: ActorSpec, now: TopicIds): void {
  const known = changelog === undefined ? inputs : [...inputs, changelog];
  const other = known.find(({ topic, topicId }) => now.get(topic) !== topicId);
  if (other === undefined) return;
  throw new PartitaError(
    'ACTOR_RESTARTED',
    `The topic ${other.topic} is another one than before ${id.stream}-${id.partition} was parked.`,
    { details: { ...id, topic: other.topic } },
  );
}
