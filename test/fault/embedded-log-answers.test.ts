/** Late, lost and missing answers of the log, and members that fall silent: injected through the port. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { isPartitaError } from '../../src/core/errors.js';
import { embeddedLog } from '../../src/log/embedded/embedded-log.js';
import type { LogFaults } from '../../src/log/embedded/log-faults.js';
import { batchOf, readAll, TestMember } from '../contract/log-client.js';
import { until } from '../support/waiting.js';

async function logWith(faults: LogFaults, partitions = 1) {
  const log = await embeddedLog({ faults });
  await log.createTopic({ topic: 't', partitions });
  return log;
}

const transaction = (value: string) => ({
  batches: [batchOf('t', 0, [['a', value]])],
  group: 'g',
  offsets: [{ topic: 't', partition: 0, offset: Number(value), metadata: value }],
});

for (const { name, fault, happened } of [
  { name: 'whose answer is lost happened', fault: { after: () => 'lost' }, happened: true },
  {
    name: 'that never reaches the log did not happen',
    fault: {
      before: () => {
        throw new Error('the wire is cut');
      },
    },
    happened: false,
  },
  { name: 'that is torn before its end did not happen', fault: { before: () => 'torn' }, happened: false },
] as const)
  test(`a commit ${name}; it is in doubt until the next init settles it`, async () => {
    let armed = false;
    await using log = await logWith({
      before: (operation) =>
        armed && operation === 'commit' && 'before' in fault ? fault.before() : undefined,
      after: (operation) => (armed && operation === 'commit' && 'after' in fault ? fault.after() : undefined),
    });
    const client = await log.connect({ clientId: 'c' });
    const producer = client.producer({ transactionalId: 'x', transactionTimeoutMs: 10_000 });
    await producer.init();
    armed = true;
    assert.equal((await producer.commitTransaction(transaction('1'))).kind, 'inDoubt');
    armed = false;
    await assert.rejects(producer.commitTransaction(transaction('2')), (error) =>
      isPartitaError(error, 'ILLEGAL_STATE'),
    );
    await producer.init();
    const [committed] = await client.committed('g', [{ topic: 't', partition: 0 }]);
    assert.deepEqual(committed, happened ? { offset: 1, metadata: '1' } : undefined);
    assert.equal((await producer.commitTransaction(transaction('3'))).kind, 'committed');
    const values = (await readAll(client, { topic: 't', partition: 0 })).map((record) => record.value);
    assert.deepEqual(values, happened ? ['1', '3'] : ['3']);
    const [bounds] = await log.bounds('t');
    assert.equal(bounds!.lastStable, bounds!.end);
  });

test("a commit that is late behind the next owner's init is fenced", async () => {
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  await using log = await logWith({
    before: (operation, { clientId }) => (operation === 'commit' && clientId === 'slow' ? held : undefined),
  });
  const [slow, next] = await Promise.all([
    log.connect({ clientId: 'slow' }),
    log.connect({ clientId: 'next' }),
  ]);
  const options = { transactionalId: 'x', transactionTimeoutMs: 10_000 };
  const old = slow.producer(options);
  await old.init();
  const late = old.commitTransaction(transaction('1'));
  const rightful = next.producer(options);
  await rightful.init();
  assert.equal((await rightful.commitTransaction(transaction('2'))).kind, 'committed');
  release();
  assert.equal((await late).kind, 'fenced');
  const values = (await readAll(next, { topic: 't', partition: 0 })).map((record) => record.value);
  assert.deepEqual(values, ['2']);
});

test('calls whose answer is lost reject LOG_UNAVAILABLE', async () => {
  await using log = await logWith({ after: (operation) => (operation === 'committed' ? 'lost' : undefined) });
  const client = await log.connect({ clientId: 'c' });
  await assert.rejects(
    client.committed('g', []),
    (error) => isPartitaError(error, 'LOG_UNAVAILABLE') && error.retryable,
  );
});

test('a member whose heartbeats are held is evicted; it learns so when they go through, and joins anew', async () => {
  let release: () => void = () => undefined;
  let held: Promise<void> | undefined;
  await using log = await logWith(
    {
      before: (operation, { clientId }) =>
        operation === 'heartbeat' && clientId === 'silent' ? held : undefined,
    },
    2,
  );
  const timeouts = { sessionTimeoutMs: 100, rebalanceTimeoutMs: 500 };
  const silent = new TestMember();
  const other = new TestMember();
  const join = async (clientId: string, member: TestMember) => {
    const client = await log.connect({ clientId });
    member.session = await client.join({ group: 'g', topics: ['t'], ...timeouts }, member);
  };
  await join('silent', silent);
  await until(() => silent.owned.size === 2, 'the silent one has all');
  await join('other', other);
  await until(() => silent.owned.size === 1 && other.owned.size === 1, 'they share');
  const zombie = [...silent.owned.values()];
  held = new Promise((resolve) => (release = resolve));
  await until(() => other.owned.size === 2, 'the other has all');
  assert.equal(silent.lost.length, 0);
  assert.equal(await silent.session!.owns(zombie[0]!), 'no');
  held = undefined;
  release();
  await until(() => silent.lost.length === 1, 'the silent one is told');
  assert.deepEqual(silent.lost[0], zombie);
  await until(() => silent.owned.size === 1 && other.owned.size === 1, 'they share again');
  await Promise.all([silent.session!.leave(), other.session!.leave()]);
  assert.deepEqual([...silent.errors, ...other.errors], []);
});

test('an assignment that arrives after the next rebalance has begun is followed by the barrier of that one', async () => {
  let release: () => void = () => undefined;
  let held: Promise<void> | undefined;
  await using log = await logWith(
    {
      after: (operation, { clientId }) => (operation === 'assign' && clientId === 'first' ? held : undefined),
    },
    2,
  );
  const timeouts = { sessionTimeoutMs: 2_000, rebalanceTimeoutMs: 2_000 };
  const first = new TestMember();
  const second = new TestMember();
  held = new Promise((resolve) => (release = resolve));
  const [a, b] = await Promise.all([log.connect({ clientId: 'first' }), log.connect({ clientId: 'second' })]);
  first.session = await a.join({ group: 'g', topics: ['t'], ...timeouts }, first);
  await sleep(30);
  second.session = await b.join({ group: 'g', topics: ['t'], ...timeouts }, second);
  await sleep(30);
  assert.deepEqual([first.assignments.length, second.assignments.length], [0, 0]);
  held = undefined;
  release();
  await until(() => first.owned.size === 1 && second.owned.size === 1, 'they share');
  assert.equal(first.assignments[0]!.gained.length, 2);
  assert.equal(first.revoked.length, 1);
  assert.deepEqual(first.errors, []);
});

test("an owner that can't be asked is unknown, not lost", async () => {
  let cut = false;
  await using log = await logWith({
    before: (operation) => {
      if (cut && operation === 'owns') throw new Error('the wire is cut');
    },
  });
  const client = await log.connect({ clientId: 'c' });
  const member = new TestMember();
  member.session = await client.join({ group: 'g', topics: ['t'] }, member);
  await until(() => member.owned.size === 1, 'it is assigned');
  cut = true;
  assert.equal(await member.session.owns({ topic: 't', partition: 0 }), 'unknown');
});
