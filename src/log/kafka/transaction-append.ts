/**
 * Appends the batches of one transaction at the partitions' leaders: one record batch per partition and request, those of
 * one leader together, a partition's own one after the other and some ahead. What was not answered is sent again with
 * the same sequences, so that brokers drop what they have. It never ends the transaction (`transaction-attempt.ts` does).
 */
import { Backoff } from '../../core/backoff.js';
import { PartitaError } from '../../core/errors.js';
import type { LogBatch, TopicPartition } from '../../core/log-types.js';
import { keyOf } from '../by-topic.js';
import type { Cluster, RetryOptions } from './cluster.js';
import { kafkaType, toPartitaError } from './kafka-errors.js';
import type { BrokerConnection } from './kafkajs-internals.js';
import {
  produceError,
  sealedBatches,
  sequenceAfter,
  stampSealed,
  type SealedBatch,
} from './sealed-batches.js';
import { throwIfAborted, verdictOf, type CallBounds, type Verdict } from './transaction-calls.js';
import { produceRequest, type ProducedPartition } from './wire/produce.js';
import type { ProducerEpoch } from './wire/transactions.js';

/** Bytes of one request, or one larger batch. */
const REQUEST_BYTES_MAX = 4 << 20;
/** As many batches of one producer and partition a broker can tell apart from repetitions. */
const IN_FLIGHT_MAX = 5;
const BACKOFF = { firstMs: 5, maxMs: 500, attemptsMax: Infinity } as const;
/** Brokers answer within it, or say that replicas did not. */
const ACKNOWLEDGE_MS_MAX = 30_000;
/** The worst comes first. */
const VERDICTS: readonly Verdict[] = ['fenced', 'refused', 'unanswered'];

/** A producer's epoch, and how far its sequences are in each partition, by `keyOf`. */
export interface Sequences extends ProducerEpoch {
  readonly sequences: Map<string, number>;
}

interface Part extends SealedBatch {
  baseSequence: number;
  /** −1: appended, but the broker does not know any more where. */
  baseOffset: number;
}

/** The batches of one partition. */
interface Lane extends TopicPartition {
  readonly parts: Part[];
  /** How many were sent, and how many of them acknowledged, in this order. */
  sent: number;
  acknowledged: number;
  /** The first one counts: what follows it is out of order. */
  error: unknown;
}

export class TransactionAppend {
  readonly #cluster: Cluster;
  readonly #transactionalId: string;
  readonly #given: readonly LogBatch[];
  readonly #batches: readonly (readonly Part[])[];
  readonly #lanes = new Map<string, Lane>();

  /** @throws PartitaError RECORD_BATCH_CORRUPT */
  constructor(cluster: Cluster, transactionalId: string, batches: readonly LogBatch[]) {
    this.#cluster = cluster;
    this.#transactionalId = transactionalId;
    this.#given = batches;
    this.#batches = batches.map((batch) =>
      sealedBatches(batch).map((sealed) => ({ ...sealed, baseSequence: -1, baseOffset: -1 })),
    );
    for (const part of this.#batches.flat()) this.#laneOf(part).parts.push(part);
  }

  get partitions(): readonly TopicPartition[] {
    return [...this.#lanes.values()];
  }

  /** Learns who leads the partitions. Rejects TOPIC_MISSING before anything was asked of anybody. */
  async findLeaders(bounds: CallBounds): Promise<void> {
    await Promise.all(this.partitions.map((lane) => this.#leader(lane, bounds)));
  }

  /** Resolves when every batch is acknowledged; rejects with what was worst when nothing is under way any more. */
  async run(producer: Sequences, bounds: CallBounds): Promise<void> {
    this.#stamp(producer);
    const backoff = new Backoff(BACKOFF);
    for (;;) {
      const lanes = this.#unfinished();
      for (const lane of lanes) {
        lane.sent = lane.acknowledged;
        lane.error = undefined;
      }
      const leaders = await this.#byLeader(lanes, bounds);
      await Promise.all([...leaders].map(([node, of]) => this.#sendTo(node, of, bounds)));
      const left = this.#unfinished();
      if (left.length === 0) return;
      const worst = this.#worst(left);
      if (bounds.deadline.expired || verdictOf(worst) !== 'unanswered') throw worst;
      await this.#cluster.clock.sleep(Math.min(backoff.next()!, bounds.deadline.remainingMs), bounds.signal);
      const topics = [...new Set(left.map(({ topic }) => topic))];
      await this.#cluster.metadata(topics, retryOptions(bounds));
    }
  }

  /** Base and last offset of each of the batches given. Rejects COMMIT_IN_DOUBT where a broker did not know. */
  offsets(): { readonly baseOffsets: readonly number[]; readonly lastOffsets: readonly number[] } {
    const unknown = this.#batches.flat().find(({ baseOffset }) => baseOffset < 0);
    if (unknown !== undefined)
      throw new PartitaError(
        'COMMIT_IN_DOUBT',
        `${unknown.topic}-${unknown.partition} has a batch already and does not know at which offset.`,
      );
    return {
      baseOffsets: this.#batches.map((parts) => parts[0]!.baseOffset),
      lastOffsets: this.#batches.map((parts) => {
        const last = parts.at(-1)!;
        return last.baseOffset + last.offsets - 1;
      }),
    };
  }

  /** @throws PartitaError CHANGELOG_INVALID if a batch is not beyond the offset that it was to be beyond */
  expectBeyond(): void {
    for (const [i, { topic, partition, beyond }] of this.#given.entries()) {
      const at = this.#batches[i]![0]!.baseOffset;
      if (beyond === undefined || at < 0 || at > beyond) continue;
      throw new PartitaError(
        'CHANGELOG_INVALID',
        `${topic}-${partition} was appended to at offset ${at}, but had reached ${beyond} before: the topic was deleted and created again`,
        { details: { topic, partition, offset: at, beyond } },
      );
    }
  }

  #laneOf({ topic, partition }: TopicPartition): Lane {
    const key = keyOf({ topic, partition });
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = { topic, partition, parts: [], sent: 0, acknowledged: 0, error: undefined };
      this.#lanes.set(key, lane);
    }
    return lane;
  }

  #unfinished(): Lane[] {
    return [...this.#lanes.values()].filter((lane) => lane.acknowledged < lane.parts.length);
  }

  #stamp(producer: Sequences): void {
    for (const [key, lane] of this.#lanes) {
      let sequence = producer.sequences.get(key) ?? 0;
      for (const part of lane.parts) {
        part.baseSequence = sequence;
        stampSealed(part, producer, sequence, true);
        sequence = sequenceAfter(sequence, part.offsets);
      }
      producer.sequences.set(key, sequence);
    }
  }

  async #leader({ topic, partition }: TopicPartition, bounds: CallBounds): Promise<number> {
    const at = { topic, partition };
    return (
      this.#cluster.leaderOf(at) ??
      this.#cluster.onLeader(
        at,
        'produce',
        `Looking for the leader of ${topic}-${partition}`,
        (_, node) => Promise.resolve(node),
        retryOptions(bounds),
      )
    );
  }

  async #byLeader(lanes: readonly Lane[], bounds: CallBounds): Promise<Map<number, Lane[]>> {
    const leaders = new Map<number, Lane[]>();
    for (const lane of lanes) {
      const leader = await this.#leader(lane, bounds);
      const of = leaders.get(leader);
      if (of === undefined) leaders.set(leader, [lane]);
      else of.push(lane);
    }
    return leaders;
  }

  /** Never rejects: errors are the lanes'. */
  async #sendTo(node: number, lanes: readonly Lane[], bounds: CallBounds): Promise<void> {
    try {
      const connection = await this.#cluster.connection(node, 'produce');
      const underWay = new Set<Promise<void>>();
      for (;;) {
        const parts = underWay.size < IN_FLIGHT_MAX && !bounds.signal.aborted ? this.#next(lanes) : [];
        if (parts.length > 0) {
          const request = this.#send(connection, parts, bounds).finally(() => underWay.delete(request));
          underWay.add(request);
        } else if (underWay.size > 0) await Promise.race(underWay);
        else break;
      }
      throwIfAborted(bounds.signal);
    } catch (error) {
      for (const lane of lanes) lane.error ??= error;
    }
  }

  /** What goes into the next request: the next batch of each partition that may send one, as many as there is room for. */
  #next(lanes: readonly Lane[]): Part[] {
    const parts: Part[] = [];
    let bytes = 0;
    for (const lane of lanes) {
      const part = lane.parts[lane.sent];
      // The first one goes alone: with it the broker asks the coordinator whether the transaction is what it seems to be.
      const ahead = lane.sent - lane.acknowledged;
      if (
        part === undefined ||
        lane.error !== undefined ||
        ahead >= (lane.acknowledged > 0 ? IN_FLIGHT_MAX : 1)
      )
        continue;
      if (parts.length > 0 && bytes + part.bytes.length > REQUEST_BYTES_MAX) continue;
      parts.push(part);
      bytes += part.bytes.length;
      lane.sent++;
    }
    return parts;
  }

  async #send(connection: BrokerConnection, parts: readonly Part[], bounds: CallBounds): Promise<void> {
    const timeoutMs = Math.ceil(Math.min(Math.max(bounds.deadline.remainingMs, 1), ACKNOWLEDGE_MS_MAX));
    const request = produceRequest({ transactionalId: this.#transactionalId, timeoutMs, batches: parts });
    try {
      const answers = await connection.send(request);
      const byKey = new Map(answers.map((answer) => [keyOf(answer), answer]));
      for (const part of parts) this.#settle(part, byKey.get(keyOf(part)));
    } catch (error) {
      for (const part of parts) this.#laneOf(part).error ??= error;
    }
  }

  #settle(part: Part, answer: ProducedPartition | undefined): void {
    const lane = this.#laneOf(part);
    if (lane.error !== undefined) return;
    const error = produceError(answer, (code) => this.#cluster.errorType(code));
    if (error === undefined || kafkaType(error) === 'DUPLICATE_SEQUENCE_NUMBER') {
      part.baseOffset = error === undefined ? answer!.baseOffset : -1;
      lane.acknowledged++;
    } else lane.error = error;
  }

  #worst(lanes: readonly Lane[]): Error {
    const failed = lanes
      .filter(({ error }) => error !== undefined)
      .map(({ topic, partition, error }) => {
        const what = `Appending to ${topic}-${partition}`;
        return { verdict: verdictOf(error), error: toPartitaError(error, what, { topic, partition }) };
      })
      .sort((a, b) => VERDICTS.indexOf(a.verdict) - VERDICTS.indexOf(b.verdict));
    return failed[0]!.error;
  }
}

function retryOptions({ deadline, signal }: CallBounds): RetryOptions {
  return { budgetMs: deadline.remainingMs, signal };
}
