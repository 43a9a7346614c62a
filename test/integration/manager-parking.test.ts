/**
 * What a rebalance leaves where it was keeps its database and its cache: whether it serves again at once, after asking the
 * log, or after recovering; what ends a parking; and that nothing is lost, repeated or left locked by it.
 */
import assert from 'node:assert/strict';
import { access, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { processorAt, StateManager, type EmbeddedLog, type ManagerOptions } from '../../src/index.js';
import type { GroupSession } from '../../src/log/log-client.js';
import type { LogFaults } from '../../src/log/embedded/log-faults.js';
import type { ManagerEvents } from '../../src/manager/events.js';
import { heldDirectories } from '../../src/manager/directory-registry.js';
import type forward from '../fixtures/forward-processor.js';
import { Amounts, sumsOf, totalsStream, type TotalsManager } from '../support/amounts.js';
import { LocalThreads } from '../support/local-threads.js';
import { code, ManagerDesk } from '../support/manager-desk.js';
import { WatchedLog } from '../support/watched-log.js';
import { until } from '../support/waiting.js';

const PARTITIONS = 4;
const KEYS = Array.from({ length: 24 }, (_, i) => `key-${i}`);
const lettersStream = {
  letters: processorAt<typeof forward>(new URL('../fixtures/forward-processor.js', import.meta.url)),
};

let desk: ManagerDesk;
let log: EmbeddedLog;
let watched: WatchedLog;
let threads: LocalThreads;
let amounts: Amounts;
let expected: Map<string, number>;
/** Commits wait for it while it is set. */
let held: Promise<void> | undefined;
const faults: LogFaults = {
  before: (operation) => (operation === 'commit' ? held : undefined),
};
const managers: TotalsManager[] = [];

beforeEach(async () => {
  held = undefined;
  desk = await ManagerDesk.open({ restarts: { firstMs: 5, maxMs: 50 } }, { faults });
  ({ log } = desk);
  watched = new WatchedLog(log);
  threads = new LocalThreads();
  amounts = await Amounts.on(log, PARTITIONS);
  ({ expected } = amounts);
  for (const [topic, partitions] of [
    ['letters', 2],
    ['copies', 1],
  ] as const)
    await log.createTopic({ topic, partitions });
});

afterEach(async () => {
  await Promise.allSettled(managers.splice(0).map((manager) => manager.stop({ deadlineMs: 3_000 })));
  await desk.close();
});

/** The manager that is watched: its actors are in this thread, its databases in memory. */
async function watchedManager(
  options: Partial<ManagerOptions<typeof totalsStream>> = {},
): Promise<TotalsManager> {
  const manager = await StateManager.startIn(
    {
      group: 'g',
      streams: totalsStream,
      log: watched,
      stateDir: desk.stateDir,
      workers: 1,
      engine: 'memory',
      checkpoint: { intervalMs: 20 },
      restarts: { firstMs: 5, maxMs: 50 },
      ...options,
    },
    threads.environment,
  );
  managers.push(manager);
  return manager;
}

const produce = (): Promise<void> => amounts.produce(KEYS.map((key, i) => [key, i]));

const other = (): Promise<TotalsManager> =>
  desk.start(totalsStream, { instanceId: 'other', engine: 'memory' });

/** Everything processed so far is committed: a barrier has nothing to do. */
async function settled(manager: TotalsManager): Promise<void> {
  await amounts.countedOnce(manager);
  await manager.checkpoint();
}

/** A member that subscribes to nothing of the stream: it makes a new generation in which everything stays. */
async function joinAsGuest(): Promise<GroupSession> {
  await log.createTopic({ topic: 'elsewhere', partitions: 1 });
  const client = await log.connect({ clientId: 'guest' });
  const nothing = (): void => undefined;
  return client.join(
    { group: 'g', topics: ['elsewhere'] },
    {
      onAssign: nothing,
      onRevoke: () => Promise.resolve(),
      onLost: nothing,
      onChunk: nothing,
      onOutOfRange: nothing,
      onFatal: nothing,
    },
  );
}

interface Heard {
  readonly parked: number[];
  readonly resumed: ManagerEvents['resumed'][];
  readonly recovered: number[];
}

function listen(manager: TotalsManager): Heard {
  const heard: Heard = { parked: [], resumed: [], recovered: [] };
  manager.on('parked', ({ partition }) => heard.parked.push(partition));
  manager.on('resumed', (event) => heard.resumed.push(event));
  manager.on('recovered', ({ partition }) => heard.recovered.push(partition));
  return heard;
}

const own = async (manager: TotalsManager): Promise<number[]> =>
  (await manager.stats()).partitions.map(({ partition }) => partition).sort((a, b) => a - b);

/** By how. */
const resumedAs = (heard: Heard, how: string): number[] =>
  heard.resumed
    .filter((event) => event.how === how)
    .map(({ partition }) => partition)
    .sort((a, b) => a - b);

const directory = (partition: number): string => join(desk.stateDir, 'g', 'totals', String(partition));

test('a partition that a rebalance leaves where it was serves again at once, from its cache', async () => {
  const manager = await watchedManager();
  await manager.ready();
  await produce();
  await settled(manager);
  const heard = listen(manager);
  watched.calls.length = 0;
  threads.reads.clear();
  const second = await other();
  await second.ready();
  await manager.ready();
  const kept = await own(manager);
  assert.equal(kept.length, PARTITIONS / 2);
  assert.deepEqual(heard.parked.sort(), [0, 1, 2, 3]);
  assert.deepEqual(resumedAs(heard, 'unchanged'), kept);
  assert.deepEqual(heard.recovered, []);
  assert.deepEqual(watched.calls, ['describe'], 'one question beside the serving, for all partitions');
  for (const { parkedMs } of heard.resumed) assert.ok(parkedMs >= 0 && parkedMs < 30_000, String(parkedMs));
  for (const key of KEYS.filter((name) => manager.locate('totals', name).local))
    assert.equal((await manager.streams.totals.query('total', { key }))?.sum, expected.get(key));
  assert.deepEqual(threads.reads, new Map());
  await produce();
  await amounts.countedOnce(manager, second);
  assert.deepEqual(threads.reads, new Map(), 'records after the rebalance find their state in the cache');
});

for (const guarantee of ['exactly-once', 'at-least-once'] as const)
  test(`partitions that go to another member and come back later hold what a plain loop holds (${guarantee})`, async () => {
    const manager = await watchedManager({ guarantee });
    await produce();
    await settled(manager);
    const heard = listen(manager);
    for (let round = 0; round < 3; round++) {
      const second = await desk.start(totalsStream, { instanceId: 'other', engine: 'memory', guarantee });
      await produce();
      await amounts.countedOnce(manager, second);
      await produce();
      await second.stop();
      await produce();
      await amounts.countedOnce(manager);
    }
    // Half of the partitions never left.
    assert.equal(new Set(heard.recovered).size, PARTITIONS / 2);
    assert.ok(resumedAs(heard, 'unchanged').length >= 3 * (PARTITIONS / 2));
    assert.deepEqual(resumedAs(heard, 'verified'), []);
  });

test('after a generation that was missed the log is asked: what another member wrote to is recovered, the rest goes on warm', async () => {
  const manager = await watchedManager();
  await produce();
  await settled(manager);
  const heard = listen(manager);
  threads.reads.clear();
  watched.withheld = 1;
  const second = await other();
  await second.ready();
  const theirs = await own(second);
  assert.equal(theirs.length, PARTITIONS / 2);
  await produce();
  await until(async () => (await sumsOf(second)).get(keyIn(second)) === expected.get(keyIn(second)));
  watched.calls.length = 0;
  await second.stop();
  await until(() => heard.resumed.length === PARTITIONS, 'the return of all partitions');
  const ours = [0, 1, 2, 3].filter((partition) => !theirs.includes(partition));
  assert.deepEqual(resumedAs(heard, 'verified'), ours);
  assert.deepEqual(resumedAs(heard, 'recovered'), theirs);
  assert.deepEqual(heard.recovered.sort(), theirs);
  assert.equal(watched.calls.filter((name) => name === 'init').length, PARTITIONS);
  assert.equal(watched.calls.filter((name) => name === 'owns').length, PARTITIONS);
  await amounts.countedOnce(manager);
  for (const partition of ours) assert.equal(threads.reads.get(String(partition)), undefined);
});

const keyIn = (manager: TotalsManager): string => KEYS.find((key) => manager.locate('totals', key).local)!;

test('a stream without state that missed a generation goes on from the offsets that another member committed', async () => {
  const copies = async (): Promise<string[]> => {
    const found: string[] = [];
    for await (const { value } of log.read('copies')) found.push(Buffer.from(value ?? []).toString());
    return found.sort();
  };
  const letters = (from: number) =>
    Array.from({ length: 40 }, (_, i) => ({ key: `k${i}`, value: String(from + i) }));
  const manager = await desk.start(lettersStream, { log: watched });
  const how: string[] = [];
  manager.on('resumed', (event) => how.push(event.how));
  await log.produce('letters', letters(100));
  await until(async () => (await copies()).length === 40);
  await manager.checkpoint();
  watched.withheld = 1;
  const second = await desk.start(lettersStream);
  await log.produce('letters', letters(200));
  await until(async () => (await copies()).length > 40);
  await second.stop();
  await log.produce('letters', letters(300));
  await until(async () => (await copies()).length >= 120);
  await manager.checkpoint();
  assert.deepEqual(
    await copies(),
    [100, 200, 300].flatMap((from) => letters(from).map(({ value }) => value)).sort(),
  );
  assert.deepEqual(how.sort(), ['recovered', 'verified']);
});

test('a parking ends after parkMs: the directory is free, and the partition is opened anew when it comes back', async () => {
  const manager = await watchedManager({ parkMs: 60 });
  await produce();
  await settled(manager);
  const heard = listen(manager);
  watched.withheld = 1;
  const second = await other();
  await until(() => heldDirectories().every((path) => path.includes('other')), 'the end of the parkings');
  assert.equal(heard.parked.length, PARTITIONS);
  await second.stop();
  await until(() => heard.recovered.length === PARTITIONS);
  assert.deepEqual(heard.resumed, []);
  await produce();
  await amounts.countedOnce(manager);
});

test('with parkMs 0, and when the manager leaves, partitions are closed and not parked', async () => {
  const manager = await watchedManager({ parkMs: 0 });
  await manager.ready();
  const heard = listen(manager);
  const second = await other();
  const secondHeard = listen(second);
  await Promise.all([manager.ready(), second.ready()]);
  await second.stop();
  await manager.ready();
  assert.deepEqual([...heard.parked, ...secondHeard.parked], []);
  assert.equal(heard.recovered.length, PARTITIONS / 2 + PARTITIONS);
});

test('calls to a parked partition wait for its return, and none runs twice', async () => {
  const manager = await watchedManager();
  await produce();
  await settled(manager);
  const heard = listen(manager);
  watched.withheld = 1;
  const second = await other();
  await until(() => heard.parked.length === PARTITIONS);
  const answers = Promise.all(KEYS.map((key) => manager.streams.totals.query('total', { key })));
  const added = Promise.all(KEYS.map((key) => manager.streams.totals.command('add', { key, args: [1000] })));
  await assert.rejects(
    manager.streams.totals.query('total', { key: KEYS[0]!, timeoutMs: 30 }),
    code('ACTOR_RECOVERING'),
  );
  await sleep(50);
  await second.stop();
  assert.deepEqual(
    (await answers).map((total) => total?.sum),
    KEYS.map((key) => expected.get(key)),
  );
  for (const key of KEYS) expected.set(key, expected.get(key)! + 1000);
  assert.deepEqual(
    await added,
    KEYS.map((key) => expected.get(key)),
  );
  await amounts.countedOnce(manager);
});

test('calls that a parked actor had not started are answered as soon as it serves again', async () => {
  const manager = await watchedManager();
  await produce();
  await settled(manager);
  const heard = listen(manager);
  const partitionOf = (key: string): number => manager.locate('totals', key).partition;
  const slow = [0, 1, 2, 3].map((partition) => {
    const names = Array.from({ length: 100 }, (_, i) => `slow-${i}`);
    const key = names.find((name) => partitionOf(name) === partition)!;
    return manager.streams.totals.command('slow', { key, args: [1_000] });
  });
  await sleep(20);
  // Behind the slow ones, in the mailboxes of their actors.
  const queued = KEYS.map((key) =>
    manager.streams.totals.command('add', { key, args: [1], timeoutMs: 5_000 }),
  );
  const outcomes = Promise.allSettled(queued);
  const second = await other();
  assert.deepEqual(await Promise.all(slow), ['slow', 'slow', 'slow', 'slow']);
  for (const [i, outcome] of (await outcomes).entries()) {
    const key = KEYS[i]!;
    if (outcome.status === 'fulfilled') expected.set(key, expected.get(key)! + 1);
    else assert.ok(!manager.locate('totals', key).local && code('PARTITION_NOT_OWNED')(outcome.reason));
  }
  await until(() => heard.resumed.length === PARTITIONS / 2);
  for (const key of KEYS.filter((name) => manager.locate('totals', name).local))
    assert.equal((await manager.streams.totals.query('total', { key }))?.sum, expected.get(key));
  await second.stop();
});

test('calls under way when the partition is taken away travel along, and each command is applied once', async () => {
  const manager = await watchedManager();
  await produce();
  await settled(manager);
  let running = true;
  const flow = KEYS.map(async (key) => {
    let applied = 0;
    while (running) {
      const call = manager.streams.totals.command('add', { key, args: [1] });
      await call.then(() => applied++, code('PARTITION_NOT_OWNED'));
      await sleep(1);
    }
    expected.set(key, expected.get(key)! + applied);
  });
  for (let round = 0; round < 3; round++) {
    const second = await other();
    await sleep(30);
    await second.stop();
    await sleep(30);
  }
  running = false;
  await Promise.all(flow);
  await amounts.countedOnce(manager);
});

test('calls to a parked partition that goes to another member end with its owner', async () => {
  const manager = await watchedManager();
  await manager.ready();
  const heard = listen(manager);
  watched.withheld = 1;
  const second = await other();
  await until(() => heard.parked.length === PARTITIONS);
  const theirs = await own(second);
  const waiting = assert.rejects(
    manager.streams.totals.query('total', { partition: theirs[0]! }),
    code('PARTITION_NOT_OWNED'),
  );
  const third = await desk.start(totalsStream, { instanceId: 'third', engine: 'memory' });
  await waiting;
  await third.stop();
});

test('a thread that dies under parked actors is replaced when their partitions come back', async () => {
  const manager = await watchedManager();
  await produce();
  await settled(manager);
  const heard = listen(manager);
  watched.withheld = 1;
  const second = await other();
  await until(() => heard.parked.length === PARTITIONS);
  await threads.kill(0);
  await until(() => heldDirectories().every((path) => path.includes('other')));
  await second.stop();
  await until(() => heard.recovered.length === PARTITIONS);
  assert.deepEqual(heard.resumed, []);
  await produce();
  await amounts.countedOnce(manager);
});

test('a commit that is not answered by the deadline of the barrier closes the actor, which is never parked', async () => {
  const manager = await watchedManager({ revokeBudgetMs: 100, transactionTimeoutMs: 300 });
  await produce();
  await settled(manager);
  const heard = listen(manager);
  const revoked: boolean[] = [];
  manager.on('revoked', ({ committed }) => revoked.push(committed));
  let release: () => void = () => undefined;
  held = new Promise((resolve) => (release = resolve));
  await produce();
  await until(async () => (await sumsOf(manager)).get(KEYS[1]!) === expected.get(KEYS[1]!));
  const starting = other();
  await until(() => revoked.length === 1, 'the end of the barrier');
  assert.deepEqual(revoked, [false]);
  assert.deepEqual(heard.parked, []);
  held = undefined;
  release();
  const second = await starting;
  await amounts.countedOnce(manager, second);
  assert.deepEqual(heard.resumed, []);
});

test('a manager on the same state directory gets the databases of parked actors at once', async () => {
  const manager = await desk.start(totalsStream, { log: watched });
  await produce();
  await settled(manager);
  const heard = listen(manager);
  watched.withheld = 1;
  const second = await desk.start(totalsStream);
  await second.ready();
  assert.equal(heard.parked.length, PARTITIONS);
  assert.equal(heldDirectories().length, PARTITIONS, 'half are the second one’s, half are parked');
  await produce();
  await second.stop();
  await amounts.countedOnce(manager);
  assert.equal(resumedAs(heard, 'verified').length, PARTITIONS / 2);
});

test('a note of another process makes the parked actor of that directory give way, and no other', async () => {
  const manager = await desk.start(totalsStream, { log: watched });
  await produce();
  await settled(manager);
  const heard = listen(manager);
  watched.withheld = 1;
  const second = await desk.start(totalsStream, { instanceId: 'other' });
  await until(() => heard.parked.length === PARTITIONS);
  const note = `${directory(2)}.wanted`;
  await writeFile(note, '1\n');
  await until(() => !heldDirectories().includes(directory(2)), 'giving way');
  for (const partition of [0, 1, 3]) assert.ok(heldDirectories().includes(directory(partition)));
  await assert.rejects(access(note), 'the note is taken away, lest it be an old one');
  await second.stop();
  await until(() => heard.resumed.length === PARTITIONS - 1 && heard.recovered.includes(2));
  await amounts.countedOnce(manager);
});

test('a manager that stops while its actors are parked leaves no lock', async () => {
  const manager = await watchedManager();
  await manager.ready();
  const heard = listen(manager);
  watched.withheld = 1;
  const second = await other();
  await until(() => heard.parked.length === PARTITIONS);
  await manager.stop();
  assert.ok(heldDirectories().every((path) => path.includes('other')));
  await second.stop();
  assert.deepEqual(heldDirectories(), []);
});

test('parked actors outlive the loss of the membership, and ask the log before they serve again', async () => {
  const manager = await watchedManager();
  await produce();
  await settled(manager);
  const heard = listen(manager);
  watched.withheld = 1;
  const second = await other();
  await until(() => heard.parked.length === PARTITIONS);
  const all = [0, 1, 2, 3].map((partition) => ({ topic: 'amounts', partition }));
  watched.lose(all);
  await assert.rejects(manager.streams.totals.query('total', { key: KEYS[0]! }), code('PARTITION_NOT_OWNED'));
  await second.stop();
  await until(() => heard.resumed.length === PARTITIONS);
  assert.deepEqual(resumedAs(heard, 'unchanged'), []);
  await produce();
  await amounts.countedOnce(manager);
});

for (const missed of [true, false])
  test(`an input that was deleted and created again while its partitions were parked is not taken for the old one (${missed ? 'generations were missed' : 'in one rebalance'})`, async () => {
    const manager = await watchedManager({ onOutOfRange: 'earliest' });
    await produce();
    await settled(manager);
    const heard = listen(manager);
    watched.withheld = missed ? 2 : 0;
    await log.deleteTopic('amounts');
    if (missed) await until(() => heard.parked.length === PARTITIONS);
    await log.createTopic({ topic: 'amounts', partitions: PARTITIONS });
    // More records than before: their offsets alone tell nothing.
    await produce();
    await produce();
    await until(() => watched.withheld === 0);
    const guest = missed ? await joinAsGuest() : undefined;
    await until(() => new Set(heard.recovered).size === PARTITIONS);
    if (missed) assert.deepEqual(heard.resumed, []);
    await amounts.countedOnce(manager);
    await guest?.leave();
  });

test('64 parked partitions on two threads serve again in a moment', async (t) => {
  const many = 64;
  await log.deleteTopic('amounts');
  await log.createTopic({ topic: 'amounts', partitions: many });
  const manager = await desk.start(totalsStream, { log: watched, workers: 2 });
  await produce();
  await settled(manager);
  const heard = listen(manager);
  let servedAt = 0;
  manager.on('resumed', () => (servedAt = performance.now()));
  const guest = await joinAsGuest();
  await until(() => heard.resumed.length === many);
  assert.equal(resumedAs(heard, 'unchanged').length, many);
  const servingMs = servedAt - watched.assignedAt;
  const pausesMs = Math.max(...heard.resumed.map(({ parkedMs }) => parkedMs));
  t.diagnostic(
    `from onAssign to serving ${servingMs.toFixed(1)} ms, longest pause ${pausesMs.toFixed(1)} ms`,
  );
  await guest.leave();
  await produce();
  await amounts.countedOnce(manager);
});
