/**
 * What every storage engine must do, as a function over a factory: run by `storage-engine.test.ts` on memory, level and
 * rocksdb. It knows engines only through the port. What only engines on disk can do is asked where `durable` is set.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { isPartitaError, type ErrorCode } from '../../src/core/errors.js';
import type {
  EngineFactory,
  EngineOptions,
  EngineSnapshot,
  EngineWrite,
  ScanRange,
  StorageEngine,
} from '../../src/storage/storage-engine.js';

export const ENGINE_OPTIONS: EngineOptions = { blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20 };

export const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
export const put = (key: string, value: string): EngineWrite => ({ key: bytes(key), value: bytes(value) });
export const del = (key: string): EngineWrite => ({ key: bytes(key), value: null });
export const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString('latin1');

/** A whole scan as text pairs, checking that no page after the first empty one has anything. */
export async function scanAll(snapshot: EngineSnapshot, range: ScanRange = {}): Promise<[string, string][]> {
  const scan = snapshot.scan(range);
  const found: [string, string][] = [];
  for (;;) {
    const page = await scan.next();
    if (page.length === 0) break;
    for (const [key, value] of page) found.push([text(key)!, text(value)!]);
  }
  assert.equal((await scan.next()).length, 0);
  await scan.close();
  return found;
}

export async function scanNow(engine: StorageEngine, range: ScanRange = {}): Promise<[string, string][]> {
  const snapshot = engine.snapshot();
  try {
    return await scanAll(snapshot, range);
  } finally {
    await snapshot.close();
  }
}

export function hasCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(isPartitaError(error), `expected a PartitaError ${code}, got ${String(error)}`);
    assert.equal(error.code, code, error.message);
    return true;
  };
}

export async function withDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'partita-storage-'));
  try {
    await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export interface EngineSubject {
  readonly factory: EngineFactory;
  /** What was written is there when the database is opened again, and two can't have it open. */
  readonly durable: boolean;
}

export function storageEngineContract({ factory, durable }: EngineSubject): void {
  const withEngine = (use: (engine: StorageEngine) => Promise<void>): Promise<void> =>
    withDirectory(async (directory) => {
      const engine = await factory.open(join(directory, 'db'), ENGINE_OPTIONS);
      try {
        await use(engine);
      } finally {
        await engine.close();
      }
    });
  const write = (engine: StorageEngine, ...writes: EngineWrite[]): Promise<void> =>
    engine.write(writes, { sync: false });

  describe(`storage engine ${factory.kind}`, () => {
    it('says which kind it is', () =>
      withEngine(async (engine) => {
        assert.equal(engine.kind, factory.kind);
      }));

    it('finds what was put, forgets what was deleted, and knows nothing else', () =>
      withEngine(async (engine) => {
        await write(engine, put('a', '1'), put('b', '2'));
        assert.equal(text(engine.get(bytes('a'))), '1');
        await write(engine, del('a'), put('b', '3'), del('never there'));
        assert.equal(engine.get(bytes('a')), undefined);
        assert.equal(text(engine.get(bytes('b'))), '3');
        assert.equal(engine.get(bytes('c')), undefined);
      }));

    it('applies a batch in its order, so that the last write of a key wins', () =>
      withEngine(async (engine) => {
        await write(engine, put('a', '1'), del('a'), put('a', '2'), put('b', '1'), del('b'));
        assert.deepEqual(await scanNow(engine), [['a', '2']]);
      }));

    it('takes an empty batch, and a batch with sync', () =>
      withEngine(async (engine) => {
        await write(engine);
        await engine.write([put('a', '1')], { sync: true });
        assert.deepEqual(await scanNow(engine), [['a', '1']]);
      }));

    it('keeps an empty value apart from no value', () =>
      withEngine(async (engine) => {
        await write(engine, put('empty', ''));
        assert.equal(engine.get(bytes('empty'))?.length, 0);
        assert.deepEqual(await scanNow(engine), [['empty', '']]);
        await write(engine, del('empty'));
        assert.equal(engine.get(bytes('empty')), undefined);
      }));

    it('takes keys and values of any bytes, also as views into larger buffers', () =>
      withEngine(async (engine) => {
        const all = Uint8Array.from({ length: 256 }, (_, i) => i);
        const padded = new Uint8Array([9, 9, ...all, 9]);
        await engine.write([{ key: padded.subarray(2, 258), value: padded.subarray(2, 258) }], {
          sync: false,
        });
        padded.fill(7);
        assert.deepEqual(Uint8Array.from(engine.get(all)!), all);
        for (const byte of [0, 127, 128, 255])
          await write(engine, { key: Uint8Array.of(byte), value: Uint8Array.of(byte, byte) });
        assert.deepEqual(
          (await scanNow(engine)).map(([key]) => bytes(key)[0]),
          [0, 0, 127, 128, 255],
        );
      }));

    it('gives bytes that belong to the caller', () =>
      withEngine(async (engine) => {
        await write(engine, put('a', 'value'));
        engine.get(bytes('a'))!.fill(0);
        const snapshot = engine.snapshot();
        const scan = snapshot.scan({});
        (await scan.next())[0]![1].fill(0);
        await snapshot.close();
        assert.equal(text(engine.get(bytes('a'))), 'value');
      }));

    it('takes a value of some megabytes and scans past it', () =>
      withEngine(async (engine) => {
        const large = Buffer.alloc(3 << 20, 'x');
        await engine.write([{ key: bytes('b'), value: large }], { sync: false });
        await write(engine, put('a', '1'), put('c', '3'));
        assert.deepEqual(Buffer.from(engine.get(bytes('b'))!).equals(large), true);
        assert.deepEqual(
          (await scanNow(engine)).map(([key]) => key),
          ['a', 'b', 'c'],
        );
        assert.deepEqual(
          (await scanNow(engine, { reverse: true, lt: bytes('c') })).map(([key]) => key),
          ['b', 'a'],
        );
      }));

    it('scans in the order of bytes, a prefix before what it begins', () =>
      withEngine(async (engine) => {
        const keys = ['b', 'a\u0000', 'a', '\u00ff', 'a\u00ff', 'ab', 'a\u0000\u0000', '\u00ff\u00ff', 'B'];
        await write(engine, ...keys.map((key) => put(key, key)));
        const sorted = [...keys].sort((x, y) => Buffer.compare(bytes(x), bytes(y)));
        assert.deepEqual(
          (await scanNow(engine)).map(([key]) => key),
          sorted,
        );
        assert.deepEqual(
          (await scanNow(engine, { reverse: true })).map(([key]) => key),
          [...sorted].reverse(),
        );
      }));

    it('scans ranges in both directions, lower bound in, upper bound out, with limits', () =>
      withEngine(async (engine) => {
        const keys = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i)).filter(
          (key) => key !== 'm',
        );
        await write(engine, ...keys.map((key) => put(key, key.toUpperCase())));
        const bounds = [undefined, 'A', 'a', 'b', 'lz', 'm', 'n', 'z', 'zz'];
        const snapshot = engine.snapshot();
        for (const gte of bounds)
          for (const lt of bounds)
            for (const reverse of [false, true])
              for (const limit of [undefined, 0, 1, 3, 100]) {
                const model = keys.filter(
                  (key) => (gte === undefined || key >= gte) && (lt === undefined || key < lt),
                );
                if (reverse) model.reverse();
                const range: ScanRange = {
                  ...(gte === undefined ? {} : { gte: bytes(gte) }),
                  ...(lt === undefined ? {} : { lt: bytes(lt) }),
                  ...(limit === undefined ? {} : { limit }),
                  reverse,
                };
                const found = (await scanAll(snapshot, range)).map(([key]) => key);
                const expected = limit === undefined ? model : model.slice(0, limit);
                assert.deepEqual(found, expected, JSON.stringify({ gte, lt, reverse, limit }));
              }
        await snapshot.close();
        assert.deepEqual(await scanNow(engine, { lt: new Uint8Array(0) }), []);
        assert.equal((await scanNow(engine, { gte: new Uint8Array(0) })).length, keys.length);
      }));

    it('scans thousands of entries over many pages, several scans of a snapshot in turns', () =>
      withEngine(async (engine) => {
        const count = 5_000;
        const key = (i: number): string => `k${String(i).padStart(6, '0')}`;
        await write(engine, ...Array.from({ length: count }, (_, i) => put(key(i), String(i))));
        const snapshot = engine.snapshot();
        const scans = [
          { scan: snapshot.scan({}), expected: 0, step: 1 },
          { scan: snapshot.scan({ gte: bytes(key(100)) }), expected: 100, step: 1 },
          { scan: snapshot.scan({ reverse: true }), expected: count - 1, step: -1 },
          { scan: snapshot.scan({ reverse: true, lt: bytes(key(4_000)) }), expected: 3_999, step: -1 },
        ];
        for (let open = scans.length; open > 0;) {
          open = 0;
          for (const one of scans) {
            const page = await one.scan.next();
            if (page.length > 0) open++;
            for (const [found] of page) {
              assert.equal(text(found), key(one.expected));
              one.expected += one.step;
            }
          }
        }
        assert.deepEqual(
          scans.map(({ expected }) => expected),
          [count, count, -1, -1],
        );
        await snapshot.close();
      }));

    it('shows a snapshot the moment in which it was taken, whatever is written afterwards', () =>
      withEngine(async (engine) => {
        const before = Array.from({ length: 1_500 }, (_, i) => `k${String(i).padStart(5, '0')}`);
        await write(engine, ...before.map((key) => put(key, 'old')));
        const snapshot = engine.snapshot();
        await write(engine, put('k00000', 'new'), del('k00001'), put('a', 'new'), put('z', 'new'));
        const scan = snapshot.scan({});
        const found = [...(await scan.next())];
        // Changes between two pages of the same scan.
        await write(engine, ...before.map((key) => del(key)), put('k00700x', 'new'));
        await write(engine, put('k01400', 'newer'));
        for (let page = await scan.next(); page.length > 0; page = await scan.next()) found.push(...page);
        assert.deepEqual(
          found.map(([key, value]) => [text(key), text(value)]),
          before.map((key) => [key, 'old']),
        );
        assert.deepEqual((await scanAll(snapshot, { reverse: true, limit: 1 }))[0], ['k01499', 'old']);
        await snapshot.close();
        assert.deepEqual(
          (await scanNow(engine)).map(([key]) => key),
          ['a', 'k00700x', 'k01400', 'z'],
        );
      }));

    it('finds keys that came, went and came back between scans', () =>
      withEngine(async (engine) => {
        const model = new Map<string, string>();
        for (let round = 0; round < 60; round++) {
          const writes: EngineWrite[] = [];
          for (let i = 0; i < 40; i++) {
            const key = `k${String((round * 31 + i * 17) % 300)}`;
            if ((round + i) % 3 === 0) {
              writes.push(del(key));
              model.delete(key);
            } else {
              writes.push(put(key, `${round}-${i}`));
              model.set(key, `${round}-${i}`);
            }
          }
          await write(engine, ...writes);
          assert.deepEqual(
            await scanNow(engine),
            [...model].sort(([x], [y]) => (x < y ? -1 : 1)),
          );
        }
      }));

    it('says how much it holds', () =>
      withEngine(async (engine) => {
        await engine.write([{ key: bytes('a'), value: Buffer.alloc(100_000, 'x') }], { sync: false });
        const { bytes: held } = await engine.stats();
        assert.ok(held >= 100_000 && held < 20_000_000, String(held));
      }));

    it('refuses every use after close, and closes snapshots and scans with itself', () =>
      withEngine(async (engine) => {
        await write(engine, put('a', '1'));
        const snapshot = engine.snapshot();
        const scan = snapshot.scan({});
        await scan.next();
        await engine.close();
        await engine.close();
        assert.throws(() => engine.get(bytes('a')), hasCode('ENGINE_CLOSED'));
        assert.throws(() => engine.snapshot(), hasCode('ENGINE_CLOSED'));
        assert.throws(() => snapshot.scan({}), hasCode('ENGINE_CLOSED'));
        await assert.rejects(write(engine, put('a', '2')), hasCode('ENGINE_CLOSED'));
        await assert.rejects(engine.stats(), hasCode('ENGINE_CLOSED'));
        await assert.rejects(scan.next(), hasCode('ENGINE_CLOSED'));
        await scan.close();
        await snapshot.close();
      }));

    it('waits at close for a write under way', () =>
      withDirectory(async (directory) => {
        const engine = await factory.open(join(directory, 'db'), ENGINE_OPTIONS);
        const writing = write(engine, ...Array.from({ length: 20_000 }, (_, i) => put(`k${i}`, 'value')));
        await engine.close();
        await writing;
        if (!durable) return;
        const again = await factory.open(join(directory, 'db'), ENGINE_OPTIONS);
        assert.equal(text(again.get(bytes('k19999'))), 'value');
        await again.close();
      }));

    it('destroys what is there, and does not mind if nothing is', () =>
      withDirectory(async (directory) => {
        const path = join(directory, 'db');
        await factory.destroy(path);
        const engine = await factory.open(path, ENGINE_OPTIONS);
        await write(engine, put('a', '1'));
        await engine.close();
        await factory.destroy(path);
        const again = await factory.open(path, ENGINE_OPTIONS);
        assert.equal(again.get(bytes('a')), undefined);
        await again.close();
      }));

    if (!durable) return;

    it('has everything again after it was closed and opened', () =>
      withDirectory(async (directory) => {
        const path = join(directory, 'db');
        const expected: [string, string][] = [];
        for (let round = 0; round < 4; round++) {
          const engine = await factory.open(path, ENGINE_OPTIONS);
          assert.deepEqual(await scanNow(engine), expected);
          await write(engine, put(`k${round}`, 'x'), put('last', String(round)));
          expected.splice(-1, expected.length === 0 ? 0 : 1, [`k${round}`, 'x'], ['last', String(round)]);
          await engine.close();
        }
      }));

    it('is LOCKED for a second opener in this process, whose failure harms nobody', () =>
      withDirectory(async (directory) => {
        const path = join(directory, 'db');
        const engine = await factory.open(path, ENGINE_OPTIONS);
        await write(engine, put('a', '1'));
        await assert.rejects(factory.open(path, ENGINE_OPTIONS), hasCode('LOCKED'));
        await assert.rejects(factory.destroy(path), hasCode('LOCKED'));
        assert.equal(text(engine.get(bytes('a'))), '1');
        await write(engine, put('a', '2'));
        await engine.close();
        const next = await factory.open(path, ENGINE_OPTIONS);
        assert.equal(text(next.get(bytes('a'))), '2');
        await next.close();
      }));

    it('is LOCKED for another process, and free as soon as it is closed', () =>
      withDirectory(async (directory) => {
        const path = join(directory, 'db');
        const engine = await factory.open(path, ENGINE_OPTIONS);
        assert.equal(await openElsewhere(factory.kind, path), 'LOCKED');
        await engine.close();
        assert.equal(await openElsewhere(factory.kind, path), 'opened');
      }));
  });
}

async function openElsewhere(kind: string, path: string): Promise<string> {
  const program = new URL('../fixtures/open-database.js', import.meta.url).pathname;
  const { stdout } = await promisify(execFile)(process.execPath, [program, kind, path]);
  return stdout.trim();
}
