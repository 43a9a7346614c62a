/**
 * Resets as an operator meets them: the suite of `contract/resets.ts` on the embedded log, and what becomes of a reset
 * whose commit is torn, lost or never sent.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { EmbeddedLog } from '../../src/index.js';
import type { LogFaults } from '../../src/log/embedded/log-faults.js';
import { resetsSuite } from '../contract/resets.js';
import {
  amount,
  LEDGER_CHANGELOG as CHANGELOG,
  LedgerDesk,
  refused,
  type Ledger,
} from '../support/ledger-desk.js';

describe('on the embedded log', () => {
  let opened: LedgerDesk;
  resetsSuite({
    open: async () => (opened = await LedgerDesk.open()),
    engines: ['memory', 'level'],
    compact: (topic) => opened.log.compact(topic),
  });
});

let desk: LedgerDesk;
let log: EmbeddedLog;
/** What becomes of the commits, one after the other; beyond the last one all is well. */
let fates: ('ok' | 'lost' | 'never' | 'torn')[] = [];
const faults: LogFaults = {
  before: (operation) => {
    if (operation !== 'commit') return undefined;
    if (fates[0] === 'torn') return fates.shift();
    if (fates[0] !== 'never') return undefined;
    fates.shift();
    throw new Error('it never left');
  },
  after: (operation) => (operation === 'commit' && fates.shift() === 'lost' ? 'lost' : undefined),
};
const run: LedgerDesk['run'] = (...given) => desk.run(...given);
const elsewhere: LedgerDesk['elsewhere'] = (...given) => desk.elsewhere(...given);

describe('with commits that go wrong', () => {
  beforeEach(async () => {
    fates = [];
    desk = await LedgerDesk.open({ faults });
    ({ log } = desk);
  });

  afterEach(() => desk.close());

  for (const engine of ['memory', 'level'] as const)
    describe(`on ${engine}`, () => {
      for (const fate of ['lost', 'never', 'torn'] as const)
        it(`gives up all or nothing when the answer to the reset is ${fate}`, async () => {
          await log.produce('amounts', [amount('a', 1), amount('b', 2)]);
          await run({ engine });
          fates = [fate];
          const resetStores = { id: 'once', stores: { ledger: ['sums'] } };
          const after = { a: [0, 1], b: [0, 1] };
          assert.deepEqual((await run({ engine, resetStores })).state, after);
          fates = [fate];
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
      await log.produce('amounts', many);
      assert.deepEqual((await run(options)).state, whole);
      await log.deleteTopic(CHANGELOG);
    });

    for (const fate of ['lost', 'never', 'torn'] as const)
      it(`does not look complete when its writing ends half way (${fate}), and is written once more`, async () => {
        fates = ['ok', 'ok', fate, ...Array.from({ length: 1 }, () => 'never' as const)];
        await refused(run({ ...restore, restarts: { max: 0 } }), 'COMMIT_IN_DOUBT');
        fates = [];
        assert.ok((await log.bounds(CHANGELOG))[0]!.end > 0, 'part of it was written');
        await refused(elsewhere({ ...options, restarts: { max: 0 } }), 'STATE_MISSING');
        await refused(run({ ...options, restarts: { max: 0 } }), 'STATE_MISSING');
        assert.deepEqual((await run(restore)).state, whole);
        assert.deepEqual(await elsewhere(options), whole);
      });
  });
});
