/**
 * Follows one record through a manager with worker threads, by a log whose every call is written down, and asserts the
 * steps that docs/life-of-a-record.md tells, in their order.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changelogTopic } from '../../src/core/names.js';
import type { CommitRequest } from '../../src/core/log-types.js';
import { embeddedLog } from '../../src/log/embedded/embedded-log.js';
import type { FetchedChunk, LogClient, LogFactory } from '../../src/log/log-client.js';
import { StateManager } from '../../src/manager/state-manager.js';
import { processorAt } from '../../src/processor/processor-at.js';
import type life from '../fixtures/life-of-a-record.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { until } from '../support/waiting.js';

const GROUP = 'life';

interface Trace {
  readonly steps: string[];
  readonly commits: CommitRequest[];
  readonly chunks: FetchedChunk[];
}

/** The log, with everything that the manager asks of it written down. */
function traced(log: LogFactory, trace: Trace): LogFactory {
  const step = (name: string): void => {
    trace.steps.push(name);
  };
  const wrap = (client: LogClient): LogClient => ({
    kind: client.kind,
    topics: client.topics,
    committed: (group, partitions) => {
      step('committed');
      return client.committed(group, partitions);
    },
    read: (request) => {
      step('read');
      return client.read(request);
    },
    join: (options, member) =>
      client.join(options, {
        onAssign: (assignment) => member.onAssign(assignment),
        onRevoke: (partitions, barrier) => {
          step('revoke');
          return member.onRevoke(partitions, barrier);
        },
        onLost: (partitions) => {
          member.onLost(partitions);
        },
        onOutOfRange: (partition, bounds) => {
          member.onOutOfRange(partition, bounds);
        },
        onFatal: (error) => {
          member.onFatal(error);
        },
        onChunk: (chunk) => {
          if (chunk.bytes.byteLength > 0) {
            step('chunk');
            trace.chunks.push(chunk);
          }
          member.onChunk(chunk);
        },
      }),
    producer: (options) => {
      const producer = client.producer(options);
      return {
        init: () => {
          step(`init ${options.transactionalId}`);
          return producer.init();
        },
        commitTransaction: (request) => {
          step('commit');
          const batches = request.batches.map((batch) => ({ ...batch, bytes: batch.bytes.slice(0) }));
          trace.commits.push({ ...request, batches });
          return producer.commitTransaction(request);
        },
        close: () => producer.close(),
      };
    },
    outputs: () => client.outputs(),
    close: () => client.close(),
  });
  return { kind: log.kind, connect: async (options) => wrap(await log.connect(options)) };
}

function start(log: LogFactory, stateDir: string) {
  return StateManager.start({
    group: GROUP,
    log,
    stateDir,
    workers: 1,
    checkpoint: { intervalMs: 50 },
    createTopics: { partitions: 1 },
    streams: {
      life: processorAt<typeof life>(new URL('../fixtures/life-of-a-record.js', import.meta.url)),
    },
  });
}

test('a record is fenced for, fetched and handed over as bytes, committed in one transaction, and flushed', async () => {
  const stateDir = temporaryDirectory('life');
  const log = await embeddedLog();
  const managers: { stop(): Promise<void> }[] = [];
  try {
    await log.createTopic({ topic: 'payments', partitions: 1 });
    const trace: Trace = { steps: [], commits: [], chunks: [] };
    const manager = await start(traced(log, trace), stateDir);
    managers.push(manager);
    await manager.ready();

    // Before it: fence first, read afterwards.
    const init = trace.steps.indexOf(`init ${GROUP}--life--0`);
    assert.ok(init >= 0);
    assert.ok(!trace.steps.slice(0, init).some((name) => ['committed', 'read', 'commit'].includes(name)));
    assert.ok(trace.steps.slice(init).includes('committed'));
    assert.equal(trace.chunks.length, 0);

    const before = trace.commits.length;
    await manager.streams.life.send('payments', { key: 'alice', value: { amount: 5 } });
    await until(() => trace.commits.length > before, 'the commit');

    // 1 to 3: one chunk of bytes, which this thread no longer has once it has been routed.
    const [chunk] = trace.chunks;
    assert.equal(trace.chunks.length, 1);
    assert.deepEqual([chunk?.topic, chunk?.partition, chunk?.from, chunk?.next], ['payments', 0, 0, 1]);
    assert.equal(chunk?.bytes.byteLength, 0, 'the buffer was not transferred');

    // 6: one transaction with changelog, output and position; nothing was written before it.
    const [commit] = trace.commits.slice(before);
    assert.ok(commit);
    assert.deepEqual(
      commit.batches.map(({ topic, partition }) => ({ topic, partition })),
      [
        { topic: changelogTopic(GROUP, 'life'), partition: 0 },
        { topic: 'balances', partition: 0 },
      ],
    );
    assert.equal(commit.group, GROUP);
    const [position] = commit.offsets;
    assert.deepEqual([position?.topic, position?.partition, position?.offset], ['payments', 0, 1]);
    assert.match(position?.metadata ?? '', /^\d+:\d+$/);
    assert.ok(trace.steps.lastIndexOf('commit') > trace.steps.indexOf('chunk'));
    await manager.stop();

    // 7: it is in the database: a second start replays nothing of the changelog, and fetches nothing again.
    const again: Trace = { steps: [], commits: [], chunks: [] };
    const second = await start(traced(log, again), stateDir);
    managers.push(second);
    let restored: number | undefined;
    second.on('recovered', ({ restoredRecords }) => {
      restored = restoredRecords;
    });
    await second.ready();
    assert.deepEqual(await second.streams.life.query('balance', { key: 'alice' }), { amount: 5 });
    assert.equal(restored ?? 0, 0);
    assert.equal(again.chunks.length, 0);
    await second.stop();
  } finally {
    // Idempotent; a manager that a failed assertion left running would keep this process alive.
    for (const manager of managers) await manager.stop();
    await log.close();
  }
});

test('no worker has loaded kafkajs, nor anything that only the main thread needs', async () => {
  const log = await embeddedLog();
  await log.createTopic({ topic: 'payments', partitions: 1 });
  const stateDir = temporaryDirectory('life');
  const manager = await start(log, stateDir);
  try {
    const loaded = await manager.streams.life.query('loadedPackages', { partition: 0 });
    assert.ok(loaded.includes('classic-level'), 'the query does not see what is loaded');
    for (const name of ['kafkajs', 'zod']) assert.ok(!loaded.includes(name), name);
  } finally {
    await manager.stop();
    await log.close();
  }
});
