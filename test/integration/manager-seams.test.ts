/** Where the manager, its actors and the log meet: streams without state, asked commits, added partitions, odd values. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isPartitaError, processorAt, type EmbeddedLog } from '../../src/index.js';
import type { LogFaults } from '../../src/log/embedded/log-faults.js';
import type forward from '../fixtures/forward-processor.js';
import type totals from '../fixtures/totals-processor.js';
import { code, ManagerDesk } from '../support/manager-desk.js';
import { until } from '../support/waiting.js';

const totalsStream = {
  totals: processorAt<typeof totals>(new URL('../fixtures/totals-processor.js', import.meta.url)),
};
const lettersStream = {
  letters: processorAt<typeof forward>(new URL('../fixtures/forward-processor.js', import.meta.url)),
};

let desk: ManagerDesk;
let log: EmbeddedLog;
let stateDir: string;
/** How long each init of a transactional id takes. */
let initMs = 0;
/** So many commits happen, but are not answered. */
let lost = 0;
const faults: LogFaults = {
  before: (operation) => (operation === 'init' && initMs > 0 ? sleep(initMs) : undefined),
  after: (operation) => {
    if (operation !== 'commit' || lost === 0) return undefined;
    lost--;
    return 'lost';
  },
};

beforeEach(async () => {
  initMs = lost = 0;
  desk = await ManagerDesk.open({ restarts: { max: 3, firstMs: 5, maxMs: 20 } }, { faults });
  ({ log, stateDir } = desk);
  for (const [topic, partitions] of [
    ['amounts', 2],
    ['totals', 1],
    ['letters', 2],
    ['copies', 3],
  ] as const)
    await log.createTopic({ topic, partitions });
});

afterEach(() => desk.close());

const start: ManagerDesk['start'] = (streams, options) => desk.start(streams, options);

async function values(topic: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { value } of log.read(topic)) found.push(Buffer.from(value ?? []).toString());
  return found.sort();
}

for (const guarantee of ['exactly-once', 'at-least-once'] as const)
  test(`a stream without state hands on every record once over a restart, and writes no file (${guarantee})`, async () => {
    const letters = (from: number): { key: string | null; value: string }[] =>
      Array.from({ length: 50 }, (_, i) => ({
        key: i % 3 === 0 ? null : `k${i}`,
        value: i === 7 ? 'refuse' : String(from + i),
      }));
    const expected = (count: number): string[] =>
      Array.from({ length: count }, (_, i) => String(i))
        .filter((_, i) => i % 50 !== 7)
        .sort();
    const first = await start(lettersStream, { guarantee });
    await log.produce('letters', letters(0));
    await until(async () => (await values('copies')).length >= 49);
    await first.stop();
    assert.deepEqual(await values('copies'), expected(50));
    await log.produce('letters', letters(50));
    const second = await start(lettersStream, { guarantee });
    await until(async () => (await values('copies')).length >= 98);
    assert.equal(
      await second.streams.letters.command('emit', { partition: 1, args: ['by command'] }),
      'by command',
    );
    await second.stop();
    assert.deepEqual(await values('copies'), [...expected(100), 'by command'].sort());
    assert.deepEqual(await readdir(stateDir), []);
    assert.equal(await log.describeTopic('changelog__g--letters'), undefined);
  });

test('a checkpoint asked for while partitions recover has nothing of theirs to commit', async () => {
  initMs = 150;
  const manager = await start(totalsStream);
  await manager.checkpoint();
  await manager.ready();
  await manager.checkpoint();
});

test('partitions added under a stream with state fail it before any of their records is processed', async () => {
  const manager = await start(totalsStream);
  await manager.ready();
  const failed = new Promise<unknown>((resolve) => {
    manager.on('failed', ({ error }) => {
      resolve(error);
    });
  });
  await log.addPartitions('amounts', 4);
  await log.produce('amounts', [{ key: 'moved', value: '1', partition: 3 }]);
  const error = await failed;
  assert.ok(isPartitaError(error, 'PARTITIONS_CHANGED'), String(error));
  await until(() => manager.state === 'stopped');
  assert.deepEqual(await values('totals'), []);
});

test('partitions added under a stream without state are taken on', async () => {
  const manager = await start(lettersStream);
  await manager.ready();
  await log.addPartitions('letters', 4);
  await log.produce('letters', [{ key: 'a', value: 'new', partition: 3 }]);
  await until(async () => (await values('copies')).length === 1);
  const sent = await manager.streams.letters.send('letters', { key: 'some key', value: 'sent' });
  await until(async () => (await values('copies')).length === 2);
  assert.equal(sent.partition, manager.locate('letters', 'some key').partition);
});

test('arguments and results that can not be copied to another thread are errors of their call alone', async () => {
  const manager = await start(lettersStream);
  await manager.ready();
  const { letters } = manager.streams;
  await assert.rejects(letters.query('echo', { partition: 0, args: [() => 1] }), code('INVALID_ARGUMENT'));
  await assert.rejects(letters.query('echo', { partition: 0, args: ['function'] }), code('HANDLER_FAILED'));
  assert.deepEqual(await letters.query('echo', { partition: 0, args: [{ a: 1 }] }), { a: 1 });
});

test('a command whose commit is in doubt when the group rebalances is answered, wherever its partition goes', async () => {
  const first = await start(totalsStream, { restarts: { max: 3, firstMs: 20_000, maxMs: 20_000 } });
  await first.ready();
  const keys = [0, 1].map((partition) =>
    ['a', 'b', 'c', 'd', 'e', 'f'].find((key) => first.locate('totals', key).partition === partition)!,
  );
  lost = 2;
  const answers = Promise.all(
    keys.map(async (key) => {
      try {
        return await first.streams.totals.command('add', { key, args: [1] });
      } catch (error) {
        return isPartitaError(error, 'ACTOR_RESTARTED') ? error.details['outcome'] : error;
      }
    }),
  );
  await until(() => lost === 0);
  await start(totalsStream, { instanceId: 'other' });
  await first.ready();
  const timeout = sleep(3_000, 'no answer', { ref: false });
  assert.deepEqual(await Promise.race([answers, timeout]), ['unknown', 'unknown']);
});
