/**
 * Proves the eyes of the Kafka tests: what lies on a broker, what compaction leaves, and what an independent client
 * reads. It never tests Partita itself.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel, type ITopicConfig } from 'kafkajs';
import { describeKafka } from '../support/describe-kafka.js';
import { QUICK_COMPACTION, compactionSettled, storedRecords } from '../support/kafka-records.js';
import { hex } from '../support/kafkajs-codec.js';
import { otherCommitted, otherRead } from '../support/other-client.js';

describeKafka('what lies on a broker', { otherClient: true }, (broker) => {
  const kafka = (): Kafka => new Kafka({ brokers: [...broker().brokers], logLevel: logLevel.NOTHING });
  const text = (bytes: Buffer | null): string | undefined => bytes?.toString();

  async function createTopic(topic: string, rest: Partial<ITopicConfig> = {}): Promise<void> {
    const admin = kafka().admin();
    await admin.connect();
    await admin.createTopics({ waitForLeaders: true, topics: [{ topic, ...rest }] });
    await admin.disconnect();
  }

  test('the other client reads the committed records of every partition, byte by byte', async () => {
    await createTopic('mixed', { numPartitions: 2 });
    const producer = kafka().producer({ transactionalId: 'mixed', maxInFlightRequests: 1, idempotent: true });
    await producer.connect();
    for (const [fate, value] of [
      ['commit', 'one'],
      ['abort', 'never'],
      ['commit', 'two'],
    ] as const) {
      const transaction = await producer.transaction();
      await transaction.send({
        topic: 'mixed',
        messages: [0, 1].map((partition) => ({
          partition,
          key: Buffer.from([0, 255, partition]),
          value: value === 'two' && partition === 1 ? null : value,
          headers: { name: 'x' },
          timestamp: '1000',
        })),
      });
      await transaction[fate]();
    }
    await producer.disconnect();

    const read = await otherRead(broker().brokers, 'mixed');
    for (const partition of [0, 1]) {
      const records = read.filter((record) => record.partition === partition);
      assert.deepEqual(
        records.map(({ offset, value }) => [offset, text(value)]),
        [
          [0, 'one'],
          [4, partition === 1 ? undefined : 'two'],
        ],
      );
      assert.deepEqual(records[0]?.key, Buffer.from([0, 255, partition]));
      assert.deepEqual(records[0].headers, [['name', Buffer.from('x')]]);
      assert.equal(records[0].timestamp, 1_000);
    }
    assert.deepEqual(
      (await storedRecords(broker(), 'mixed', 1)).map(({ offset, control }) => [offset, control]),
      [0, 1, 2, 3, 4, 5].map((offset) => [offset, offset % 2 === 1]),
    );
  });

  test('the other client tells what a group has committed, and its lag', async () => {
    await createTopic('committed', { numPartitions: 2 });
    const producer = kafka().producer();
    await producer.connect();
    const messages = ['a', 'b', 'c'].map((value) => ({ value, partition: 0 }));
    await producer.send({ topic: 'committed', messages });
    await producer.disconnect();
    // Not by admin.setOffsets of kafkajs, which takes five seconds.
    const committer = kafka().producer({ transactionalId: 'committer', maxInFlightRequests: 1 });
    await committer.connect();
    const transaction = await committer.transaction();
    const offsets = { topic: 'committed', partitions: [{ partition: 0, offset: '1' }] };
    await transaction.sendOffsets({ consumerGroupId: 'readers', topics: [offsets] });
    await transaction.commit();
    await committer.disconnect();
    const [first, second] = await otherCommitted(broker().brokers, 'committed', 'readers');
    assert.deepEqual(first, { partition: 0, offset: 1, end: 3, lag: 2 });
    assert.deepEqual(second, { partition: 1, offset: null, end: 0, lag: 0 });
  });

  test('compaction leaves the latest record of each key, at its offset', async () => {
    await createTopic('compacted', { configEntries: [...QUICK_COMPACTION] });
    const producer = kafka().producer();
    await producer.connect();
    const send = (key: string, value: string): Promise<unknown> =>
      producer.send({ topic: 'compacted', messages: [{ key, value }] });
    for (const round of [1, 2, 3]) for (const key of ['a', 'b']) await send(key, `${key}${round}`);
    await sleep(150);
    await send('end', 'of the segment');
    await producer.disconnect();
    const records = await compactionSettled(broker(), 'compacted', 6);
    assert.deepEqual(
      records.map(({ offset, key }) => [offset, key]),
      [
        [4, hex(Buffer.from('a'))],
        [5, hex(Buffer.from('b'))],
        [6, hex(Buffer.from('end'))],
      ],
    );
  });
});
