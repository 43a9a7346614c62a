/** Engines on disk against the memory engine, over random batches, scans, snapshots and reopens. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { engineFactory } from '../../src/storage/engines.js';
import type {
  EngineSnapshot,
  EngineWrite,
  ScanRange,
  StorageEngine,
} from '../../src/storage/storage-engine.js';
import { ENGINE_OPTIONS, scanAll, scanNow, text, withDirectory } from '../contract/storage-engine.js';

/** Short keys over few bytes, so that they meet, contain each other and hold zeros. */
const key = fc
  .array(fc.constantFrom(0, 1, 97, 98, 127, 128, 255), { minLength: 1, maxLength: 4 })
  .map((list) => Uint8Array.from(list));
const value = fc.uint8Array({ maxLength: 40 });
const writes = fc.array(fc.record({ key, value: fc.option(value, { freq: 3, nil: null }) }), {
  maxLength: 30,
});
const range: fc.Arbitrary<ScanRange> = fc.record(
  { gte: key, lt: key, reverse: fc.boolean(), limit: fc.nat(20) },
  { requiredKeys: [] },
);
type Step =
  | { readonly do: 'write'; readonly writes: readonly EngineWrite[]; readonly sync: boolean }
  | { readonly do: 'scan'; readonly range: ScanRange }
  | { readonly do: 'get'; readonly key: Uint8Array }
  | { readonly do: 'snapshot' | 'scanSnapshot' | 'reopen' };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('write' as const), writes, sync: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('scan' as const), range }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('get' as const), key }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('snapshot' as const, 'scanSnapshot' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reopen' as const) }) },
);

/** A Map, the plainest model there is, for the memory engine itself. */
class MapModel {
  readonly entries = new Map<string, string>();

  write(batch: readonly EngineWrite[]): void {
    for (const one of batch)
      if (one.value === null) this.entries.delete(text(one.key)!);
      else this.entries.set(text(one.key)!, text(one.value)!);
  }

  scan({ gte, lt, reverse, limit }: ScanRange): [string, string][] {
    const found = [...this.entries]
      .filter(([k]) => (gte === undefined || k >= text(gte)!) && (lt === undefined || k < text(lt)!))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    if (reverse === true) found.reverse();
    return found.slice(0, limit);
  }
}

describe('any sequence of batches, reads, scans, snapshots and reopens', () => {
  for (const kind of ['memory', 'level', 'rocksdb'] as const)
    it(`gives on ${kind} what a Map gives`, () =>
      fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
          await withDirectory(async (directory) => {
            await runSteps(steps, kind, join(directory, 'db'));
          });
        }),
        { numRuns: kind === 'memory' ? 300 : 40 },
      ));
});

async function runSteps(
  steps: readonly Step[],
  kind: 'memory' | 'level' | 'rocksdb',
  directory: string,
): Promise<void> {
  const factory = engineFactory(kind);
  const model = new MapModel();
  let engine: StorageEngine = await factory.open(directory, ENGINE_OPTIONS);
  let snapshot: { taken: EngineSnapshot; expected: [string, string][] } | undefined;
  try {
    for (const one of steps)
      switch (one.do) {
        case 'write':
          await engine.write(one.writes, { sync: one.sync });
          model.write(one.writes);
          break;
        case 'scan':
          assert.deepEqual(await scanNow(engine, one.range), model.scan(one.range));
          break;
        case 'get':
          assert.equal(text(engine.get(one.key)), model.entries.get(text(one.key)!));
          break;
        case 'snapshot':
          await snapshot?.taken.close();
          snapshot = { taken: engine.snapshot(), expected: model.scan({}) };
          break;
        case 'scanSnapshot':
          if (snapshot !== undefined) assert.deepEqual(await scanAll(snapshot.taken), snapshot.expected);
          break;
        case 'reopen':
          // What is only in memory has nothing to reopen.
          if (kind === 'memory') break;
          await engine.close();
          snapshot = undefined;
          engine = await factory.open(directory, ENGINE_OPTIONS);
          break;
      }
    assert.deepEqual(await scanNow(engine), model.scan({}));
  } finally {
    await engine.close();
  }
}
