/**
 * What a stream is, found out at start: its processor's declarations, its input, output and dead-letter topics as the log
 * describes them, its changelog. Checks what semantics.md 1 demands and creates the changelog; opens nothing else. A plan
 * never changes afterwards; `manager/actor-spec.ts` makes actors of it.
 */
import { describeError, PartitaError } from '../core/errors.js';
import type { TopicDescription } from '../core/log-types.js';
import { changelogTopic, transactionalId } from '../core/names.js';
import type { JoinOptions, LogTopics } from '../log/log-client.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import { hasState } from '../processor/has-state.js';
import { isTable } from '../processor/tables.js';
import type { ChangelogSpec, InputSpec, OutputSpec } from '../threads/protocol.js';
import type { ResolvedOptions } from './options.js';

/** Names one partition of one stream in maps. */
export function partitionKey(stream: string, partition: number): string {
  return `${stream}--${partition}`;
}

export interface StreamPlan {
  readonly stream: string;
  readonly url: string;
  readonly config: unknown;
  readonly definition: AnyDefinition;
  readonly inputs: readonly InputSpec[];
  /** The partitions of each input, hence the actors of the stream. */
  readonly partitions: number;
  readonly outputs: readonly OutputSpec[];
  readonly deadLetters: readonly OutputSpec[];
  readonly changelog: ChangelogSpec | undefined;
}

export interface PlanEnvironment {
  readonly topics: LogTopics;
  importProcessor(url: string): Promise<AnyDefinition>;
  /** A difference that loses no data: reported, not refused. */
  warn(message: string, details: Readonly<Record<string, unknown>>): void;
}

const CHANGELOG_MAX_BATCH_BYTES = 8 * 1024 * 1024;
const CHANGELOG_DELETE_RETENTION_MS = 7 * 24 * 3_600_000;
const KAFKA_DELETE_RETENTION_MS = 24 * 3_600_000;

/** Rejects INVALID_OPTIONS, INVALID_PROCESSOR, INVALID_NAME, TOPIC_MISSING, PARTITIONS_UNEQUAL, CHANGELOG_INVALID. */
export async function planStreams(
  options: ResolvedOptions,
  environment: PlanEnvironment,
): Promise<readonly StreamPlan[]> {
  const loaded = await Promise.all(
    Object.entries(options.streams).map(async ([stream, ref]) => {
      const definition = await environment.importProcessor(ref.url.href);
      checkConfig(stream, definition, ref.config);
      return { stream, url: ref.url.href, config: ref.config, definition };
    }),
  );
  checkTopicsAreUnshared(loaded);
  return Promise.all(loaded.map((stream) => planStream(stream, options, environment)));
}

type LoadedStream = Pick<StreamPlan, 'stream' | 'url' | 'config' | 'definition'>;

async function planStream(
  loaded: LoadedStream,
  options: ResolvedOptions,
  environment: PlanEnvironment,
): Promise<StreamPlan> {
  const { stream, definition } = loaded;
  const { inputs, descriptions } = await describeInputs(stream, definition, options, environment.topics);
  const partitions = descriptions[0]!.partitions;
  const replicationFactor = Math.max(...descriptions.map((description) => description.replicationFactor));
  // The longest of the stream's transactional ids must be within the log's limit too.
  transactionalId(options.group, stream, partitions);
  const outputs = await Promise.all(
    Object.entries(definition.outputs ?? {}).map(([output, declared]) =>
      describeOutput(stream, output, declared.name ?? output, options, environment.topics),
    ),
  );
  const deadLetters = await Promise.all(
    deadLetterTopics(definition).map((topic) =>
      describeOutput(stream, topic, topic, options, environment.topics),
    ),
  );
  const changelog = hasState(definition)
    ? await ensureChangelog(options.group, stream, partitions, replicationFactor, environment)
    : undefined;
  return { ...loaded, inputs, partitions, outputs, deadLetters, changelog };
}

/** How the group is joined to work on these streams: an actor gets all its inputs or none. */
export function joinOptions(plans: readonly StreamPlan[], options: ResolvedOptions): JoinOptions {
  const topicsOf = (plan: StreamPlan): string[] => plan.inputs.map(({ topic }) => topic);
  return {
    group: options.group,
    topics: plans.flatMap(topicsOf),
    strategy: options.assignment,
    streams: Object.fromEntries(plans.map((plan) => [plan.stream, topicsOf(plan)])),
    sessionTimeoutMs: options.sessionTimeoutMs,
    rebalanceTimeoutMs: options.rebalanceTimeoutMs,
    ...(options.chunkBytes === undefined ? {} : { maxBytesPerPartition: options.chunkBytes }),
    ...(options.advertise === undefined ? {} : { advertise: options.advertise }),
  };
}

function checkConfig(stream: string, definition: AnyDefinition, config: unknown): void {
  try {
    definition.config?.parse(config);
    structuredClone(config);
  } catch (error) {
    throw new PartitaError(
      'INVALID_OPTIONS',
      `Invalid options: streams.${stream}: the processor refuses its config: ${describeError(error)}.`,
      { cause: error, details: { path: `streams.${stream}` } },
    );
  }
}

function inputTopics(definition: AnyDefinition): Omit<InputSpec, 'topicId'>[] {
  return Object.entries(definition.inputs).map(([input, declared]) => ({
    input,
    topic: declared.name ?? input,
    isTable: isTable(declared),
  }));
}

function checkTopicsAreUnshared(streams: readonly LoadedStream[]): void {
  const owner = new Map<string, string>();
  for (const { stream, definition } of streams)
    for (const { topic } of inputTopics(definition)) {
      const other = owner.get(topic);
      if (other !== undefined)
        throw new PartitaError(
          'INVALID_OPTIONS',
          `Invalid options: streams.${stream}: the topic ${topic} already belongs to the stream ${other}; a topic belongs to one stream per group.`,
          { details: { path: `streams.${stream}`, topic, streams: [other, stream] } },
        );
      owner.set(topic, stream);
    }
}

async function describeInputs(
  stream: string,
  definition: AnyDefinition,
  options: ResolvedOptions,
  topics: LogTopics,
): Promise<{ inputs: InputSpec[]; descriptions: TopicDescription[] }> {
  const declared = inputTopics(definition);
  const described = await topics.describe(declared.map(({ topic }) => topic));
  const inputs: InputSpec[] = [];
  const descriptions: TopicDescription[] = [];
  // One that is created must fit those that are there.
  const partitions = described.find((found) => found !== undefined)?.partitions;
  for (const [i, input] of declared.entries()) {
    const { topic } = input;
    const description = described[i] ?? (await createTopic(topic, options, topics, partitions));
    if (description === undefined)
      throw new PartitaError(
        'TOPIC_MISSING',
        `The topic ${topic}, an input of ${stream}, does not exist; create it, or set createTopics.`,
        { details: { topic, stream, input: input.input } },
      );
    inputs.push({ ...input, topicId: description.topicId });
    descriptions.push(description);
  }
  const counts = Object.fromEntries(descriptions.map(({ topic, partitions }) => [topic, partitions]));
  if (new Set(Object.values(counts)).size > 1)
    throw new PartitaError(
      'PARTITIONS_UNEQUAL',
      `The inputs of ${stream} need the same number of partitions, but have ${Object.entries(counts)
        .map(([topic, partitions]) => `${topic}: ${partitions}`)
        .join(', ')}.`,
      { details: { stream, partitions: counts } },
    );
  return { inputs, descriptions };
}

async function describeOutput(
  stream: string,
  output: string,
  topic: string,
  options: ResolvedOptions,
  topics: LogTopics,
): Promise<OutputSpec> {
  const [existing] = await topics.describe([topic]);
  const description = existing ?? (await createTopic(topic, options, topics));
  if (description === undefined)
    throw new PartitaError(
      'TOPIC_MISSING',
      `The topic ${topic}, an output of ${stream}, does not exist; create it, or set createTopics.`,
      { details: { topic, stream, output } },
    );
  return { output, topic, partitions: description.partitions, limits: description.limits };
}

/** If that is asked for. */
async function createTopic(
  topic: string,
  { createTopics }: ResolvedOptions,
  topics: LogTopics,
  partitions = createTopics?.partitions,
): Promise<TopicDescription | undefined> {
  if (createTopics === undefined || partitions === undefined) return undefined;
  const { replicationFactor } = createTopics;
  return topics.ensure({
    topic,
    partitions,
    ...(replicationFactor === undefined ? {} : { replicationFactor }),
  });
}

/** Only a policy that is data can be looked up beforehand; a function's topics are known when it names them. */
function deadLetterTopics(definition: AnyDefinition): string[] {
  const policy = definition.onError;
  return typeof policy === 'object' ? [policy.deadLetter] : [];
}

async function ensureChangelog(
  group: string,
  stream: string,
  partitions: number,
  replicationFactor: number,
  environment: PlanEnvironment,
): Promise<ChangelogSpec> {
  const topic = changelogTopic(group, stream);
  const description = await environment.topics.ensure({
    topic,
    partitions,
    replicationFactor,
    configs: {
      'cleanup.policy': 'compact',
      'delete.retention.ms': String(CHANGELOG_DELETE_RETENTION_MS),
      'message.timestamp.type': 'LogAppendTime',
      'max.message.bytes': String(CHANGELOG_MAX_BATCH_BYTES),
    },
  });
  checkChangelog(description, partitions);
  for (const { config, expected, actual } of changelogDifferences(description, replicationFactor))
    environment.warn(`The changelog ${topic} has ${config} ${actual}, expected ${expected}.`, {
      topic,
      config,
      expected,
      actual,
    });
  return {
    topic,
    topicId: description.topicId,
    limits: description.limits,
    deleteRetentionMs: deleteRetentionMs(description),
  };
}

/** What would lose data is refused. @throws PartitaError CHANGELOG_INVALID */
export function checkChangelog(description: TopicDescription, partitions: number): void {
  const { topic } = description;
  const refuse = (config: string, expected: string, actual: string): never => {
    throw new PartitaError(
      'CHANGELOG_INVALID',
      `The changelog ${topic} has ${config} ${actual}, but needs ${expected}: it would lose state.`,
      { details: { topic, config, expected, actual } },
    );
  };
  if (description.partitions !== partitions)
    refuse('partitions', String(partitions), String(description.partitions));
  const policy = description.configs['cleanup.policy'] ?? 'delete';
  const policies = policy.split(',').map((part) => part.trim());
  if (!policies.includes('compact') || policies.includes('delete'))
    refuse('cleanup.policy', 'compact', policy);
}

/** Differences that lose nothing, with what was expected. */
export function changelogDifferences(
  description: TopicDescription,
  replicationFactor: number,
): { config: string; expected: string; actual: string }[] {
  const differences: { config: string; expected: string; actual: string }[] = [];
  const note = (config: string, fine: boolean, expected: string, actual: string): void => {
    if (!fine) differences.push({ config, expected, actual });
  };
  const type = description.configs['message.timestamp.type'] ?? 'CreateTime';
  note('message.timestamp.type', type === 'LogAppendTime', 'LogAppendTime', type);
  const retention = deleteRetentionMs(description);
  note(
    'delete.retention.ms',
    retention >= CHANGELOG_DELETE_RETENTION_MS,
    `at least ${CHANGELOG_DELETE_RETENTION_MS}`,
    String(retention),
  );
  const bytes = description.limits.maxBatchBytes;
  note(
    'max.message.bytes',
    bytes >= CHANGELOG_MAX_BATCH_BYTES,
    `at least ${CHANGELOG_MAX_BATCH_BYTES}`,
    String(bytes),
  );
  const factor = description.replicationFactor;
  note('replication', factor >= replicationFactor, `at least ${replicationFactor}`, String(factor));
  return differences;
}

function deleteRetentionMs(description: TopicDescription): number {
  const configured = description.configs['delete.retention.ms'];
  return configured === undefined ? KAFKA_DELETE_RETENTION_MS : Number(configured);
}
