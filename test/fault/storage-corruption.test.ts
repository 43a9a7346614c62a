/**
 * Every kind of file of a real database, damaged in every way: a manager that may rebuild serves the plain loop's state
 * again, one that may not fails those partitions with CORRUPT and leaves their files as they were. Wrong data never.
 */
import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { isPartitaError, processorAt, type StateManager } from '../../src/index.js';
import type totals from '../fixtures/totals-processor.js';
import { ManagerDesk } from '../support/manager-desk.js';
import { until } from '../support/waiting.js';

const streams = {
  totals: processorAt<typeof totals>(new URL('../fixtures/totals-processor.js', import.meta.url)),
};
/** Each partition of a manager gets another damage. */
const PARTITIONS = 24;
const KEYS = 60;
const GARBAGE = Buffer.alloc(3_000, 'not a file of a database. ');

type Apply = (path: string) => Promise<void>;

const flipped =
  (fraction: number): Apply =>
  async (path) => {
    const content = await readFile(path);
    if (content.length > 0) content[Math.floor((content.length - 1) * fraction)]! ^= 0x04;
    await writeFile(path, content);
  };
const DAMAGES: readonly (readonly [name: string, apply: Apply])[] = [
  ['emptied', (path) => truncate(path, 0)],
  ['cut in half', async (path) => truncate(path, Math.floor((await stat(path)).size / 2))],
  ...[0, 0.13, 0.37, 0.62, 0.88, 1].map((at) => [`one bit flipped at ${String(at)}`, flipped(at)] as const),
  ['deleted', (path) => rm(path)],
  ['replaced by garbage', (path) => writeFile(path, GARBAGE)],
  [
    'replaced by a directory',
    async (path) => {
      await rm(path);
      await mkdir(path);
    },
  ],
];

interface Damage {
  /** Relative to the partition's directory. */
  readonly kind: RegExp;
  readonly what: string;
  readonly apply: Apply;
}

const KINDS = {
  level: [
    /^level\/CURRENT$/,
    /^level\/MANIFEST-/,
    /^level\/\d+\.log$/,
    /^level\/\d+\.ldb$/,
    /^level\/LOCK$/,
    /^level\/LOG$/,
  ],
  rocksdb: [
    /^rocksdb\/CURRENT$/,
    /^rocksdb\/MANIFEST-/,
    /^rocksdb\/\d+\.log$/,
    /^rocksdb\/\d+\.sst$/,
    /^rocksdb\/LOCK$/,
    /^rocksdb\/OPTIONS-/,
    /^rocksdb\/IDENTITY$/,
  ],
};

for (const engine of ['level', 'rocksdb'] as const)
  describe(`damaged files of ${engine}`, () => {
    test('what may be rebuilt serves the right state; what may not is CORRUPT and left as it was', async () => {
      const desk = await ManagerDesk.open({
        engine,
        restarts: { max: 2, firstMs: 1, maxMs: 2 },
        onPartitionFailed: 'isolate',
      });
      try {
        const model = await fill(desk);
        const template = `${desk.stateDir}-template`;
        await cp(desk.stateDir, template, { recursive: true });
        try {
          const damages: Damage[] = [...KINDS[engine], /^partita\.json$/].flatMap((kind) =>
            DAMAGES.map(([what, apply]) => ({ kind, what, apply })),
          );
          let rebuilt = 0;
          let corrupt = 0;
          for (let from = 0; from < damages.length; from += PARTITIONS) {
            const some = damages.slice(from, from + PARTITIONS);
            rebuilt += await checkRebuilt(desk, template, some, model);
            corrupt += await checkRefused(desk, template, some, model);
          }
          console.log(`${engine}: ${damages.length} damages, ${rebuilt} rebuilt, ${corrupt} refused`);
          assert.ok(rebuilt > 0 && corrupt === rebuilt, `${rebuilt} rebuilt, ${corrupt} refused`);
        } finally {
          await rm(template, { recursive: true, force: true });
        }
      } finally {
        await desk.close();
      }
    });
  });

type Model = ReadonlyMap<number, ReadonlyMap<string, number>>;

/** Two lives of the manager, so that there are tables and a write-ahead log. */
async function fill(desk: ManagerDesk): Promise<Model> {
  const model = new Map<number, Map<string, number>>();
  await desk.log.createTopic({ topic: 'amounts', partitions: PARTITIONS });
  await desk.log.createTopic({ topic: 'totals', partitions: 1 });
  for (let life = 0; life < 2; life++) {
    const manager = await desk.start(streams);
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const sums = model.get(partition) ?? new Map<string, number>();
      model.set(partition, sums);
      const records = Array.from({ length: KEYS * 2 }, (_, i) => {
        const key = `key-${String((i * 7) % KEYS)}`;
        const amount = 1 + ((i + partition + life) % 5);
        sums.set(key, (sums.get(key) ?? 0) + amount);
        const value = Buffer.alloc(8);
        value.writeBigInt64BE(BigInt(amount));
        return { key, value, partition };
      });
      await desk.log.produce('amounts', records);
    }
    await manager.ready();
    await until(async () => same(await sumsOf(manager), model, [...model.keys()]));
    await manager.stop();
  }
  return model;
}

async function damaged(desk: ManagerDesk, template: string, damages: readonly Damage[]): Promise<string[]> {
  await rm(desk.stateDir, { recursive: true, force: true });
  await cp(template, desk.stateDir, { recursive: true });
  return Promise.all(
    damages.map(async ({ kind, what, apply }, partition) => {
      const directory = join(desk.stateDir, 'g', 'totals', String(partition));
      const names = (await readdir(directory, { recursive: true })).filter((name) => kind.test(name)).sort();
      assert.ok(names.length > 0, `there is no file like ${String(kind)}`);
      // The largest: beside it there may be an empty log.
      const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size));
      const name = names[sizes.indexOf(Math.max(...sizes))]!;
      await apply(join(directory, name));
      return `${name} ${what}`;
    }),
  );
}

/** How many had to be rebuilt; all partitions serve what the plain loop has. */
async function checkRebuilt(
  desk: ManagerDesk,
  template: string,
  damages: readonly Damage[],
  model: Model,
): Promise<number> {
  const names = await damaged(desk, template, damages);
  const manager = await desk.start(streams);
  const rebuilt = rebuiltOf(manager);
  let found: Model = new Map();
  let failed: ReadonlyMap<number, unknown> = new Map();
  // A partition that meets the damage at a read is rebuilt then, and its readers are told to ask again.
  await until(async () => {
    failed = await failuresOf(manager);
    found = await sumsOf(manager, failed);
    return found.size + failed.size >= PARTITIONS;
  });
  assert.deepEqual(
    [...failed].map(([partition, error]) => `${String(names[partition])}: ${storyOf(error)}`),
    [],
  );
  for (const [partition, sums] of model) assert.deepEqual(found.get(partition), sums, names[partition]);
  await manager.stop();
  return rebuilt.size;
}

/** How many were refused; the others serve what the plain loop has, and the files of the refused are as they were. */
async function checkRefused(
  desk: ManagerDesk,
  template: string,
  damages: readonly Damage[],
  model: Model,
): Promise<number> {
  const names = await damaged(desk, template, damages);
  const directory = (partition: number) => join(desk.stateDir, 'g', 'totals', String(partition));
  const before = await Promise.all(damages.map((_, partition) => filesOf(directory(partition))));
  const manager = await desk.start(streams, { rebuildOnCorruption: false });
  const rebuilt = rebuiltOf(manager);
  let found: Model = new Map();
  let failed: ReadonlyMap<number, unknown> = new Map();
  await until(async () => {
    failed = await failuresOf(manager);
    found = await sumsOf(manager, failed);
    return found.size + failed.size >= PARTITIONS;
  });
  await manager.stop().catch(() => undefined);
  for (const [partition, sums] of model) {
    if (!failed.has(partition)) assert.deepEqual(found.get(partition), sums, names[partition]);
  }
  // A flipped bit in the topic id of partita.json makes it another changelog's database, which is rebuilt all the same.
  for (const partition of rebuilt) assert.match(names[partition]!, /^partita\.json one bit/);
  for (const [partition, error] of failed) {
    assert.ok(hasCause(error, 'CORRUPT'), `${names[partition]}: ${storyOf(error)}`);
    const after = await filesOf(directory(partition));
    // RocksDB checks a block when it is read, by us or by a compaction: then the database was open, which turns its log
    // into a table.
    const readFirst = /\((?:reading|scanning|writing)\)/.test(storyOf(error));
    const changed = Object.keys(readFirst ? before[partition]! : { ...before[partition], ...after }).filter(
      (name) => before[partition]?.[name] !== after[name] && (!readFirst || name.endsWith('.sst')),
    );
    assert.deepEqual(changed, [], names[partition]);
  }
  return failed.size + rebuilt.size;
}

/** Everything but the notes for people (LOG) and the lock, both of which an attempt to open may make anew. */
async function filesOf(directory: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const name of (await readdir(directory, { recursive: true })).sort()) {
    if (/LOG(?:\.old.*)?$|LOCK$/.test(name)) continue;
    const path = join(directory, name);
    files[name] = (await stat(path)).isDirectory() ? 'directory' : (await readFile(path)).toString('latin1');
  }
  return files;
}

function rebuiltOf(manager: StateManager<typeof streams>): ReadonlySet<number> {
  const rebuilt = new Set<number>();
  manager.on('recovered', ({ partition, rebuilt: why }) => {
    if (why !== undefined) rebuilt.add(partition);
  });
  return rebuilt;
}

async function failuresOf(manager: StateManager<typeof streams>): Promise<ReadonlyMap<number, unknown>> {
  const { partitions } = await manager.stats();
  return new Map(
    partitions
      .filter(({ state }) => state === 'failed')
      .map(({ partition, failure }) => [partition, failure]),
  );
}

async function sumsOf(
  manager: StateManager<typeof streams>,
  failed: ReadonlyMap<number, unknown> = new Map(),
): Promise<Model> {
  const found = new Map<number, Map<string, number>>();
  await Promise.all(
    Array.from({ length: PARTITIONS }, async (_, partition) => {
      if (failed.has(partition)) return;
      try {
        const rows = await manager.streams.totals.query('all', { partition, timeoutMs: 3_000 });
        found.set(partition, new Map(rows.map(({ key, sum }) => [key, sum])));
      } catch (error) {
        assert.ok(isPartitaError(error), String(error));
      }
    }),
  );
  return found;
}

function same(found: Model, model: Model, partitions: readonly number[]): boolean {
  return partitions.every((partition) => {
    const [a, b] = [found.get(partition), model.get(partition)];
    return a !== undefined && a.size === b?.size && [...b].every(([key, sum]) => a.get(key) === sum);
  });
}

function hasCause(error: unknown, code: string): boolean {
  for (let at = error; at instanceof Error; at = at.cause)
    if (isPartitaError(at) && at.code === code) return true;
  return false;
}

function storyOf(error: unknown): string {
  const messages: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) messages.push(at.message);
  return messages.join(' ← ');
}
