/**
 * Topic configs by their Kafka names: which are known, their defaults in the embedded log, and the numbers the log acts
 * on. Two defaults differ from a broker's on purpose: `retention.ms` is -1, so that records with old event times stay,
 * and `segment.bytes` (how many new bytes make a background compaction worth while) is 64 MiB.
 */
import { PartitaError } from '../../core/errors.js';
import type { TopicLimits } from '../../core/log-types.js';

/** Defaults of the configs that the embedded log acts on. */
export const TOPIC_DEFAULTS: Readonly<Record<string, string>> = {
  'cleanup.policy': 'delete',
  'delete.retention.ms': '86400000',
  'max.message.bytes': '1048588',
  'message.timestamp.after.max.ms': '3600000',
  'message.timestamp.before.max.ms': '9223372036854775807',
  'message.timestamp.type': 'CreateTime',
  'min.cleanable.dirty.ratio': '0.5',
  'min.compaction.lag.ms': '0',
  'retention.bytes': '-1',
  'retention.ms': '-1',
  'segment.bytes': '67108864',
};

/** Accepted and kept, because Kafka knows them, but without effect in one process. */
const INERT = new Set([
  'compression.type',
  'file.delete.delay.ms',
  'flush.messages',
  'flush.ms',
  'index.interval.bytes',
  'max.compaction.lag.ms',
  'min.insync.replicas',
  'preallocate',
  'segment.index.bytes',
  'segment.jitter.ms',
  'segment.ms',
  'unclean.leader.election.enable',
]);

const NAME = /^[A-Za-z0-9._-]{1,249}$/;
const PARTITIONS_MAX = 10_000;

export interface TopicConfig {
  /** Every config with its effective value. */
  readonly texts: Readonly<Record<string, string>>;
  readonly compacts: boolean;
  readonly deletes: boolean;
  readonly logAppendTime: boolean;
  readonly limits: TopicLimits;
  readonly deleteRetentionMs: number;
  readonly minCompactionLagMs: number;
  readonly minCleanableDirtyRatio: number;
  readonly cleanableBytesMin: number;
  /** -1: no limit. */
  readonly retentionMs: number;
  readonly retentionBytes: number;
}

/** @throws PartitaError TOPIC_INVALID */
export function checkTopic(topic: string, partitions: number): void {
  if (!NAME.test(topic) || topic === '.' || topic === '..')
    throw invalid(topic, `its name must be 1 to 249 of A-Z a-z 0-9 . _ -, and not "." or ".."`);
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > PARTITIONS_MAX)
    throw invalid(topic, `it must have 1 to ${PARTITIONS_MAX} partitions, not ${partitions}`);
}

/** @throws PartitaError TOPIC_INVALID for a config that Kafka does not know or a value that it would refuse. */
export function topicConfig(
  topic: string,
  configs: Readonly<Record<string, string>> | undefined,
  defaults: Readonly<Record<string, string>>,
): TopicConfig {
  const texts: Record<string, string> = { ...TOPIC_DEFAULTS, ...defaults, ...configs };
  for (const name of Object.keys(texts))
    if (!(name in TOPIC_DEFAULTS) && !INERT.has(name))
      throw invalid(topic, `there is no topic config ${name}`);
  const number = (name: string, min: number): number => {
    const value = Number(texts[name]);
    if (!Number.isFinite(value) || value < min)
      throw invalid(topic, `${name}=${String(texts[name])} is not allowed`);
    return Math.min(value, Number.MAX_SAFE_INTEGER);
  };
  const policies = texts['cleanup.policy']!.split(',').map((policy) => policy.trim());
  if (policies.some((policy) => policy !== 'compact' && policy !== 'delete'))
    throw invalid(topic, `cleanup.policy=${texts['cleanup.policy']!} is not allowed`);
  const timestampType = texts['message.timestamp.type'];
  if (timestampType !== 'CreateTime' && timestampType !== 'LogAppendTime')
    throw invalid(topic, `message.timestamp.type=${String(timestampType)} is not allowed`);
  return Object.freeze({
    texts: Object.freeze(texts),
    compacts: policies.includes('compact'),
    deletes: policies.includes('delete'),
    logAppendTime: timestampType === 'LogAppendTime',
    limits: Object.freeze({
      maxBatchBytes: number('max.message.bytes', 0),
      timestampBeforeMaxMs: number('message.timestamp.before.max.ms', 0),
      timestampAfterMaxMs: number('message.timestamp.after.max.ms', 0),
    }),
    deleteRetentionMs: number('delete.retention.ms', 0),
    minCompactionLagMs: number('min.compaction.lag.ms', 0),
    minCleanableDirtyRatio: number('min.cleanable.dirty.ratio', 0),
    cleanableBytesMin: number('segment.bytes', 1),
    retentionMs: number('retention.ms', -1),
    retentionBytes: number('retention.bytes', -1),
  });
}

function invalid(topic: string, why: string): PartitaError {
  return new PartitaError('TOPIC_INVALID', `The topic ${JSON.stringify(topic)} can't be created: ${why}.`, {
    details: { topic },
  });
}
