/**
 * The transactional producer over scripted brokers: every error at every step, answers lost before and after a request
 * was carried out, and what is visible in the end. The same on real brokers is in test/kafka/transactions.test.ts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { isPartitaError } from '../../src/core/errors.js';
import type { CommitOutcome, LogBatch } from '../../src/core/log-types.js';
import { sequenceAfter } from '../../src/log/kafka/sealed-batches.js';
import { KafkaTransactionalProducer } from '../../src/log/kafka/transactional-producer.js';
import { ScriptedBrokers, type Api, type CodeName, type Step } from '../support/brokers-in-memory.js';

const GROUP = 'g';

/** Each of `batches` is the values of one record batch. */
function logBatch(topic: string, partition: number, ...batches: readonly (readonly string[])[]): LogBatch {
  const sealed = batches.map((values) => {
    const writer = new RecordBatchWriter();
    for (const value of values) writer.append(1_000, 'k', value);
    return Buffer.from(writer.seal()!);
  });
  const bytes = Buffer.concat(sealed);
  return { topic, partition, bytes: new Uint8Array(bytes).buffer };
}

const offsetsAt = (offset: number) => [{ topic: 'in', partition: 0, offset, metadata: 'm' }];

async function setUp(transactionTimeoutMs = 1_000) {
  const brokers = new ScriptedBrokers().topic('t', 3).topic('u', 1).topic('in', 1);
  brokers.lead('t', 1, 2);
  const cluster = await brokers.cluster({ retryTimeoutMs: 1_000 });
  const producerOf = (transactionalId = 'id') =>
    new KafkaTransactionalProducer(cluster, { transactionalId, transactionTimeoutMs });
  const producer = producerOf();
  await producer.init();
  const commit = (value: string, offset: number, by = producer): Promise<CommitOutcome> =>
    by.commitTransaction({
      batches: [logBatch('t', 0, [value]), logBatch('t', 1, [value])],
      group: GROUP,
      offsets: offsetsAt(offset),
    });
  return { brokers, cluster, producer, producerOf, commit };
}

const committedAt = (brokers: ScriptedBrokers) => brokers.committed.get('g in/0');

test('batches and offsets are one transaction, with the offsets of each batch in the order given', async () => {
  const { brokers, cluster, producer } = await setUp();
  const outcome = await producer.commitTransaction({
    batches: [logBatch('t', 0, ['a', 'b'], ['c']), logBatch('t', 1, ['d']), logBatch('t', 0, ['e', 'f'])],
    group: GROUP,
    offsets: offsetsAt(7),
  });
  assert.deepEqual(outcome, { kind: 'committed', baseOffsets: [0, 0, 3], lastOffsets: [2, 0, 4] });
  assert.deepEqual(brokers.visible('t', 0), ['a', 'b', 'c', 'e', 'f']);
  assert.deepEqual(brokers.visible('t', 1), ['d']);
  assert.equal(committedAt(brokers), 7);
  await cluster.close();
});

test('offsets alone and batches alone are transactions too, and nothing at all asks nobody', async () => {
  const { brokers, cluster, producer } = await setUp();
  brokers.seen.length = 0;
  const nothing = await producer.commitTransaction({ batches: [], group: GROUP, offsets: [] });
  assert.deepEqual(nothing, { kind: 'committed', baseOffsets: [], lastOffsets: [] });
  assert.deepEqual(brokers.seen, []);
  await producer.commitTransaction({ batches: [], group: GROUP, offsets: offsetsAt(1) });
  assert.deepEqual(brokers.seen, ['AddOffsetsToTxn', 'TxnOffsetCommit', 'EndTxn']);
  brokers.seen.length = 0;
  await producer.commitTransaction({ batches: [logBatch('t', 0, ['a'])], group: GROUP, offsets: [] });
  assert.deepEqual(brokers.seen, ['AddPartitionsToTxn', 'Produce t/0', 'EndTxn']);
  await cluster.close();
});

test('batches of several partitions of one leader share a request, those of one partition follow each other', async () => {
  const { brokers, cluster, producer } = await setUp();
  brokers.seen.length = 0;
  await producer.commitTransaction({
    batches: [logBatch('t', 0, ['a'], ['b'], ['c']), logBatch('t', 2, ['d'], ['e']), logBatch('u', 0, ['f'])],
    group: GROUP,
    offsets: [],
  });
  const produced = brokers.seen.filter((one) => one.startsWith('Produce'));
  assert.deepEqual(produced, ['Produce t/0 t/2 u/0', 'Produce t/0 t/2', 'Produce t/0']);
  assert.deepEqual(brokers.visible('t', 0), ['a', 'b', 'c']);
  await cluster.close();
});

test('no request grows beyond its bound, and at most five are under way', async () => {
  const { brokers, cluster, producer } = await setUp(10_000);
  const large = Array.from({ length: 12 }, (_, n) => [`${n}`.padEnd(900_000, '.')]);
  brokers.seen.length = 0;
  const outcome = await producer.commitTransaction({
    batches: [0, 2].map((partition) => logBatch('t', partition, ...large)),
    group: GROUP,
    offsets: [],
  });
  assert.equal(outcome.kind, 'committed');
  assert.equal(brokers.visible('t', 0).length, 12);
  assert.deepEqual(
    brokers.visible('t', 2).map((value) => value.slice(0, 2).replace('.', '')),
    large.map((_, n) => `${n}`),
  );
  assert.ok(brokers.produceUnderWayMax > 1 && brokers.produceUnderWayMax <= 5);
  await producer.commitTransaction({
    batches: ['t', 'u'].map((topic) => logBatch(topic, 0, ['x'.repeat(3 << 20)])),
    group: GROUP,
    offsets: [],
  });
  assert.deepEqual(brokers.seen.slice(-3), ['Produce t/0', 'Produce u/0', 'EndTxn']);
  await cluster.close();
});

const STEPS: readonly Api[] = [
  'AddPartitionsToTxn',
  'Produce',
  'AddOffsetsToTxn',
  'TxnOffsetCommit',
  'EndTxn',
];

/** Runs one transaction of three with the step at one api, and the two around it undisturbed. */
async function disturbed(api: Api, steps: readonly Step[]) {
  const parts = await setUp();
  assert.equal((await parts.commit('1', 1)).kind, 'committed');
  parts.brokers.script(api, ...steps);
  const outcome = await parts.commit('2', 2);
  parts.brokers.script(api);
  return { ...parts, outcome };
}

for (const api of STEPS)
  for (const step of [
    'lost',
    'unanswered',
    ...(api === 'Produce'
      ? (['NOT_LEADER_FOR_PARTITION', 'NOT_ENOUGH_REPLICAS', 'REQUEST_TIMED_OUT'] as const)
      : (['CONCURRENT_TRANSACTIONS', 'GROUP_LOAD_IN_PROGRESS', 'NOT_COORDINATOR_FOR_GROUP'] as const)),
  ] as const)
    test(`${step} at ${api} is tried again until the transaction is committed, once`, async () => {
      const one: Step = step === 'lost' || step === 'unanswered' ? step : { answer: step };
      const { brokers, cluster, commit, outcome } = await disturbed(api, [one, one, one]);
      assert.equal(outcome.kind, 'committed', JSON.stringify(outcome));
      assert.deepEqual(outcome.baseOffsets, [2, 2]);
      assert.equal((await commit('3', 3)).kind, 'committed');
      for (const partition of [0, 1]) assert.deepEqual(brokers.visible('t', partition), ['1', '2', '3']);
      assert.equal(committedAt(brokers), 3);
      await cluster.close();
    });

const FENCING: readonly CodeName[] = [
  'INVALID_PRODUCER_EPOCH',
  'PRODUCER_FENCED',
  'INVALID_PRODUCER_ID_MAPPING',
  'INVALID_TXN_STATE',
  'TRANSACTION_COORDINATOR_FENCED',
  'TRANSACTION_ABORTABLE',
];

for (const api of STEPS)
  for (const answer of api === 'Produce'
    ? [...FENCING, 'OUT_OF_ORDER_SEQUENCE_NUMBER' as const, 'UNKNOWN_PRODUCER_ID' as const]
    : FENCING)
    test(`${answer} at ${api} means fenced, until the next init`, async () => {
      const { brokers, cluster, producer, commit, outcome } = await disturbed(api, [{ answer }]);
      assert.equal(outcome.kind, 'fenced');
      assert.ok(outcome.reason.includes(answer), outcome.reason);
      // Whatever is open must not be committed together with a later one.
      assert.equal((await commit('3', 3)).kind, 'fenced');
      assert.equal(committedAt(brokers), 1);
      await producer.init();
      assert.equal((await commit('4', 4)).kind, 'committed');
      assert.deepEqual(brokers.visible('t', 0), ['1', '4']);
      assert.equal(committedAt(brokers), 4);
      await cluster.close();
    });

const REFUSALS: readonly (readonly [Api, CodeName])[] = [
  ['AddPartitionsToTxn', 'TOPIC_AUTHORIZATION_FAILED'],
  ['AddPartitionsToTxn', 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED'],
  ['Produce', 'MESSAGE_TOO_LARGE'],
  ['Produce', 'INVALID_TIMESTAMP'],
  ['Produce', 'INVALID_RECORD'],
  ['Produce', 'CORRUPT_MESSAGE'],
  ['Produce', 'UNSUPPORTED_COMPRESSION_TYPE'],
  ['Produce', 'POLICY_VIOLATION'],
  ['Produce', 'TOPIC_AUTHORIZATION_FAILED'],
  ['AddOffsetsToTxn', 'GROUP_AUTHORIZATION_FAILED'],
  ['TxnOffsetCommit', 'GROUP_AUTHORIZATION_FAILED'],
  ['EndTxn', 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED'],
];

for (const [api, answer] of REFUSALS)
  test(`${answer} at ${api} is a rejection: nothing is left of the transaction, and the next one commits`, async () => {
    const { brokers, cluster, commit, outcome } = await disturbed(api, [{ answer }]);
    assert.equal(outcome.kind, 'rejected');
    assert.ok(outcome.reason.includes(answer), outcome.reason);
    assert.equal(brokers.openTransactions, 0);
    assert.equal((await commit('3', 3)).kind, 'committed');
    for (const partition of [0, 1]) assert.deepEqual(brokers.visible('t', partition), ['1', '3']);
    assert.equal(committedAt(brokers), 3);
    await cluster.close();
  });

test('one batch of many that its topic refuses rejects all of them, also those behind it in its partition', async () => {
  const { brokers, cluster, producer, commit } = await setUp();
  brokers.topic('small', 1, { batchBytesMax: 500 });
  const outcome = await producer.commitTransaction({
    batches: [logBatch('t', 0, ['a']), logBatch('small', 0, ['b'], ['x'.repeat(900)], ['c'], ['d'])],
    group: GROUP,
    offsets: offsetsAt(1),
  });
  assert.equal(outcome.kind, 'rejected');
  assert.match(outcome.reason, /small-0.*MESSAGE_TOO_LARGE/);
  assert.equal((await commit('2', 2)).kind, 'committed');
  const next = await producer.commitTransaction({
    batches: [logBatch('small', 0, ['e'])],
    group: GROUP,
    offsets: [],
  });
  assert.equal(next.kind, 'committed');
  assert.deepEqual(brokers.visible('small', 0), ['e']);
  assert.deepEqual(brokers.visible('t', 0), ['2']);
  await cluster.close();
});

test('after a rejection a producer that was fenced meanwhile fences nobody', async () => {
  const { brokers, cluster, producerOf, commit } = await disturbed('Produce', [
    { answer: 'MESSAGE_TOO_LARGE' },
  ]);
  const rightful = producerOf();
  await rightful.init();
  assert.equal((await commit('zombie', 9)).kind, 'fenced');
  assert.equal((await commit('3', 3, rightful)).kind, 'committed');
  assert.deepEqual(brokers.visible('t', 0), ['1', '3']);
  await cluster.close();
});

test('the renewal after a rejection may be lost too', async () => {
  for (const step of ['lost', 'unanswered'] as const) {
    const { brokers, cluster, commit } = await disturbed('Produce', [{ answer: 'MESSAGE_TOO_LARGE' }]);
    brokers.script('InitProducerId', step);
    assert.equal((await commit('3', 3)).kind, 'committed');
    assert.deepEqual(brokers.visible('t', 0), ['1', '3']);
    await cluster.close();
  }
});

test('a rejection whose abort is lost as well is settled before the next transaction', async () => {
  const parts = await setUp();
  const { brokers, cluster, commit } = parts;
  brokers.script('Produce', { answer: 'MESSAGE_TOO_LARGE' });
  brokers.script('EndTxn', { answer: 'INVALID_TXN_STATE' });
  assert.equal((await commit('1', 1)).kind, 'rejected');
  assert.equal(brokers.openTransactions, 1);
  assert.equal((await commit('2', 2)).kind, 'committed');
  assert.deepEqual(brokers.visible('t', 0), ['2']);
  assert.equal(committedAt(brokers), 2);
  await cluster.close();
});

test('bytes that are no record batches are rejected before anybody is asked', async () => {
  const { brokers, cluster, producer, commit } = await setUp();
  brokers.seen.length = 0;
  const whole = logBatch('t', 0, ['a']);
  for (const bytes of [whole.bytes.slice(0, -1), new ArrayBuffer(0)]) {
    const outcome = await producer.commitTransaction({
      batches: [{ ...whole, bytes }],
      group: GROUP,
      offsets: [],
    });
    assert.equal(outcome.kind, 'rejected');
    assert.match(outcome.reason, /t-0/);
  }
  assert.deepEqual(brokers.seen, []);
  assert.equal((await commit('1', 1)).kind, 'committed');
  await cluster.close();
});

test('a topic that does not exist is a rejection, after the grace for new ones', async () => {
  const { brokers, cluster, producer, commit } = await setUp(5_000);
  brokers.seen.length = 0;
  const outcome = await producer.commitTransaction({
    batches: [logBatch('t', 0, ['a']), logBatch('none', 0, ['a'])],
    group: GROUP,
    offsets: offsetsAt(1),
  });
  assert.equal(outcome.kind, 'rejected');
  assert.match(outcome.reason, /none/);
  assert.deepEqual(brokers.seen, []);
  assert.equal((await commit('1', 1)).kind, 'committed');
  await cluster.close();
});

test('a leader that moves in the middle is followed', async () => {
  const { brokers, cluster, commit } = await setUp();
  assert.equal((await commit('1', 1)).kind, 'committed');
  brokers.lead('t', 0, 2);
  brokers.lead('t', 1, 1);
  assert.equal((await commit('2', 2)).kind, 'committed');
  for (const partition of [0, 1]) assert.deepEqual(brokers.visible('t', partition), ['1', '2']);
  await cluster.close();
});

test('an answer lost in the middle of many batches of a partition repeats and reorders nothing', async () => {
  for (const at of [0, 1, 2, 4, 6]) {
    const { brokers, cluster, producer } = await setUp();
    const steps = Array.from({ length: at }, (): Step => 'pass');
    brokers.script('Produce', ...steps, 'unanswered', 'pass', 'lost');
    const values = Array.from({ length: 9 }, (_, n) => `${n}`);
    const outcome = await producer.commitTransaction({
      batches: [logBatch('t', 0, ...values.map((value) => [value]))],
      group: GROUP,
      offsets: [],
    });
    assert.deepEqual(outcome, { kind: 'committed', baseOffsets: [0], lastOffsets: [8] }, `at ${at}`);
    assert.deepEqual(brokers.visible('t', 0), values);
    await cluster.close();
  }
});

test('a batch that the broker has at an offset it does not know any more leaves the commit in doubt', async () => {
  const { brokers, cluster, producer, commit, outcome } = await disturbed('Produce', [
    { answer: 'DUPLICATE_SEQUENCE_NUMBER' },
  ]);
  assert.equal(outcome.kind, 'inDoubt');
  assert.equal(brokers.openTransactions, 0);
  await assert.rejects(commit('3', 3), (error) => isPartitaError(error, 'ILLEGAL_STATE'));
  await producer.init();
  assert.equal((await commit('4', 4)).kind, 'committed');
  assert.deepEqual(brokers.visible('t', 0), ['1', '4']);
  await cluster.close();
});

for (const api of STEPS)
  test(`no answer at ${api} within the transaction timeout is in doubt, and needs a new init`, async () => {
    const { brokers, cluster, commit } = await setUp(150);
    brokers.script(api, 'hang');
    const began = performance.now();
    const outcome = await commit('1', 1);
    assert.equal(outcome.kind, 'inDoubt');
    assert.ok(performance.now() - began < 20_000);
    await assert.rejects(commit('2', 2), (error) => isPartitaError(error, 'ILLEGAL_STATE'));
    brokers.script(api);
    // The connection that hangs is still there: another client goes on.
    const other = await brokers.cluster();
    const next = new KafkaTransactionalProducer(other, {
      transactionalId: 'id',
      transactionTimeoutMs: 1_000,
    });
    await next.init();
    assert.equal((await commit('3', 3, next)).kind, 'committed');
    assert.deepEqual(brokers.visible('t', 0), ['3']);
    await Promise.all([cluster.close(), other.close()]);
  });

test('brokers that refuse for a while longer than the transaction may take leave it in doubt and aborted', async () => {
  const { brokers, cluster, commit } = await setUp(120);
  brokers.script('Produce', ...Array.from({ length: 500 }, (): Step => ({ answer: 'NOT_ENOUGH_REPLICAS' })));
  const outcome = await commit('1', 1);
  assert.equal(outcome.kind, 'inDoubt');
  assert.equal(brokers.openTransactions, 0);
  await cluster.close();
});

test('an end that was lost is in doubt even if the repetition hears of being fenced', async () => {
  for (const answer of ['INVALID_PRODUCER_EPOCH', 'INVALID_TXN_STATE'] as const) {
    const { brokers, cluster, outcome } = await disturbed('EndTxn', ['unanswered', { answer }]);
    // It was committed: to call it fenced would be to call it undone.
    assert.equal(committedAt(brokers), 2);
    assert.equal(outcome.kind, 'inDoubt');
    await cluster.close();
  }
});

test('a new init ends what the same producer was committing', async () => {
  const { brokers, cluster, producer, commit } = await setUp(5_000);
  brokers.script(
    'TxnOffsetCommit',
    ...Array.from({ length: 500 }, (): Step => ({ answer: 'GROUP_LOAD_IN_PROGRESS' })),
  );
  const first = commit('1', 1);
  await new Promise((resolve) => setTimeout(resolve, 30));
  await producer.init();
  assert.equal((await first).kind, 'inDoubt');
  brokers.script('TxnOffsetCommit');
  assert.equal((await commit('2', 2)).kind, 'committed');
  assert.deepEqual(brokers.visible('t', 0), ['2']);
  await cluster.close();
});

test('a producer commits one transaction at a time, only after an init, and never after its close', async () => {
  const { cluster, producer, producerOf, commit } = await setUp();
  const idle = producerOf('idle');
  await assert.rejects(commit('1', 1, idle), (error) => isPartitaError(error, 'ILLEGAL_STATE'));
  const first = commit('1', 1);
  await assert.rejects(commit('2', 2), (error) => isPartitaError(error, 'ILLEGAL_STATE'));
  assert.equal((await first).kind, 'committed');
  await producer.close();
  await producer.close();
  await assert.rejects(commit('3', 3), (error) => isPartitaError(error, 'LOG_CLOSED'));
  await assert.rejects(producer.init(), (error) => isPartitaError(error, 'LOG_CLOSED'));
  await cluster.close();
  await assert.rejects(producerOf('late').init(), (error) => isPartitaError(error, 'LOG_CLOSED'));
});

test('an init waits for a transaction that is being completed, and follows its coordinator', async () => {
  const { brokers, cluster, producerOf } = await setUp();
  const waits = (
    ['CONCURRENT_TRANSACTIONS', 'NOT_COORDINATOR_FOR_GROUP', 'GROUP_LOAD_IN_PROGRESS'] as const
  ).map((answer): Step => ({ answer }));
  brokers.script('InitProducerId', ...waits, 'lost', 'unanswered');
  await producerOf('x').init();
  brokers.script('InitProducerId', { answer: 'INVALID_TRANSACTION_TIMEOUT' });
  await assert.rejects(producerOf('x').init(), (error) => isPartitaError(error, 'INVALID_OPTIONS'));
  brokers.script('InitProducerId', { answer: 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED' });
  await assert.rejects(producerOf('x').init(), (error) => isPartitaError(error, 'LOG_AUTHORIZATION_FAILED'));
  await cluster.close();
});

test('sequences count the records of a partition over transactions and wrap as those of Kafka do', async () => {
  const { brokers, cluster, producer } = await setUp();
  for (const values of [['a', 'b', 'c'], ['d'], ['e', 'f']])
    await producer.commitTransaction({ batches: [logBatch('t', 0, values)], group: GROUP, offsets: [] });
  assert.deepEqual(
    brokers.appended('t', 0).map(({ baseSequence }) => baseSequence),
    [0, 3, 4],
  );
  assert.equal(sequenceAfter(2 ** 31 - 2, 1), 2 ** 31 - 1);
  assert.equal(sequenceAfter(2 ** 31 - 1, 1), 0);
  assert.equal(sequenceAfter(2 ** 31 - 2, 5), 3);
  await cluster.close();
});
