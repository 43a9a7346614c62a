/**
 * What becomes of what is processed and not yet committed when partitions are taken away: committed within one budget for
 * all, dropped, or left to who comes next; and who goes on when two members believe in the same partition.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { processorAt, type EmbeddedLog, type LogFactory } from '../../src/index.js';
import type { FaultInfo, LogFaults, LogOperation } from '../../src/log/embedded/log-faults.js';
import { Amounts, totalsStream, type TotalsManager } from '../support/amounts.js';
import type unruly from '../fixtures/unruly-processor.js';
import { ManagerDesk } from '../support/manager-desk.js';
import { until } from '../support/waiting.js';

const PARTITIONS = 4;
const KEYS = Array.from({ length: 16 }, (_, i) => `key-${i}`);
const unrulyStream = {
  orders: processorAt<typeof unruly>(new URL('../fixtures/unruly-processor.js', import.meta.url)),
};

let desk: ManagerDesk;
let log: EmbeddedLog;
let amounts: Amounts;
let before: (operation: LogOperation, info: FaultInfo) => unknown;
/** Calls that reached the log, with who made them. */
let calls: { readonly operation: LogOperation; readonly clientId: string }[];

beforeEach(async () => {
  before = () => undefined;
  calls = [];
  const faults: LogFaults = {
    before: async (operation, info) => {
      await before(operation, info);
      calls.push({ operation, clientId: info.clientId });
    },
  };
  desk = await ManagerDesk.open(
    { engine: 'memory', restarts: { firstMs: 5, maxMs: 50 }, checkpoint: { intervalMs: 600_000 } },
    { faults },
  );
  ({ log } = desk);
  amounts = await Amounts.on(log, PARTITIONS);
});

afterEach(async () => {
  before = () => undefined;
  await desk.close();
});

/** A manager that the log knows by this name; it commits nothing of its own accord. */
function member(
  clientId: string,
  options: { readonly revokeBudgetMs?: number } = {},
): Promise<TotalsManager> {
  const factory: LogFactory = { kind: 'embedded', connect: () => log.connect({ clientId }) };
  return desk.start(totalsStream, {
    log: factory,
    instanceId: clientId,
    sessionTimeoutMs: 400,
    transactionTimeoutMs: 1_000,
    ...options,
  });
}

const produce = (): Promise<void> => amounts.produce(KEYS.map((key, i) => [key, i]));

const count = (operation: LogOperation, clientId: string): number =>
  calls.filter((call) => call.operation === operation && call.clientId === clientId).length;

test('a revocation commits what all actors have processed, in parallel, and is over when they are', async () => {
  const first = await member('first');
  await produce();
  await amounts.countedOnce(first);
  let underWay = 0;
  let release: () => void = () => undefined;
  const all = new Promise<void>((resolve) => (release = resolve));
  before = (operation, { clientId }) => {
    if (operation !== 'commit' || clientId !== 'first') return undefined;
    // None goes through before every actor has come with its own.
    if (++underWay === PARTITIONS) release();
    return all;
  };
  const revoked = new Promise<boolean>((resolve) => {
    first.once('revoked', ({ committed }) => {
      resolve(committed);
    });
  });
  const second = await member('second');
  assert.equal(await revoked, true);
  assert.equal(underWay, PARTITIONS);
  await amounts.countedOnce(first, second);
});

for (const fits of [true, false])
  test(`the layer in flight is committed first, the live one ${fits ? 'after it if the budget allows' : 'dropped if the budget does not allow it, and processed again'}`, async () => {
    const first = await member('first', { revokeBudgetMs: fits ? 10_000 : 100 });
    await produce();
    await amounts.countedOnce(first);
    const offsets: number[] = [];
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    before = (operation, { clientId, transactionalId, request }) => {
      if (operation !== 'commit' || clientId !== 'first' || transactionalId !== 'g--totals--0')
        return undefined;
      offsets.push((request as { offsets: { offset: number }[] }).offsets[0]!.offset);
      return held;
    };
    const checkpoint = first.checkpoint();
    checkpoint.catch(() => undefined);
    await until(() => offsets.length === 1, 'a commit');
    await produce();
    await amounts.countedOnce(first);
    const revoked = new Promise<boolean>((resolve) => {
      first.once('revoked', ({ committed }) => {
        resolve(committed);
      });
    });
    const starting = member('second');
    if (fits) {
      await until(async () => (await first.stats()).state === 'rebalancing', 'the barrier');
      release();
    }
    assert.equal(await revoked, fits);
    assert.equal(offsets.length, fits ? 2 : 1);
    if (fits) assert.ok(offsets[1]! > offsets[0]!);
    release();
    const second = await starting;
    await amounts.countedOnce(first, second);
  });

test('what was processed and not committed when the membership is lost is dropped without a write, and the next owner processes it', async () => {
  const first = await member('first');
  await first.ready();
  await produce();
  await amounts.countedOnce(first);
  let thaw: () => void = () => undefined;
  const frozen = new Promise<void>((resolve) => (thaw = resolve));
  before = (operation, { clientId }) =>
    clientId === 'first' && ['heartbeat', 'assign'].includes(operation) ? frozen : undefined;
  let lost = false;
  first.once('lost', () => (lost = true));
  const [commits, inits] = [count('commit', 'first'), count('init', 'first')];
  const second = await member('second');
  await until(async () => (await second.stats()).partitions.length === PARTITIONS, 'the eviction');
  await amounts.countedOnce(second);
  await second.checkpoint();
  assert.deepEqual([count('commit', 'first'), count('init', 'first')], [commits, inits]);
  // It learns it from its next heartbeat. Until it is assigned something again it has nothing to write.
  let assigned = false;
  const written: LogOperation[] = [];
  first.once('assigned', () => (assigned = true));
  before = (operation, { clientId }) => {
    if (clientId === 'first' && !assigned && (operation === 'commit' || operation === 'init'))
      written.push(operation);
  };
  thaw();
  await until(() => lost, 'the news');
  await until(async () => (await first.stats()).partitions.length === PARTITIONS / 2, 'its return');
  assert.deepEqual(written, []);
  await produce();
  await amounts.countedOnce(first, second);
});

test('the rightful owner that is fenced by another holder of its id asks the group, takes the id again and goes on', async () => {
  const first = await member('first');
  await produce();
  await amounts.countedOnce(first);
  const asked = count('owns', 'first');
  const stranger = await log.connect({ clientId: 'stranger' });
  const producer = stranger.producer({ transactionalId: 'g--totals--0', transactionTimeoutMs: 1_000 });
  await producer.init();
  let lost = 0;
  first.on('lost', () => lost++);
  await produce();
  await first.checkpoint().catch(() => undefined);
  await amounts.countedOnce(first);
  await first.checkpoint();
  assert.ok(count('owns', 'first') > asked, 'the group was asked before the id was taken again');
  assert.equal(lost, 0);
  await stranger.close();
});

test('a stale member that is fenced asks the group, hears no, and never takes the id again', async () => {
  const first = await member('first');
  await first.ready();
  const inits = count('init', 'first');
  // Only its heartbeats are lost: everything else of it goes on, as it would in a member that has not noticed.
  let deaf = true;
  before = (operation, { clientId }) => {
    if (clientId === 'first' && operation === 'heartbeat' && deaf) throw new Error('lost');
  };
  const second = await member('second');
  await until(async () => (await second.stats()).partitions.length === PARTITIONS, 'the eviction');
  await second.ready();
  await produce();
  // It still believes that they are its own.
  await amounts.countedOnce(first);
  await first.checkpoint().catch(() => undefined);
  const gaveUp = async (): Promise<boolean> =>
    (await first.stats()).partitions.every(({ state }) => state === 'lost');
  await until(gaveUp, 'the answer of the group');
  await amounts.countedOnce(second);
  assert.equal(count('init', 'first'), inits);
  deaf = false;
  await until(async () => (await first.stats()).partitions.length === PARTITIONS / 2, 'its return');
  await amounts.countedOnce(first, second);
});

test('a thread whose actor does not confirm within a second after the budget is ended, and its other actors serve again in another one', async () => {
  await log.createTopic({ topic: 'orders', partitions: 2 });
  const file = join(desk.stateDir, 'blocked');
  const manager = await desk.start(unrulyStream, { revokeBudgetMs: 200, checkpoint: { intervalMs: 20 } });
  await manager.ready();
  const keys = ['a', 'b', 'c', 'd', 'e', 'f'].map((key) => ({ key, value: Buffer.from('count') }));
  await log.produce('orders', keys);
  await until(async () => (await manager.streams.orders.query('count', { key: 'f' })) === 1, 'the counts');
  let revoked: boolean | undefined;
  manager.once('revoked', ({ committed }) => (revoked = committed));
  await log.produce('orders', [{ key: 'a', value: Buffer.from(`block once: ${file}`) }]);
  await until(() => existsSync(file), 'the block');
  // A member without a part in the stream: everything stays where it is.
  const guest = await log.connect({ clientId: 'guest' });
  await log.createTopic({ topic: 'elsewhere', partitions: 1 });
  const nothing = (): void => undefined;
  const session = await guest.join(
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
  await until(() => revoked !== undefined, 'the end of the barrier');
  assert.equal(revoked, false);
  await log.produce('orders', keys);
  await until(async () => {
    const counts = await Promise.all(
      keys.map(({ key }) => manager.streams.orders.query('count', { key, timeoutMs: 5_000 })),
    );
    return counts.every((n, i) => n === (i === 0 ? 3 : 2));
  }, 'every record counted once');
  await session.leave();
  await guest.close();
});
