/**
 * Both producers against real brokers: who is fenced and what of it is visible, open transactions of the dead, many
 * producers over one connection, and brokers that end in the middle, where nothing may be lost and nothing may come twice.
 * Each error at each step, scripted, is in test/unit/kafka-transactional-producer.test.ts and kafka-output-producer.test.ts.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import { RecordReader } from '../../src/codec/record-batch-reader.js';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { systemClock } from '../../src/core/clock.js';
import { Deadline } from '../../src/core/deadline.js';
import type { CommitOutcome, LogBatch } from '../../src/core/log-types.js';
import { silentLogger } from '../../src/core/logger.js';
import { Cluster } from '../../src/log/kafka/cluster.js';
import { resolveKafkaOptions } from '../../src/log/kafka/kafka-options.js';
import { loadKafkajs } from '../../src/log/kafka/kafkajs-internals.js';
import { KafkaOutputProducer } from '../../src/log/kafka/output-producer.js';
import { TransactionAppend } from '../../src/log/kafka/transaction-append.js';
import { TransactionCalls } from '../../src/log/kafka/transaction-calls.js';
import { KafkaTransactionalProducer } from '../../src/log/kafka/transactional-producer.js';
import { decodeFetch } from '../../src/log/kafka/wire/fetch.js';
import { offsetFetchRequest } from '../../src/log/kafka/wire/offset-fetch.js';
import { describeKafka } from '../support/describe-kafka.js';
import type { KafkaBroker } from '../support/kafka-broker.js';

const TIMEOUT_MS = 10_000;

function logBatch(topic: string, partition: number, ...values: readonly string[]): LogBatch {
  const writer = new RecordBatchWriter();
  for (const value of values) writer.append(Date.now(), 'k', value);
  return { topic, partition, bytes: writer.seal()! };
}

async function connected(broker: KafkaBroker): Promise<Cluster> {
  const cluster = new Cluster({
    kafkajs: await loadKafkajs(),
    options: resolveKafkaOptions({ brokers: broker.brokers }),
    clientId: 'transactions-test',
    clock: systemClock,
    logger: silentLogger,
  });
  await cluster.connect();
  return cluster;
}

async function newTopic(
  broker: KafkaBroker,
  options: {
    readonly partitions?: number;
    readonly replicas?: number;
    readonly configs?: Readonly<Record<string, string>>;
  } = {},
): Promise<string> {
  const { partitions = 1, replicas = 1, configs = {} } = options;
  const topic = `t-${randomUUID()}`;
  const admin = new Kafka({ brokers: [...broker.brokers], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
  await admin.createTopics({
    waitForLeaders: false,
    topics: [{ topic, numPartitions: partitions, replicationFactor: replicas, configEntries }],
  });
  await admin.disconnect();
  return topic;
}

/** The values that a reader of committed records sees, to the end. */
async function visible(cluster: Cluster, topic: string, partition: number): Promise<string[]> {
  const values: string[] = [];
  const reader = new RecordReader();
  for (let from = 0; ;) {
    const page = await cluster.onLeader({ topic, partition }, 'read', 'Reading', (connection) =>
      connection.fetch(
        {
          isolationLevel: 1,
          maxWaitTime: 100,
          minBytes: 1,
          maxBytes: 4 << 20,
          topics: [{ topic, partitions: [{ partition, fetchOffset: from, maxBytes: 4 << 20 }] }],
        },
        decodeFetch,
      ),
    );
    const [answer] = page.partitions;
    assert.equal(answer!.errorCode, 0);
    const { buffer, start, end, aborted, lastStable } = answer!;
    reader.load(new Uint8Array(buffer.subarray(start, end)).buffer, { from, aborted });
    while (reader.next()) values.push(Buffer.from(reader.value()!).toString());
    if (reader.position === from) {
      assert.equal(from, lastStable);
      return values;
    }
    from = reader.position;
  }
}

async function committedOffset(
  cluster: Cluster,
  group: string,
  topic: string,
  partition = 0,
): Promise<number> {
  for (;;) {
    const { errorCode, offsets } = await cluster.onCoordinator(
      'group',
      group,
      'control',
      'Asking',
      (connection) => connection.send(offsetFetchRequest(group, [{ topic, partition }])),
    );
    const type = cluster.errorType(errorCode !== 0 ? errorCode : offsets[0]!.errorCode);
    if (type === 'NONE') return offsets[0]!.offset;
    assert.ok(
      ['UNSTABLE_OFFSET_COMMIT', 'GROUP_LOAD_IN_PROGRESS', 'NOT_COORDINATOR_FOR_GROUP'].includes(type),
      type,
    );
    cluster.forgetCoordinator('group', group);
    await sleep(20);
  }
}

/** Waits for a topic that was just created: not every broker knows it at once. */
async function leaderOf(cluster: Cluster, topic: string): Promise<number> {
  const at = { topic, partition: 0 };
  return cluster.onLeader(at, 'read', 'Looking for a leader', (_, node) => Promise.resolve(node));
}

const producerOf = (cluster: Cluster, transactionalId: string) =>
  new KafkaTransactionalProducer(cluster, { transactionalId, transactionTimeoutMs: TIMEOUT_MS });

/** Dies in the middle of a transaction. */
async function leaveOpen(
  cluster: Cluster,
  transactionalId: string,
  batches: readonly LogBatch[],
): Promise<void> {
  const bounds = { deadline: Deadline.after(systemClock, TIMEOUT_MS), signal: new AbortController().signal };
  const calls = new TransactionCalls(cluster, transactionalId);
  const holder = { ...(await calls.init(TIMEOUT_MS, bounds)), sequences: new Map<string, number>() };
  const append = new TransactionAppend(cluster, transactionalId, batches);
  await append.findLeaders(bounds);
  await calls.addPartitions(holder, append.partitions, bounds);
  await append.run(holder, bounds);
}

/**
 * An actor as it lives: commits one number after the other, and where it is told of doubt or fencing, settles it by an
 * init and goes on where the committed offset says.
 */
class Counter {
  readonly #cluster: Cluster;
  readonly #producer: KafkaTransactionalProducer;
  readonly #group = `g-${randomUUID()}`;
  readonly #topic: string;
  readonly #partition: number;
  readonly outcomes: string[] = [];
  next = 0;

  constructor(cluster: Cluster, topic: string, partition: number) {
    this.#cluster = cluster;
    this.#topic = topic;
    this.#partition = partition;
    this.#producer = producerOf(cluster, `id-${randomUUID()}`);
  }

  async run(goesOn: () => boolean): Promise<void> {
    await this.#producer.init();
    while (goesOn()) {
      const outcome = await this.#commit();
      this.outcomes.push(outcome.kind);
      assert.notEqual(outcome.kind, 'rejected', JSON.stringify(outcome));
      if (outcome.kind === 'committed') this.next++;
      else {
        await this.#producer.init();
        this.next = Math.max(
          0,
          await committedOffset(this.#cluster, this.#group, this.#topic, this.#partition),
        );
      }
    }
  }

  #commit(): Promise<CommitOutcome> {
    const at = { topic: this.#topic, partition: this.#partition };
    return this.#producer.commitTransaction({
      batches: [logBatch(this.#topic, this.#partition, String(this.next))],
      group: this.#group,
      offsets: [{ ...at, offset: this.next + 1, metadata: '' }],
    });
  }

  async check(): Promise<void> {
    const numbers = Array.from({ length: this.next }, (_, n) => String(n));
    assert.deepEqual(await visible(this.#cluster, this.#topic, this.#partition), numbers);
    const offset = await committedOffset(this.#cluster, this.#group, this.#topic, this.#partition);
    assert.equal(offset, this.next);
  }
}

/** Sends numbers to each partition, some ahead, while `disturb` runs, and then a few more. Nothing may fail. */
async function sendThrough(
  cluster: Cluster,
  topic: string,
  partitions: number,
  disturb: () => Promise<void>,
) {
  const outputs = new KafkaOutputProducer(cluster);
  let isOver = false;
  const senders = Array.from({ length: partitions }, async (_, partition) => {
    let count = 0;
    for (let left = 20; left > 0; left -= isOver ? 1 : 0) {
      const ahead = [0, 1, 2].map(() => outputs.produce([logBatch(topic, partition, String(count++))]));
      await Promise.all([...ahead, sleep(2)]);
    }
    return count;
  });
  await sleep(100);
  await disturb().finally(() => (isOver = true));
  const counts = await Promise.all(senders);
  await outputs.close();
  for (const [partition, count] of counts.entries()) {
    const numbers = Array.from({ length: count }, (_, n) => String(n));
    assert.deepEqual(await visible(cluster, topic, partition), numbers);
  }
}

/** Lets actors commit while `disturb` runs, and five times more. */
async function countThrough(cluster: Cluster, topic: string, counters: number, disturb: () => Promise<void>) {
  const all = Array.from({ length: counters }, (_, partition) => new Counter(cluster, topic, partition));
  const targets = new Map<Counter, number>();
  const running = Promise.all(
    all.map((counter) => counter.run(() => counter.next < (targets.get(counter) ?? Infinity))),
  );
  await sleep(200);
  await disturb();
  for (const counter of all) targets.set(counter, counter.next + 5);
  await running;
  for (const counter of all) await counter.check();
}

describeKafka('producers on one broker', { controlled: true }, (broker) => {
  let cluster: Cluster;
  before(async () => {
    cluster = await connected(broker());
  });
  after(async () => {
    await cluster.close();
  });

  test('a transaction is visible as a whole, and large ones are in order', { timeout: 60_000 }, async () => {
    const topic = await newTopic(broker(), { partitions: 2 });
    const producer = producerOf(cluster, `id-${randomUUID()}`);
    await producer.init();
    const many = Array.from({ length: 30 }, (_, n) => String(n).padEnd(300_000, '.'));
    const whole = Buffer.concat(many.map((value) => Buffer.from(logBatch(topic, 0, value).bytes)));
    const outcome = await producer.commitTransaction({
      batches: [
        { topic, partition: 0, bytes: new Uint8Array(whole).buffer },
        logBatch(topic, 1, 'a', 'b'),
        logBatch(topic, 0, 'last'),
      ],
      group: 'g',
      offsets: [],
    });
    assert.deepEqual(outcome, { kind: 'committed', baseOffsets: [0, 0, 30], lastOffsets: [29, 1, 30] });
    assert.deepEqual(await visible(cluster, topic, 0), [...many, 'last']);
    assert.deepEqual(await visible(cluster, topic, 1), ['a', 'b']);
  });

  test('a client with nothing to do sets no timers', async (t) => {
    const idle = await connected(broker());
    await idle.onAny('Asking', ({ requests }) =>
      requests.findGroupCoordinator({ groupId: 'idle', coordinatorType: 0 }),
    );
    const timers = t.mock.method(globalThis, 'setTimeout');
    await sleep(300);
    // kafkajs 2.2.4 itself sets one every millisecond, for ever, once a connection has had an answer.
    assert.ok(timers.mock.callCount() < 20, `${timers.mock.callCount()} timers in 300 ms`);
    await idle.close();
  });

  test('offsets alone in transactions one right after the other are committed', async () => {
    const topic = await newTopic(broker());
    const group = `g-${randomUUID()}`;
    const producer = producerOf(cluster, `id-${randomUUID()}`);
    await producer.init();
    for (let offset = 1; offset <= 20; offset++) {
      const offsets = [{ topic, partition: 0, offset, metadata: '' }];
      assert.equal((await producer.commitTransaction({ batches: [], group, offsets })).kind, 'committed');
    }
    assert.equal(await committedOffset(cluster, group, topic), 20);
  });

  test('after a new init the old holder is fenced, and nothing of it is visible', async () => {
    const topic = await newTopic(broker(), { partitions: 2 });
    const [id, group] = [`id-${randomUUID()}`, `g-${randomUUID()}`];
    const old = producerOf(cluster, id);
    await old.init();
    const other = await connected(broker());
    const rightful = producerOf(other, id);
    await rightful.init();
    const commit = (by: KafkaTransactionalProducer, value: string, offset: number) =>
      by.commitTransaction({
        batches: [logBatch(topic, 0, value), logBatch(topic, 1, value)],
        group,
        offsets: [{ topic, partition: 0, offset, metadata: '' }],
      });
    const fenced = await commit(old, 'zombie', 1);
    assert.equal(fenced.kind, 'fenced');
    assert.match(fenced.reason, /INVALID_PRODUCER_EPOCH|PRODUCER_FENCED/);
    assert.equal((await commit(old, 'zombie', 2)).kind, 'fenced');
    assert.equal(await committedOffset(cluster, group, topic), -1);
    assert.equal((await commit(rightful, 'right', 3)).kind, 'committed');
    for (const partition of [0, 1]) assert.deepEqual(await visible(other, topic, partition), ['right']);
    assert.equal(await committedOffset(cluster, group, topic), 3);
    await other.close();
  });

  test('a holder that was refused, and then replaced, does not fence its successor', async () => {
    const topic = await newTopic(broker(), { partitions: 2, configs: { 'max.message.bytes': '2000' } });
    const id = `id-${randomUUID()}`;
    const commit = (by: KafkaTransactionalProducer, ...values: readonly string[]) =>
      by.commitTransaction({
        batches: values.map((value, partition) => logBatch(topic, partition, value)),
        group: 'g',
        offsets: [],
      });
    const old = producerOf(cluster, id);
    await old.init();
    const refused = await commit(old, 'a', 'x'.repeat(3_000));
    assert.equal(refused.kind, 'rejected');
    assert.match(refused.reason, /-1.*MESSAGE_TOO_LARGE/);
    assert.equal((await commit(old, 'b', 'b')).kind, 'committed');
    assert.equal((await commit(old, 'x'.repeat(3_000), 'c')).kind, 'rejected');
    const rightful = producerOf(cluster, id);
    await rightful.init();
    assert.equal((await commit(old, 'zombie')).kind, 'fenced');
    assert.equal((await commit(rightful, 'd', 'd')).kind, 'committed');
    for (const partition of [0, 1]) assert.deepEqual(await visible(cluster, topic, partition), ['b', 'd']);
  });

  test('the open transaction of a dead holder is aborted by the next init, at once', async () => {
    const topic = await newTopic(broker());
    const id = `id-${randomUUID()}`;
    await leaveOpen(cluster, id, [logBatch(topic, 0, 'dead')]);
    const producer = producerOf(cluster, id);
    const began = performance.now();
    await producer.init();
    assert.ok(performance.now() - began < 2_000);
    const outcome = await producer.commitTransaction({
      batches: [logBatch(topic, 0, 'alive')],
      group: 'g',
      offsets: [],
    });
    assert.equal(outcome.kind, 'committed');
    assert.deepEqual(await visible(cluster, topic, 0), ['alive']);
  });

  test(
    'a topic that does not exist is a rejection, for batches and for offsets',
    { timeout: 30_000 },
    async () => {
      const topic = await newTopic(broker());
      const producer = producerOf(cluster, `id-${randomUUID()}`);
      await producer.init();
      const group = `g-${randomUUID()}`;
      const missing = [{ topic: 'none', partition: 0, offset: 1, metadata: '' }];
      for (const request of [
        { batches: [logBatch('none', 0, 'a'), logBatch(topic, 0, 'a')], group, offsets: [] },
        { batches: [logBatch(topic, 0, 'a')], group, offsets: missing },
      ]) {
        const outcome = await producer.commitTransaction(request);
        assert.equal(outcome.kind, 'rejected');
        assert.match(outcome.reason, /none/);
      }
      const next = { batches: [logBatch(topic, 0, 'b')], group, offsets: [] };
      assert.equal((await producer.commitTransaction(next)).kind, 'committed');
      assert.deepEqual(await visible(cluster, topic, 0), ['b']);
    },
  );

  test('sixteen producers at the same time do not disturb each other', { timeout: 60_000 }, async () => {
    const topic = await newTopic(broker(), { partitions: 16 });
    await countThrough(cluster, topic, 16, () => sleep(1_000));
  });

  for (const [what, disturb] of [
    ['restarted', (own: KafkaBroker) => own.restart()],
    ['killed', (own: KafkaBroker) => own.kill().then(() => own.start())],
  ] as const) {
    test(
      `a broker that is ${what} amid commits loses and repeats nothing`,
      { timeout: 120_000 },
      async () => {
        const topic = await newTopic(broker(), { partitions: 4 });
        await countThrough(cluster, topic, 4, () => disturb(broker()));
      },
    );

    test(
      `a broker that is ${what} amid outputs loses, repeats and reorders nothing`,
      { timeout: 120_000 },
      async () => {
        const topic = await newTopic(broker(), { partitions: 4 });
        await sendThrough(cluster, topic, 4, () => disturb(broker()));
      },
    );
  }

  test('outputs of a partition whose batch was refused go on', async () => {
    const topic = await newTopic(broker(), { partitions: 2, configs: { 'max.message.bytes': '2000' } });
    const outputs = new KafkaOutputProducer(cluster);
    await outputs.produce([logBatch(topic, 0, '0'), logBatch(topic, 1, '0')]);
    const refused = [
      outputs.produce([logBatch(topic, 0, 'x'.repeat(3_000))]),
      outputs.produce([logBatch(topic, 0, 'behind')]),
    ];
    for (const call of refused) await assert.rejects(call, { code: 'RECORD_TOO_LARGE' });
    await outputs.produce([logBatch(topic, 0, '1'), logBatch(topic, 1, '1'), logBatch(topic, 0, '2')]);
    await outputs.close();
    assert.deepEqual(await visible(cluster, topic, 0), ['0', '1', '2']);
    assert.deepEqual(await visible(cluster, topic, 1), ['0', '1']);
  });
});

describeKafka('producers on three brokers', { nodes: 3 }, (broker) => {
  test(
    'a leader that dies amid commits and outputs is followed; nothing is lost or repeated',
    { timeout: 180_000 },
    async () => {
      const configs = { 'min.insync.replicas': '2' };
      const [topic, outputs] = await Promise.all(
        [0, 1].map(() => newTopic(broker(), { partitions: 3, replicas: 3, configs })),
      );
      const cluster = await connected(broker());
      const dies = sleep(300).then(async () => {
        const leader = await leaderOf(cluster, topic!);
        await broker().kill(leader);
        await sleep(4_000);
        await broker().start(leader);
      });
      await Promise.all([
        countThrough(cluster, topic!, 3, () => dies),
        sendThrough(cluster, outputs!, 3, () => dies),
      ]);
      await cluster.close();
    },
  );
});
