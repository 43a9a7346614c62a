/** Members come, go and are taken for dead while records flow: in the end every record counts exactly once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, StateManager, type LogFactory, type ManagerOptions } from '../../src/index.js';
import type { LogFaults, LogOperation } from '../../src/log/embedded/log-faults.js';
import { heldDirectories } from '../../src/manager/directory-registry.js';
import { seededRandom } from '../support/seeded-random.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { WatchedLog } from '../support/watched-log.js';
import { Amounts, totalsStream, type TotalsManager } from '../support/amounts.js';
import { PATIENCE_MS, until } from '../support/waiting.js';

const PARTITIONS = 6;
const KEYS = 40;

const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000);

/** Answers come late by up to 60 ms, and some of commits and heartbeats never. */
function slowAndForgetful(random: () => number): LogFaults {
  const late = new Set<LogOperation>(['read', 'init', 'commit', 'committed', 'bounds', 'owns']);
  return {
    before: (operation) => {
      if (operation === 'heartbeat' && random() < 0.1) throw new Error('held back');
      return late.has(operation) && random() < 0.5 ? sleep(random() * 30) : undefined;
    },
    after: async (operation) => {
      if (late.has(operation) && random() < 0.5) await sleep(random() * 30);
      return operation === 'commit' && random() < 0.05 ? 'lost' : undefined;
    },
  };
}

for (const [name, guarantee, faults] of [
  ['', 'exactly-once', undefined],
  [' under at-least-once', 'at-least-once', undefined],
  [' over a slow and forgetful log', 'exactly-once', slowAndForgetful(randomOf(seed + 1))],
] as const)
  test(`managers that join, leave, miss assignments and lose threads count every record once${name} (seed ${seed})`, async () => {
    const random = randomOf(seed);
    const log = await embeddedLog(faults === undefined ? {} : { faults });
    const stateDir = temporaryDirectory('rebalance');
    const amounts = await Amounts.on(log, PARTITIONS);
    const running: TotalsManager[] = [];
    const logs = new Map<TotalsManager, WatchedLog>();
    let started = 0;
    const startAnother = async (): Promise<void> => {
      const watched = new WatchedLog(log);
      const manager = await start(watched, stateDir, started++, { guarantee });
      logs.set(manager, watched);
      running.push(manager);
    };
    try {
      for (let step = 0; step < 14; step++) {
        await amounts.produce(portion(random));
        const choice = running.length === 0 ? 0 : Math.floor(random() * 4);
        if (choice === 0 && running.length < 3) await startAnother();
        else if (choice === 1 && running.length > 1)
          await running.splice(Math.floor(random() * running.length), 1)[0]!.stop();
        else if (choice === 2) await loseThread(running[Math.floor(random() * running.length)]!, logs);
        // It stays parked until the rebalance after the next one.
        else if (choice === 3) logs.get(running[Math.floor(random() * running.length)]!)!.withheld = 1;
        await new Promise((resolve) => setTimeout(resolve, random() * 100));
      }
      await amounts.produce(portion(random));
      for (const watched of logs.values()) watched.withheld = 0;
      // Another generation, of which everybody is told.
      await startAnother();
      await amounts.countedOnce(...running);
      for (const manager of running.splice(0)) await manager.stop();
      if (guarantee === 'exactly-once') await amounts.assertOutputs();
      assert.deepEqual(heldDirectories(), []);
    } finally {
      await Promise.allSettled(running.map((manager) => manager.stop({ deadlineMs: 3_000 })));
      await log.close();
    }
  });

test('a member that is taken for dead gives its partitions up without writing, and comes back', async () => {
  let frozen = false;
  const log = await embeddedLog({
    faults: {
      before: (operation) => {
        if (operation === 'heartbeat' && frozen) throw new Error('held back');
      },
    },
  });
  const stateDir = temporaryDirectory('lost');
  const amounts = await Amounts.on(log, PARTITIONS);
  const managers: TotalsManager[] = [];
  try {
    const first = await start(log, stateDir, 1, { sessionTimeoutMs: 300 });
    managers.push(first);
    await amounts.produce(portion(randomOf(1)));
    await amounts.countedOnce(first);
    let lost = 0;
    first.on('lost', () => lost++);
    frozen = true;
    // Long enough for the group to evict it; it learns of that with its next heartbeat.
    const thawAt = performance.now() + 800;
    while (performance.now() < thawAt) {
      await amounts.produce(portion(randomOf(2)));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    frozen = false;
    await until(() => lost > 0, 'the news that it was taken for dead');
    await amounts.produce(portion(randomOf(3)));
    await amounts.countedOnce(first);
    assert.equal(lost, 1);
    assert.equal(first.state, 'running');
  } finally {
    frozen = false;
    await Promise.allSettled(managers.map((manager) => manager.stop({ deadlineMs: 3_000 })));
    await log.close();
  }
});

function start(
  log: LogFactory,
  stateDir: string,
  n: number,
  options: Partial<ManagerOptions<typeof totalsStream>> = {},
): Promise<TotalsManager> {
  return StateManager.start({
    group: 'g',
    streams: totalsStream,
    log,
    stateDir,
    // Some share their databases, as processes of one machine do; others have their own.
    ...(n % 2 === 0 ? {} : { instanceId: `i${n}` }),
    workers: 2,
    engine: n % 3 === 0 ? 'memory' : 'level',
    checkpoint: { intervalMs: 30 },
    restarts: { firstMs: 5, maxMs: 50 },
    ...options,
  });
}

test('a rebalance that finds partitions recovering drops nothing; a manager that stops in order says so too', async () => {
  const gate = { open: (): void => undefined };
  const opened = new Promise<void>((resolve) => (gate.open = resolve));
  const log = await embeddedLog({
    faults: { before: (operation) => (operation === 'bounds' ? opened : undefined) },
  });
  const stateDir = temporaryDirectory('rebalance');
  await Amounts.on(log, PARTITIONS);
  const managers: TotalsManager[] = [];
  try {
    const first = await start(log, stateDir, 0);
    managers.push(first);
    let revoked: boolean | undefined;
    first.once('revoked', ({ committed }) => (revoked = committed));
    managers.push(await start(log, stateDir, 1));
    assert.equal(revoked, true, 'nothing was processed yet');
    gate.open();
    await first.ready();
    const stopped = new Promise<boolean>((resolve) => {
      first.once('stopped', ({ committed }) => {
        resolve(committed);
      });
    });
    await first.stop();
    assert.equal(await stopped, true);
  } finally {
    gate.open();
    await Promise.all(managers.map((manager) => manager.stop()));
    await log.close();
  }
});

test('a partition that was given up because the group was silent for a session is served again when the group says that it is ours', async () => {
  let silent = false;
  const log = await embeddedLog({
    faults: {
      before: (operation) => {
        if (operation === 'owns' && silent) throw new Error('no answer');
      },
      // So that ownership is asked.
      after: (operation) => (operation === 'commit' && silent ? 'lost' : undefined),
    },
  });
  const stateDir = temporaryDirectory('silent');
  const amounts = await Amounts.on(log, PARTITIONS);
  const manager = await start(log, stateDir, 1, { sessionTimeoutMs: 1_000 });
  try {
    await manager.ready();
    let assigned = 0;
    manager.on('assigned', () => assigned++);
    silent = true;
    await amounts.produce(portion(randomOf(1)));
    await inStates(manager, 'lost');
    await assert.rejects(
      manager.streams.totals.query('all', { partition: 0 }),
      ({ code }: { code: string }) => code === 'PARTITION_NOT_OWNED',
    );
    silent = false;
    await inStates(manager, 'running');
    assert.equal(assigned, 0, 'there was no rebalance');
    await amounts.countedOnce(manager);
    silent = true;
    await amounts.produce(portion(randomOf(2)));
    await inStates(manager, 'lost');
    await manager.stop();
    assert.deepEqual(heldDirectories(), []);
  } finally {
    await manager.stop({ deadlineMs: 3_000 });
    await log.close();
  }
});

async function inStates(manager: TotalsManager, state: string): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const { partitions } = await manager.stats();
    if (partitions.length === PARTITIONS && partitions.every((each) => each.state === state)) return;
    assert.ok(performance.now() < until, `not all are ${state}: ${JSON.stringify(partitions)}`);
    await sleep(10);
  }
}

async function loseThread(
  manager: TotalsManager,
  logs: ReadonlyMap<TotalsManager, WatchedLog>,
): Promise<void> {
  if (!logs.get(manager)!.told) return;
  const own = (await manager.stats()).partitions.find(({ state }) => state === 'running');
  if (own === undefined) return;
  // In a rebalance whose end is withheld it waits for its time: the partition is parked, and nobody serves it.
  const call = { partition: own.partition, timeoutMs: 2_000 };
  await manager.streams.totals.command('exit', call).catch((error: unknown) => {
    assert.match(String(error), /ended before|belongs to|STOPPED|did not serve|was not answered/);
  });
}

/** 200 amounts of any keys. */
const portion = (random: () => number): [string, number][] =>
  Array.from({ length: 200 }, () => [`key-${Math.floor(random() * KEYS)}`, Math.floor(random() * 100)]);

function randomOf(from: number): () => number {
  const random = seededRandom(from);
  return () => random.next();
}
