/**
 * A manager and another process that want the same database: LOCKED only after the budget, at once free when the holder is
 * killed, the note cleaned up, and a parked actor gives way. The other process is `fixtures/open-partition.ts`.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isPartitaError, processorAt } from '../../src/index.js';
import { heldDirectories } from '../../src/manager/directory-registry.js';
import type totals from '../fixtures/totals-processor.js';
import { code, ManagerDesk } from '../support/manager-desk.js';
import { WatchedLog } from '../support/watched-log.js';
import { until } from '../support/waiting.js';

const PROGRAM = fileURLToPath(new URL('../fixtures/open-partition.js', import.meta.url));
const streams = {
  totals: processorAt<typeof totals>(new URL('../fixtures/totals-processor.js', import.meta.url)),
};
type Engine = 'level' | 'rocksdb';

let desk: ManagerDesk;
let others: ChildProcess[] = [];

beforeEach(async () => {
  desk = await ManagerDesk.open({ restarts: { max: 0, firstMs: 5, maxMs: 20 } });
  await desk.log.createTopic({ topic: 'amounts', partitions: 1 });
  await desk.log.createTopic({ topic: 'totals', partitions: 1 });
});

afterEach(async () => {
  for (const other of others) if (other.exitCode === null) other.kill('SIGKILL');
  others = [];
  await desk.close();
});

const directory = () => join(desk.stateDir, 'g', 'totals', '0');
const note = () => `${directory()}.wanted`;

/** The other process, and what it says of its opening. */
function another(engine: Engine, budgetMs: number): { process: ChildProcess; said: Promise<string> } {
  const child = spawn(process.execPath, [PROGRAM, directory(), engine, String(budgetMs)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  others.push(child);
  const said = once(child.stdout.setEncoding('utf8'), 'data').then(([text]) => String(text).trim());
  return { process: child, said };
}

async function letGo(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.stdin!.write('close\n');
  await exited;
}

for (const engine of ['level', 'rocksdb'] as const)
  describe(`on ${engine}`, () => {
    test('a manager waits for another process, serves when that one lets go, and takes its note away', async () => {
      const holder = another(engine, 0);
      assert.equal(await holder.said, 'opened');
      const starting = desk.start(streams, { engine, openBudgetMs: 60_000 });
      await until(() => exists(note()), 'the note');
      await letGo(holder.process);
      const manager = await starting;
      await manager.ready();
      assert.equal(await manager.streams.totals.command('add', { key: 'a', args: [1] }), 1);
      assert.equal(await exists(note()), false);
    });

    test('it is LOCKED after the budget and not before, and nothing stays behind', async () => {
      const holder = another(engine, 0);
      assert.equal(await holder.said, 'opened');
      const before = performance.now();
      const error: unknown = await desk
        .start(streams, { engine, openBudgetMs: 700 })
        .then((manager) => manager.ready())
        .catch((reason: unknown) => reason);
      assert.ok(hasCause(error, 'LOCKED'), String(error));
      assert.ok(performance.now() - before >= 690);
      assert.equal(await exists(note()), false);
      assert.deepEqual(heldDirectories(), []);
      await letGo(holder.process);
    });

    test('the lock of a process that was killed is free at once', async () => {
      const holder = another(engine, 0);
      assert.equal(await holder.said, 'opened');
      const exited = once(holder.process, 'exit');
      holder.process.kill('SIGKILL');
      await exited;
      const manager = await desk.start(streams, { engine, openBudgetMs: 0 });
      await manager.ready();
      assert.equal(await exists(note()), false);
    });

    test('another process waits for a serving manager, is LOCKED by its budget, and opens when the manager stops', async () => {
      const manager = await desk.start(streams, { engine });
      await manager.ready();
      assert.equal(await another(engine, 300).said, 'LOCKED');
      assert.equal(await exists(note()), false);
      const waiter = another(engine, 60_000);
      await until(() => exists(note()), 'the note');
      assert.equal(
        await manager.streams.totals.command('add', { key: 'a', args: [1] }),
        1,
        'it still serves',
      );
      await manager.stop();
      assert.equal(await waiter.said, 'opened');
      assert.equal(await exists(note()), false);
      await letGo(waiter.process);
    });
  });

test('stopping a manager that waits for a lock ends the waiting at once', async () => {
  const manager = await desk.start(streams, {
    openBudgetMs: 600_000,
    restarts: { max: 3, firstMs: 4_000, maxMs: 4_000 },
  });
  await manager.ready();
  const waiter = another('level', 60_000);
  await until(() => exists(note()), 'the note of the other process');
  // The thread dies, and before it is time for the next one the other process has the lock.
  await assert.rejects(
    manager.streams.totals.command('exit', { key: 'a' }),
    code('ACTOR_RESTARTED', 'THREAD_DIED'),
  );
  assert.equal(await waiter.said, 'opened');
  await until(() => exists(note()), 'the note of the manager');
  const before = performance.now();
  await manager.stop();
  assert.ok(performance.now() - before < 30_000, 'long before the budget of ten minutes');
  assert.equal(await exists(note()), false);
  assert.deepEqual(heldDirectories(), []);
  await letGo(waiter.process);
});

test('a parked actor gives way to another process that waits, and the partition is served again afterwards', async () => {
  const watched = new WatchedLog(desk.log);
  const manager = await desk.start(streams, { log: watched, parkMs: 600_000, openBudgetMs: 60_000 });
  await manager.ready();
  assert.equal(await manager.streams.totals.command('add', { key: 'a', args: [1] }), 1);
  const parked: number[] = [];
  manager.on('parked', ({ partition }) => parked.push(partition));
  // The next assignment does not reach the manager: what it has stays parked.
  watched.withheld = 1;
  const second = await desk.start(streams, { instanceId: 'other' });
  await until(async () => parked.length === 1, 'the parking');
  const waiter = another('level', 60_000);
  assert.equal(await waiter.said, 'opened');
  assert.equal(await exists(note()), false);
  await letGo(waiter.process);
  await second.stop();
  await until(
    async () => (await manager.streams.totals.query('total', { key: 'a' }).catch(() => undefined))?.sum === 1,
    'serving again',
  );
});

test('what is no lock is not waited for: a missing permission or a wrong file fails at once', async () => {
  await mkdir(dirname(directory()), { recursive: true });
  // For root, too, a file where a directory should be can't be opened.
  await writeFile(directory(), '');
  const before = performance.now();
  const error: unknown = await desk
    .start(streams, { openBudgetMs: 600_000 })
    .then((manager) => manager.ready())
    .catch((reason: unknown) => reason);
  assert.ok(hasCause(error, 'ENGINE_FAILED'), String(error));
  assert.ok(performance.now() - before < 60_000);
  assert.deepEqual(await readdir(dirname(directory())), ['0'], 'no note was left');
});

function hasCause(error: unknown, wanted: string): boolean {
  for (let at = error; at instanceof Error; at = at.cause)
    if (isPartitaError(at) && at.code === wanted) return true;
  return false;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
