/**
 * Creates the topics of a processor under test and describes them as an actor's spec wants them. Any event time is
 * admitted: tests live in whatever year they like. The manager does this for real jobs, with validation.
 */
import { changelogTopic } from '../core/names.js';
import type { LogClient } from '../log/log-client.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import { hasState } from '../processor/has-state.js';
import { isTable } from '../processor/tables.js';
import type { ActorSpec, OutputSpec } from '../threads/protocol.js';

export const GROUP = 'test';
export const STREAM = 'processor';

const DAY_MS = 86_400_000;
const CHANGELOG_BATCH_BYTES = 8 * 1024 * 1024;
const ANY_TIME = {
  'retention.ms': '-1',
  'message.timestamp.before.max.ms': String(Number.MAX_SAFE_INTEGER),
  'message.timestamp.after.max.ms': String(Number.MAX_SAFE_INTEGER),
};

/** What an actor's spec says of topics. */
export type TopicSpecs = Pick<ActorSpec, 'inputs' | 'outputs' | 'deadLetters' | 'changelog'>;

export async function prepareTopics(
  client: LogClient,
  definition: AnyDefinition,
  partitions: number,
  deadLetters: readonly string[],
): Promise<TopicSpecs> {
  const ensure = (topic: string) => client.topics.ensure({ topic, partitions, configs: ANY_TIME });
  const output = async (name: string, topic: string): Promise<OutputSpec> => {
    const { limits } = await ensure(topic);
    return { output: name, topic, partitions, limits };
  };
  const inputs = Object.entries(definition.inputs).map(async ([input, declared]) => {
    const topic = declared.name ?? input;
    return { input, topic, topicId: (await ensure(topic)).topicId, isTable: isTable(declared) };
  });
  const outputs = Object.entries(definition.outputs ?? {}).map(([name, declared]) =>
    output(name, declared.name ?? name),
  );
  const literal = typeof definition.onError === 'object' ? [definition.onError.deadLetter] : [];
  const dead = [...new Set([...literal, ...deadLetters])].map((topic) => output(topic, topic));
  return {
    inputs: await Promise.all(inputs),
    outputs: await Promise.all(outputs),
    deadLetters: await Promise.all(dead),
    changelog: hasState(definition) ? await changelog(client, partitions) : undefined,
  };
}

async function changelog(client: LogClient, partitions: number): Promise<ActorSpec['changelog']> {
  const topic = changelogTopic(GROUP, STREAM);
  const deleteRetentionMs = 7 * DAY_MS;
  const { topicId, limits } = await client.topics.ensure({
    topic,
    partitions,
    configs: {
      'cleanup.policy': 'compact',
      'delete.retention.ms': String(deleteRetentionMs),
      'message.timestamp.type': 'LogAppendTime',
      'max.message.bytes': String(CHANGELOG_BATCH_BYTES),
    },
  });
  return { topic, topicId, limits, deleteRetentionMs };
}
