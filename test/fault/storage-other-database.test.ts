/**
 * A directory that holds the database of another engine, of a newer version or of another changelog: rebuilt if the
 * changelog has everything, otherwise STATE_MISSING and not a byte is another. The files of what is open are not removed.
 */
import assert from 'node:assert/strict';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { isPartitaError, processorAt, type ManagerOptions, type StateManager } from '../../src/index.js';
import { engineFactory } from '../../src/storage/engines.js';
import type totals from '../fixtures/totals-processor.js';
import { code, ManagerDesk } from '../support/manager-desk.js';

const streams = {
  totals: processorAt<typeof totals>(new URL('../fixtures/totals-processor.js', import.meta.url)),
};
type Manager = StateManager<typeof streams>;
const KEYS = ['a', 'b', 'c'];
const CHANGELOG = 'changelog__g--totals';

let desk: ManagerDesk;
const directory = () => join(desk.stateDir, 'g', 'totals', '0');

beforeEach(async () => {
  desk = await ManagerDesk.open({ restarts: { max: 0, firstMs: 5, maxMs: 20 } });
  await desk.log.createTopic({ topic: 'amounts', partitions: 1 });
  await desk.log.createTopic({ topic: 'totals', partitions: 1 });
});
afterEach(() => desk.close());

type Options = Partial<ManagerOptions<typeof streams>>;

async function serve(options: Options = {}): Promise<Manager> {
  const manager = await desk.start(streams, options);
  await manager.ready();
  return manager;
}

async function addOneEach(manager: Manager): Promise<number[]> {
  return Promise.all(KEYS.map((key) => manager.streams.totals.command('add', { key, args: [1] })));
}

/** A life that leaves a sum of one behind each key. */
async function written(options: Options = {}): Promise<void> {
  const manager = await serve(options);
  assert.deepEqual(await addOneEach(manager), [1, 1, 1]);
  await manager.stop();
}

async function filesOf(path: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    const name = join(entry.parentPath, entry.name);
    if (entry.isFile() && !/^LO(?:G.*|CK)$/.test(entry.name))
      files[name] = (await readFile(name)).toString('latin1');
  }
  return files;
}

const format = () => join(directory(), 'partita.json');

async function rewriteFormat(change: Record<string, unknown>): Promise<void> {
  const found = JSON.parse(await readFile(format(), 'utf8')) as Record<string, unknown>;
  await writeFile(format(), JSON.stringify({ ...found, ...change }));
}

const CASES: readonly (readonly [
  name: string,
  before: Options,
  change: Record<string, unknown>,
  after: Options,
])[] = [
  ['of rocksdb, for level', { engine: 'rocksdb' }, {}, { engine: 'level' }],
  ['of level, for rocksdb', { engine: 'level' }, {}, { engine: 'rocksdb' }],
  [
    'of a newer version, on level',
    { engine: 'level' },
    { formatVersion: 99, engine: 'new' },
    { engine: 'level' },
  ],
  ['of a newer version, on rocksdb', { engine: 'rocksdb' }, { formatVersion: 99 }, { engine: 'rocksdb' }],
  ['of another changelog, on level', { engine: 'level' }, { changelogTopicId: 'other' }, { engine: 'level' }],
  [
    'of another changelog, on rocksdb',
    { engine: 'rocksdb' },
    { changelogTopicId: 'other' },
    { engine: 'rocksdb' },
  ],
];

for (const [name, before, change, after] of CASES) {
  test(`a database ${name}: rebuilt from the changelog, and used from then on`, async () => {
    await written(before);
    await rewriteFormat(change);
    const manager = await serve(after);
    assert.deepEqual(await addOneEach(manager), [2, 2, 2]);
    await manager.stop();
    assert.deepEqual((await readdir(directory())).sort(), [after.engine, 'partita.json'].sort());
    const again = await desk.start(streams, after);
    const rebuilt: string[] = [];
    again.on('recovered', (event) => rebuilt.push(...(event.rebuilt === undefined ? [] : [event.rebuilt])));
    await again.ready();
    assert.deepEqual(await addOneEach(again), [3, 3, 3]);
    assert.deepEqual(rebuilt, []);
  });

  test(`a database ${name}: where the changelog lacks what was committed it is STATE_MISSING, files untouched`, async () => {
    await written(before);
    await rewriteFormat(change);
    const { end } = (await desk.log.bounds(CHANGELOG))[0]!;
    await desk.log.alterTopic(CHANGELOG, { 'cleanup.policy': 'compact,delete' });
    await desk.log.deleteRecords(CHANGELOG, 0, end);
    await desk.log.alterTopic(CHANGELOG, { 'cleanup.policy': 'compact' });
    const files = await filesOf(directory());
    const error: unknown = await desk
      .start(streams, after)
      .then((manager) => manager.ready())
      .catch((reason: unknown) => reason);
    assert.ok(hasCause(error, 'STATE_MISSING'), String(error));
    // What is of this engine and format is opened, to be read; its rows are what they were.
    if ('changelogTopicId' in change) assert.ok((await readdir(directory())).includes(after.engine!));
    else assert.deepEqual(await filesOf(directory()), files);
  });
}

test('the files of an assigned partition are not removed while it is served, and removing what is gone is fine', async () => {
  for (const engine of ['level', 'rocksdb'] as const) {
    const factory = engineFactory(engine);
    const manager = await serve({ engine });
    await addOneEach(manager);
    await assert.rejects(factory.destroy(join(directory(), engine)), code('LOCKED'));
    const sums = await addOneEach(manager);
    assert.ok(sums.every((sum) => sum >= 2));
    await manager.stop();
    await factory.destroy(join(directory(), engine));
    await factory.destroy(join(directory(), engine));
    const again = await serve({ engine });
    assert.deepEqual(
      await addOneEach(again),
      sums.map((sum) => sum + 1),
      'it came back from the changelog',
    );
    await again.stop();
  }
});

test('a rebuilt directory of which a copy was put back is found to be older, and catches up', async () => {
  await written();
  const copy = `${desk.stateDir}-copy`;
  try {
    await cp(desk.stateDir, copy, { recursive: true });
    const manager = await serve();
    assert.deepEqual(await addOneEach(manager), [2, 2, 2]);
    await manager.stop();
    await rm(desk.stateDir, { recursive: true });
    await cp(copy, desk.stateDir, { recursive: true });
    const again = await serve();
    assert.deepEqual(await addOneEach(again), [3, 3, 3]);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
});

function hasCause(error: unknown, wanted: string): boolean {
  for (let at = error; at instanceof Error; at = at.cause)
    if (isPartitaError(at) && at.code === wanted) return true;
  return false;
}
