/**
 * Brokers for the fetcher's unit tests: what a test has scripted is what they answer, on a clock that it moves. They stand
 * where `Cluster` does, and a sink where the session does; answers are real bytes of Kafka's protocol.
 */
import assert from 'node:assert/strict';
import { stampOffset } from '../../src/codec/record-batch-header.js';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { ManualClock, type Clock } from '../../src/core/clock.js';
import { silentLogger, type Logger, type LogMethod } from '../../src/core/logger.js';
import type { AbortedTransaction, PartitionBounds, TopicPartition } from '../../src/core/log-types.js';
import type { Fetched, FetchSink, FetchState } from '../../src/log/group/partition-fetcher.js';
import type { TopicMetadata } from '../../src/log/kafka/cluster.js';
import type { FetcherParts } from '../../src/log/kafka/fetcher.js';
import { BrokerAnswerError } from '../../src/log/kafka/kafka-errors.js';
import { resolveKafkaOptions } from '../../src/log/kafka/kafka-options.js';
import type { BrokerConnection, FetchRequest } from '../../src/log/kafka/kafkajs-internals.js';

/** Kafka's codes of the errors that tests script. */
export const CODES = {
  UNKNOWN_SERVER_ERROR: -1,
  NONE: 0,
  OFFSET_OUT_OF_RANGE: 1,
  CORRUPT_MESSAGE: 2,
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  NOT_LEADER_FOR_PARTITION: 6,
  TOPIC_AUTHORIZATION_FAILED: 29,
} as const;

export function batch(baseOffset: number, records: number): Buffer {
  const writer = new RecordBatchWriter();
  for (let n = 0; n < records; n++) writer.append(1_000 + n, 'key', `value ${baseOffset + n}`);
  const bytes = Buffer.from(writer.seal()!);
  stampOffset(bytes, 0, baseOffset, 0);
  return bytes;
}

/** What compaction leaves of a batch none of whose records survived. */
export function emptiedBatch(baseOffset: number, offsets: number): Buffer {
  const bytes = Buffer.from(batch(baseOffset, offsets).subarray(0, 61));
  bytes.writeInt32BE(61 - 12, 8);
  bytes.writeInt32BE(0, 57);
  return bytes;
}

export interface PartitionAnswer extends TopicPartition {
  readonly error?: keyof typeof CODES;
  readonly end?: number;
  readonly lastStable?: number;
  readonly aborted?: readonly AbortedTransaction[];
  readonly bytes?: Buffer;
}

function int64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt(value));
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

/** A fetch answer of version 11, each partition below a topic of its own. */
export function encodeAnswer(partitions: readonly PartitionAnswer[], errorCode = 0): Buffer {
  const parts = [int32(0), int16(errorCode), int32(0), int32(partitions.length)];
  for (const { topic, partition, error = 'NONE', end = 0, ...one } of partitions) {
    const { lastStable = end, aborted = [], bytes = Buffer.alloc(0) } = one;
    parts.push(int16(topic.length), Buffer.from(topic), int32(1), int32(partition), int16(CODES[error]));
    parts.push(int64(end), int64(lastStable), int64(0), int32(aborted.length));
    for (const { producerId, firstOffset } of aborted) parts.push(int64(producerId), int64(firstOffset));
    parts.push(int32(-1), int32(bytes.length), bytes);
  }
  return Buffer.concat(parts);
}

export class ConnectionLost extends Error {
  override readonly name = 'KafkaJSConnectionClosedError';
}

/** A fetch that waits for its answer. */
export class Poll {
  readonly node: number;
  readonly request: FetchRequest;
  readonly at: number;
  readonly #settle: (payload: Buffer | Error) => void;

  constructor(node: number, request: FetchRequest, at: number, settle: (payload: Buffer | Error) => void) {
    this.node = node;
    this.request = request;
    this.at = at;
    this.#settle = settle;
  }

  /** `topic/partition@offset` in the order asked. */
  get asked(): string[] {
    return this.request.topics.flatMap(({ topic, partitions }) =>
      partitions.map(({ partition, fetchOffset }) => `${topic}/${partition}@${fetchOffset}`),
    );
  }

  /** Resolves when what follows from the answer has happened. */
  answer(...partitions: readonly PartitionAnswer[]): Promise<void> {
    return this.raw(encodeAnswer(partitions));
  }

  async raw(payload: Buffer | Error): Promise<void> {
    this.#settle(payload);
    await turn();
  }
}

export async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** The cluster as the fetcher sees it: what is true, and what is known of it since the last question. */
export class ScriptedBrokers {
  readonly clock = new ManualClock(1_000_000);
  readonly topics = new Map<string, TopicMetadata>();
  readonly bounds = new Map<string, PartitionBounds>();
  readonly polls: Poll[] = [];
  readonly warnings: string[] = [];
  questions = 0;
  boundsAsked = 0;
  /** Nodes that can't be reached; metadata neither if all can't. */
  readonly down = new Set<number>();
  #known = new Map<string, TopicMetadata>();
  #under: Poll[] = [];

  /** @param leaders of its partitions */
  topic(topic: string, leaders: readonly number[], topicId = `${topic}-id`): void {
    this.topics.set(topic, {
      topic,
      topicId,
      partitions: leaders.map((leader) => ({ leader, replicas: 1 })),
    });
  }

  learnAll(): void {
    this.#known = new Map(this.topics);
  }

  /** The one poll that waits at the node. */
  poll(node = 1): Poll {
    const under = this.#under.filter((poll) => poll.node === node);
    assert.equal(under.length, 1, `${under.length} polls wait at node ${node}`);
    return under[0]!;
  }

  get waiting(): number {
    return this.#under.length;
  }

  parts(maxBytesPerPartition = 1_000): FetcherParts {
    return {
      name: 'test',
      maxBytesPerPartition,
      offsets: {
        bounds: async (partitions) => {
          this.boundsAsked++;
          await turn();
          return partitions.map(({ topic, partition }) => this.bounds.get(`${topic}/${partition}`)!);
        },
      },
      cluster: {
        options: resolveKafkaOptions({ brokers: ['scripted:1'] }),
        clock: this.clock,
        logger: this.#logger(),
        errorType: (code) =>
          Object.entries(CODES).find(([, known]) => known === code)?.[0] ?? `UNKNOWN_${code}`,
        known: (topic) => this.#known.get(topic),
        leaderOf: ({ topic, partition }) => this.#known.get(topic)?.partitions[partition]?.leader,
        metadata: (topics) => this.#metadata(topics),
        connection: (node) => this.#connection(node),
        disconnect: async () => {
          for (const poll of this.#under) void poll.raw(new ConnectionLost('closed'));
          await turn();
        },
      },
    };
  }

  async #metadata(topics: readonly string[]): Promise<readonly (TopicMetadata | undefined)[]> {
    this.questions++;
    await turn();
    if (this.down.size > 0 && this.down.has(1)) throw new ConnectionLost('nobody answers');
    for (const topic of topics) {
      const now = this.topics.get(topic);
      if (now === undefined) this.#known.delete(topic);
      else this.#known.set(topic, now);
    }
    return topics.map((topic) => this.#known.get(topic));
  }

  async #connection(node: number): Promise<BrokerConnection> {
    if (this.down.has(node)) throw new ConnectionLost(`${node} is down`);
    const fetch = async <T>(request: FetchRequest, decode: (payload: Buffer) => T): Promise<T> => {
      const payload = await new Promise<Buffer>((resolve, reject) => {
        const poll = new Poll(node, request, this.clock.monotonic(), (settled) => {
          this.#under = this.#under.filter((one) => one !== poll);
          if (settled instanceof Error) reject(settled);
          else resolve(settled);
        });
        this.polls.push(poll);
        this.#under.push(poll);
      });
      return decode(payload);
    };
    const refuse = (): never => {
      throw new BrokerAnswerError('UNSUPPORTED_VERSION', 'Only fetches are scripted.');
    };
    return {
      fetch,
      get requests() {
        return refuse();
      },
      versions: {},
      isConnected: true,
      connect: async () => undefined,
      send: async () => refuse(),
      close: async () => undefined,
    };
  }

  #logger(): Logger {
    const warn: LogMethod = (fields: unknown, message?: string) => {
      this.warnings.push(message ?? String(fields));
    };
    return { ...silentLogger, warn };
  }
}

/** A session that takes everything, as the contract says. */
export class RecordingSink implements FetchSink {
  delivering = true;
  readonly chunks: (Fetched & TopicPartition)[] = [];
  readonly outOfRanges: { readonly at: TopicPartition; readonly bounds: PartitionBounds }[] = [];
  readonly fatals: unknown[] = [];
  onDeliver: (state: FetchState) => void = () => undefined;
  readonly #clock: Clock;
  #fetches = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  nextFetch(): number {
    return ++this.#fetches;
  }

  deliver(state: FetchState, fetched: Fetched): void {
    if (fetched.next > fetched.from) state.siblings.lastData = fetched.fetch;
    state.position = fetched.next;
    state.lastFetch = fetched.fetch;
    state.lastAt = this.#clock.monotonic();
    this.chunks.push({ ...state.id, ...fetched });
    this.onDeliver(state);
  }

  outOfRange(state: FetchState, bounds: PartitionBounds): void {
    state.paused = true;
    this.outOfRanges.push({ at: state.id, bounds });
  }

  fatal(error: unknown): void {
    this.fatals.push(error);
  }

  /** `topic/partition from-next` of what came with data. */
  get data(): string[] {
    return this.chunks
      .filter(({ bytes }) => bytes.byteLength > 0)
      .map(({ topic, partition, from, next }) => `${topic}/${partition} ${from}-${next}`);
  }
}

export function stateAt(topic: string, partition: number, position: number | undefined = 0): FetchState {
  return {
    id: { topic, partition },
    position,
    paused: false,
    epoch: 1,
    version: 1,
    siblings: { lastData: 0 },
    lastFetch: 0,
    lastAt: 0,
  };
}
