/**
 * Asks brokers for offsets: where partitions begin and end, of many at once, and what a group has committed, stable ones
 * only. It never moves an offset, and never fetches a record (`page-reader.ts` does).
 */
import { Backoff } from '../../core/backoff.js';
import { PartitaError } from '../../core/errors.js';
import type { CommittedOffset, PartitionBounds, TopicPartition } from '../../core/log-types.js';
import { byTopic, keyOf } from '../by-topic.js';
import { type Cluster, type RetryOptions, UNKNOWN_TOPIC_GRACE_MS } from './cluster.js';
import { BrokerAnswerError, isCoordinatorError, kafkaType } from './kafka-errors.js';
import type { BrokerConnection } from './kafkajs-internals.js';
import { offsetFetchRequest, type OffsetFetchAnswer } from './wire/offset-fetch.js';

const EARLIEST = -2;
const LATEST = -1;
/** A transaction over the offsets is usually completed within some milliseconds (KIP-447). */
const UNSTABLE_BACKOFF = { firstMs: 2, maxMs: 100, attemptsMax: 12 } as const;

export class OffsetsReader {
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** Bounds in the order asked. Rejects TOPIC_MISSING, or what `Cluster` rejects with. */
  async bounds(
    partitions: readonly TopicPartition[],
    options: RetryOptions = {},
  ): Promise<readonly PartitionBounds[]> {
    if (partitions.length === 0) return [];
    const graceEnd = this.#cluster.clock.monotonic() + UNKNOWN_TOPIC_GRACE_MS;
    const found = new Map<string, PartitionBounds>();
    let attempt = 0;
    const what = `Asking for the bounds of ${keyOf(partitions[0]!)}${partitions.length > 1 ? ', …' : ''}`;
    await this.#cluster.onAny(
      what,
      async () => {
        const open = partitions.filter((id) => !found.has(keyOf(id)));
        const byNode = await this.#byLeader(open, attempt++ > 0, graceEnd);
        const asked = await Promise.allSettled(
          [...byNode].map(([node, led]) => this.#boundsAt(node, led, found)),
        );
        const failed = asked.find((one) => one.status === 'rejected');
        if (failed !== undefined) throw failed.reason;
      },
      options,
    );
    return partitions.map((id) => found.get(keyOf(id))!);
  }

  /** Stable committed offsets in the order asked; `undefined` where nothing is committed. */
  async committed(
    group: string,
    partitions: readonly TopicPartition[],
  ): Promise<readonly (CommittedOffset | undefined)[]> {
    if (partitions.length === 0) return [];
    const found = new Map<string, CommittedOffset>();
    await this.#cluster.onCoordinator(
      'group',
      group,
      'control',
      `Asking for the committed offsets of the group ${group}`,
      async (connection) => {
        const { offsets } = await this.#stable(connection, group, partitions);
        for (const { topic, partition, offset, metadata } of offsets)
          if (offset >= 0) found.set(keyOf({ topic, partition }), { offset, metadata });
      },
      { details: { group } },
    );
    return partitions.map((id) => found.get(keyOf(id)));
  }

  // ── bounds ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #byLeader(
    partitions: readonly TopicPartition[],
    again: boolean,
    graceEnd: number,
  ): Promise<Map<number, TopicPartition[]>> {
    const cluster = this.#cluster;
    const unknown = partitions.filter((id) => again || cluster.leaderOf(id) === undefined);
    // One attempt: the caller's are the retries.
    await cluster.metadata([...byTopic(unknown).keys()], { budgetMs: 0 });
    const byNode = new Map<number, TopicPartition[]>();
    for (const id of partitions) {
      const node = cluster.leaderOf(id);
      if (node === undefined) throw this.#leaderless(id, graceEnd);
      const led = byNode.get(node);
      if (led === undefined) byNode.set(node, [id]);
      else led.push(id);
    }
    return byNode;
  }

  #leaderless(id: TopicPartition, graceEnd: number): Error {
    const { topic, partition } = id;
    const known = this.#cluster.known(topic);
    if (known !== undefined && partition < known.partitions.length)
      return new BrokerAnswerError('LEADER_NOT_AVAILABLE', `${topic}-${partition} has no leader.`);
    const message =
      known === undefined
        ? `The topic ${topic} does not exist.`
        : `The topic ${topic} has no partition ${partition}, only ${known.partitions.length}.`;
    if (this.#cluster.clock.monotonic() < graceEnd)
      return new BrokerAnswerError('UNKNOWN_TOPIC_OR_PARTITION', message);
    return new PartitaError('TOPIC_MISSING', message, { details: { topic, partition } });
  }

  async #boundsAt(
    node: number,
    partitions: readonly TopicPartition[],
    found: Map<string, PartitionBounds>,
  ): Promise<void> {
    const connection = await this.#cluster.connection(node, 'control');
    // A broker answers in order: start, then last stable, then end, each of which only rises.
    const [starts, stables, ends] = await Promise.all([
      listOffsets(connection, partitions, EARLIEST, 0),
      listOffsets(connection, partitions, LATEST, 1),
      listOffsets(connection, partitions, LATEST, 0),
    ]);
    for (const id of partitions) {
      const key = keyOf(id);
      const [start, lastStable, end] = [starts.get(key), stables.get(key), ends.get(key)];
      if (start === undefined || lastStable === undefined || end === undefined)
        throw new BrokerAnswerError('UNKNOWN_TOPIC_OR_PARTITION', `Broker ${node} left out ${key}.`);
      found.set(key, { start, lastStable, end });
    }
  }

  // ── committed offsets ──────────────────────────────────────────────────────────────────────────────────────────────

  async #stable(
    connection: BrokerConnection,
    group: string,
    partitions: readonly TopicPartition[],
  ): Promise<OffsetFetchAnswer> {
    const backoff = new Backoff(UNSTABLE_BACKOFF);
    for (;;) {
      const answer = await connection.send(offsetFetchRequest(group, partitions));
      const error = this.#errorIn(answer, group);
      if (error === undefined) return answer;
      const delayMs = kafkaType(error) === 'UNSTABLE_OFFSET_COMMIT' ? backoff.next() : undefined;
      if (isCoordinatorError(error)) this.#cluster.forgetCoordinator('group', group);
      if (delayMs === undefined) throw error;
      await this.#cluster.clock.sleep(delayMs);
    }
  }

  #errorIn({ errorCode, offsets }: OffsetFetchAnswer, group: string): BrokerAnswerError | undefined {
    const whole = this.#typeOf(errorCode);
    if (whole !== undefined)
      return new BrokerAnswerError(whole, `The coordinator of ${group} answered ${whole}.`);
    for (const { topic, partition, errorCode: code } of offsets) {
      const type = this.#typeOf(code);
      if (type !== undefined)
        return new BrokerAnswerError(
          type,
          `The coordinator of ${group} answered ${type} for ${topic}-${partition}.`,
        );
    }
    return undefined;
  }

  #typeOf(code: number): string | undefined {
    const type = this.#cluster.errorType(code);
    return type === 'NONE' ? undefined : type;
  }
}

/** At its end an offset is in range: the next record will be there. */
export function isOutOfRange(offset: number, { start, end }: PartitionBounds): boolean {
  return offset < start || offset > end;
}

async function listOffsets(
  connection: BrokerConnection,
  partitions: readonly TopicPartition[],
  timestamp: number,
  isolationLevel: 0 | 1,
): Promise<Map<string, number>> {
  const topics = [...byTopic(partitions)].map(([topic, of]) => ({
    topic,
    partitions: of.map(({ partition }) => ({ partition, timestamp })),
  }));
  const { responses } = await connection.requests.listOffsets({ replicaId: -1, isolationLevel, topics });
  const offsets = new Map<string, number>();
  for (const { topic, partitions: of } of responses)
    for (const { partition, offset } of of) offsets.set(keyOf({ topic, partition }), Number(offset));
  return offsets;
}
