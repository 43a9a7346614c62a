/**
 * Fetching from real brokers: pages, long polls and offsets over compacted, transactional and compressed partitions, lost
 * brokers and moved leaders. What lies on a partition is told by kafkajs' decoder, not by ours.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel, type Admin, type Producer } from 'kafkajs';
import { COMPRESSION_NAMES, type Compression } from '../../src/codec/compression.js';
import { readBatchHeader } from '../../src/codec/record-batch-header.js';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { systemClock } from '../../src/core/clock.js';
import { isPartitaError } from '../../src/core/errors.js';
import { silentLogger } from '../../src/core/logger.js';
import type { LogPage, TopicPartition } from '../../src/core/log-types.js';
import type { FetchState } from '../../src/log/group/partition-fetcher.js';
import type { ReadRequest } from '../../src/log/log-client.js';
import { Cluster } from '../../src/log/kafka/cluster.js';
import { KafkaFetcher } from '../../src/log/kafka/fetcher.js';
import { BrokerAnswerError } from '../../src/log/kafka/kafka-errors.js';
import { resolveKafkaOptions } from '../../src/log/kafka/kafka-options.js';
import { loadKafkajs } from '../../src/log/kafka/kafkajs-internals.js';
import { OffsetsReader } from '../../src/log/kafka/offsets-reader.js';
import { PageReader } from '../../src/log/kafka/page-reader.js';
import { produceRequest } from '../../src/log/kafka/wire/produce.js';
import { decode, type SeenRecord } from '../contract/log-client.js';
import { describeKafka } from '../support/describe-kafka.js';
import type { KafkaBroker } from '../support/kafka-broker.js';
import { QUICK_COMPACTION, compactionSettled, storedRecords } from '../support/kafka-records.js';
import { RecordingSink, stateAt } from '../support/scripted-brokers.js';
import { seededRandom } from '../support/seeded-random.js';

const PATIENCE_MS = 20_000;

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (performance.now() > end) assert.fail(`it never came to pass that ${what}`);
    await sleep(10);
  }
}

function batchBytes(values: readonly string[], compression: Compression = 'none', key = 'k'): ArrayBuffer {
  const writer = new RecordBatchWriter();
  for (const value of values) writer.append(Date.now(), key, value);
  return writer.seal({ compression })!;
}

/** What is under test, and kafkajs for what is not. */
class Bench implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly offsets: OffsetsReader;
  readonly pages: PageReader;
  readonly admin: Admin;
  readonly #kafka: Kafka;
  readonly #ends: (() => Promise<unknown>)[] = [];

  static async open(broker: KafkaBroker): Promise<Bench> {
    const cluster = new Cluster({
      kafkajs: await loadKafkajs(),
      options: resolveKafkaOptions({ brokers: broker.brokers, connectTimeoutMs: PATIENCE_MS }),
      clientId: 'test',
      clock: systemClock,
      logger: silentLogger,
    });
    const bench = new Bench(broker, cluster);
    await cluster.connect();
    await bench.admin.connect();
    return bench;
  }

  private constructor(broker: KafkaBroker, cluster: Cluster) {
    this.cluster = cluster;
    this.offsets = new OffsetsReader(cluster);
    this.pages = new PageReader(cluster, this.offsets);
    this.#kafka = new Kafka({
      brokers: [...broker.brokers],
      logLevel: logLevel.NOTHING,
      retry: { initialRetryTime: 50, retries: 20 },
    });
    this.admin = this.#kafka.admin();
    this.#ends.push(
      () => cluster.close(),
      () => this.admin.disconnect(),
    );
  }

  async topic(
    options: {
      readonly partitions?: number;
      readonly replicas?: number;
      readonly topic?: string;
      readonly configEntries?: { readonly name: string; readonly value: string }[];
    } = {},
  ): Promise<string> {
    const { partitions = 1, replicas = 1, topic = `t-${randomUUID()}`, configEntries = [] } = options;
    const spec = { topic, numPartitions: partitions, replicationFactor: replicas, configEntries };
    await this.admin.createTopics({ waitForLeaders: true, topics: [spec] });
    return topic;
  }

  async producer(transactionalId?: string): Promise<Producer> {
    const producer = this.#kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      ...(transactionalId === undefined ? {} : { transactionalId }),
    });
    await producer.connect();
    this.#ends.push(() => producer.disconnect());
    return producer;
  }

  /** One sealed batch as it is; resolves to its base offset. */
  async put(at: TopicPartition, bytes: ArrayBuffer): Promise<number> {
    return this.cluster.onLeader(at, 'produce', 'Producing', async (connection) => {
      const batches = [{ ...at, bytes: new Uint8Array(bytes) }];
      const [answer] = await connection.send(
        produceRequest({ transactionalId: null, timeoutMs: 5_000, batches }),
      );
      if (answer!.errorCode !== 0)
        throw new BrokerAnswerError(this.cluster.errorType(answer!.errorCode), answer!.message);
      return answer!.baseOffset;
    });
  }

  /** Pages from there to the end; each must move on. */
  async readPages(request: ReadRequest): Promise<LogPage[]> {
    const pages: LogPage[] = [];
    for (let { from } = request; pages.length < 10_000;) {
      const page = await this.pages.read({ ...request, from });
      if (page.next === from) return pages;
      pages.push(page);
      from = page.next;
    }
    throw new Error('endless pages');
  }

  fetcher(states: readonly FetchState[], maxBytesPerPartition = 1 << 19): RecordingSink {
    const sink = new RecordingSink(systemClock);
    const fetcher = new KafkaFetcher(sink, {
      cluster: this.cluster,
      offsets: this.offsets,
      name: randomUUID(),
      maxBytesPerPartition,
    });
    fetcher.assign(states);
    fetcher.start();
    this.#ends.unshift(() => fetcher.close());
    return sink;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#ends) await end();
  }
}

function recordsOf(
  pages: readonly { bytes: ArrayBuffer; from: number; aborted: LogPage['aborted'] }[],
): SeenRecord[] {
  return pages.flatMap(({ bytes, from, aborted }) => decode(bytes, from, aborted).records);
}

function chunksOf(sink: RecordingSink, partition = 0): RecordingSink['chunks'] {
  return sink.chunks.filter((chunk) => chunk.partition === partition);
}

function assertJoined(
  chunks: readonly { readonly from: number; readonly next: number }[],
  from: number,
): void {
  let next = from;
  for (const chunk of chunks) {
    assert.equal(chunk.from, next);
    next = chunk.next;
  }
}

function recordCounts(bytes: ArrayBuffer): number[] {
  const counts: number[] = [];
  for (let at = 0; at < bytes.byteLength;) {
    const header = readBatchHeader(Buffer.from(bytes), at)!;
    counts.push(header.recordCount);
    at = header.end;
  }
  return counts;
}

const committed = { isolation: 'read_committed' } as const;

describeKafka('fetching from one broker', { controlled: true }, (broker) => {
  test('pages and chunks of a compacted topic reach its end over gaps and emptied batches', async () => {
    await using bench = await Bench.open(broker());
    const topic = await bench.topic({ configEntries: [...QUICK_COMPACTION] });
    const at = { topic, partition: 0 };
    const send = async (keys: readonly string[]) => {
      // The last batch of each idempotent producer is kept, though it is emptied.
      const producer = await bench.producer();
      await producer.send({ topic, messages: keys.map((key) => ({ key, value: key })) });
    };
    await send(['a', 'b']);
    await send(['a', 'b', 'c']);
    await send(['b', 'a', 'd']);
    await send(['a', 'b']);
    await sleep(150);
    await send(['e']);
    const stored = await compactionSettled(broker(), topic, 10);
    const expected = stored.map(({ offset }) => offset);
    assert.deepEqual(expected, [4, 7, 8, 9, 10]);
    const whole = await bench.readPages({ ...at, from: 0, maxBytes: 1 << 20, ...committed });
    assert.ok(whole.flatMap(({ bytes }) => recordCounts(bytes)).includes(0), 'there is an emptied batch');
    for (const maxBytes of [1, 150, 1 << 20])
      for (const from of [0, 1, 3, 5, 10]) {
        const pages = await bench.readPages({ ...at, from, maxBytes, ...committed });
        assertJoined(pages, from);
        assert.equal(pages.at(-1)!.next, 11);
        assert.deepEqual(
          recordsOf(pages).map(({ offset }) => offset),
          expected.filter((offset) => offset >= from),
        );
      }
    const sink = bench.fetcher([stateAt(topic, 0)], 1);
    await until('the end is reached', () => sink.chunks.at(-1)?.next === 11);
    assertJoined(sink.chunks, 0);
    assert.deepEqual(
      recordsOf(sink.chunks).map(({ offset }) => offset),
      expected,
    );
    assert.ok(sink.chunks.length < 20, `${sink.chunks.length} chunks`);
  });

  test('aborted records are filtered in whatever pages, and nothing comes from behind an open transaction', async () => {
    await using bench = await Bench.open(broker());
    const topic = await bench.topic();
    const at = { topic, partition: 0 };
    const [first, second] = [await bench.producer(`x-${topic}`), await bench.producer(`y-${topic}`)];
    const send = async (producer: Producer, value: string, how: 'commit' | 'abort') => {
      const transaction = await producer.transaction();
      await transaction.send({ topic, messages: [{ value }] });
      await bench.put(at, batchBytes([`beside ${value}`]));
      await transaction.send({ topic, messages: [{ value: `${value} too` }] });
      await transaction[how]();
    };
    await send(first, 'good', 'commit');
    await send(first, 'bad', 'abort');
    await send(second, 'worse', 'abort');
    await send(first, 'fine', 'commit');
    const open = await second.transaction();
    await open.send({ topic, messages: [{ value: 'open' }] });
    const { base } = { base: await bench.put(at, batchBytes(['behind'])) };
    const visible = [
      'good',
      'beside good',
      'good too',
      'beside bad',
      'beside worse',
      'fine',
      'beside fine',
      'fine too',
    ];
    const sink = bench.fetcher([stateAt(topic, 0)], 1);
    await until('it is at its end', () => sink.chunks.at(-1)?.next === base - 1);
    for (const maxBytes of [1, 200, 1 << 20]) {
      const pages = await bench.readPages({ ...at, from: 0, maxBytes, ...committed });
      assert.deepEqual(
        recordsOf(pages).map(({ value }) => value),
        visible,
      );
    }
    const [bounds] = await bench.offsets.bounds([at]);
    assert.deepEqual(bounds, { start: 0, lastStable: base - 1, end: base + 1 });
    const last = await bench.pages.read({ ...at, from: base - 1, maxBytes: 1, ...committed });
    assert.deepEqual([last.next, last.bounds], [base - 1, bounds]);
    const all = await bench.readPages({ ...at, from: 0, maxBytes: 1, isolation: 'read_uncommitted' });
    assert.equal(all.at(-1)!.next, base + 1);
    await sleep(150);
    assert.deepEqual(
      recordsOf(sink.chunks).map(({ value }) => value),
      visible,
    );
    await open.abort();
    await until('what is behind comes', () => recordsOf(sink.chunks).length > visible.length);
    assert.deepEqual(
      recordsOf(sink.chunks).map(({ value }) => value),
      [...visible, 'behind'],
    );
  });

  test('compressed batches come as they were sent', async () => {
    await using bench = await Bench.open(broker());
    const topic = await bench.topic();
    const at = { topic, partition: 0 };
    const values = Array.from({ length: 100 }, (_, n) => `value ${n}`);
    for (const compression of COMPRESSION_NAMES) {
      const sent = batchBytes(values, compression);
      const from = await bench.put(at, sent);
      const page = await bench.pages.read({ ...at, from, maxBytes: 1, ...committed });
      // The broker stamps base offset and leader epoch, which the CRC does not cover.
      assert.deepEqual(Buffer.from(page.bytes, 16), Buffer.from(sent, 16), compression);
      assert.deepEqual(
        recordsOf([page]).map(({ value }) => value),
        values,
      );
    }
  });

  test('pages of any size, from anywhere, join to what lies on the partition', async () => {
    await using bench = await Bench.open(broker());
    const topic = await bench.topic();
    const at = { topic, partition: 0 };
    const seed = Date.now() % 1_000_000;
    const random = seededRandom(seed);
    let count = 0;
    for (let n = 0; n < 60; n++) {
      const values = Array.from({ length: random.between(1, 20) }, () => 'x'.repeat(random.below(300)));
      await bench.put(at, batchBytes(values, random.pick(COMPRESSION_NAMES)));
      count += values.length;
    }
    for (let n = 0; n < 15; n++) {
      const from = random.between(0, count);
      const maxBytes = random.between(1, 5_000);
      const pages = await bench.readPages({ ...at, from, maxBytes, ...committed });
      assertJoined(pages, from);
      assert.deepEqual(
        recordsOf(pages).map(({ offset }) => offset),
        Array.from({ length: count - from }, (_, i) => from + i),
        `seed ${seed}, from ${from}, ${maxBytes} bytes`,
      );
    }
  });

  test('a position out of range is refused, or told, with the bounds', async () => {
    await using bench = await Bench.open(broker());
    const topic = await bench.topic();
    const at = { topic, partition: 0 };
    for (let n = 0; n < 5; n++) await bench.put(at, batchBytes(['x']));
    // kafkajs knows the leaders only of topics that it was asked about.
    await bench.admin.fetchTopicOffsets(topic);
    await bench.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '3' }] });
    const bounds = { start: 3, lastStable: 5, end: 5 };
    for (const from of [2, 6])
      await assert.rejects(bench.pages.read({ ...at, from, maxBytes: 100, ...committed }), (error) => {
        assert.ok(isPartitaError(error, 'OFFSET_OUT_OF_RANGE'));
        assert.deepEqual(error.details, { ...at, offset: from, bounds });
        return true;
      });
    const sink = bench.fetcher([stateAt(topic, 0, 2)]);
    await until('it is told', () => sink.outOfRanges.length > 0);
    assert.deepEqual(sink.outOfRanges, [{ at, bounds }]);
    assert.deepEqual(sink.fatals, []);
  });

  test('a topic that is deleted and created again is told as out of range', async () => {
    await using bench = await Bench.open(broker());
    const topic = await bench.topic();
    const at = { topic, partition: 0 };
    await bench.put(at, batchBytes(['old']));
    const sink = bench.fetcher([stateAt(topic, 0)]);
    await until('the record comes', () => sink.data.length === 1);
    await bench.admin.deleteTopics({ topics: [topic] });
    await sleep(200);
    await bench.topic({ topic });
    await until('it is told', () => sink.outOfRanges.length > 0);
    assert.deepEqual(sink.outOfRanges[0]!.bounds, { start: 0, lastStable: 0, end: 0 });
    assert.deepEqual(sink.fatals, []);
  });

  test('bounds of many partitions come in the order asked; a missing topic is refused', async () => {
    await using bench = await Bench.open(broker());
    const topic = await bench.topic({ partitions: 12 });
    const asked = Array.from({ length: 12 }, (_, n) => ({ topic, partition: (n * 5) % 12 }));
    for (const at of asked)
      if (at.partition > 0) await bench.put(at, batchBytes(new Array<string>(at.partition).fill('x')));
    assert.deepEqual(
      await bench.offsets.bounds(asked),
      asked.map(({ partition }) => ({ start: 0, lastStable: partition, end: partition })),
    );
    const missing = [
      { topic: 't-none', partition: 0 },
      { topic, partition: 12 },
    ];
    await Promise.all(
      missing.map((at) =>
        assert.rejects(bench.offsets.bounds([asked[0]!, at]), (error) =>
          isPartitaError(error, 'TOPIC_MISSING'),
        ),
      ),
    );
  });

  test('committed offsets are stable ones: an open transaction over them is waited for', async () => {
    await using bench = await Bench.open(broker());
    const topic = await bench.topic({ partitions: 2 });
    const group = `g-${randomUUID()}`;
    const producer = await bench.producer(`z-${topic}`);
    const commit = async (offset: string) => {
      const transaction = await producer.transaction();
      // Offsets as the first operation fail while the transaction before is being completed.
      await transaction.send({ topic, messages: [{ value: offset, partition: 0 }] });
      const topics = [{ topic, partitions: [{ partition: 1, offset }] }];
      await transaction.sendOffsets({ consumerGroupId: group, topics });
      return transaction;
    };
    const asked = [0, 1].map((partition) => ({ topic, partition }));
    assert.deepEqual(await bench.offsets.committed(group, asked), [undefined, undefined]);
    await (await commit('7')).commit();
    const open = await commit('9');
    const answers: unknown[] = [];
    const asking = bench.offsets.committed(group, asked).then((answer) => answers.push(answer));
    await sleep(300);
    assert.deepEqual(answers, []);
    await open.abort();
    await asking;
    assert.deepEqual(answers, [[undefined, { offset: 7, metadata: '' }]]);
  });

  test('what becomes fetchable during a long poll waits for no more than its end', async () => {
    await using bench = await Bench.open(broker());
    const topic = await bench.topic({ partitions: 2 });
    await bench.put({ topic, partition: 1 }, batchBytes(['x']));
    const late = { ...stateAt(topic, 1), paused: true };
    const sink = bench.fetcher([stateAt(topic, 0), late]);
    await until('the first is at its end', () => sink.chunks.length > 0);
    const began = performance.now();
    late.paused = false;
    await until('the second comes', () => chunksOf(sink, 1).length > 0);
    assert.ok(performance.now() - began < 1_000);
  });

  test('a broker that is restarted, or killed, in the middle loses and repeats nothing', async () => {
    await using bench = await Bench.open(broker());
    const topic = await bench.topic({ partitions: 2 });
    const sink = bench.fetcher([stateAt(topic, 0), stateAt(topic, 1)], 500);
    let sent = 0;
    const send = async (batches: number) => {
      for (let n = 0; n < batches; n++, sent++)
        for (const partition of [0, 1]) await bench.put({ topic, partition }, batchBytes(['x'.repeat(100)]));
    };
    await send(50);
    await broker().restart();
    await send(50);
    await broker().kill();
    await sleep(500);
    await broker().start();
    const began = performance.now();
    await send(50);
    await until('everything has come', () =>
      [0, 1].every((p) => recordsOf(chunksOf(sink, p)).length >= sent),
    );
    assert.ok(performance.now() - began < 10_000);
    for (const partition of [0, 1]) {
      assertJoined(chunksOf(sink, partition), 0);
      const stored = await storedRecords(broker(), topic, partition);
      assert.deepEqual(
        recordsOf(chunksOf(sink, partition)).map(({ offset }) => offset),
        stored.map(({ offset }) => offset),
      );
    }
    assert.deepEqual([sink.fatals, sink.outOfRanges], [[], []]);
  });
});

describeKafka('fetching from several brokers', { controlled: true, nodes: 3 }, (broker) => {
  test('leaders that are lost and move lose and repeat nothing, for pages and chunks alike', async () => {
    await using bench = await Bench.open(broker());
    const topic = await bench.topic({ partitions: 3, replicas: 3 });
    const partitions = [0, 1, 2];
    const sink = bench.fetcher(partitions.map((partition) => stateAt(topic, partition)));
    const send = async (batches: number) => {
      for (let n = 0; n < batches; n++)
        for (const partition of partitions) await bench.put({ topic, partition }, batchBytes(['x']));
    };
    await send(20);
    const leader = await broker().leaderOf(topic, 0);
    await broker().kill(leader);
    await send(20);
    await until('everything has come', () =>
      partitions.every((p) => recordsOf(chunksOf(sink, p)).length >= 40),
    );
    await broker().start(leader);
    await send(20);
    await until('the rest has come', () =>
      partitions.every((p) => recordsOf(chunksOf(sink, p)).length >= 60),
    );
    for (const partition of partitions) {
      assertJoined(chunksOf(sink, partition), 0);
      const pages = await bench.readPages({ topic, partition, from: 0, maxBytes: 300, ...committed });
      const values = (records: readonly SeenRecord[]) => records.map(({ offset }) => offset);
      assert.deepEqual(values(recordsOf(pages)), values(recordsOf(chunksOf(sink, partition))));
    }
    const fetches = sink.chunks.map(({ fetch }) => fetch);
    assert.deepEqual(
      fetches,
      [...new Set(fetches)].sort((a, b) => a - b),
    );
    assert.deepEqual([sink.fatals, sink.outOfRanges], [[], []]);
  });
});
