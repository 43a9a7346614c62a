/**
 * Windows in the whole runtime, with worker threads that die: those that close by idleness and those that tell by
 * wall-clock do so once, whatever becomes of their thread, and of many open ones, on disk, each closes once.
 * Windows by the driver's clock are in unit/state-windowed.test.ts, their limits in windows-limits.test.ts.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { isPartitaError, processorAt, type StateManager } from '../../src/index.js';
import type windows from '../fixtures/windows-processor.js';
import { EVERY_MS, SIZE_MS, type Told, type WindowsOf } from '../fixtures/windows-processor.js';
import { code, ManagerDesk } from '../support/manager-desk.js';
import { until } from '../support/waiting.js';

const PARTITIONS = 4;
/** Far less than the windows of all keys take. */
const CACHE_MB = 1;
/** A multiple of the windows' size. */
const START_MS = 1_767_225_600_000;
const streams = {
  windows: processorAt<typeof windows>(new URL('../fixtures/windows-processor.js', import.meta.url)),
};
type Manager = StateManager<typeof streams>;

let desk: ManagerDesk;

beforeEach(async () => {
  desk = await ManagerDesk.open({
    workers: 2,
    restarts: { firstMs: 5, maxMs: 50 },
    memory: { cacheMb: CACHE_MB },
  });
  for (const topic of ['visits', 'told', 'late'])
    await desk.log.createTopic({ topic, partitions: PARTITIONS });
});

afterEach(() => desk.close());

const keysOf = (n: number) => Array.from({ length: n }, (_, i) => `key-${i}`);

async function visit(keys: readonly string[], of: WindowsOf, timestamp: number): Promise<void> {
  const value = JSON.stringify(of);
  await desk.log.produce(
    'visits',
    keys.map((key) => ({ key, value, timestamp })),
  );
}

/** One record in each partition that moves its clock. */
async function visitAll(of: WindowsOf, timestamp: number): Promise<void> {
  const value = JSON.stringify(of);
  await desk.log.produce(
    'visits',
    Array.from({ length: PARTITIONS }, (_, partition) => ({
      key: `last-${partition}`,
      partition,
      value,
      timestamp,
    })),
  );
}

/** What was told and committed, by key, in order. */
async function told(): Promise<Map<string, Told[]>> {
  const found = new Map<string, Told[]>();
  for await (const { key, value } of desk.log.read('told')) {
    const name = Buffer.from(key!).toString();
    found.set(name, [...(found.get(name) ?? []), JSON.parse(Buffer.from(value!).toString()) as Told]);
  }
  return found;
}

/** Ends the thread of a partition; true if it was there to be ended. */
async function kill(manager: Manager, partition: number): Promise<void> {
  await assert.rejects(
    manager.streams.windows.command('exit', { partition }),
    code('ACTOR_RESTARTED', 'THREAD_DIED', 'ACTOR_RECOVERING'),
  );
}

test('windows close by idleness once each, though threads die before and after; what comes later is late', async () => {
  const manager = await desk.start(streams);
  await manager.ready();
  const keys = keysOf(40);
  // The last record is in the middle of the window: the rest of it passes in idleness.
  await visit(keys, 'quiet', START_MS);
  await visit(keys, 'quiet', START_MS + SIZE_MS / 2);
  for (let partition = 0; partition < PARTITIONS; partition++) await kill(manager, partition);
  await until(async () => (await told()).size === keys.length, 'the closing of every window');
  for (let partition = 0; partition < PARTITIONS; partition++) await kill(manager, partition);
  await manager.ready();
  // Before the end of the windows by their own time: only idleness has closed them.
  await visit(keys, 'quiet', START_MS + SIZE_MS / 2 + 1);
  const late = async () => {
    let n = 0;
    for await (const { offset } of desk.log.read('late')) n += offset >= 0 ? 1 : 0;
    return n;
  };
  await until(async () => (await late()) >= keys.length, 'what came too late');
  await manager.stop();
  assert.equal(await late(), keys.length);
  const expected: Told = { of: 'quiet', startMs: START_MS, n: 2, closed: true };
  for (const [key, results] of await told()) assert.deepEqual(results, [expected], key);
});

test('changes are told every so often and each once, though threads die and a process starts anew', async () => {
  let manager = await desk.start(streams);
  await manager.ready();
  const keys = keysOf(40);
  const WAVES = 6;
  for (let wave = 1; wave <= WAVES; wave++) {
    await visit(keys, 'often', START_MS + wave);
    // Some waves are told in one, some by themselves, some by the thread that comes after.
    if (wave % 2 === 0) await kill(manager, wave % PARTITIONS);
    else await until(async () => [...(await told()).values()].every((all) => all.at(-1)!.n >= wave - 1));
    if (wave !== 4) continue;
    await manager.stop();
    manager = await desk.start(streams);
  }
  const isTold = async () => {
    const all = await told();
    return all.size === keys.length && [...all.values()].every((of) => of.at(-1)!.n === WAVES);
  };
  await until(isTold, 'the last wave of every key');
  // Nothing has changed since: there is nothing to tell.
  const before = await told();
  await new Promise((resolve) => setTimeout(resolve, 3 * EVERY_MS));
  assert.deepEqual(await told(), before);
  await visitAll('often', START_MS + SIZE_MS);
  await until(async () =>
    [...(await told()).entries()].every(([key, all]) => key.startsWith('last') || all.at(-1)!.closed),
  );
  await manager.stop();
  for (const key of keys) {
    const all = (await told()).get(key)!;
    const open = all.filter(({ closed }) => !closed).map(({ n }) => n);
    assert.deepEqual(
      open,
      [...new Set(open)].sort((a, b) => a - b),
      `${key} was told something twice: ${open.join()}`,
    );
    assert.deepEqual(
      all.filter(({ closed }) => closed).map(({ n }) => n),
      [WAVES],
      key,
    );
  }
});

test('many open windows, more than the cache holds, are read while they close, and close once each though threads die', async () => {
  const KEYS = 40_000;
  const manager = await desk.start(streams, { engine: 'level', checkpoint: { intervalMs: 100 } });
  await manager.ready();
  const keys = keysOf(KEYS);
  for (let at = 0; at < KEYS; at += 4_000) await visit(keys.slice(at, at + 4_000), 'many', START_MS);
  await until(async () => (await openWindows(manager)) === KEYS, 'the opening of all windows');
  await manager.checkpoint();

  await visitAll('many', START_MS + 10 * SIZE_MS);
  await kill(manager, 0);
  // Those that the clock has closed are not shown, however many are still to be told.
  await until(async () => (await openWindows(manager)) === PARTITIONS, 'the closing of all windows');
  await kill(manager, 1);
  await until(async () => (await told()).size === KEYS, 'the results of all windows');
  await manager.stop();
  const expected: Told = { of: 'many', startMs: START_MS, n: 1, closed: true };
  const found = await told();
  assert.equal(found.size, KEYS);
  for (const [key, results] of found) assert.deepEqual(results, [expected], key);
});

/** Over all partitions that answer. */
async function openWindows(manager: Manager): Promise<number> {
  try {
    const all = await manager.streams.windows.queryAll('open', { args: ['many'], timeoutMs: 20_000 });
    return [...all.values()].reduce((sum, n) => sum + n, 0);
  } catch (error) {
    assert.ok(isPartitaError(error), String(error));
    return -1;
  }
}
