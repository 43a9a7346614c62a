/** What a session does while a fetch waits for the disk, and what it reports without any time passing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ManualClock, systemClock } from '../../src/core/clock.js';
import type { FetchedChunk } from '../../src/log/log-client.js';
import { embeddedLog } from '../../src/log/embedded/embedded-log.js';
import { EmbeddedFetcher } from '../../src/log/embedded/embedded-fetcher.js';
import { GroupCoordinator } from '../../src/log/embedded/group-coordinator.js';
import { type LogStorage, memoryStorage } from '../../src/log/embedded/log-storage.js';
import { PartitionLog } from '../../src/log/embedded/partition-log.js';
import { LogGroupSession } from '../../src/log/group/group-session.js';
import { batchOf, TestMember } from '../contract/log-client.js';
import { turns } from '../support/waiting.js';

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let turn = 0; !holds(); turn++) {
    assert.ok(turn < 10_000, `it never came to pass that ${what}`);
    await turns(1);
  }
}

/** A session over a partition of three batches on a disk that answers when it is told to. */
async function onSlowDisk() {
  const id = { topic: 't', partition: 0 };
  const log = new PartitionLog('t', '00000000-0000-0000-0000-000000000000', 0);
  for (let offset = 0; offset < 3; offset++)
    log.append({
      baseOffset: offset,
      lastOffset: offset,
      size: 10,
      maxTimestamp: 0,
      isControl: false,
      producerId: -1,
      deleteHorizon: undefined,
      bytes: undefined,
    });
  const loads: (() => void)[] = [];
  const member = new TestMember();
  const storage: LogStorage = {
    ...memoryStorage,
    load: (_log, entries) =>
      new Promise((resolve) => {
        loads.push(() => {
          resolve(entries.map(() => new Uint8Array(10)));
        });
      }),
  };
  const session = new LogGroupSession(
    {
      clock: systemClock,
      link: new GroupCoordinator('g', systemClock, () => 1),
      clientId: 'c',
      fetcher: (sink) =>
        new EmbeddedFetcher({ clock: systemClock, storage, partition: () => log, chunkBytesMax: 1 }, sink),
      onEnd: () => undefined,
    },
    { group: 'g', topics: ['t'] },
    member,
  );
  member.session = session;
  session.start();
  await until('the first load is under way', () => loads.length === 1);
  const answer = async () => {
    const count = loads.length;
    loads.at(-1)!();
    await turns(5);
    return loads.length > count;
  };
  return { id, session, member, answer };
}

const froms = (chunks: readonly FetchedChunk[]) => chunks.map((chunk) => chunk.from);

test('a fetch that was sent before a seek is not delivered after it', async () => {
  const { id, session, member, answer } = await onSlowDisk();
  session.seek(id, 2);
  await answer();
  assert.deepEqual(froms(member.chunks), []);
  await answer();
  assert.deepEqual(froms(member.chunks.filter((chunk) => chunk.bytes.byteLength > 0)), [2]);
  await session.leave();
});

test('a fetch that was sent before a new epoch or a pause is not delivered after it, and comes again', async () => {
  const { id, session, member, answer } = await onSlowDisk();
  const epoch = session.nextEpoch(id);
  await answer();
  assert.equal(member.chunks.length, 0);
  session.pause([id]);
  await answer();
  assert.equal(member.chunks.length, 0);
  session.resume([id]);
  await turns(5);
  await answer();
  assert.deepEqual(
    member.chunks.map((chunk) => [chunk.from, chunk.epoch]),
    [[0, epoch]],
  );
  const leaving = session.leave();
  await answer();
  await leaving;
  assert.equal(member.chunks.length, 1);
});

test('the end of a sibling topic is reported at once after data, and of other topics not', async () => {
  const clock = new ManualClock(1_700_000_000_000);
  await using log = await embeddedLog({ clock });
  for (const topic of ['a', 'b', 'c']) await log.createTopic({ topic, partitions: 1 });
  const client = await log.connect({ clientId: 'c' });
  const member = new TestMember();
  member.session = await client.join(
    { group: 'g', topics: ['a', 'b', 'c'], streams: { s: ['a', 'b'] } },
    member,
  );
  await until('all are reported once', () => member.chunks.length === 3);
  await turns(20);
  assert.equal(member.chunks.length, 3, 'the clock stands still');
  await log.appendBatches([batchOf('a', 0, [['k', 'v', clock.now()]])]);
  await until('the data and the end of b came', () => member.chunks.length === 5);
  await turns(20);
  assert.deepEqual(
    member.chunks.slice(3).map((chunk) => [chunk.topic, chunk.bytes.byteLength > 0]),
    [
      ['a', true],
      ['b', false],
    ],
  );
  assert.ok(member.chunks[4]!.fetch > member.chunks[3]!.fetch);
  await clock.advanceAsync(200);
  await until('all are reported again', () => new Set(member.chunks.slice(5).map((c) => c.topic)).size === 3);
});

test('a member whose whole process stands still for longer than its session is not evicted', async () => {
  await using log = await embeddedLog();
  await log.createTopic({ topic: 't', partitions: 1 });
  const client = await log.connect({ clientId: 'c' });
  const member = new TestMember();
  member.session = await client.join({ group: 'g', topics: ['t'], sessionTimeoutMs: 100 }, member);
  await until('it is assigned', () => member.owned.size === 1);
  const end = performance.now() + 400;
  while (performance.now() < end);
  await systemClock.sleep(150);
  assert.equal(member.lost.length, 0);
  assert.equal(await member.session.owns({ topic: 't', partition: 0 }), 'yes');
});

test('a member gets the partitions that are added to its topic, and those of a topic created after its deletion', async () => {
  await using log = await embeddedLog();
  await log.createTopic({ topic: 't', partitions: 1 });
  const client = await log.connect({ clientId: 'c' });
  const member = new TestMember();
  member.session = await client.join({ group: 'g', topics: ['t'] }, member);
  await until('it has one', () => member.owned.size === 1);
  await log.addPartitions('t', 3);
  await until('it has three', () => member.owned.size === 3);
  await log.deleteTopic('t');
  await until('it has none', () => member.owned.size === 0);
  await log.createTopic({ topic: 't', partitions: 2 });
  await until('it has two', () => member.owned.size === 2);
});

test('a topic that is deleted and created again is followed from the new log', async () => {
  await using log = await embeddedLog();
  await log.createTopic({ topic: 't', partitions: 1 });
  const client = await log.connect({ clientId: 'c' });
  const member = new TestMember();
  member.session = await client.join({ group: 'g', topics: ['t'] }, member);
  await log.produce('t', [{ key: 'a', value: 'old' }]);
  await until('the old record came', () => member.records({ topic: 't', partition: 0 }).length === 1);
  // Both happen within one barrier, so that the partition is kept by its name.
  let release: () => void = () => undefined;
  member.revoke = () => new Promise((resolve) => (release = resolve));
  await log.deleteTopic('t');
  await until('the barrier has begun', () => member.revoked.length === 1);
  await log.createTopic({ topic: 't', partitions: 1 });
  release();
  await until('the position is told to be outside', () => member.outOfRange.length === 1);
  member.session.seek({ topic: 't', partition: 0 }, 0);
  member.session.resume([{ topic: 't', partition: 0 }]);
  await log.produce('t', [{ key: 'a', value: 'new' }]);
  await until('the new record came', () => member.records({ topic: 't', partition: 0 }).length === 2);
});

test('a member that transfers what it gets is fetched for without any time passing', async () => {
  const log = await embeddedLog({ clock: new ManualClock(), backgroundMs: 0 });
  await log.createTopic({ topic: 't', partitions: 1 });
  for (let i = 0; i < 20; i++) await log.appendBatches([batchOf('t', 0, [['k', 'v', 0]])]);
  const client = await log.connect({ clientId: 'c' });
  const member = new TestMember();
  const seen: number[] = [];
  member.onChunk = (chunk: FetchedChunk) => {
    if (chunk.bytes.byteLength > 0) seen.push(chunk.from);
    structuredClone(chunk.bytes, { transfer: [chunk.bytes] });
  };
  const session = await client.join({ group: 'g', topics: ['t'], maxBytesPerPartition: 1 }, member);
  member.session = session;
  await until('everything was delivered', () => seen.length === 20);
  await log.close();
});
