/**
 * The output producer over scripted brokers: order and exactly one copy over lost requests, answers and leaders, what a
 * failure takes with it, purging by a signal, and the bound on what waits.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { isPartitaError, PartitaError, type ErrorCode } from '../../src/core/errors.js';
import type { LogBatch } from '../../src/core/log-types.js';
import { KafkaOutputProducer } from '../../src/log/kafka/output-producer.js';
import { OutputRoom } from '../../src/log/kafka/output-room.js';
import { ScriptedBrokers, type CodeName, type Step } from '../support/brokers-in-memory.js';

function logBatch(topic: string, partition: number, ...values: readonly string[]): LogBatch {
  const writer = new RecordBatchWriter();
  for (const value of values) writer.append(1_000, 'k', value);
  return { topic, partition, bytes: writer.seal()! };
}

async function setUp(retryTimeoutMs = 2_000) {
  const brokers = new ScriptedBrokers().topic('t', 8).topic('small', 2, { batchBytesMax: 500 });
  brokers.lead('t', 1, 2);
  const cluster = await brokers.cluster({ retryTimeoutMs });
  const outputs = new KafkaOutputProducer(cluster);
  const send = (partition: number, ...values: readonly string[]) =>
    outputs.produce([logBatch('t', partition, ...values)]);
  return { brokers, cluster, outputs, send };
}

const failsWith = (code: ErrorCode) => (error: unknown) => isPartitaError(error, code);
const turn = (ms = 20) => new Promise((resolve) => setTimeout(resolve, ms));
const numbers = (count: number) => Array.from({ length: count }, (_, n) => `${n}`);

/** Holds every produce request at the brokers until `open`. */
function gate(brokers: ScriptedBrokers): () => void {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  brokers.onProduce = () => opened;
  return open;
}

test('batches of a call are acknowledged with their offsets, in the order given', async () => {
  const { brokers, outputs, cluster } = await setUp();
  const two = Buffer.concat(
    [logBatch('t', 0, 'd').bytes, logBatch('t', 0, 'e').bytes].map((b) => Buffer.from(b)),
  );
  const results = await outputs.produce([
    logBatch('t', 0, 'a', 'b'),
    logBatch('t', 1, 'c'),
    { topic: 't', partition: 0, bytes: new Uint8Array(two).buffer },
    logBatch('t', 0, 'f'),
  ]);
  assert.deepEqual(
    results.map(({ baseOffset }) => baseOffset),
    [0, 0, 2, 4],
  );
  assert.deepEqual(brokers.visible('t', 0), ['a', 'b', 'd', 'e', 'f']);
  assert.deepEqual(await outputs.produce([]), []);
  await cluster.close();
});

test('what is produced while a request is under way shares the next one, one batch per partition', async () => {
  const { brokers, send, outputs, cluster } = await setUp();
  await send(0, 'first');
  const open = gate(brokers);
  brokers.seen.length = 0;
  const under = [send(0, 'a')];
  await turn();
  under.push(send(2, 'b'));
  await turn();
  for (const partition of [3, 4, 3, 0]) under.push(send(partition, 'c'));
  await turn();
  assert.equal(brokers.produceUnderWay, 2);
  open();
  await Promise.all(under);
  const requests = brokers.seen.map((one) => one.replace('Produce ', ''));
  assert.deepEqual(requests.slice(0, 2), ['t/0', 't/2']);
  assert.equal(requests.length, 4);
  assert.ok(requests[2]!.includes('t/3') && requests[2]!.includes('t/4'));
  assert.equal(brokers.produceUnderWayMax, 2);
  await outputs.close();
  await cluster.close();
});

const PASSING: readonly Step[] = [
  'lost',
  'unanswered',
  { answer: 'NOT_LEADER_FOR_PARTITION' },
  { answer: 'NOT_ENOUGH_REPLICAS' },
  { answer: 'REQUEST_TIMED_OUT' },
  { answer: 'DUPLICATE_SEQUENCE_NUMBER' },
];

for (const step of PASSING.slice(0, 5))
  test(`${JSON.stringify(step)} repeats and reorders nothing`, async () => {
    const { brokers, send, cluster } = await setUp();
    brokers.script('Produce', 'pass', step, step, 'pass', step, 'pass', step);
    await Promise.all(numbers(20).flatMap((value) => [send(0, value), send(1, value), send(2, value)]));
    for (const partition of [0, 1, 2]) assert.deepEqual(brokers.visible('t', partition), numbers(20));
    await cluster.close();
  });

test('a batch that the broker says it has already is acknowledged', async () => {
  const { brokers, send, cluster } = await setUp();
  brokers.script('Produce', { answer: 'DUPLICATE_SEQUENCE_NUMBER' });
  assert.deepEqual(await send(0, 'a'), [{ baseOffset: -1 }]);
  await cluster.close();
});

test('a leader that moves is followed', async () => {
  const { brokers, send, cluster } = await setUp();
  await send(0, '0');
  brokers.lead('t', 0, 2);
  await Promise.all(numbers(5).map((value) => send(0, value)));
  assert.deepEqual(brokers.visible('t', 0), ['0', ...numbers(5)]);
  await cluster.close();
});

const REFUSALS: readonly (readonly [CodeName, ErrorCode])[] = [
  ['MESSAGE_TOO_LARGE', 'RECORD_TOO_LARGE'],
  ['INVALID_TIMESTAMP', 'TIMESTAMP_OUT_OF_RANGE'],
  ['INVALID_RECORD', 'POLICY_VIOLATION'],
  ['CORRUPT_MESSAGE', 'RECORD_BATCH_CORRUPT'],
  ['UNSUPPORTED_COMPRESSION_TYPE', 'COMPRESSION_UNAVAILABLE'],
  ['TOPIC_AUTHORIZATION_FAILED', 'LOG_AUTHORIZATION_FAILED'],
  ['OUT_OF_ORDER_SEQUENCE_NUMBER', 'LOG_UNAVAILABLE'],
  ['UNKNOWN_PRODUCER_ID', 'LOG_UNAVAILABLE'],
];

for (const [answer, code] of REFUSALS)
  test(`${answer} fails what waits behind it in its partition, and the partition begins anew`, async () => {
    const { brokers, send, cluster } = await setUp();
    await send(0, '0');
    await send(2, '0');
    brokers.script('Produce', { answer });
    const failing = [send(0, 'bad'), send(0, 'behind'), send(0, 'behind too')];
    for (const result of await Promise.allSettled(failing)) {
      assert.equal(result.status, 'rejected');
      assert.ok(isPartitaError(result.reason, code));
      assert.match(result.reason.message, /t-0/);
      assert.deepEqual([result.reason.details['topic'], result.reason.details['partition']], ['t', 0]);
    }
    await Promise.all([send(0, '1'), send(0, '2'), send(2, '1')]);
    assert.deepEqual(brokers.visible('t', 0), ['0', '1', '2']);
    assert.deepEqual(brokers.visible('t', 2), ['0', '1']);
    const [before, after] = brokers.appended('t', 0);
    assert.notEqual(after!.producerId, before!.producerId);
    assert.equal(after!.baseSequence, 0);
    // The others go on as they were.
    const [first, second] = brokers.appended('t', 2);
    assert.equal(second!.producerId, first!.producerId);
    assert.equal(second!.baseSequence, 1);
    await cluster.close();
  });

test('a call fails with its first failure while its other partitions get their batches', async () => {
  const { brokers, outputs, cluster } = await setUp();
  const call = outputs.produce([logBatch('small', 0, 'x'.repeat(900)), logBatch('small', 1, 'a')]);
  await assert.rejects(call, failsWith('RECORD_TOO_LARGE'));
  await outputs.close();
  assert.deepEqual(brokers.visible('small', 1), ['a']);
  await cluster.close();
});

test('a topic that does not exist fails for good, and bytes that are no batches at once', async () => {
  const { outputs, cluster } = await setUp(5_000);
  await assert.rejects(outputs.produce([logBatch('none', 0, 'a')]), failsWith('TOPIC_MISSING'));
  const cut = { topic: 't', partition: 0, bytes: logBatch('t', 0, 'a').bytes.slice(0, -1) };
  await assert.rejects(outputs.produce([cut]), failsWith('RECORD_BATCH_CORRUPT'));
  await cluster.close();
});

test('what brokers refuse for too long fails, and what comes later goes out', async () => {
  const { brokers, send, cluster } = await setUp(100);
  brokers.script('Produce', ...Array.from({ length: 500 }, (): Step => ({ answer: 'NOT_ENOUGH_REPLICAS' })));
  const began = performance.now();
  await assert.rejects(send(0, 'a'), failsWith('LOG_UNAVAILABLE'));
  assert.ok(performance.now() - began < 20_000);
  brokers.script('Produce');
  await send(0, 'b');
  assert.deepEqual(brokers.visible('t', 0), ['b']);
  await cluster.close();
});

test('a signal purges what is not sent, waits for what is, and leaves the batches of others', async () => {
  const { brokers, outputs, send, cluster } = await setUp();
  await send(0, '0');
  const open = gate(brokers);
  const giveUp = new AbortController();
  const mine = outputs.produce([logBatch('t', 0, 'sent'), logBatch('t', 0, 'purged')], {
    signal: giveUp.signal,
  });
  let isSettled = false;
  const rejected = assert.rejects(mine, failsWith('CALL_ABORTED')).finally(() => (isSettled = true));
  await turn();
  const other = send(0, 'other');
  giveUp.abort();
  await turn();
  assert.equal(isSettled, false);
  open();
  await rejected;
  await other;
  assert.deepEqual(brokers.visible('t', 0), ['0', 'sent', 'other']);
  const aborted = AbortSignal.abort();
  await assert.rejects(
    outputs.produce([logBatch('t', 0, 'x')], { signal: aborted }),
    failsWith('CALL_ABORTED'),
  );
  await cluster.close();
});

test('a batch that may be on the broker is not purged: its answer is waited for', async () => {
  const { brokers, outputs, send, cluster } = await setUp();
  await send(0, '0');
  const giveUp = new AbortController();
  brokers.script('Produce', 'unanswered', 'lost', 'lost');
  const mine = outputs.produce([logBatch('t', 0, '1')], { signal: giveUp.signal });
  await turn(8);
  giveUp.abort();
  assert.deepEqual(await mine, [{ baseOffset: 1 }]);
  await send(0, '2');
  assert.deepEqual(brokers.visible('t', 0), ['0', '1', '2']);
  await cluster.close();
});

test('a close waits for what is under way and rejects the rest', async () => {
  const { brokers, outputs, send, cluster } = await setUp();
  await send(0, '0');
  const open = gate(brokers);
  const underWay = send(0, 'sent');
  await turn();
  const waiting = assert.rejects(send(0, 'waiting'), failsWith('LOG_CLOSED'));
  let isClosed = false;
  const closed = outputs.close().finally(() => (isClosed = true));
  await waiting;
  await turn();
  assert.equal(isClosed, false);
  open();
  await Promise.all([underWay, closed]);
  assert.deepEqual(brokers.visible('t', 0), ['0', 'sent']);
  await outputs.close();
  await assert.rejects(send(0, 'late'), failsWith('LOG_CLOSED'));
  await cluster.close();
});

test('what does not fit waits for room, in order, and may be given up', async () => {
  const room = new OutputRoom({ bytesMax: 100, batchesMax: 3 });
  const order: string[] = [];
  const take = (name: string, bytes: number, signal?: AbortSignal) =>
    room.take(bytes, 1, signal).then(() => order.push(name));
  await take('a', 60);
  const giveUp = new AbortController();
  const given = assert.rejects(take('b', 80, giveUp.signal), failsWith('CALL_ABORTED'));
  // Although it would fit: who came first has its turn first.
  const c = take('c', 10);
  await turn(1);
  assert.deepEqual(order, ['a']);
  giveUp.abort();
  await Promise.all([given, c]);
  const large = take('large', 1_000);
  const last = assert.rejects(take('last', 1), failsWith('LOG_CLOSED'));
  room.give(60, 1);
  await turn(1);
  assert.deepEqual(order, ['a', 'c']);
  room.give(10, 1);
  await large;
  assert.equal(room.bytes, 1_000);
  room.refuse(new PartitaError('LOG_CLOSED', 'Closed.'));
  await last;
  room.give(1_000, 1);
  assert.equal(room.bytes, 0);
});

test('a producer that is far behind lets its callers wait', async () => {
  const { brokers, cluster } = await setUp();
  const outputs = new KafkaOutputProducer(cluster, { bytesMax: 1 << 20, batchesMax: 2 });
  const open = gate(brokers);
  const calls = [0, 2].map((partition) => outputs.produce([logBatch('t', partition, 'a')]));
  await turn();
  // Led by the other broker, which is idle.
  calls.push(outputs.produce([logBatch('t', 1, 'a')]));
  await turn();
  assert.ok(!brokers.seen.some((one) => one.includes('t/1')));
  open();
  await Promise.all(calls);
  assert.deepEqual(brokers.visible('t', 1), ['a']);
  await outputs.close();
  await cluster.close();
});
