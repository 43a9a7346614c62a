/**
 * The one idempotent producer for what leaves outside transactions: batches queue by partition, those of one leader share
 * requests, and what was not answered is sent again with the same sequence. A partition whose batch fails for good drops
 * what waits behind it and begins anew. The queues are `output-lane.ts`, their bound `output-room.ts`.
 */
import { Deadline } from '../../core/deadline.js';
import { describeError, PartitaError } from '../../core/errors.js';
import type { LogBatch, TopicPartition } from '../../core/log-types.js';
import type { OutputProducer, ProduceOptions } from '../log-client.js';
import { keyOf } from '../by-topic.js';
import type { Cluster, RetryOptions } from './cluster.js';
import {
  BrokerAnswerError,
  isConnectionError,
  isLeaderError,
  isRetriable,
  kafkaType,
  toPartitaError,
} from './kafka-errors.js';
import { OutputCall, OutputLane, type OutputEntry } from './output-lane.js';
import { callAborted, OutputRoom, type RoomBounds } from './output-room.js';
import { produceError, sealedBatches, type SealedBatch } from './sealed-batches.js';
import { produceRequest } from './wire/produce.js';
import { initProducerIdRequest, type ProducerEpoch } from './wire/transactions.js';

/** What may wait or be under way, all partitions together. */
const ROOM = { bytesMax: 64 << 20, batchesMax: 100_000 } as const;
/** Requests under way to one broker; what comes meanwhile is collected for the next one. */
const IN_FLIGHT_MAX = 2;
/** Of one request; a larger batch goes alone. */
const REQUEST_BYTES_MAX = 2 << 20;
const REQUEST_BATCHES_MAX = 1_000;
const ACKNOWLEDGE_MS_MAX = 30_000;
const BACKOFF = { firstMs: 5, maxMs: 500, attemptsMax: Infinity } as const;

/** The partitions of one leader that have something to send, and how many requests are under way to it. */
interface Desk {
  readonly node: number;
  ready: OutputLane[];
  underWay: number;
  isWoken: boolean;
}

export class KafkaOutputProducer implements OutputProducer {
  readonly #cluster: Cluster;
  readonly #room: OutputRoom;
  readonly #lanes = new Map<string, OutputLane>();
  readonly #desks = new Map<number, Desk>();
  readonly #requests = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  /** The id that partitions share until one of them fails. */
  #sharedId: Promise<ProducerEpoch> | undefined;

  constructor(cluster: Cluster, room: RoomBounds = ROOM) {
    this.#cluster = cluster;
    this.#room = new OutputRoom(room);
  }

  async produce(
    batches: readonly LogBatch[],
    { signal }: ProduceOptions = {},
  ): Promise<readonly { readonly baseOffset: number }[]> {
    this.#expectOpen();
    if (isAborted(signal)) throw callAborted(signal);
    const parts = batches.map((batch) => sealedBatches(batch));
    const all = parts.flat();
    const call = new OutputCall(batches.length, all.length);
    if (all.length === 0) return [];
    await this.#room.take(bytesOf(all), all.length, signal);
    if (this.#closing.signal.aborted || isAborted(signal)) {
      this.#room.give(bytesOf(all), all.length);
      this.#expectOpen();
      throw callAborted(signal);
    }
    const lanes = this.#enqueue(call, parts);
    const onAbort = (): void => {
      this.#purge(lanes, (entry) => entry.call === call, callAborted(signal));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return await call.settled;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Waits for what is under way, rejects the rest with LOG_CLOSED. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#room.refuse(this.#closed());
    this.#purge(this.#lanes.values(), () => true, this.#closed());
    while (this.#requests.size > 0) await Promise.allSettled([...this.#requests]);
  }

  #enqueue(call: OutputCall, parts: readonly (readonly SealedBatch[])[]): Set<OutputLane> {
    const lanes = new Set<OutputLane>();
    parts.forEach((of, batch) => {
      of.forEach((part, at) => {
        const lane = this.#laneOf(part);
        lane.push({ ...part, call, batch, isFirst: at === 0, sent: false, deadline: undefined });
        lanes.add(lane);
      });
    });
    for (const lane of lanes) if (lane.state === 'idle') this.#next(lane);
    return lanes;
  }

  #laneOf(at: TopicPartition): OutputLane {
    const key = keyOf(at);
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = new OutputLane(at);
      this.#lanes.set(key, lane);
    }
    return lane;
  }

  /** The lane's first batch has its turn. */
  #next(lane: OutputLane): void {
    const entry = lane.first;
    if (entry === undefined) {
      lane.state = 'idle';
      return;
    }
    const deadline = this.#deadlineOf(entry);
    const leader = this.#cluster.leaderOf(lane);
    if (lane.producer !== undefined && leader !== undefined) this.#ready(lane, leader);
    else void this.#prepare(lane, deadline, undefined);
  }

  #deadlineOf(entry: OutputEntry): Deadline {
    return (entry.deadline ??= Deadline.after(this.#cluster.clock, this.#cluster.options.retryTimeoutMs));
  }

  /** What a lane needs before its first batch can be sent (again). Never rejects. */
  async #prepare(lane: OutputLane, deadline: Deadline, failure: unknown): Promise<void> {
    lane.state = 'preparing';
    try {
      if (failure !== undefined) await this.#waitToRetry(lane, deadline, failure);
      lane.producer ??= await this.#producerId(lane, this.#retry(deadline));
      const leader = this.#cluster.leaderOf(lane) ?? (await this.#findLeader(lane, this.#retry(deadline)));
      if (lane.first === undefined) lane.state = 'idle';
      else this.#ready(lane, leader);
    } catch (error) {
      this.#fail(lane, this.#closing.signal.aborted ? this.#closed(error) : error);
    }
  }

  async #waitToRetry(lane: OutputLane, deadline: Deadline, failure: unknown): Promise<void> {
    const backoff = BACKOFF.firstMs * 2 ** Math.min(lane.attempts, 10);
    const ms = Math.min(backoff * (0.5 + Math.random() / 2), BACKOFF.maxMs, deadline.remainingMs);
    lane.attempts++;
    await this.#cluster.clock.sleep(ms, this.#closing.signal);
    if (isLeaderError(failure) || isConnectionError(failure))
      await this.#cluster.metadata([lane.topic], this.#retry(deadline));
  }

  #findLeader({ topic, partition }: TopicPartition, retry: RetryOptions): Promise<number> {
    const what = `Looking for the leader of ${topic}-${partition}`;
    return this.#cluster.onLeader(
      { topic, partition },
      'produce',
      what,
      (_, node) => Promise.resolve(node),
      retry,
    );
  }

  async #producerId(lane: OutputLane, retry: RetryOptions): Promise<ProducerEpoch> {
    if (lane.needsOwnId) return this.#newProducerId(retry);
    const shared = (this.#sharedId ??= this.#newProducerId(retry));
    try {
      return await shared;
    } catch (error) {
      if (this.#sharedId === shared) this.#sharedId = undefined;
      throw error;
    }
  }

  #newProducerId(retry: RetryOptions): Promise<ProducerEpoch> {
    return this.#cluster.onAny(
      'Asking for a producer id',
      async (connection) => {
        const { errorCode, ...producer } = await connection.send(initProducerIdRequest(null, 0x7fffffff));
        const type = this.#cluster.errorType(errorCode);
        if (type !== 'NONE') throw new BrokerAnswerError(type, undefined);
        return producer;
      },
      retry,
    );
  }

  #ready(lane: OutputLane, leader: number): void {
    let desk = this.#desks.get(leader);
    if (desk === undefined) {
      desk = { node: leader, ready: [], underWay: 0, isWoken: false };
      this.#desks.set(leader, desk);
    }
    lane.state = 'ready';
    desk.ready.push(lane);
    this.#wake(desk);
  }

  /** Not at once: what is produced in the same turn of the event loop shares the request. */
  #wake(desk: Desk): void {
    if (desk.isWoken) return;
    desk.isWoken = true;
    setImmediate(() => {
      desk.isWoken = false;
      while (desk.underWay < IN_FLIGHT_MAX) {
        const lanes = takeReady(desk);
        if (lanes.length === 0) return;
        const request = this.#send(desk, lanes).finally(() => this.#requests.delete(request));
        this.#requests.add(request);
      }
    });
  }

  /** Never rejects. */
  async #send(desk: Desk, lanes: readonly OutputLane[]): Promise<void> {
    desk.underWay++;
    try {
      const connection = await this.#cluster.connection(desk.node, 'produce');
      const batches = lanes.map((lane) => lane.stampFirst());
      const request = produceRequest({ transactionalId: null, timeoutMs: ACKNOWLEDGE_MS_MAX, batches });
      for (const entry of batches) entry.sent = true;
      const answers = await connection.send(request);
      const byKey = new Map(answers.map((answer) => [keyOf(answer), answer]));
      for (const lane of lanes) {
        const answer = byKey.get(keyOf(lane));
        const error = produceError(answer, (code) => this.#cluster.errorType(code));
        if (error === undefined) this.#acknowledged(lane, answer!.baseOffset);
        else if (kafkaType(error) === 'DUPLICATE_SEQUENCE_NUMBER') this.#acknowledged(lane, -1);
        else this.#missed(lane, error);
      }
    } catch (error) {
      for (const lane of lanes) if (lane.state === 'underWay') this.#missed(lane, error);
    } finally {
      desk.underWay--;
      this.#wake(desk);
    }
  }

  #acknowledged(lane: OutputLane, baseOffset: number): void {
    const entry = lane.advance();
    this.#room.give(entry.bytes.length, 1);
    entry.call.acknowledged(entry, baseOffset);
    this.#next(lane);
  }

  #missed(lane: OutputLane, error: unknown): void {
    const deadline = this.#deadlineOf(lane.first!);
    if (this.#closing.signal.aborted) this.#fail(lane, this.#closed(error));
    else if (!isRetriable(error) || deadline.expired) this.#fail(lane, error);
    else {
      this.#cluster.logger.debug(
        { err: error, topic: lane.topic, partition: lane.partition },
        'An output is sent again.',
      );
      void this.#prepare(lane, deadline, error);
    }
  }

  /** For good: what waits behind it in its partition fails with it, so that nothing overtakes it unnoticed. */
  #fail(lane: OutputLane, thrown: unknown): void {
    const { topic, partition } = lane;
    const error = toPartitaError(thrown, `Producing to ${topic}-${partition}`, { topic, partition });
    lane.state = 'idle';
    for (const entry of lane.takeAll()) {
      this.#room.give(entry.bytes.length, 1);
      entry.call.failed(error);
    }
  }

  #purge(lanes: Iterable<OutputLane>, isMeant: (entry: OutputEntry) => boolean, reason: PartitaError): void {
    for (const lane of lanes)
      for (const entry of lane.takeUnsent(isMeant)) {
        this.#room.give(entry.bytes.length, 1);
        entry.call.purged(reason);
      }
  }

  #retry(deadline: Deadline): RetryOptions {
    return { budgetMs: deadline.remainingMs, signal: this.#closing.signal };
  }

  #expectOpen(): void {
    this.#cluster.expectOpen();
    if (this.#closing.signal.aborted) throw this.#closed();
  }

  #closed(cause?: unknown): PartitaError {
    const why = cause === undefined ? '' : ` before the last answer was a good one: ${describeError(cause)}`;
    return new PartitaError('LOG_CLOSED', `The output producer has been closed${why}.`, { cause });
  }
}

/** At most one batch of each partition, as many as there is room for; the rest stays ready, in order. */
function takeReady(desk: Desk): readonly OutputLane[] {
  const taken: OutputLane[] = [];
  const left: OutputLane[] = [];
  let bytes = 0;
  for (const lane of desk.ready) {
    const entry = lane.first;
    if (entry === undefined) {
      lane.state = 'idle';
      continue;
    }
    const size = entry.bytes.length;
    const isRoom =
      taken.length === 0 || (taken.length < REQUEST_BATCHES_MAX && bytes + size <= REQUEST_BYTES_MAX);
    if (!isRoom) {
      left.push(lane);
      continue;
    }
    bytes += size;
    lane.state = 'underWay';
    taken.push(lane);
  }
  desk.ready = left;
  return taken;
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

function bytesOf(batches: readonly { readonly bytes: Buffer }[]): number {
  return batches.reduce((sum, { bytes }) => sum + bytes.length, 0);
}
