/** Retention, tombstones, timeouts, expiry, sequences and operator's tools of the embedded log, on a manual clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readBatchHeader, stampProducer } from '../../src/codec/record-batch-header.js';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { ManualClock } from '../../src/core/clock.js';
import { isPartitaError, type ErrorCode } from '../../src/core/errors.js';
import type { LogBatch } from '../../src/core/log-types.js';
import { embeddedLog, type EmbeddedLog } from '../../src/log/embedded/embedded-log.js';
import { turns } from '../support/waiting.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = 1_700_000_000_000;

async function values(log: EmbeddedLog, topic: string): Promise<(string | null)[]> {
  const all: (string | null)[] = [];
  for await (const { value } of log.read(topic)) all.push(value && Buffer.from(value).toString());
  return all;
}

function batch(
  topic: string,
  records: readonly (readonly [string, string | null])[],
  compression?: 'gzip',
): LogBatch {
  const writer = new RecordBatchWriter();
  for (const [key, value] of records) writer.append(START, key, value);
  return { topic, partition: 0, bytes: writer.seal(compression && { compression })! };
}

const code = (wanted: ErrorCode) => (error: unknown) => isPartitaError(error, wanted);

test('records older than retention.ms go, batch by batch, from the start', async () => {
  const clock = new ManualClock(START);
  await using log = await embeddedLog({ clock, backgroundMs: 60_000 });
  await log.createTopic({ topic: 't', partitions: 1, configs: { 'retention.ms': String(HOUR) } });
  for (let n = 0; n < 4; n++) {
    await log.produce('t', [{ key: 'k', value: String(n) }]);
    await clock.advanceAsync(HOUR / 2);
  }
  assert.deepEqual(await values(log, 't'), ['2', '3'], 'the background did it within a minute of the clock');
  await clock.advanceAsync(DAY);
  assert.deepEqual(await values(log, 't'), []);
  assert.deepEqual(await log.bounds('t'), [{ start: 4, lastStable: 4, end: 4 }]);
});

test('retention.bytes keeps the newest batches, and without it old event times stay for ever', async () => {
  await using log = await embeddedLog({ backgroundMs: 0 });
  await log.createTopic({ topic: 'small', partitions: 1, configs: { 'retention.bytes': '1000' } });
  await log.createTopic({ topic: 'kept', partitions: 1 });
  for (const topic of ['small', 'kept'])
    for (let n = 0; n < 10; n++)
      await log.produce(topic, [{ key: 'k', value: 'x'.repeat(300), timestamp: 1000 + n }]);
  await log.applyRetention();
  assert.equal((await values(log, 'kept')).length, 10);
  // A batch of 300 and some 70 bytes: two are below 1000 bytes, and Kafka deletes only what leaves as much.
  const left = await values(log, 'small');
  assert.equal(left.length, 3);
  assert.equal((await log.bounds('small'))[0]!.start, 7);
});

test('a tombstone outlives its first compaction by delete.retention.ms, then goes', async () => {
  const clock = new ManualClock(START);
  await using log = await embeddedLog({ clock, backgroundMs: 0 });
  const configs = { 'cleanup.policy': 'compact', 'delete.retention.ms': String(DAY) };
  await log.createTopic({ topic: 't', partitions: 1, configs });
  await log.appendBatches([
    batch('t', [
      ['a', '1'],
      ['b', '1'],
    ]),
    batch('t', [['a', null]]),
    batch('t', [['c', '1']]),
  ]);
  await clock.advanceAsync(3 * DAY);
  await log.compact('t');
  assert.deepEqual(await values(log, 't'), ['1', null, '1']);
  await clock.advanceAsync(DAY - 1);
  await log.compact('t');
  assert.deepEqual(await values(log, 't'), ['1', null, '1']);
  await clock.advanceAsync(1);
  await log.compact('t');
  assert.deepEqual(await values(log, 't'), ['1', '1']);
});

test('a log whose last record is a tombstone that has gone still leads readers to its end', async () => {
  const clock = new ManualClock(START);
  await using log = await embeddedLog({ clock, backgroundMs: 0 });
  const configs = { 'cleanup.policy': 'compact', 'delete.retention.ms': '0' };
  await log.createTopic({ topic: 't', partitions: 1, configs });
  await log.appendBatches([batch('t', [['a', '1']]), batch('t', [['a', null]])]);
  await log.compact('t');
  await log.compact('t');
  assert.deepEqual(await values(log, 't'), []);
  const client = await log.connect({ clientId: 'c' });
  const page = await client.read({
    topic: 't',
    partition: 0,
    from: 0,
    maxBytes: 1,
    isolation: 'read_committed',
  });
  assert.equal(page.next, 2);
});

test('batches of one call carry the sequences of an idempotent producer', async () => {
  await using log = await embeddedLog();
  await log.createTopic({ topic: 't', partitions: 1 });
  const client = await log.connect({ clientId: 'c' });
  const outputs = client.outputs();
  for (let call = 0; call < 2; call++)
    await outputs.produce([
      batch('t', [
        ['a', '1'],
        ['a', '2'],
      ]),
      batch('t', [['a', '3']]),
    ]);
  const { bytes } = await client.read({
    topic: 't',
    partition: 0,
    from: 0,
    maxBytes: 1e6,
    isolation: 'read_committed',
  });
  const sequences = [];
  for (let at = 0; at < bytes.byteLength;) {
    const header = readBatchHeader(Buffer.from(bytes), at)!;
    sequences.push(header.baseSequence);
    at = header.end;
  }
  assert.deepEqual(sequences, [0, 2, 3, 5]);
});

test('compaction understands compressed batches and keeps headers and timestamps', async () => {
  await using log = await embeddedLog({ backgroundMs: 0 });
  await log.createTopic({ topic: 't', partitions: 1, configs: { 'cleanup.policy': 'compact' } });
  const writer = new RecordBatchWriter();
  writer.append(500, 'a', 'old');
  writer.append(9_000_000_000, 'b', 'kept', [['h', 'x']]);
  writer.append(100, 'a', 'new');
  await log.appendBatches([{ topic: 't', partition: 0, bytes: writer.seal({ compression: 'gzip' })! }]);
  await log.compact('t');
  const seen = [];
  for await (const r of log.read('t'))
    seen.push([r.offset, r.timestamp, Buffer.from(r.value!).toString(), r.headers.length]);
  assert.deepEqual(seen, [
    [1, 9_000_000_000, 'kept', 1],
    [2, 100, 'new', 0],
  ]);
});

test('the background compacts once enough is new', async () => {
  const clock = new ManualClock(START);
  await using log = await embeddedLog({ clock });
  const configs = { 'cleanup.policy': 'compact', 'segment.bytes': '2000' };
  await log.createTopic({ topic: 't', partitions: 1, configs });
  await log.appendBatches([batch('t', [['a', 'x'.repeat(900)]])]);
  await log.appendBatches([batch('t', [['a', 'y']])]);
  await clock.advanceAsync(5_000);
  assert.equal((await values(log, 't')).length, 2);
  await log.appendBatches([batch('t', [['a', 'x'.repeat(1200)]])]);
  await clock.advanceAsync(1_000);
  // The work yields to the event loop, which the manual clock doesn't wait for.
  for (let turn = 0; turn < 1_000 && (await values(log, 't')).length > 1; turn++) await turns();
  assert.equal((await values(log, 't')).length, 1);
});

test('what is written while a compaction runs is kept', async () => {
  await using log = await embeddedLog({ backgroundMs: 0 });
  await log.createTopic({ topic: 't', partitions: 1, configs: { 'cleanup.policy': 'compact' } });
  const many = (from: number) =>
    Array.from({ length: 2000 }, (_, n) => [`k${n % 500}`, String(from + n)] as const);
  for (let round = 0; round < 20; round++) await log.appendBatches([batch('t', many(round * 2000))]);
  const compaction = log.compact('t');
  for (let round = 20; round < 40; round++) {
    await log.appendBatches([batch('t', many(round * 2000))]);
    await turns();
  }
  await compaction;
  await log.compact('t');
  const expected = Array.from({ length: 500 }, (_, n) => String(39 * 2000 + 1500 + n));
  assert.deepEqual(await values(log, 't'), expected);
  assert.equal((await log.bounds('t'))[0]!.end, 80_000);
});

test('an open transaction ends by its timeout, and its holder is fenced', async () => {
  const clock = new ManualClock(START);
  await using log = await embeddedLog({ clock });
  await log.createTopic({ topic: 't', partitions: 1 });
  await log.leaveTransactionOpen({
    transactionalId: 'x',
    transactionTimeoutMs: 10_000,
    batches: [batch('t', [['a', '1']])],
  });
  await clock.advanceAsync(9_000);
  assert.deepEqual(await log.bounds('t'), [{ start: 0, lastStable: 0, end: 1 }]);
  await clock.advanceAsync(2_000);
  assert.deepEqual(await log.bounds('t'), [{ start: 0, lastStable: 2, end: 2 }]);
  assert.deepEqual(await values(log, 't'), []);
});

test('a transactional id that is not used for a week is forgotten, and its holder fenced', async () => {
  const clock = new ManualClock(START);
  await using log = await embeddedLog({ clock, backgroundMs: 0 });
  const client = await log.connect({ clientId: 'c' });
  const producer = client.producer({ transactionalId: 'x', transactionTimeoutMs: 10_000 });
  const empty = { batches: [], group: 'g', offsets: [] };
  await producer.init();
  await clock.advanceAsync(7 * DAY - 1);
  await log.expireTransactions();
  assert.equal((await producer.commitTransaction(empty)).kind, 'committed');
  await clock.advanceAsync(7 * DAY);
  await log.expireTransactions();
  const outcome = await producer.commitTransaction(empty);
  assert.equal(outcome.kind, 'fenced');
  assert.match(outcome.reason, /expired/);
  await producer.init();
  assert.equal((await producer.commitTransaction(empty)).kind, 'committed');
});

test('a repeated batch of an idempotent producer is appended once, one out of order is refused', async () => {
  await using log = await embeddedLog();
  await log.createTopic({ topic: 't', partitions: 1 });
  const stamped = (baseSequence: number, epoch = 0) => {
    const made = batch('t', [
      ['a', String(baseSequence)],
      ['a', 'x'],
    ]);
    stampProducer(Buffer.from(made.bytes), 0, { producerId: 77, epoch, baseSequence, transactional: false });
    return made;
  };
  const offsets = async (given: LogBatch) => (await log.appendBatches([given]))[0]!.baseOffset;
  assert.equal(await offsets(stamped(0)), 0);
  assert.equal(await offsets(stamped(2)), 2);
  assert.equal(await offsets(stamped(2)), 2);
  await assert.rejects(offsets(stamped(8)), code('FENCED'));
  assert.equal(await offsets(stamped(4)), 4);
  assert.equal(await offsets(stamped(0, 1)), 6);
  await assert.rejects(offsets(stamped(6, 0)), code('FENCED'));
  assert.equal((await values(log, 't')).length, 8);
});

test('damaged, cut off and control batches are refused and leave nothing behind', async () => {
  await using log = await embeddedLog();
  await log.createTopic({ topic: 't', partitions: 1 });
  const damaged = batch('t', [['a', '1']]);
  new Uint8Array(damaged.bytes)[damaged.bytes.byteLength - 1]! ^= 1;
  const cut = { ...batch('t', [['a', '1']]), bytes: batch('t', [['a', '1']]).bytes.slice(0, -1) };
  for (const bad of [damaged, cut])
    await assert.rejects(log.appendBatches([batch('t', [['a', '0']]), bad]), code('RECORD_BATCH_CORRUPT'));
  assert.deepEqual(await values(log, 't'), []);
  await log.appendBatches([batch('t', [['a', '0']])]);
  const client = await log.connect({ clientId: 'c' });
  const page = await client.read({
    topic: 't',
    partition: 0,
    from: 0,
    maxBytes: 1,
    isolation: 'read_committed',
  });
  assert.equal(readBatchHeader(Buffer.from(page.bytes), 0)!.baseOffset, 0);
});

test('an operator sets and resets offsets of a group without members only', async () => {
  await using log = await embeddedLog();
  await log.createTopic({ topic: 't', partitions: 1 });
  const id = { topic: 't', partition: 0 };
  await log.setOffset('g', id, 5);
  assert.deepEqual(await log.committed('g'), [{ ...id, offset: 5, metadata: '' }]);
  const client = await log.connect({ clientId: 'c' });
  const session = await client.join(
    { group: 'g', topics: ['t'] },
    {
      onAssign: () => undefined,
      onRevoke: async () => undefined,
      onLost: () => undefined,
      onChunk: () => undefined,
      onOutOfRange: () => undefined,
      onFatal: (error) => {
        throw error;
      },
    },
  );
  while ((await log.describeGroup('g')).state !== 'stable') await turns();
  await assert.rejects(log.setOffset('g', id, 1), code('ILLEGAL_STATE'));
  await session.leave();
  await log.resetGroup('g');
  assert.deepEqual(await log.committed('g'), []);
});

test('a deleted topic takes its offsets with it, and comes back under another id', async () => {
  await using log = await embeddedLog();
  const { topicId } = await log.createTopic({ topic: 't', partitions: 1 });
  await log.produce('t', [{ key: 'a', value: '1' }]);
  await log.setOffset('g', { topic: 't', partition: 0 }, 1);
  await assert.rejects(log.createTopic({ topic: 't', partitions: 1 }), code('TOPIC_EXISTS'));
  await log.deleteTopic('t');
  assert.equal(await log.describeTopic('t'), undefined);
  assert.deepEqual(await log.committed('g'), []);
  const again = await log.createTopic({ topic: 't', partitions: 1 });
  assert.notEqual(again.topicId, topicId);
  assert.deepEqual(await values(log, 't'), []);
});

test('names, partition counts and configs that Kafka refuses are refused', async () => {
  await using log = await embeddedLog();
  for (const spec of [
    { topic: 'a/b', partitions: 1 },
    { topic: '..', partitions: 1 },
    { topic: 'x'.repeat(250), partitions: 1 },
    { topic: 't', partitions: 0 },
    { topic: 't', partitions: 1, configs: { 'retention.msec': '1' } },
    { topic: 't', partitions: 1, configs: { 'cleanup.policy': 'compress' } },
    { topic: 't', partitions: 1, configs: { 'retention.ms': 'soon' } },
  ])
    await assert.rejects(log.createTopic(spec), code('TOPIC_INVALID'), JSON.stringify(spec));
});
