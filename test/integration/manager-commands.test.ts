/** What callers of commands are told, against what the state says in the end, while everything around them goes wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, isPartitaError, processorAt, StateManager } from '../../src/index.js';
import type { LogFaults } from '../../src/log/embedded/log-faults.js';
import { seededRandom } from '../support/seeded-random.js';
import type totals from '../fixtures/totals-processor.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const streams = {
  totals: processorAt<typeof totals>(new URL('../fixtures/totals-processor.js', import.meta.url)),
};
const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const COMMANDS = 240;

/** What became of a command, as its caller knows it. */
type Told = 'applied' | 'notApplied' | 'unknown';

test(`a command that is acknowledged happened once, one that is refused never did (seed ${seed})`, async (t) => {
  const random = seededRandom(seed);
  let on = true;
  const faults: LogFaults = {
    before: (operation) => {
      if (!on || operation !== 'commit' || !random.chance(0.1)) return undefined;
      if (random.chance(0.5)) return 'torn';
      throw new Error('it never arrived');
    },
    // Some answers come later than an actor that has ended is waited for.
    after: async (operation) => {
      if (!on || operation !== 'commit') return undefined;
      if (random.chance(0.3)) await sleep(random.next() * 200);
      return random.chance(0.1) ? 'lost' : undefined;
    },
  };
  const log = await embeddedLog({ faults });
  const stateDir = temporaryDirectory('commands');
  await log.createTopic({ topic: 'amounts', partitions: 4 });
  await log.createTopic({ topic: 'totals', partitions: 1 });
  const start = (n: number) =>
    StateManager.start({
      group: 'g',
      streams,
      log,
      stateDir,
      instanceId: `i${n}`,
      workers: 2,
      engine: 'memory',
      checkpoint: { intervalMs: 20 },
      restarts: { max: 50, firstMs: 5, maxMs: 20 },
      transactionTimeoutMs: 60,
      callTimeoutMs: 20_000,
    });
  const managers = [await start(0)];
  try {
    const told = new Map<string, Told>();
    const underWay: Promise<void>[] = [];
    for (let i = 0; i < COMMANDS; i++) {
      const key = `key-${i}`;
      const manager = managers[Math.floor(random.next() * managers.length)]!;
      underWay.push(
        manager.streams.totals.command('add', { key, args: [1] }).then(
          () => void told.set(key, 'applied'),
          (error: unknown) => void told.set(key, toldBy(error)),
        ),
      );
      if (i % 3 === 0) await sleep(random.next() * 15);
      if (i % 40 === 20) void exit(managers[0]!, Math.floor(random.next() * 4));
      if (i === 80) managers.push(await start(1));
      if (i === 160) await managers.pop()!.stop();
    }
    await Promise.all(underWay);
    on = false;
    await managers[0]!.ready();
    const all = await managers[0]!.streams.totals.queryAll('all', {});
    const sums = new Map([...all.values()].flat().map(({ key, sum }) => [key, sum]));
    const counts = { applied: 0, notApplied: 0, unknown: 0 };
    for (const [key, what] of told) {
      counts[what]++;
      const sum = sums.get(key) ?? 0;
      if (what === 'applied') assert.equal(sum, 1, `${key} was acknowledged`);
      else if (what === 'notApplied') assert.equal(sum, 0, `${key} was refused`);
      else assert.ok(sum <= 1, `${key} happened ${sum} times`);
    }
    t.diagnostic(JSON.stringify(counts));
    assert.equal(told.size, COMMANDS);
    assert.ok(counts.applied > COMMANDS / 10);
  } finally {
    on = false;
    await Promise.allSettled(managers.map((manager) => manager.stop({ deadlineMs: 3_000 })));
    await log.close();
  }
});

function toldBy(error: unknown): Told {
  if (isPartitaError(error, 'PARTITION_NOT_OWNED') || isPartitaError(error, 'STOPPED')) return 'notApplied';
  assert.ok(isPartitaError(error, 'ACTOR_RESTARTED'), String(error));
  return error.details['outcome'] as Told;
}

async function exit(manager: StateManager<typeof streams>, partition: number): Promise<void> {
  try {
    await manager.streams.totals.command('exit', { partition });
  } catch (error) {
    assert.ok(isPartitaError(error), String(error));
  }
}
