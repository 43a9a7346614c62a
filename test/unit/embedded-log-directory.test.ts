/** What a directory log holds after it was closed and opened again: everything, as it was. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { ManualClock } from '../../src/core/clock.js';
import { isPartitaError } from '../../src/core/errors.js';
import { embeddedLog, type EmbeddedLog } from '../../src/log/embedded/embedded-log.js';
import { batchOf, readAll } from '../contract/log-client.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

let root = '';
before(async () => {
  root = temporaryDirectory('dir');
});
after(async () => {});

async function values(log: EmbeddedLog, topic: string): Promise<(string | null)[]> {
  const all: (string | null)[] = [];
  for await (const { value } of log.read(topic)) all.push(value && Buffer.from(value).toString());
  return all;
}

test('topics, configs, records, offsets, transactions and aborted ones are there after a restart', async () => {
  const dir = join(root, 'whole');
  const first = await embeddedLog({ dir });
  const described = await first.createTopic({
    topic: 't',
    partitions: 3,
    configs: { 'max.message.bytes': '300000' },
  });
  await first.produce(
    't',
    Array.from({ length: 3000 }, (_, n) => ({ key: `k${n}`, value: `v${n}`, timestamp: n })),
  );
  const client = await first.connect({ clientId: 'c' });
  const aborted = {
    transactionalId: 'x',
    transactionTimeoutMs: 10_000,
    batches: [batchOf('t', 0, [['dead', 'dead']])],
  };
  await first.leaveTransactionOpen(aborted);
  const producer = client.producer({ transactionalId: 'x', transactionTimeoutMs: 10_000 });
  await producer.init();
  const offsets = [{ topic: 't', partition: 2, offset: 9, metadata: 'π' }];
  await producer.commitTransaction({ batches: [batchOf('t', 0, [['live', 'live']])], group: 'g', offsets });
  // Another is left open over the restart.
  await first.leaveTransactionOpen({
    ...aborted,
    transactionalId: 'y',
    batches: [batchOf('t', 1, [['open', 'open']])],
  });
  await first.produce('t', [{ key: 'after', value: 'after', partition: 1 }]);
  const bounds = await first.bounds('t');
  const before = await values(first, 't');
  assert.equal(before.length, 3001);
  await first.close();
  await first.close();

  await using second = await embeddedLog({ dir });
  assert.deepEqual(await second.describeTopic('t'), described);
  assert.deepEqual(await second.bounds('t'), bounds);
  assert.deepEqual(await values(second, 't'), before);
  assert.deepEqual(await second.committed('g'), offsets);
  assert.ok(bounds[1]!.lastStable < bounds[1]!.end);
  const again = await second.connect({ clientId: 'c' });
  const owner = again.producer({ transactionalId: 'y', transactionTimeoutMs: 10_000 });
  await owner.init();
  assert.equal((await readAll(again, { topic: 't', partition: 1 })).at(-1)!.value, 'after');
  assert.equal(
    (await owner.commitTransaction({ batches: [batchOf('t', 0, [['z', 'z']])], group: 'g', offsets: [] }))
      .kind,
    'committed',
  );
});

test('compaction, horizons of tombstones, deletion and the end of an emptied log survive a restart', async () => {
  const dir = join(root, 'cleaned');
  const clock = new ManualClock(1_700_000_000_000);
  const open = () => embeddedLog({ dir, clock, backgroundMs: 0 });
  let log = await open();
  const configs = { 'cleanup.policy': 'compact', 'delete.retention.ms': '1000' };
  await log.createTopic({ topic: 'c', partitions: 1, configs });
  await log.createTopic({ topic: 'd', partitions: 1 });
  await log.appendBatches([
    batchOf('c', 0, [
      ['a', '1', 5],
      ['b', '2', 5],
      ['a', null, 5],
    ]),
    batchOf('c', 0, [['z', '3', 5]]),
  ]);
  await log.appendBatches([batchOf('d', 0, [['a', '1', 5]])]);
  await log.compact('c');
  await log.deleteRecords('d', 0, 1);
  await log.close();

  await clock.advanceAsync(999);
  log = await open();
  await log.compact('c');
  assert.deepEqual(await values(log, 'c'), ['2', null, '3']);
  assert.deepEqual(await log.bounds('d'), [{ start: 1, lastStable: 1, end: 1 }]);
  await log.close();

  await clock.advanceAsync(1);
  log = await open();
  await log.compact('c');
  await log.close();
  log = await open();
  assert.deepEqual(await values(log, 'c'), ['2', '3']);
  assert.deepEqual(await log.produce('d', [{ key: 'a', value: '2' }]), [{ partition: 0, offset: 1 }]);
  await log.deleteTopic('c');
  await log.close();
  log = await open();
  assert.deepEqual(await log.listTopics(), ['d']);
  await log.close();
});

test('more than the memory bound of recent batches is read back from the disk', async () => {
  const dir = join(root, 'large');
  await using log = await embeddedLog({ dir });
  await log.createTopic({ topic: 't', partitions: 1 });
  const value = 'x'.repeat(500_000);
  for (let n = 0; n < 100; n++) await log.produce('t', [{ key: String(n), value }]);
  let count = 0;
  for await (const record of log.read('t')) {
    assert.equal(Buffer.from(record.key!).toString(), String(count++));
    assert.equal(record.value!.length, value.length);
  }
  assert.equal(count, 100);
});

test('after close the log refuses every call', async () => {
  const log = await embeddedLog({ dir: join(root, 'closed') });
  await log.createTopic({ topic: 't', partitions: 1 });
  const client = await log.connect({ clientId: 'c' });
  await log.close();
  for (const call of [
    () => log.produce('t', [{ key: 'a', value: 'b' }]),
    () => log.bounds('t'),
    () => log.compact('t'),
    () => log.connect({ clientId: 'd' }),
    () => client.topics.describe(['t']),
  ])
    await assert.rejects(call(), (error) => isPartitaError(error, 'LOG_CLOSED'));
});
