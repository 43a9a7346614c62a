// One actor alone: what recovery makes of what it finds, and what a checkpoint's outcomes lead to.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { familyPrefix, storeKey } from '../../src/codec/keys.js';
import { int64, json, string } from '../../src/codec/serdes.js';
import { ManualClock, systemClock } from '../../src/core/clock.js';
import { isPartitaError } from '../../src/core/errors.js';
import type { LogFaults } from '../../src/log/embedded/log-faults.js';
import { keyValue, topic } from '../../src/processor/declarations.js';
import { defineProcessor } from '../../src/processor/define-processor.js';
import { StorePartition } from '../../src/storage/store-partition.js';
import { ActorHarness, CHANGELOG, GROUP } from '../support/actor-harness.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const { definition } = defineProcessor({
  inputs: { orders: topic({ key: string(), value: json<number>() }) },
  outputs: { totals: topic({ key: string(), value: json<number>() }) },
  stores: { totals: keyValue({ key: string(), value: json<number>() }) },
  process(record, { stores, emit }) {
    const total = (stores.totals.get(record.key) ?? 0) + record.value;
    stores.totals.set(record.key, total);
    emit.totals(record.key, total);
  },
  queries: { total: ({ stores }, key) => stores.totals.get(key) },
});

async function orders(harness: ActorHarness, ...amounts: readonly number[]): Promise<void> {
  const records = amounts.map((amount) => ({
    key: 'a',
    value: String(amount),
    timestamp: 1_000,
    partition: 0,
  }));
  await harness.log.produce('orders', records);
  await harness.feed('orders');
}

/** An incarnation that has committed three orders, and is gone. */
async function livedOnce(harness: ActorHarness): Promise<void> {
  await harness.boot();
  await orders(harness, 3);
  await harness.actor.checkpoint('asked');
  await harness.crash();
}

async function outputs(harness: ActorHarness): Promise<(string | null)[]> {
  return (await harness.read('totals')).map(({ value }) => value);
}

describe('the answer to a commit', () => {
  for (const happened of [true, false])
    it(`is lost although the commit ${happened ? 'happened' : 'did not happen'}: nothing is lost and nothing counts twice`, async () => {
      let lose = false;
      const faults: LogFaults = happened
        ? { after: (operation) => (operation === 'commit' && lose ? 'lost' : undefined) }
        : {
            before: (operation) => {
              if (operation === 'commit' && lose) throw new Error('never sent');
            },
          };
      await using harness = await ActorHarness.make({ definition, log: { faults } });
      await harness.boot();
      await orders(harness, 1, 2);
      lose = true;
      await assert.rejects(harness.actor.checkpoint('asked'));
      assert.ok(isPartitaError(await harness.failure, 'COMMIT_IN_DOUBT'));
      lose = false;
      const recovered = await harness.boot();
      assert.deepEqual(recovered.positions, [{ topic: 'orders', offset: happened ? 2 : 0 }]);
      await harness.feed('orders');
      await harness.actor.checkpoint('asked');
      assert.equal(await harness.query('total', 'a'), 3);
      assert.deepEqual(await outputs(harness), ['1', '3']);
    });

  it('is missing because the transaction was torn: its batches are never seen', async () => {
    let tear = false;
    const faults: LogFaults = {
      before: (operation) => (operation === 'commit' && tear ? 'torn' : undefined),
    };
    await using harness = await ActorHarness.make({ definition, log: { faults } });
    await harness.boot();
    await orders(harness, 1, 2);
    tear = true;
    await assert.rejects(harness.actor.checkpoint('asked'));
    tear = false;
    const recovered = await harness.boot();
    assert.equal(recovered.restoredRecords, 0);
    await harness.feed('orders');
    await harness.actor.checkpoint('asked');
    assert.deepEqual(await outputs(harness), ['1', '3']);
  });

  it('is that another holder has fenced it: the actor ends without a trace', async () => {
    await using harness = await ActorHarness.make({ definition });
    await harness.boot();
    await orders(harness, 1);
    const other = harness.client.producer({
      transactionalId: 'group--stream--0',
      transactionTimeoutMs: 1_000,
    });
    await other.init();
    await assert.rejects(harness.actor.checkpoint('asked'));
    assert.ok(isPartitaError(await harness.failure, 'FENCED'));
    assert.deepEqual(await outputs(harness), []);
  });

  it('comes late: records go on into the next layer meanwhile', async () => {
    let release: () => void = () => undefined;
    let hold = false;
    const faults: LogFaults = {
      after: (operation) =>
        operation === 'commit' && hold ? new Promise<void>((resolve) => (release = resolve)) : undefined,
    };
    await using harness = await ActorHarness.make({ definition, log: { faults } });
    await harness.boot();
    await orders(harness, 1);
    hold = true;
    const first = harness.actor.checkpoint('asked');
    await orders(harness, 2);
    assert.equal(await harness.query('total', 'a'), 3);
    assert.equal(
      await harness.query('total', 'a', 'committed'),
      1,
      'the frozen layer lies below the live one',
    );
    hold = false;
    release();
    await first;
    await harness.actor.checkpoint('asked');
    await harness.crash();
    await harness.boot();
    assert.equal(await harness.query('total', 'a'), 3);
    assert.deepEqual(await outputs(harness), ['1', '3']);
  });
});

describe('an actor that is not the owner any more', () => {
  for (const answer of ['no', 'unknown'] as const)
    it(`writes nothing when the group answers ${answer}`, async () => {
      await using harness = await ActorHarness.make({ definition });
      await harness.boot();
      await harness.crash();
      harness.owns = answer;
      await assert.rejects(harness.boot(), (error) => isPartitaError(error, 'PARTITION_NOT_OWNED'));
      harness.owns = 'yes';
      await harness.boot();
    });
});

describe('recovery', () => {
  it('rebuilds the state from the changelog alone, also after compaction', async () => {
    await using harness = await ActorHarness.make({ definition });
    await harness.boot();
    for (let i = 1; i <= 20; i++) {
      await orders(harness, i);
      await harness.actor.checkpoint('asked');
    }
    await harness.crash();
    await harness.log.compact(CHANGELOG);
    const recovered = await harness.boot();
    assert.equal(recovered.restoredRecords, 1);
    assert.equal(await harness.query('total', 'a'), 210);
  });

  it('refuses to start without the state that the group has committed', async () => {
    await using harness = await ActorHarness.make({ definition });
    await harness.log.setOffset(GROUP, { topic: 'orders', partition: 0 }, 0);
    await assert.rejects(harness.boot(), (error) => isPartitaError(error, 'STATE_MISSING'));
  });

  it('starts empty if told so, and what the changelog held before never comes back', async () => {
    await using harness = await ActorHarness.make({ definition });
    await harness.boot();
    await orders(harness, 1);
    await harness.actor.checkpoint('asked');
    await harness.crash();
    // A commit of a checkpoint that the changelog does not hold, as after a truncation of its end.
    const producer = harness.client.producer({
      transactionalId: 'group--stream--0',
      transactionTimeoutMs: 1_000,
    });
    await producer.init();
    await producer.commitTransaction({
      batches: [],
      group: GROUP,
      offsets: [{ topic: 'orders', partition: 0, offset: 1, metadata: '0:99' }],
    });
    await assert.rejects(harness.boot(), (error) => isPartitaError(error, 'STATE_MISSING'));
    harness.options = { onStateMissing: 'startEmpty' };
    await harness.boot();
    assert.equal(await harness.query('total', 'a'), undefined);
    await orders(harness, 7);
    await harness.actor.checkpoint('asked');
    await harness.crash();
    harness.options = {};
    await harness.boot();
    assert.equal(await harness.query('total', 'a'), 7);
    assert.equal(
      (await harness.client.committed(GROUP, [{ topic: 'orders', partition: 0 }]))[0]?.metadata,
      '1:101',
    );
  });

  it('says that an operator moved the offsets, and goes on by the policy', async () => {
    await using harness = await ActorHarness.make({ definition });
    await harness.boot();
    await orders(harness, 1);
    await harness.actor.checkpoint('asked');
    await harness.crash();
    await harness.log.produce('orders', [
      { key: 'a', value: 'poison', timestamp: 1, partition: 0 },
      { key: 'a', value: '5', timestamp: 2, partition: 0 },
    ]);
    await harness.log.setOffset(GROUP, { topic: 'orders', partition: 0 }, 2);
    await assert.rejects(harness.boot(), (error) => isPartitaError(error, 'OFFSETS_MOVED'));
    harness.options = { onOffsetsMoved: 'useGroup' };
    await harness.boot();
    await harness.feed('orders');
    assert.equal(await harness.query('total', 'a'), 6);
  });

  it('waits for an open transaction at the tail of the changelog, then names it', async () => {
    await using harness = await ActorHarness.make({ definition, options: { changelogBlockedMs: 50 } });
    await harness.boot();
    await harness.crash();
    const writer = new RecordBatchWriter();
    writer.append(1, 'key', 'value');
    await harness.log.leaveTransactionOpen({
      transactionalId: 'somebody else',
      transactionTimeoutMs: 60_000,
      batches: [{ topic: CHANGELOG, partition: 0, bytes: writer.seal({ transactional: true })! }],
    });
    await assert.rejects(harness.boot(), (error) => isPartitaError(error, 'CHANGELOG_BLOCKED'));
  });

  it('rebuilds files of another engine, and keeps them if the changelog does not hold the state', async () => {
    const directory = temporaryDirectory('actor');
    await using harness = await ActorHarness.make({ definition, directory, options: { engine: 'level' } });
    await livedOnce(harness);
    harness.options = { engine: 'rocksdb' };
    const recovered = await harness.boot();
    assert.match(recovered.rebuilt ?? '', /level/);
    assert.equal(await harness.query('total', 'a'), 3);
  });

  it('resumes after the stored offset when the files are there', async () => {
    const directory = temporaryDirectory('actor');
    await using harness = await ActorHarness.make({ definition, directory, options: { engine: 'level' } });
    await livedOnce(harness);
    const recovered = await harness.boot();
    assert.equal(recovered.restoredRecords, 0);
    assert.equal(await harness.query('total', 'a'), 3);
  });

  it('refuses a store whose declaration has changed, and keeps one that is not declared any more', async () => {
    await using harness = await ActorHarness.make({ definition });
    await livedOnce(harness);
    harness.definition = {
      ...definition,
      stores: { totals: keyValue({ key: string(), value: int64() }) },
    };
    await assert.rejects(harness.boot(), (error) => isPartitaError(error, 'STORE_INCOMPATIBLE'));
    harness.definition = {
      ...definition,
      stores: { other: keyValue({ key: string(), value: json() }) },
      process: () => undefined,
      queries: {},
    };
    await harness.boot();
    assert.ok(harness.events.some((event) => event.type === 'warning' && event.message.includes('totals')));
    await harness.crash();
    harness.definition = definition;
    await harness.boot();
    assert.equal(await harness.query('total', 'a'), 3);
  });

  it('stops when the actor is closed while it recovers', async () => {
    let held: () => void = () => undefined;
    let hold = false;
    const faults: LogFaults = {
      before: (operation) =>
        operation === 'read' && hold ? new Promise<void>((resolve) => (held = resolve)) : undefined,
    };
    await using harness = await ActorHarness.make({ definition, log: { faults } });
    await livedOnce(harness);
    hold = true;
    const booting = assert.rejects(harness.boot());
    await new Promise((resolve) => setTimeout(resolve, 20));
    const closing = harness.actor.close({ commit: true, budgetMs: 500 });
    hold = false;
    held();
    assert.deepEqual(await closing, { outcome: 'dropped' });
    await booting;
  });

  it('commits nothing, runs nothing of the user’s and watches nothing once the actor is closed', async () => {
    let letGo: () => void = () => undefined;
    const held: Promise<void>[] = [];
    let commits = 0;
    const faults: LogFaults = {
      before: (operation, { request }) => {
        if (operation === 'commit') commits++;
        const isOfInputs = operation === 'bounds' && JSON.stringify(request).includes('orders');
        return isOfInputs ? held[0] : undefined;
      },
    };
    const inits: string[] = [];
    const clock = new ManualClock();
    await using harness = await ActorHarness.make({
      definition: { ...definition, init: () => void inits.push('init') },
      clock,
      options: { watchdogMs: 1_000 },
      log: { faults },
    });
    await harness.boot();
    await harness.crash();
    assert.deepEqual([inits, commits, clock.pendingTimers], [['init'], 1, 0]);
    held.push(new Promise((resolve) => (letGo = resolve)));
    const booting = assert.rejects(harness.boot());
    await new Promise((resolve) => setTimeout(resolve, 20));
    await harness.actor.close({ commit: true, budgetMs: 500 });
    letGo();
    await booting;
    assert.deepEqual([inits, commits, clock.pendingTimers], [['init'], 1, 0]);
  });

  it('does not go on over entries without a checkpoint, however often it is tried', async () => {
    const directory = temporaryDirectory('actor');
    await using harness = await ActorHarness.make({ definition, directory, options: { engine: 'level' } });
    // As the first part of a changelog that was being written anew, under a group whose offsets have expired.
    const key = Buffer.from(storeKey(familyPrefix('totals'), Buffer.from('a'))).toString();
    await harness.log.produce(CHANGELOG, [{ key, value: '7', partition: 0 }]);
    for (let attempt = 0; attempt < 3; attempt++) {
      await assert.rejects(harness.boot(), (error) => isPartitaError(error, 'STATE_MISSING'));
      await harness.crash();
    }
    harness.options = { engine: 'level', onStateMissing: 'startEmpty' };
    await harness.boot();
    assert.equal(await harness.query('total', 'a'), undefined);
  });

  it('remembers how old its state is over a tail of the changelog that compaction has emptied', async () => {
    const directory = temporaryDirectory('actor');
    await using harness = await ActorHarness.make({ definition, directory, options: { engine: 'level' } });
    await livedOnce(harness);
    const { client } = harness;
    const read = client.read.bind(client);
    client.read = async (request) => ({ ...(await read(request)), bytes: new ArrayBuffer(0) });
    await harness.boot();
    client.read = read;
    await harness.crash();
    const partition = await StorePartition.open({
      directory,
      engine: 'level',
      changelogTopicId: '',
      openBudgetMs: 0,
      engineOptions: { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 },
      clock: systemClock,
      rebuildOnCorruption: true,
    });
    const { appendTime } = partition;
    await partition.close();
    assert.ok(appendTime > Date.now() - 60_000, String(appendTime));
  });
});

describe('several inputs', () => {
  const { definition: merging } = defineProcessor({
    inputs: {
      a: topic({ key: string(), value: string() }),
      b: topic({ key: string(), value: string() }),
    },
    outputs: { out: topic({ key: string(), value: string() }) },
    process(record, { emit }) {
      emit.out(record.key, record.value);
    },
  });

  it('are merged by timestamp, and a topic that is not known to be at its end holds the others back', async () => {
    await using harness = await ActorHarness.make({ definition: merging, outputPartitions: 1 });
    await harness.boot();
    const produce = (name: string, ...timestamps: number[]): Promise<unknown> =>
      harness.log.produce(
        name,
        timestamps.map((timestamp) => ({ key: 'k', value: `${name}${timestamp}`, timestamp, partition: 0 })),
      );
    await produce('a', 10, 30, 50);
    const first = await harness.deliver('a');
    await harness.actor.checkpoint('asked');
    assert.deepEqual(await harness.read('out'), [], 'b may still bring something earlier');
    await produce('b', 5, 20, 30, 60);
    const second = await harness.deliver('b');
    const third = await harness.deliver('a');
    await Promise.all([...first, ...second, ...third]);
    await harness.actor.checkpoint('asked');
    assert.deepEqual(
      (await harness.read('out')).map(({ value }) => value),
      ['b5', 'a10', 'b20', 'a30', 'b30', 'a50', 'b60'],
    );
  });

  it('go on after `maxTopicWaitMs` if that is set', async () => {
    await using harness = await ActorHarness.make({
      definition: merging,
      outputPartitions: 1,
      options: { maxTopicWaitMs: 20 },
    });
    await harness.boot();
    await harness.log.produce('a', [{ key: 'k', value: 'a', timestamp: 1, partition: 0 }]);
    await harness.feed('a');
    assert.ok(harness.events.some((event) => event.type === 'warning'));
  });

  it('hold one another back for `maxTopicWaitMs` anew after a parking, however long that took', async () => {
    const clock = new ManualClock();
    await using harness = await ActorHarness.make({
      definition: merging,
      outputPartitions: 1,
      clock,
      options: { maxTopicWaitMs: 1_000 },
    });
    await harness.boot();
    const a = { key: 'k', value: 'a', partition: 0 };
    await harness.log.produce('a', [
      { ...a, timestamp: 1 },
      { ...a, timestamp: 2 },
    ]);
    const dropped = Promise.allSettled(await harness.deliver('a'));
    await new Promise((resolve) => setTimeout(resolve, 10));
    await harness.actor.park({ commit: true, budgetMs: 1_000 });
    await dropped;
    clock.advance(100_000);
    for (const name of ['a', 'b'])
      await harness.log.setOffset(GROUP, { topic: name, partition: 0 }, name === 'a' ? 1 : 0);
    assert.equal((await harness.resume(true)).how, 'recovered');
    const waiting = Promise.allSettled(await harness.deliver('a'));
    await harness.actor.checkpoint('asked');
    assert.deepEqual(await harness.read('out'), []);
    assert.deepEqual(
      harness.events.filter(({ type }) => type === 'warning'),
      [],
    );
    await harness.crash();
    await waiting;
  });
});
