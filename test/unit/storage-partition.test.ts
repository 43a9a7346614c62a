/** The database of one actor: positions in the same batch as the data, mismatches reported and never acted on, locks. */
import assert from 'node:assert/strict';
import { access, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { ManualClock, systemClock } from '../../src/core/clock.js';
import { PartitaError } from '../../src/core/errors.js';
import { engineFactory } from '../../src/storage/engines.js';
import type { EngineFactory, EngineKind } from '../../src/storage/storage-engine.js';
import { StorePartition, type OpenStorePartition } from '../../src/storage/store-partition.js';
import {
  bytes,
  del,
  ENGINE_OPTIONS,
  hasCode,
  put,
  scanAll,
  text,
  withDirectory,
} from '../contract/storage-engine.js';
import { PATIENCE_MS, until } from '../support/waiting.js';

type Overrides = Partial<OpenStorePartition>;
const AT = { appendTime: 1_000, sync: false };

function open(directory: string, overrides: Overrides = {}): Promise<StorePartition> {
  return StorePartition.open({
    directory,
    engine: 'level',
    changelogTopicId: 'topic-1',
    openBudgetMs: 0,
    engineOptions: ENGINE_OPTIONS,
    clock: systemClock,
    rebuildOnCorruption: true,
    ...overrides,
  });
}

/** A directory with one key at offset 7, closed. */
async function written(directory: string, overrides: Overrides = {}): Promise<void> {
  const partition = await open(directory, overrides);
  await partition.apply([put('\u0001sa', '1')], { ...AT, offset: 7, checkpointRecord: bytes('record') });
  await partition.close();
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

for (const engine of ['memory', 'level', 'rocksdb'] as const)
  describe(`the database of an actor on ${engine}`, () => {
    it('begins empty, and keeps data, offset, append time and checkpoint record together', () =>
      withDirectory(async (directory) => {
        const path = join(directory, 'p');
        const partition = await open(path, { engine });
        assert.equal(partition.mismatch, undefined);
        assert.deepEqual(
          [partition.empty, partition.offset, partition.appendTime, partition.checkpointRecord],
          [true, -1, -1, undefined],
        );
        await partition.apply([put('\u0001sa', '1'), put('\u0001sb', '2')], { ...AT, offset: 0 });
        await partition.apply([del('\u0001sa')], {
          offset: 9_007_199_254_740_000,
          appendTime: 1_700_000_000_000,
          checkpointRecord: bytes('first'),
          sync: true,
        });
        await partition.apply([], {
          offset: 9_007_199_254_740_001,
          appendTime: 1_700_000_000_001,
          sync: false,
        });
        const check = (one: StorePartition): void => {
          assert.equal(one.empty, false);
          assert.equal(one.offset, 9_007_199_254_740_001);
          assert.equal(one.appendTime, 1_700_000_000_001);
          assert.equal(text(one.checkpointRecord), 'first');
          assert.equal(one.get(bytes('\u0001sa')), undefined);
          assert.equal(text(one.get(bytes('\u0001sb'))), '2');
        };
        check(partition);
        assert.ok((await partition.stats()).bytes > 0);
        await partition.close();
        if (engine === 'memory') {
          assert.equal(await exists(path), false, 'the memory engine touches no disk');
          return;
        }
        const again = await open(path, { engine });
        check(again);
        await again.close();
      }));

    it('refuses an offset below the stored one and writes nothing; the same one may come again', () =>
      withDirectory(async (directory) => {
        const partition = await open(join(directory, 'p'), { engine });
        await partition.apply([put('\u0001sa', '1')], { ...AT, offset: 7 });
        await assert.rejects(
          partition.apply([put('\u0001sa', '2')], { ...AT, offset: 6, checkpointRecord: bytes('x') }),
          hasCode('OFFSET_BACKWARDS'),
        );
        assert.equal(text(partition.get(bytes('\u0001sa'))), '1');
        assert.deepEqual([partition.offset, partition.checkpointRecord], [7, undefined]);
        await partition.apply([put('\u0001sa', '3')], { ...AT, offset: 7 });
        assert.equal(text(partition.get(bytes('\u0001sa'))), '3');
        for (const offset of [-1, 1.5, Number.NaN, 2 ** 53])
          await assert.rejects(partition.apply([], { ...AT, offset }), hasCode('INVALID_ARGUMENT'));
        await partition.close();
      }));

    it('keeps its own rows out of every store, and stores out of its own rows', () =>
      withDirectory(async (directory) => {
        const partition = await open(join(directory, 'p'), { engine });
        await partition.apply([put('\u0001sa', '1'), put('\u0008$partit', 'a store key')], {
          ...AT,
          offset: 1,
          checkpointRecord: bytes('record'),
        });
        await assert.rejects(
          partition.apply([put('\u0008$partitac', 'forged')], { ...AT, offset: 2 }),
          hasCode('INVALID_ARGUMENT'),
        );
        const snapshot = partition.snapshot();
        assert.deepEqual(await scanAll(snapshot, { gte: bytes('\u0001s'), lt: bytes('\u0001t') }), [
          ['\u0001sa', '1'],
        ]);
        await snapshot.close();
        assert.equal(text(partition.checkpointRecord), 'record');
        await partition.close();
      }));

    it('is empty after a rebuild and takes any offset again', () =>
      withDirectory(async (directory) => {
        const path = join(directory, 'p');
        const partition = await open(path, { engine });
        await partition.apply([put('\u0001sa', '1')], {
          ...AT,
          offset: 7,
          checkpointRecord: bytes('record'),
        });
        await partition.rebuild();
        assert.deepEqual([partition.empty, partition.offset, partition.mismatch], [true, -1, undefined]);
        assert.equal(partition.get(bytes('\u0001sa')), undefined);
        await partition.apply([put('\u0001sb', '2')], { ...AT, offset: 0 });
        assert.equal(text(partition.get(bytes('\u0001sb'))), '2');
        await partition.close();
      }));

    it('refuses every use after close', () =>
      withDirectory(async (directory) => {
        const partition = await open(join(directory, 'p'), { engine });
        await partition.close();
        await partition.close();
        assert.throws(() => partition.get(bytes('a')), hasCode('ENGINE_CLOSED'));
        assert.throws(() => partition.snapshot(), hasCode('ENGINE_CLOSED'));
        await assert.rejects(partition.apply([], { ...AT, offset: 1 }), hasCode('ENGINE_CLOSED'));
        await assert.rejects(partition.rebuild(), hasCode('ENGINE_CLOSED'));
      }));
  });

describe('a database that can not be used as it is', () => {
  it('is reported when another engine wrote it, and left alone until it is rebuilt', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      await written(path);
      const partition = await open(path, { engine: 'rocksdb' });
      assert.equal(partition.mismatch?.kind, 'engine');
      assert.match(partition.mismatch.message, /"level".*"rocksdb"/);
      assert.throws(() => partition.get(bytes('a')), hasCode('ILLEGAL_STATE'));
      await assert.rejects(partition.apply([], { ...AT, offset: 1 }), hasCode('ILLEGAL_STATE'));
      await partition.close();
      const kept = await open(path);
      assert.deepEqual([kept.mismatch, kept.offset], [undefined, 7]);
      await kept.close();
      const rebuilt = await open(path, { engine: 'rocksdb' });
      await rebuilt.rebuild();
      assert.deepEqual([rebuilt.mismatch, rebuilt.empty], [undefined, true]);
      assert.deepEqual((await readdir(path)).sort(), ['partita.json', 'rocksdb']);
      await rebuilt.close();
    }));

  it('is not rebuilt over the head of another engine that still has it open', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      const holder = await open(path);
      await holder.apply([put('\u0001sa', '1')], { ...AT, offset: 7 });
      const other = await open(path, { engine: 'rocksdb' });
      await assert.rejects(other.rebuild(), hasCode('LOCKED'));
      assert.equal(text(holder.get(bytes('\u0001sa'))), '1');
      await holder.close();
      await other.rebuild();
      assert.equal(other.empty, true);
      await other.close();
    }));

  it('is reported when its format is unknown, makes no sense or is lost', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      await written(path);
      const file = join(path, 'partita.json');
      const good = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
      assert.deepEqual(good, { engine: 'level', formatVersion: 1, changelogTopicId: 'topic-1' });
      for (const [content, kind] of [
        [JSON.stringify({ ...good, formatVersion: 2 }), 'format'],
        ['{"formatVersion":17,"engine":"of tomorrow","shards":3}', 'format'],
        ['{}', 'corrupt'],
        ['null', 'corrupt'],
        ['{"engine":', 'corrupt'],
        [undefined, 'corrupt'],
      ] as const) {
        if (content === undefined) await rm(file);
        else await writeFile(file, content);
        const files = await filesOf(path);
        const partition = await open(path);
        assert.equal(partition.mismatch?.kind, kind, content);
        if (kind === 'corrupt')
          await assert.rejects(open(path, { rebuildOnCorruption: false }), hasCode('CORRUPT'));
        assert.deepEqual(await filesOf(path), files, 'not a byte is another');
        assert.deepEqual([partition.offset, partition.empty], [-1, true]);
        await partition.close();
      }
      await writeFile(file, JSON.stringify(good));
      const kept = await open(path);
      assert.deepEqual([kept.mismatch, kept.offset], [undefined, 7]);
      await kept.close();
    }));

  it('is reported when the changelog is another one; it may then be read, and adopted or rebuilt', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      await written(path);
      const partition = await open(path, { changelogTopicId: 'topic-2' });
      assert.equal(partition.mismatch?.kind, 'topicId');
      assert.match(partition.mismatch.message, /topic-1.*topic-2/);
      assert.equal(text(partition.get(bytes('\u0001sa'))), '1');
      await assert.rejects(partition.apply([], { ...AT, offset: 9 }), hasCode('ILLEGAL_STATE'));
      await partition.adopt();
      assert.deepEqual([partition.mismatch, partition.offset], [undefined, -1]);
      await partition.apply([put('\u0001sb', '2')], { ...AT, offset: 1 });
      await assert.rejects(partition.adopt(), hasCode('ILLEGAL_STATE'));
      await partition.close();
      const again = await open(path, { changelogTopicId: 'topic-2' });
      assert.deepEqual(
        [again.mismatch, again.offset, text(again.checkpointRecord)],
        [undefined, 1, 'record'],
      );
      await again.close();
      const third = await open(path, { changelogTopicId: 'topic-3' });
      await third.rebuild();
      assert.deepEqual([third.mismatch, third.empty], [undefined, true]);
      await third.close();
    }));

  it('does not compare topic ids where the log gives none, and learns one that it gives later', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      await written(path, { changelogTopicId: '' });
      for (const [changelogTopicId, expected] of [
        ['', undefined],
        ['topic-1', undefined],
        ['', undefined],
        ['topic-2', 'topicId'],
      ] as const) {
        const partition = await open(path, { changelogTopicId });
        assert.equal(partition.mismatch?.kind, expected);
        await partition.close();
      }
    }));

  it('says CORRUPT if it may not be rebuilt, and otherwise reports the damage; the files stay either way', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      await written(path);
      await writeFile(join(path, 'level', 'CURRENT'), 'nonsense');
      const before = await readdir(join(path, 'level'));
      await assert.rejects(open(path, { rebuildOnCorruption: false }), hasCode('CORRUPT'));
      const partition = await open(path);
      assert.equal(partition.mismatch?.kind, 'corrupt');
      assert.deepEqual(
        (await readdir(join(path, 'level'))).filter((name) => !name.startsWith('LOG')),
        before.filter((name) => !name.startsWith('LOG')),
      );
      await partition.rebuild();
      assert.deepEqual([partition.mismatch, partition.empty], [undefined, true]);
      await partition.close();
    }));

  it('finds a crash between the making of the database and of its format file harmless', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      await (await open(path)).close();
      await rm(join(path, 'partita.json'));
      const partition = await open(path);
      assert.equal(partition.mismatch, undefined);
      await partition.close();
      assert.equal(await exists(join(path, 'partita.json')), true);
    }));
});

describe('damage that is found while a database is open', () => {
  const damagedAtReads = (kind: EngineKind): EngineFactory => ({
    ...engineFactory(kind),
    open: async (path, options) => {
      const engine = await engineFactory(kind).open(path, options);
      const damage = new PartitaError('CORRUPT', 'a block did not fit its checksum');
      return Object.defineProperty(engine, 'damage', { get: () => damage });
    },
  });

  it('has the next opening report it, also in another process, until it is rebuilt', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      await written(path);
      await (await open(path, { factoryOf: damagedAtReads })).close();
      await assert.rejects(open(path, { rebuildOnCorruption: false }), hasCode('CORRUPT'));
      const partition = await open(path);
      assert.equal(partition.mismatch?.kind, 'corrupt');
      assert.match(partition.mismatch.message, /a block did not fit its checksum/);
      await partition.rebuild();
      assert.deepEqual([partition.mismatch, partition.empty], [undefined, true]);
      await partition.close();
      const again = await open(path);
      assert.equal(again.mismatch, undefined);
      await again.close();
    }));

  it('leaves no mark where the database may not be rebuilt', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      await written(path);
      await (await open(path, { factoryOf: damagedAtReads, rebuildOnCorruption: false })).close();
      assert.deepEqual((await readdir(path)).sort(), ['level', 'partita.json']);
    }));
});

describe('a database that somebody else has open', () => {
  it('is LOCKED at once without a budget, and opened within the budget once it is free', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      const holder = await open(path);
      await assert.rejects(open(path), hasCode('LOCKED'));
      assert.equal(await exists(`${path}.wanted`), false);
      const waiting = open(path, { openBudgetMs: 10_000 });
      await until(() => exists(`${path}.wanted`));
      await holder.close();
      const partition = await waiting;
      assert.equal(await exists(`${path}.wanted`), false);
      await partition.close();
    }));

  it('is LOCKED when the budget is over', () =>
    withDirectory(async (directory) => {
      const holder = await open(join(directory, 'p'));
      const started = performance.now();
      await assert.rejects(open(join(directory, 'p'), { openBudgetMs: 200 }), hasCode('LOCKED'));
      const took = performance.now() - started;
      assert.ok(took >= 190 && took < PATIENCE_MS, String(took));
      await holder.close();
    }));

  it('is no longer waited for as soon as the signal says so', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      const holder = await open(path);
      const stop = new AbortController();
      const waiting = open(path, { openBudgetMs: 1e9, clock: new ManualClock(), signal: stop.signal });
      await until(() => exists(`${path}.wanted`));
      stop.abort();
      await assert.rejects(waiting, hasCode('CALL_ABORTED'));
      assert.equal(await exists(`${path}.wanted`), false);
      await assert.rejects(open(path, { signal: stop.signal }), hasCode('CALL_ABORTED'));
      await holder.close();
    }));

  it('is told apart from a full disk and from a failure, which are not waited for', () =>
    withDirectory(async (directory) => {
      for (const code of ['DISK_FULL', 'ENGINE_FAILED'] as const) {
        let opens = 0;
        const factoryOf = (kind: EngineKind): EngineFactory => ({
          ...engineFactory(kind),
          open: () => {
            opens++;
            return Promise.reject(new PartitaError(code, 'injected'));
          },
        });
        await assert.rejects(open(join(directory, 'p'), { openBudgetMs: 60_000, factoryOf }), hasCode(code));
        assert.equal(opens, 1);
      }
    }));

  it('does not mistake a missing permission for a lock', () =>
    withDirectory(async (directory) => {
      // A file where the directory should be: refused for root too.
      await writeFile(join(directory, 'p'), '');
      await assert.rejects(open(join(directory, 'p'), { openBudgetMs: 60_000 }), hasCode('ENGINE_FAILED'));
      await mkdir(join(directory, 'q'));
      await writeFile(join(directory, 'q', 'level'), '');
      await assert.rejects(open(join(directory, 'q'), { openBudgetMs: 60_000 }), hasCode('ENGINE_FAILED'));
    }));
});

describe('a write that fails', () => {
  it('leaves the position where it was', () =>
    withDirectory(async (directory) => {
      let fail = false;
      const factoryOf = (kind: EngineKind): EngineFactory => ({
        ...engineFactory(kind),
        open: async (path, options) => {
          const engine = await engineFactory(kind).open(path, options);
          const write = engine.write.bind(engine);
          engine.write = (batch, how) =>
            fail ? Promise.reject(new PartitaError('DISK_FULL', 'injected')) : write(batch, how);
          return engine;
        },
      });
      const partition = await open(join(directory, 'p'), { factoryOf });
      await partition.apply([put('\u0001sa', '1')], { ...AT, offset: 3 });
      fail = true;
      await assert.rejects(
        partition.apply([put('\u0001sa', '2')], { ...AT, offset: 4, checkpointRecord: bytes('x') }),
        hasCode('DISK_FULL'),
      );
      assert.deepEqual([partition.offset, partition.checkpointRecord], [3, undefined]);
      await partition.close();
    }));

  it('is refused while another is under way', () =>
    withDirectory(async (directory) => {
      const partition = await open(join(directory, 'p'));
      const first = partition.apply([put('\u0001sa', '1')], { ...AT, offset: 3 });
      await assert.rejects(partition.apply([], { ...AT, offset: 4 }), hasCode('ILLEGAL_STATE'));
      await first;
      await partition.close();
    }));
});

describe('the end of a database', () => {
  it('also ends a rebuild that has only begun: nobody holds the lock afterwards', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      let letGo: () => void = () => undefined;
      const held = new Promise<void>((resolve) => (letGo = resolve));
      let first = true;
      const factoryOf = (kind: EngineKind): EngineFactory => ({
        ...engineFactory(kind),
        open: async (files, options) => {
          const engine = await engineFactory(kind).open(files, options);
          if (!first) return engine;
          first = false;
          const close = engine.close.bind(engine);
          engine.close = () => held.then(close);
          return engine;
        },
      });
      const partition = await open(path, { factoryOf });
      const rebuilding = partition.rebuild();
      const closing = partition.close();
      letGo();
      await Promise.allSettled([rebuilding, closing]);
      await (await open(path)).close();
    }));

  it('does not hang on the note of a waiter that can not be taken away: the database opens all the same', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      const note = `${path}.wanted`;
      let opens = 0;
      const factoryOf = (kind: EngineKind): EngineFactory => ({
        ...engineFactory(kind),
        open: async (files, options) => {
          if (opens++ === 0) throw new PartitaError('LOCKED', 'injected');
          await rm(note);
          await mkdir(note);
          return engineFactory(kind).open(files, options);
        },
      });
      const partition = await open(path, { openBudgetMs: 60_000, factoryOf });
      await partition.apply([put('\u0001sa', '1')], { ...AT, offset: 3 });
      await partition.close();
    }));
});

/** Every file's bytes, by its name. */
async function filesOf(path: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    const name = join(entry.parentPath, entry.name);
    files[name] = entry.isFile() ? (await readFile(name)).toString('latin1') : 'directory';
  }
  return files;
}
