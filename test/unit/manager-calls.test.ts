/** Calls of a partition over restarts of its actor; the router's credits; the scheduler; the directory registry. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, systemClock } from '../../src/core/clock.js';
import { isPartitaError, PartitaError, type ErrorCode } from '../../src/core/errors.js';
import type { TopicPartition } from '../../src/core/log-types.js';
import type { FetchedChunk, GroupSession } from '../../src/log/log-client.js';
import {
  acquireDirectory,
  heldDirectories,
  type HeldDirectory,
} from '../../src/manager/directory-registry.js';
import { PartitionCalls } from '../../src/manager/partition-calls.js';
import { PartitionRouter } from '../../src/manager/partition-router.js';
import { RecoveryScheduler } from '../../src/manager/recovery-scheduler.js';
import { PROGRESS, type ActorApi, type Chunk, type CommandCall } from '../../src/threads/protocol.js';
import { turns } from '../support/waiting.js';

const code =
  (expected: ErrorCode, outcome?: string) =>
  (error: unknown): boolean => {
    assert.ok(isPartitaError(error, expected), String(error));
    if (outcome !== undefined) assert.equal(error.details['outcome'], outcome);
    return true;
  };

/** An actor that answers when the test says so. */
class HeldActor {
  readonly progress = new SharedArrayBuffer(PROGRESS.bytes);
  readonly commands: { call: CommandCall; resolve: (value: unknown) => void; reject: (e: Error) => void }[] =
    [];
  readonly chunks: { chunk: Chunk; done: () => void }[] = [];
  readonly api = {
    command: (call: CommandCall) =>
      new Promise((resolve, reject) => this.commands.push({ call, resolve, reject })),
    query: () => new Promise(() => undefined),
    process: (chunk: Chunk) =>
      new Promise((resolve) =>
        this.chunks.push({
          chunk,
          done: () => {
            resolve({ accepted: true, records: 1 });
          },
        }),
      ),
  } as unknown as ActorApi;

  /** The handler of this command has begun, as the counter that survives the thread tells. */
  started(seq: number): void {
    new Float64Array(this.progress)[PROGRESS.startedCommand] = seq;
  }
}

function calls(clock = new ManualClock(), callsMax = 100): PartitionCalls {
  return new PartitionCalls({ stream: 's', partition: 0, clock, callsMax, waitMs: 50 });
}

const bounds = { timeoutMs: 1_000, signal: undefined };
const add = { name: 'add', key: 'k', args: [], ack: 'committed' as const };

test('a command that had started is rejected after a restart, one that had not runs in the next actor', async () => {
  const held = calls();
  const first = new HeldActor();
  held.attach(first.api, first.progress);
  const started = held.command(add, bounds);
  const waiting = held.command(add, bounds);
  const last = held.command(add, bounds);
  await turns();
  first.started(first.commands[0]!.call.seq);
  for (const { reject } of first.commands) reject(new PartitaError('THREAD_DIED', 'gone'));
  await turns();
  held.settle(new Set());
  await assert.rejects(started, code('ACTOR_RESTARTED', 'notApplied'));
  const second = new HeldActor();
  held.attach(second.api, second.progress);
  assert.equal(second.commands.length, 2);
  assert.ok(second.commands[0]!.call.seq < second.commands[1]!.call.seq);
  held.committed([{ seq: second.commands[0]!.call.seq, result: 'one' }]);
  second.commands[1]!.resolve('two');
  assert.deepEqual(await Promise.all([waiting, last]), ['one', 'two']);
  assert.equal(held.pending, 0);
});

test('a command is acknowledged by its commit even if its actor dies before it can say so', async () => {
  const held = calls();
  const actor = new HeldActor();
  held.attach(actor.api, actor.progress);
  const command = held.command(add, bounds);
  await turns();
  const { seq } = actor.commands[0]!.call;
  actor.started(seq);
  held.committed([{ seq, result: 7 }]);
  held.settle(new Set());
  assert.equal(await command, 7);
});

for (const [outcome, decide] of [
  [
    'notApplied',
    (held: PartitionCalls) => {
      held.decided('notApplied');
    },
  ],
  [
    'unknown',
    (held: PartitionCalls) => {
      held.decided('unknown');
    },
  ],
  [
    'unknown',
    (held: PartitionCalls) => {
      held.reject(() => new Error('lost'));
    },
  ],
] as const)
  test(`a command in a commit in doubt waits for the next init, then ends as ${outcome}`, async () => {
    const held = calls();
    const actor = new HeldActor();
    held.attach(actor.api, actor.progress);
    const command = held.command(add, bounds);
    await turns();
    const { seq } = actor.commands[0]!.call;
    actor.started(seq);
    held.settle(new Set([seq]));
    let settled = false;
    void command.catch(() => (settled = true));
    await turns();
    assert.equal(settled, false);
    decide(held);
    await assert.rejects(command, code('ACTOR_RESTARTED', outcome));
  });

test('a command whose last commit is under way when the partition is lost is told what became of it', async () => {
  const held = calls();
  const actor = new HeldActor();
  held.attach(actor.api, actor.progress);
  const [applied, inDoubt, undone, waiting] = [1, 2, 3, 4].map(() => held.command(add, bounds));
  await turns();
  const seqs = actor.commands.map(({ call }) => call.seq);
  actor.started(seqs[2]!);
  held.reject(() => new PartitaError('PARTITION_NOT_OWNED', 'gone'));
  held.committed([{ seq: seqs[0]!, result: 'done' }]);
  assert.equal(await applied, 'done');
  held.settle(new Set([seqs[1]!]));
  await assert.rejects(inDoubt!, code('ACTOR_RESTARTED', 'unknown'));
  await assert.rejects(undone!, code('ACTOR_RESTARTED', 'notApplied'));
  await assert.rejects(waiting!, code('PARTITION_NOT_OWNED'));
  assert.equal(held.pending, 0);
});

test('a call that nobody serves in time says that its actor is still recovering', async () => {
  const clock = new ManualClock();
  const held = calls(clock);
  const command = held.command(add, { timeoutMs: 100, signal: undefined });
  const rejected = assert.rejects(command, code('ACTOR_RECOVERING'));
  await clock.advanceAsync(100);
  await rejected;
  assert.equal(held.pending, 0);
  assert.equal(clock.pendingTimers, 0);
});

test('a call that was given up before it began is never sent', async () => {
  const held = calls();
  const abort = new AbortController();
  const command = held.command(add, { timeoutMs: 100, signal: abort.signal });
  await turns();
  abort.abort();
  await assert.rejects(command, code('CALL_ABORTED'));
  const actor = new HeldActor();
  held.attach(actor.api, actor.progress);
  assert.equal(actor.commands.length, 0);
});

test('a partition that went to another member rejects what waits and what comes, until it is back', async () => {
  const held = calls();
  const waiting = held.command(add, bounds);
  await turns();
  held.reject(() => new PartitaError('PARTITION_NOT_OWNED', 'gone'));
  await assert.rejects(waiting, code('PARTITION_NOT_OWNED'));
  await assert.rejects(held.command(add, bounds), code('PARTITION_NOT_OWNED'));
  held.admit();
  const actor = new HeldActor();
  held.attach(actor.api, actor.progress);
  void held.command(add, bounds);
  await turns();
  assert.equal(actor.commands.length, 1);
});

test('a command that was sent when the partition was lost, and may still start, waits for the end of its actor', async () => {
  const held = calls();
  const actor = new HeldActor();
  held.attach(actor.api, actor.progress);
  const command = held.command(add, bounds);
  await turns();
  held.reject(() => new PartitaError('PARTITION_NOT_OWNED', 'gone'));
  // The actor takes it up before it hears that it is to close, and its commit is not fenced yet.
  actor.started(1);
  held.committed([{ seq: 1, result: 7 }]);
  held.settle(new Set());
  assert.equal(await command, 7);
});

// ── router ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function session(log: string[]): GroupSession {
  const note = (what: string) => (partitions: readonly TopicPartition[]) => {
    log.push(...partitions.map(({ topic, partition }) => `${what} ${topic}-${partition}`));
  };
  return { pause: note('pause'), resume: note('resume') } as unknown as GroupSession;
}

function fetched(epoch: number, bytes: number): FetchedChunk {
  return {
    topic: 't',
    partition: 2,
    epoch,
    bytes: new ArrayBuffer(bytes),
    from: 0,
    next: 1,
    aborted: [],
    lastStable: 1,
    highWatermark: 1,
    fetch: 1,
  };
}

test('a partition whose actor is behind is paused at its bound and resumed when half of it is back', async () => {
  const log: string[] = [];
  const router = new PartitionRouter({ bytesMax: 100, bytesTotalMax: 1_000 });
  router.use(session(log));
  const actor = new HeldActor();
  router.attach({
    api: actor.api,
    partition: 2,
    epoch: 7,
    inputs: [{ topic: 't', epoch: 3 }],
    onError: unexpected,
  });
  for (const bytes of [40, 40, 40]) assert.ok(router.deliver(fetched(3, bytes)));
  assert.deepEqual(log, ['pause t-2']);
  assert.equal(router.outstandingBytes, 120);
  assert.equal(actor.chunks[0]!.chunk.epoch, 7);
  actor.chunks[0]!.done();
  await turns();
  assert.deepEqual(log, ['pause t-2']);
  actor.chunks[1]!.done();
  await turns();
  assert.deepEqual(log, ['pause t-2', 'resume t-2']);
  assert.equal(router.outstandingBytes, 40);
});

test('chunks of an earlier epoch, and of partitions without an actor, are dropped', () => {
  const router = new PartitionRouter({ bytesMax: 100, bytesTotalMax: 1_000 });
  const actor = new HeldActor();
  const route = {
    api: actor.api,
    partition: 2,
    epoch: 7,
    inputs: [{ topic: 't', epoch: 3 }],
    onError: unexpected,
  };
  assert.equal(router.deliver(fetched(3, 10)), false);
  router.attach(route);
  assert.equal(router.deliver(fetched(2, 10)), false);
  assert.equal(router.deliver(fetched(3, 10)), true);
  router.detach(route);
  assert.equal(router.deliver(fetched(3, 10)), false);
  assert.equal(actor.chunks.length, 1);
});

test('an actor of one input hears once that it is at its end, one of several whenever it is', () => {
  const router = new PartitionRouter({ bytesMax: 100, bytesTotalMax: 1_000 });
  const route = (actor: HeldActor, ...topics: readonly string[]) => ({
    api: actor.api,
    partition: 2,
    epoch: 7,
    inputs: topics.map((topic) => ({ topic, epoch: 3 })),
    onError: unexpected,
  });
  const single = new HeldActor();
  router.attach(route(single, 't'));
  assert.deepEqual([router.deliver(fetched(3, 0)), router.deliver(fetched(3, 0))], [true, false]);
  // Whoever comes after it has heard nothing yet.
  router.attach(route(single, 't'));
  assert.deepEqual([router.deliver(fetched(3, 10)), router.deliver(fetched(3, 0))], [true, false]);
  assert.equal(single.chunks.length, 2);
  const merging = new HeldActor();
  router.attach(route(merging, 't', 'other'));
  assert.deepEqual([router.deliver(fetched(3, 0)), router.deliver(fetched(3, 0))], [true, true]);
});

test('many partitions share one bound, and get their share back when others go', () => {
  const log: string[] = [];
  const router = new PartitionRouter({ bytesMax: 100, bytesTotalMax: 120 });
  router.use(session(log));
  const actor = new HeldActor();
  const routes = [2, 3, 4].map((partition) => ({
    api: actor.api,
    partition,
    epoch: 7,
    inputs: [{ topic: 't', epoch: 3 }],
    onError: unexpected,
  }));
  for (const route of routes) router.attach(route);
  router.deliver(fetched(3, 39));
  assert.deepEqual(log, []);
  router.deliver(fetched(3, 1));
  assert.deepEqual(log, ['pause t-2']);
  for (const route of routes) router.detach(route);
  for (const route of routes) router.detach(route);
  router.attach(routes[0]!);
  router.deliver(fetched(3, 99));
  assert.deepEqual(log, ['pause t-2']);
  router.deliver(fetched(3, 1));
  assert.deepEqual(log, ['pause t-2', 'pause t-2']);
});

// ── scheduler and directories ────────────────────────────────────────────────────────────────────────────────────────

test('no more actors recover at once than allowed, those with least to do first', async () => {
  const scheduler = new RecoveryScheduler(2);
  const order: number[] = [];
  const ends: (() => void)[] = [];
  const signal = new AbortController().signal;
  const jobs = [50, 40, 30, 10, 20].map((remaining) =>
    scheduler.run(remaining, signal, async () => {
      order.push(remaining);
      await new Promise<void>((resolve) => ends.push(resolve));
    }),
  );
  await turns();
  assert.deepEqual(order, [50, 40]);
  for (let i = 0; i < jobs.length; i++) {
    assert.ok(scheduler.running <= 2);
    ends.shift()!();
    await turns();
  }
  await Promise.all(jobs);
  assert.deepEqual(order, [50, 40, 10, 20, 30]);
});

test('who gives up waiting for its recovery takes no turn from others', async () => {
  const scheduler = new RecoveryScheduler(1);
  const abort = new AbortController();
  let end: () => void = () => undefined;
  const first = scheduler.run(
    0,
    new AbortController().signal,
    () => new Promise<void>((resolve) => (end = resolve)),
  );
  const second = scheduler.run(0, abort.signal, () => Promise.resolve('never'));
  const third = scheduler.run(0, new AbortController().signal, () => Promise.resolve('ran'));
  await turns();
  abort.abort(new Error('given up'));
  await assert.rejects(second, /given up/);
  end();
  await first;
  assert.equal(await third, 'ran');
  assert.equal(scheduler.waiting + scheduler.running, 0);
});

test('a directory has one holder in the process; the next waits for it, within its budget', async () => {
  const { signal } = new AbortController();
  const take = (budgetMs: number): Promise<HeldDirectory> =>
    acquireDirectory('/nowhere/db', { holder: 'test', budgetMs, clock: systemClock, signal });
  const held = await take(0);
  await assert.rejects(take(20), code('LOCKED'));
  const next = take(1_000);
  held.release();
  held.release();
  (await next).release();
  const abort = new AbortController();
  const again = await take(0);
  const waiting = acquireDirectory('/nowhere/../nowhere/db', {
    holder: 'other',
    budgetMs: 1_000,
    clock: systemClock,
    signal: abort.signal,
  });
  abort.abort();
  await assert.rejects(waiting, code('CALL_ABORTED'));
  again.release();
  assert.deepEqual(heldDirectories(), []);
});

test('a holder is told that somebody waits, and may give way at once', async () => {
  const { signal } = new AbortController();
  const options = { holder: 'test', budgetMs: 1_000, clock: systemClock, signal };
  let told = 0;
  const held = await acquireDirectory('/nowhere/db', { ...options, onWanted: () => told++ });
  assert.equal(held.wanted, false);
  const next = acquireDirectory('/nowhere/db', options);
  assert.equal(told, 1);
  assert.equal(held.wanted, true);
  held.release();
  (await next).release();
  // One that gives way in the very moment in which it is asked.
  const yielding = await acquireDirectory('/nowhere/db', {
    ...options,
    onWanted: () => {
      yielding.release();
    },
  });
  (await acquireDirectory('/nowhere/db', options)).release();
  assert.deepEqual(heldDirectories(), []);
});

function unexpected(error: unknown): void {
  assert.fail(String(error));
}
