/** Whatever happens to a database's files: it says CORRUPT, or it holds a prefix of whole batches; never anything else. */
import assert from 'node:assert/strict';
import { cp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isPartitaError } from '../../src/core/errors.js';
import type { EngineKind } from '../../src/storage/storage-engine.js';
import { withDirectory } from '../contract/storage-engine.js';
import { numberedBatch, openNumbered } from '../fixtures/numbered-batches.js';
import { assertWholeBatches } from '../support/numbered-batches.js';

const BATCHES = 40;

type Damage = readonly [name: string, apply: (path: string) => Promise<void>];

const overwriteAt =
  (fraction: number, change: (bytes: Buffer, at: number) => void) => async (path: string) => {
    const content = await readFile(path);
    if (content.length > 0)
      change(content, Math.min(content.length - 1, Math.floor(content.length * fraction)));
    await writeFile(path, content);
  };
const FRACTIONS = [0, 0.07, 0.41, 0.83, 1];
const DAMAGES: readonly Damage[] = [
  ['deleted', (path) => rm(path)],
  ['emptied', (path) => truncate(path, 0)],
  ...[0.1, 0.6].map((part): Damage => [
    `cut at ${String(part)}`,
    async (path) => truncate(path, Math.floor((await stat(path)).size * part)),
  ]),
  ['followed by garbage', async (path) => writeFile(path, Buffer.alloc(500, 0xa7), { flag: 'a' })],
  ['followed by zeros', async (path) => writeFile(path, Buffer.alloc(40_000), { flag: 'a' })],
  ...FRACTIONS.map((at): Damage => [
    `one bit flipped at ${String(at)}`,
    overwriteAt(at, (content, i) => {
      content[i]! ^= 0x10;
    }),
  ]),
  ...FRACTIONS.map((at): Damage => [
    `zeroed at ${String(at)}`,
    overwriteAt(at, (content, i) => content.fill(0, i, Math.min(content.length, i + 600))),
  ]),
];

/** Files that a database is read from; the others are locks and notes for people. */
const isDatabaseFile = (name: string): boolean => /^(?:CURRENT|MANIFEST-.*|\d+\.\w+)$/.test(name);

for (const engine of ['level', 'rocksdb'] as const)
  describe(`damaged files of ${engine}`, () => {
    it('are found to be damaged, or leave a prefix of whole batches', () =>
      withDirectory(async (directory) => {
        const template = join(directory, 'template');
        const names = await writeTemplate(template, engine);
        let corrupt = 0;
        let prefixes = 0;
        for (const [file, name] of names.entries())
          for (const [i, [damage, apply]] of DAMAGES.entries()) {
            // RocksDB syncs a lot when it is opened: every other damage of a file, alternating, has to do.
            if (engine === 'rocksdb' && (i + file) % 2 === 1) continue;
            const copy = join(directory, 'copy');
            await cp(template, copy, { recursive: true });
            await apply(join(copy, engine, name));
            const last = await openDamaged(copy, engine, `${name} ${damage}`);
            if (last === 'CORRUPT') corrupt++;
            else prefixes++;
            await rm(copy, { recursive: true });
          }
        assert.ok(corrupt > 0 && prefixes > 0, `${String(corrupt)} corrupt, ${String(prefixes)} prefixes`);
      }));
  });

it('level: a damaged stretch inside the write-ahead log is CORRUPT, not a hole in the data', () =>
  withDirectory(async (directory) => {
    const path = join(directory, 'p');
    const names = await writeTemplate(path, 'level');
    const log = join(path, 'level', names.filter((name) => name.endsWith('.log')).at(-1)!);
    const content = await readFile(log);
    assert.ok(content.length > 4 * 32_768, 'the log spans several blocks');
    content[40_000]! ^= 1;
    await writeFile(log, content);
    assert.equal(await openDamaged(path, 'level', 'a flipped bit'), 'CORRUPT');
  }));

it('level: a flipped bit in a value of a table is CORRUPT, not another value', () =>
  withDirectory(async (directory) => {
    const path = join(directory, 'p');
    const names = await writeTemplate(path, 'level');
    const table = join(
      path,
      'level',
      names.find((name) => name.endsWith('.ldb'))!,
    );
    const content = await readFile(table);
    const value = content.indexOf('xxxxxxxx');
    assert.ok(value > 0, 'tables are not compressed');
    content[value + 2] = 'y'.charCodeAt(0);
    await writeFile(table, content);
    assert.equal(await openDamaged(path, 'level', 'a flipped bit'), 'CORRUPT');
  }));

async function writeTemplate(path: string, engine: EngineKind): Promise<string[]> {
  const partition = await openNumbered(path, engine);
  for (let n = 0; n < BATCHES; n++)
    await partition.apply(numberedBatch(n), {
      offset: n,
      appendTime: n,
      checkpointRecord: Buffer.from(String(n)),
      sync: false,
    });
  await partition.close();
  const all = (await readdir(join(path, engine))).filter(isDatabaseFile).sort();
  // Of each kind the oldest and the newest.
  const suffix = (name: string): string => name.replace(/\d+/, '');
  const names = all.filter((name) => {
    const alike = all.filter((other) => suffix(other) === suffix(name));
    return name === alike[0] || name === alike.at(-1);
  });
  for (const kind of [/^CURRENT$/, /^MANIFEST/, /\.log$/, engine === 'level' ? /\.ldb$/ : /\.sst$/])
    assert.ok(
      names.some((name) => kind.test(name)),
      `${engine} has a file like ${String(kind)}`,
    );
  return names;
}

/** `CORRUPT`, or the last batch of the prefix that was found. */
async function openDamaged(path: string, engine: EngineKind, context: string): Promise<number | 'CORRUPT'> {
  const partition = await openNumbered(path, engine);
  try {
    if (partition.mismatch !== undefined) {
      assert.equal(
        partition.mismatch.kind,
        partition.offset === -1 ? partition.mismatch.kind : 'none',
        context,
      );
      assert.ok(['corrupt', 'format'].includes(partition.mismatch.kind), context);
      return 'CORRUPT';
    }
    return await assertWholeBatches(partition, context);
  } catch (error) {
    if (isPartitaError(error, 'CORRUPT')) return 'CORRUPT';
    throw error;
  } finally {
    await partition.close();
  }
}
