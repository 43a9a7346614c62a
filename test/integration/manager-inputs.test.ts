/** What inputs may hold: only aborted records, an open transaction, no timestamps, records larger than every bound. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { isPartitaError, processorAt, type EmbeddedLog } from '../../src/index.js';
import type pairs from '../fixtures/pairs-processor.js';
import { ManagerDesk } from '../support/manager-desk.js';
import { until } from '../support/waiting.js';

const pairsStream = {
  pairs: processorAt<typeof pairs>(new URL('../fixtures/pairs-processor.js', import.meta.url)),
};

let desk: ManagerDesk;
let log: EmbeddedLog;

beforeEach(async () => {
  desk = await ManagerDesk.open();
  ({ log } = desk);
  for (const topic of ['left', 'right'])
    await log.createTopic({ topic, partitions: 1, configs: { 'max.message.bytes': String(8 << 20) } });
  await log.createTopic({
    topic: 'merged',
    partitions: 1,
    configs: { 'max.message.bytes': String(8 << 20) },
  });
});

afterEach(() => desk.close());

const start: ManagerDesk['start'] = (streams, options) => desk.start(streams, options);

async function aborted(topic: string, count: number): Promise<void> {
  const writer = new RecordBatchWriter();
  for (let i = 0; i < count; i++) writer.append(1, 'k', 'aborted');
  const batches = [{ topic, partition: 0, bytes: writer.seal({ transactional: true })! }];
  await log.leaveTransactionOpen({ transactionalId: `x-${topic}`, transactionTimeoutMs: 1, batches });
  await sleep(5);
  await log.expireTransactions();
}

async function values(): Promise<string[]> {
  const found: string[] = [];
  for await (const { value } of log.read('merged')) found.push(Buffer.from(value ?? []).toString());
  return found;
}

const offsetOf = async (topic: string): Promise<number | undefined> =>
  (await log.committed('g')).find((row) => row.topic === topic)?.offset;

test('a position that only aborted records moved is committed after a while, and goes on from there', async () => {
  const manager = await start(pairsStream, { idleCommitMs: 50 });
  await manager.ready();
  await aborted('left', 10);
  await until(async () => (await offsetOf('left')) === 11);
  await manager.stop();
  const again = await start(pairsStream);
  await again.ready();
  await log.produce('left', [{ key: 'a', value: 'one', timestamp: 5 }]);
  await until(async () => (await values()).length === 1);
});

test('an input with nothing but aborted records holds the other one back no longer than it takes to see that', async () => {
  await aborted('left', 10);
  await log.produce('right', [
    { key: 'a', value: 'two', timestamp: 2 },
    { key: 'a', value: 'three', timestamp: 3 },
  ]);
  await start(pairsStream);
  await until(async () => (await values()).length === 2);
  await log.produce('left', [{ key: 'a', value: 'four', timestamp: 4 }]);
  await aborted('right', 3);
  await until(async () => (await values()).length === 3);
  assert.deepEqual(await values(), ['right two', 'right three', 'left four']);
});

test('an open transaction in one input hides its records and what follows, and stops nothing else', async () => {
  const writer = new RecordBatchWriter();
  writer.append(1, 'k', 'open');
  await log.leaveTransactionOpen({
    transactionalId: 'open',
    transactionTimeoutMs: 60_000,
    batches: [{ topic: 'left', partition: 0, bytes: writer.seal({ transactional: true })! }],
  });
  await log.produce('left', [{ key: 'a', value: 'hidden', timestamp: 1 }]);
  await log.produce('right', [{ key: 'a', value: 'seen', timestamp: 9 }]);
  await start(pairsStream);
  await until(async () => (await values()).length === 1);
  assert.deepEqual(await values(), ['right seen']);
});

test('records without a timestamp are processed; only an emit must name one', async () => {
  const writer = new RecordBatchWriter();
  writer.append(-1, 'a', 'quiet');
  writer.append(-1, 'a', 'loud');
  await log.appendBatches([{ topic: 'left', partition: 0, bytes: writer.seal()! }]);
  const manager = await start(pairsStream);
  const skipped: unknown[] = [];
  manager.on('skipped', ({ error }) => skipped.push(error));
  await until(() => skipped.length === 1);
  assert.match(String(skipped[0]), /timestamp -1/);
  assert.equal((await manager.streams.pairs.query('count', { key: 'a' })) ?? 0, 1);
});

test('a record larger than every bound of bytes is processed, and so is what follows', async () => {
  const manager = await start(pairsStream, {
    mailbox: { bytesMax: 1_000 },
    chunkBytes: 1_000,
    checkpoint: { intervalMs: 20, bytesMax: 1_000 },
  });
  const large = 'x'.repeat(3 << 20);
  await log.produce('left', [{ key: 'a', value: large, timestamp: 1 }]);
  await log.produce('left', [{ key: 'a', value: 'small', timestamp: 2 }]);
  await until(async () => (await values()).length === 2);
  assert.equal((await values())[0]?.length, large.length + 'left '.length);
  assert.equal(await manager.streams.pairs.query('count', { key: 'a' }), 2);
});

test('a topic that was deleted and created anew is not mistaken for the old one, however long it is', async () => {
  const letters = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ key: 'a', value: String(i), timestamp: i + 1 }));
  await log.produce('left', letters(5));
  const manager = await start(pairsStream, { onOutOfRange: 'earliest' });
  await until(async () => (await values()).length === 5);
  await manager.checkpoint();
  await log.deleteTopic('left');
  await log.createTopic({ topic: 'left', partitions: 1 });
  await log.produce('left', letters(9));
  await until(async () => (await values()).length >= 9);
  await until(async () => (await manager.streams.pairs.query('count', { key: 'a' })) === 14);
});

test('partitions added to one of several inputs fail the stream by that name', async () => {
  const manager = await start(pairsStream);
  const failed = new Promise<unknown>((resolve) => {
    manager.on('failed', ({ error }) => {
      resolve(error);
    });
  });
  await log.addPartitions('left', 2);
  const error = await failed;
  assert.ok(isPartitaError(error, 'PARTITIONS_CHANGED'), String(error));
});
