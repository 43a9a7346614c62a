/** The thread pool with fake actors: calls, transfers, errors across threads, and every way a thread can die. */
import assert from 'node:assert/strict';
import inspector from 'node:inspector';
import { afterEach, test } from 'node:test';
import { systemClock } from '../../src/core/clock.js';
import { isPartitaError } from '../../src/core/errors.js';
import { silentLogger } from '../../src/core/logger.js';
import {
  PROGRESS,
  type ActorEvent,
  type ActorSpec,
  type ActorUplink,
  type CommandCall,
} from '../../src/threads/protocol.js';
import { ThreadPool } from '../../src/threads/thread-pool.js';

const ENTRY = new URL('../fixtures/fake-host.js', import.meta.url).href;
const pools: ThreadPool[] = [];

async function pool(threads = 1, watchdogMs = 0): Promise<ThreadPool> {
  const made = await ThreadPool.start({
    threads,
    clock: systemClock,
    logger: silentLogger,
    entry: ENTRY,
    watchdogMs,
    maxHeapMb: 64,
  });
  pools.push(made);
  return made;
}

afterEach(async () => {
  await Promise.all(pools.splice(0).map((made) => made.close({ budgetMs: 2_000 })));
});

function spec(partition = 0): ActorSpec {
  return {
    id: { stream: 's', partition },
    group: 'g',
    epoch: 1,
    processorUrl: 'file:///none.js',
    config: undefined,
    inputs: [],
    outputs: [],
    deadLetters: [],
    changelog: undefined,
    directory: '',
    cacheBytes: 0,
    options: {} as ActorSpec['options'],
    progress: new SharedArrayBuffer(PROGRESS.bytes),
  };
}

interface Seen {
  readonly events: ActorEvent[];
  readonly committed: ArrayBuffer[];
}

function uplink(seen: Seen = { events: [], committed: [] }): ActorUplink {
  return {
    init: () => Promise.resolve(),
    committed: () => Promise.resolve([]),
    inputBounds: () => Promise.resolve([]),
    changelogBounds: () => Promise.resolve({ start: 0, lastStable: 0, end: 0 }),
    readChangelog: ({ from }) =>
      Promise.resolve({
        bytes: new Uint8Array([9, 8]).buffer,
        from,
        next: from + 1,
        aborted: [],
        bounds: { start: 0, lastStable: 9, end: 9 },
      }),
    commit: (request) => {
      seen.committed.push(...request.batches.map((batch) => batch.bytes));
      return Promise.resolve({ kind: 'committed', baseOffsets: [0], lastOffsets: [0] });
    },
    describeTopic: () => Promise.resolve(undefined),
    produce: () => Promise.resolve(),
    event: (event) => seen.events.push(event),
  };
}

function command(name: string, args: readonly unknown[] = []): CommandCall {
  return { seq: 1, name, key: 'k', args, ack: 'processed' };
}

test('an actor in a thread is called as if it were here, and answers with clones', async () => {
  const { api } = await (await pool()).create(0, spec(), uplink());
  assert.deepEqual(await api.open(), { storedOffset: -1, rebuild: undefined });
  assert.deepEqual(await api.command(command('echo', [{ a: [1] }, new Date(5)])), {
    name: 'echo',
    key: 'k',
    args: [{ a: [1] }, new Date(5)],
    bytes: 0,
  });
});

test('the bytes of a chunk move to the thread and are gone here', async () => {
  const { api } = await (await pool()).create(0, spec(), uplink());
  const bytes = new ArrayBuffer(1_000);
  const done = await api.process({
    topic: 't',
    epoch: 1,
    bytes,
    from: 0,
    next: 1,
    aborted: [],
    lastStable: 1,
    highWatermark: 1,
    fetch: 1,
  });
  assert.deepEqual(done, { accepted: true, records: 1_000 });
  assert.equal(bytes.byteLength, 0);
});

test('what an actor asks of the log is answered from the main thread, with its bytes', async () => {
  const seen: Seen = { events: [], committed: [] };
  const { api } = await (await pool()).create(0, spec(), uplink(seen));
  assert.deepEqual(await api.command(command('commit')), {
    kind: 'committed',
    baseOffsets: [0],
    lastOffsets: [0],
  });
  assert.deepEqual(new Uint8Array(seen.committed[0]!), new Uint8Array([1, 2, 3]));
  assert.deepEqual(await api.command(command('read')), new Uint8Array([9, 8]));
});

test('an error keeps its code, details and chain of causes across threads', async () => {
  const { api } = await (await pool()).create(0, spec(), uplink());
  await assert.rejects(api.command(command('throw')), (error: unknown) => {
    assert.ok(isPartitaError(error, 'DISK_FULL'));
    assert.equal(error.message, 'No space is left for orders-3.');
    assert.deepEqual(error.details, { directory: '/state', left: 0 });
    assert.equal(error.retryable, true);
    const cause = error.cause as Error & { code: string };
    assert.equal(cause.code, 'ENOSPC');
    assert.equal((cause.cause as Error).name, 'TypeError');
    assert.match(error.stack ?? '', /fake-host/);
    return true;
  });
  await assert.rejects(api.command(command('throwValue')), (error: unknown) => {
    assert.deepEqual(error, { reason: 42 });
    return true;
  });
});

test('an event that carries an error arrives with its code', async () => {
  const seen: Seen = { events: [], committed: [] };
  const { api } = await (await pool()).create(0, spec(), uplink(seen));
  await api.command(command('fail'));
  await api.stats();
  const [event] = seen.events;
  assert.equal(event?.type, 'failed');
  assert.ok(isPartitaError('error' in event ? event.error : undefined, 'FENCED'));
});

for (const [name, why] of [
  ['exit', /exited with code: 7/],
  ['crash', /outside of every promise/],
  ['memory', /memory/],
] as const)
  test(`a thread that dies by ${name} rejects each pending call with its own error, and its place works on`, async () => {
    const threads = await pool();
    const { api, died } = await threads.create(0, spec(), uplink());
    const other = await threads.create(0, spec(1), uplink());
    const pending = [
      api.command(command('hang')),
      other.api.command(command('hang')),
      api.command(command(name)),
    ];
    const errors = (await Promise.allSettled(pending)).map((settled) =>
      settled.status === 'rejected' ? (settled.reason as unknown) : undefined,
    );
    for (const error of errors) assert.ok(isPartitaError(error, 'THREAD_DIED'), String(error));
    assert.equal(new Set(errors).size, pending.length);
    assert.match((await died).message, why);
    await assert.rejects(api.stats(), (error: unknown) => isPartitaError(error, 'THREAD_DIED'));
    const fresh = await threads.create(0, spec(), uplink());
    assert.equal(await fresh.api.query({ name: 'q', key: 1, args: [], read: 'latest' }), 0);
  });

test('a thread that is ended by force takes no other thread with it', async () => {
  const threads = await pool(2);
  const first = await threads.create(0, spec(0), uplink());
  const second = await threads.create(1, spec(1), uplink());
  const hanging = first.api.command(command('hang'));
  await Promise.all([
    threads.end(0, 'the test said so'),
    assert.rejects(hanging, /the test said so/),
    first.died,
  ]);
  assert.deepEqual(await second.api.command(command('echo')), { name: 'echo', key: 'k', args: [], bytes: 0 });
  assert.deepEqual(
    threads.states().map(({ state }) => state),
    ['died', 'ready'],
  );
});

test('a thread whose event loop is blocked is ended, says so, and takes no other thread with it', async () => {
  const threads = await pool(2, 600);
  const blocked = await threads.create(0, spec(0), uplink());
  const other = await threads.create(1, spec(1), uplink());
  await assert.rejects(blocked.api.command(command('block')), /its event loop was blocked for 600 ms/);
  assert.ok(isPartitaError(await blocked.died, 'THREAD_DIED'));
  assert.deepEqual(await other.api.command(command('echo')), { name: 'echo', key: 'k', args: [], bytes: 0 });
});

test('while a debugger may be attached a blocked thread is left alone', async () => {
  const threads = await pool(1, 300);
  const { api, died } = await threads.create(0, spec(), uplink());
  inspector.open(0, '127.0.0.1');
  let ended = false;
  void died.then(() => (ended = true));
  const blocked = api.command(command('block'));
  blocked.catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assert.equal(ended, false);
  inspector.close();
  await assert.rejects(blocked, /its event loop was blocked/);
});

test('a thread that waits for whatever it may be is not blocked', async () => {
  const threads = await pool(1, 200);
  const { api } = await threads.create(0, spec(), uplink());
  void api.command(command('hang')).catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, 800));
  assert.deepEqual(await api.command(command('echo')), { name: 'echo', key: 'k', args: [], bytes: 0 });
});

test('closing the pool ends its threads in order, and nothing can be made afterwards', async () => {
  const threads = await pool(2);
  const { api, died } = await threads.create(0, spec(), uplink());
  await api.close({ commit: true, budgetMs: 100 });
  let reason: Error | undefined;
  void died.then((error) => (reason = error));
  await threads.close({ budgetMs: 5_000 });
  assert.deepEqual(
    threads.states().map(({ state }) => state),
    ['exited', 'exited'],
  );
  assert.equal(reason, undefined);
  await assert.rejects(threads.create(0, spec(), uplink()), (error: unknown) =>
    isPartitaError(error, 'STOPPED'),
  );
});

test('a thread whose entry cannot be loaded rejects with the reason', async () => {
  const threads = await ThreadPool.start({
    threads: 1,
    clock: systemClock,
    logger: silentLogger,
    watchdogMs: 0,
    entry: new URL('../fixtures/no-such-entry.js', import.meta.url).href,
  });
  pools.push(threads);
  await assert.rejects(threads.create(0, spec(), uplink()), (error: unknown) => {
    assert.ok(isPartitaError(error, 'THREAD_DIED'));
    assert.match(error.message, /no-such-entry/);
    return true;
  });
});
