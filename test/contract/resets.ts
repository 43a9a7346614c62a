/**
 * Resets as an operator meets them, on whatever log: the whole state, one store, and a changelog written anew from what is
 * on disk. `integration/recovery-resets.test.ts` runs it on the embedded log, `kafka/resets.test.ts`
 * on a broker.
 */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { PartitionBounds } from '../../src/core/log-types.js';
import type { EngineKind } from '../../src/index.js';
import { amount, refused, type Ledger, type LedgerDesk, type LedgerLog } from '../support/ledger-desk.js';

export interface ResetsSuite {
  /** A desk of its own for each test. */
  readonly open: () => Promise<LedgerDesk<LedgerLog>>;
  readonly engines: readonly EngineKind[];
  /** Compacts the topic at once, where the log can be told to. */
  readonly compact?: (topic: string) => Promise<unknown>;
  /** What the log can do to a commit. */
  readonly fates: readonly Fate[];
  /** It happens to a commit of the desk's managers, after so many that go well. */
  readonly meet: (fate: Fate, after: number) => void;
}

/** Its answer is lost, it never leaves, or it stops half way. */
export type Fate = 'lost' | 'never' | 'torn';

export function resetsSuite({ open, engines, compact, fates, meet }: ResetsSuite): void {
  let desk: LedgerDesk<LedgerLog>;
  const run: LedgerDesk['run'] = (...given) => desk.run(...given);
  const elsewhere: LedgerDesk['elsewhere'] = (...given) => desk.elsewhere(...given);
  const input = () => ({ topic: desk.input, partition: 0 });

  beforeEach(async () => {
    desk = await open();
  });

  afterEach(() => desk.close());

  for (const engine of engines)
    describe(`resets on ${engine}`, () => {
      it('begins a stream anew from the earliest offset, once for an id, and every other machine sees the same', async () => {
        await desk.log.produce(desk.input, [amount('a', 1), amount('b', 2), amount('a', 3)]);
        assert.deepEqual((await run({ engine })).state, { a: [4, 2], b: [2, 1] });
        await desk.log.deleteRecords(desk.input, 0, 2);
        const reset = { id: 'new rules', streams: ['ledger'] };
        assert.deepEqual(
          (await run({ engine, reset })).state,
          { a: [3, 1] },
          'only what the input still holds',
        );
        await desk.log.produce(desk.input, [amount('c', 5)]);
        const after = { a: [3, 1], c: [5, 1] };
        assert.deepEqual((await run({ engine, reset })).state, after, 'the same id does not act again');
        assert.deepEqual(await elsewhere({ engine }), after);
        await compact?.(desk.changelog);
        assert.deepEqual(await elsewhere({ engine }), after, 'compaction keeps the reset where it was');
        assert.equal((await desk.committed())?.metadata.split(':')[0], '1');
        assert.deepEqual(
          (await run({ engine, reset: { id: 'again' } })).state,
          after,
          'another id acts again',
        );
        assert.equal((await desk.committed())?.metadata.split(':')[0], '2');
      });

      it('begins a stream anew from the latest offset with nothing in it', async () => {
        await desk.log.produce(desk.input, [amount('a', 1)]);
        await run({ engine });
        await desk.log.produce(desk.input, [amount('a', 2)]);
        assert.deepEqual((await run({ engine, reset: { id: 'r', to: 'latest' } })).state, {});
        assert.deepEqual(await elsewhere({ engine }), {});
      });

      it('remembers an id that met an empty state: nothing is reset later', async () => {
        await desk.log.produce(desk.input, [amount('a', 1)]);
        const reset = { id: 'from the first day' };
        const resetStores = { id: 'too', stores: { ledger: ['sums'] } };
        await run({ engine, reset, resetStores });
        const { state, warnings } = await run({ engine, reset, resetStores });
        assert.deepEqual(state, { a: [1, 1] });
        assert.deepEqual(warnings, []);
        assert.equal((await desk.committed())?.metadata.split(':')[0], '0');
      });

      it('resets the state where an operator has moved the group, once for an id', async () => {
        await desk.log.produce(desk.input, [amount('a', 1), amount('b', 2), amount('a', 3)]);
        await run({ engine });
        await desk.log.setOffset(desk.group, input(), 1);
        const moved = { engine, onOffsetsMoved: 'resetState', resetId: 'back to 1' } as const;
        const after = { a: [3, 1], b: [2, 1] };
        assert.deepEqual((await run(moved)).state, after);
        assert.deepEqual((await run(moved)).state, after);
        assert.deepEqual(await elsewhere({ engine }), after);
        await desk.log.setOffset(desk.group, input(), 0);
        await refused(
          run({ ...moved, restarts: { max: 0 } }),
          'OFFSETS_MOVED',
          /"back to 1" has acted already: give a new one/,
        );
        assert.deepEqual((await run({ ...moved, resetId: 'back to 0' })).state, { a: [4, 2], b: [2, 1] });
      });

      it('resets nothing by a new id alone, when nobody has moved the group', async () => {
        await desk.log.produce(desk.input, [amount('a', 1)]);
        await run({ engine });
        const moved = { engine, onOffsetsMoved: 'resetState' } as const;
        for (const resetId of ['one', 'another']) {
          const { state, warnings } = await run({ ...moved, resetId });
          assert.deepEqual(state, { a: [1, 1] });
          assert.deepEqual(warnings, []);
        }
        assert.equal((await desk.committed())?.metadata.split(':')[0], '0', 'the incarnation has not risen');
        await desk.log.setOffset(desk.group, input(), 0);
        await run({ ...moved, resetId: 'another' });
        assert.equal(
          (await desk.committed())?.metadata.split(':')[0],
          '1',
          'an id that was only named is not used up',
        );
      });

      it('resets one store whose declaration has changed, and leaves the others and the positions', async () => {
        await desk.log.produce(desk.input, [amount('a', 1), amount('b', 2)]);
        await run({ engine });
        await refused(run({ engine, restarts: { max: 0 } }, desk.changed), 'STORE_INCOMPATIBLE');
        const resetStores = { id: 'sums are JSON', stores: { ledger: ['sums'] } };
        await desk.log.produce(desk.input, [amount('b', 7)]);
        const after = { a: [0, 1], b: [7, 2] };
        assert.deepEqual((await run({ engine, resetStores }, desk.changed)).state, after);
        await desk.log.produce(desk.input, [amount('b', 1)]);
        const later = { a: [0, 1], b: [8, 3] };
        assert.deepEqual((await run({ engine, resetStores }, desk.changed)).state, later);
        assert.deepEqual(await elsewhere({ engine }, desk.changed), later);
        await compact?.(desk.changelog);
        assert.deepEqual(await elsewhere({ engine }, desk.changed), later);
      });

      for (const fate of fates)
        it(`gives up all or nothing when the answer to the reset is ${fate}`, async () => {
          await desk.log.produce(desk.input, [amount('a', 1), amount('b', 2)]);
          await run({ engine });
          meet(fate, 0);
          const resetStores = { id: 'once', stores: { ledger: ['sums'] } };
          const after = { a: [0, 1], b: [0, 1] };
          assert.deepEqual((await run({ engine, resetStores })).state, after);
          assert.deepEqual(await elsewhere({ engine }), after);
          meet(fate, 0);
          assert.deepEqual((await run({ engine, reset: { id: 'all' } })).state, { a: [1, 1], b: [2, 1] });
          assert.deepEqual(await elsewhere({ engine }), { a: [1, 1], b: [2, 1] });
        });
    });

  describe('a changelog that is gone while the database is there', () => {
    const many = Array.from({ length: 300 }, (_, i) => amount(`k${String(i)}`, i));
    const whole: Ledger = Object.fromEntries(many.map(({ key }, i) => [key, [i, 1]]));
    const options = { engine: 'level', recovery: { pageBytes: 2_000 } } as const;
    const restore = { ...options, onStateMissing: 'restoreFromDisk' } as const;

    beforeEach(async () => {
      await desk.log.produce(desk.input, many);
      assert.deepEqual((await run(options)).state, whole);
      await desk.log.deleteTopic(desk.changelog);
    });

    it('is written anew from the database, and is enough for another machine', async () => {
      await refused(run({ ...options, restarts: { max: 0 } }), 'STATE_MISSING');
      const { state, warnings } = await run(restore);
      assert.deepEqual(state, whole);
      assert.match(warnings.join(), /written anew from its database/);
      assert.deepEqual(await elsewhere(options), whole);
      await compact?.(desk.changelog);
      await rm(desk.managers.stateDir, { recursive: true });
      assert.deepEqual((await run(options)).state, whole);
    });

    it('is not made good by an empty disk: the state is missing, and nothing was written', async () => {
      const empty = { ...restore, restarts: { max: 0 } };
      await refused(elsewhere(empty), 'STATE_MISSING');
      assert.equal((await desk.log.bounds(desk.changelog))[0]!.end, 0);
      assert.equal((await desk.committed())?.offset, many.length);
      assert.deepEqual((await run(restore)).state, whole, 'whoever has the files still can');
    });

    for (const fate of fates)
      it(`does not look complete when its writing ends half way (${fate}), and is written once more`, async () => {
        meet(fate, 2);
        await refused(run({ ...restore, restarts: { max: 0 } }), 'COMMIT_IN_DOUBT');
        const [{ end }] = (await desk.log.bounds(desk.changelog)) as [PartitionBounds];
        assert.ok(end > 0, 'part of it was written');
        await refused(elsewhere({ ...options, restarts: { max: 0 } }), 'STATE_MISSING');
        await refused(run({ ...options, restarts: { max: 0 } }), 'STATE_MISSING');
        assert.deepEqual((await run(restore)).state, whole);
        assert.deepEqual(await elsewhere(options), whole);
      });
  });
}
