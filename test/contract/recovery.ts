/**
 * Rules of recovery, one test each, as a user meets them on whatever log: a manager starts on a changelog, a directory and
 * a group that somebody or something has changed meanwhile. More of them stand in `integration/recovery-rules.test.ts`, for
 * the embedded log, and in `kafka/bad-times.test.ts`, for a broker.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { processorAt } from '../../src/index.js';
import { topicOf } from '../fixtures/oracle.js';
import type left from '../fixtures/left-processor.js';
import type pairs from '../fixtures/pairs-processor.js';
import { amount, fixture, refused, type LedgerDesk, type LedgerLog } from '../support/ledger-desk.js';
import { until } from '../support/waiting.js';

const AT_ONCE = { restarts: { max: 0 } } as const;

/** @param open a desk of its own for each test */
export function recoverySuite(open: () => Promise<LedgerDesk<LedgerLog>>): void {
  let desk: LedgerDesk<LedgerLog>;
  const run: LedgerDesk['run'] = (...given) => desk.run(...given);
  const elsewhere: LedgerDesk['elsewhere'] = (...given) => desk.elsewhere(...given);
  const stranger = () => `${desk.of} somebody else`;

  beforeEach(async () => {
    desk = await open();
  });

  afterEach(() => desk.close());

  describe('a database', () => {
    it('that is older than half of delete.retention.ms is rebuilt, since tombstones may be gone', async () => {
      await desk.log.produce(desk.input, [amount('a', 1)]);
      await run();
      await desk.log.alterTopic(desk.changelog, { 'delete.retention.ms': '2000' });
      await sleep(1_100);
      assert.deepEqual(
        (await run()).warnings.filter((text) => text.includes('rebuilt')),
        [],
        'nobody wrote meanwhile',
      );
      await sleep(1_100);
      await desk.log.produce(desk.input, [amount('a', 2)]);
      await elsewhere({ engine: 'memory' });
      const { state, warnings } = await run();
      assert.match(warnings.join(), /rebuilt.*more than half of the changelog's delete.retention.ms/);
      assert.deepEqual(state, { a: [3, 2] });
    });

    it('of a changelog that begins behind it is rebuilt from the beginning that is left', async () => {
      await desk.log.produce(desk.input, [amount('a', 1)]);
      await run();
      const mine = (await desk.log.bounds(desk.changelog))[0]!.end;
      await desk.log.produce(desk.input, [amount('a', 2)]);
      await elsewhere();
      await desk.log.alterTopic(desk.changelog, { 'cleanup.policy': 'compact,delete' });
      await desk.log.deleteRecords(desk.changelog, 0, mine);
      await desk.log.alterTopic(desk.changelog, { 'cleanup.policy': 'compact' });
      await desk.log.produce(desk.input, [amount('a', 3)]);
      await elsewhere();
      const { state, warnings } = await run();
      assert.match(warnings.join(), /rebuilt from the changelog: the changelog begins at/);
      assert.deepEqual(state, { a: [6, 3] });
    });
  });

  describe("the group's offsets", () => {
    it('have expired: the state goes on at its own positions, and commits them', async () => {
      await desk.log.produce(desk.input, [amount('a', 1), amount('a', 2), amount('b', 3)]);
      await run();
      await desk.log.resetGroup(desk.group);
      await desk.log.produce(desk.input, [amount('b', 4)]);
      assert.deepEqual((await run()).state, { a: [3, 2], b: [7, 2] });
      assert.match((await desk.committed())!.metadata, /^0:\d+$/);
    });
  });

  describe('an open transaction of somebody else in the changelog', () => {
    const leaveOpen = async (transactionTimeoutMs: number): Promise<void> => {
      const writer = new RecordBatchWriter();
      writer.append(1, 'key', 'value');
      await desk.log.leaveTransactionOpen({
        transactionalId: stranger(),
        transactionTimeoutMs,
        batches: [{ topic: desk.changelog, partition: 0, bytes: writer.seal({ transactional: true })! }],
      });
    };

    it('is waited for, then named: CHANGELOG_BLOCKED', async () => {
      await desk.log.produce(desk.input, [amount('a', 1)]);
      await run();
      await leaveOpen(60_000);
      await refused(run({ recovery: { changelogBlockedMs: 50 }, ...AT_ONCE }), 'CHANGELOG_BLOCKED');
    });

    it('holds the partition back until it ends, and no longer', async () => {
      await desk.log.produce(desk.input, [amount('a', 1)]);
      await run();
      await leaveOpen(60_000);
      const manager = await desk.start();
      let isReady = false;
      const ready = manager.ready().then(() => (isReady = true));
      await until(async () => (await manager.stats()).partitions.some(({ state }) => state === 'recovering'));
      await sleep(300);
      assert.equal(isReady, false);
      const client = await desk.log.connect({ clientId: 'somebody else' });
      await client.producer({ transactionalId: stranger(), transactionTimeoutMs: 1_000 }).init();
      await client.close();
      await ready;
      assert.deepEqual(await manager.streams.ledger.query('all', { partition: 0 }), { a: [1, 1] });
    });
  });

  describe('an input', () => {
    it('that is added begins at startFrom, one that is removed is forgotten, and the state stays', async () => {
      const [leftTopic, rightTopic, merged] = ['left', 'right', 'merged'].map((topic) =>
        topicOf(desk.of, topic),
      ) as [string, string, string];
      for (const topic of [leftTopic, rightTopic, merged])
        await desk.log.createTopic({ topic, partitions: 1 });
      const one = { pairs: processorAt<typeof left>(fixture('left-processor.js', desk.of)) };
      const both = { pairs: processorAt<typeof pairs>(fixture('pairs-processor.js', desk.of)) };
      const counted = async (
        streams: typeof both,
        startFrom: 'earliest' | 'latest',
        count: number,
      ): Promise<void> => {
        const manager = await desk.managers.start(streams, { startFrom });
        await manager.ready();
        await until(async () => Number(await manager.streams.pairs.query('count', { key: 'a' })) === count);
        await manager.stop();
      };
      const record = { key: 'a', value: 'x', timestamp: 1 };
      await desk.log.produce(leftTopic, [record]);
      await desk.log.produce(rightTopic, [record]);
      await counted(one as typeof both, 'earliest', 1);
      await counted(both, 'latest', 1);
      await desk.log.produce(rightTopic, [record]);
      await desk.log.produce(leftTopic, [record]);
      await counted(both, 'latest', 3);
      await desk.log.produce(leftTopic, [record]);
      await counted(one as typeof both, 'latest', 4);
      await counted(both, 'earliest', 6);
    });
  });
}
