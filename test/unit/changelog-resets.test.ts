// Which resets are remembered as having acted: one that is forgotten while the options name it would drop state again.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CheckpointRecord, StoreForm } from '../../src/changelog/checkpoint-record.js';
import type { PositionsDecision } from '../../src/changelog/recovery-decision.js';
import { decideReset } from '../../src/changelog/reset-decision.js';
import {
  isMovePending,
  isStatePending,
  NO_RESETS,
  pendingStores,
  settledMove,
  settledResets,
  settledStores,
  type WantedResets,
} from '../../src/changelog/resets.js';

import { isOfStore, storeRanges } from '../../src/changelog/store-families.js';
import { compareBytes, familyPrefix, storeKey } from '../../src/codec/keys.js';

type Acted = CheckpointRecord['resets'];

const FORM: StoreForm = { kind: 'keyValue', key: 'string', value: 'json' };

function names(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `store${String(i)}`);
}

/** The resets of single stores that come over the years, each under an id of its own, with these options beside them. */
function storeResetsWith(wanted: WantedResets, acted: Acted): Acted {
  let after = acted;
  for (let i = 0; i < 20; i++)
    after = settledStores({ ...wanted, stores: { id: `id${String(i)}`, names: names(8) } }, after);
  return after;
}

describe('a reset that stays in the options', () => {
  it('of the whole state never acts again, however many resets of stores come after it', () => {
    const wanted: WantedResets = { ...NO_RESETS, state: { id: 'new rules', to: 'earliest' } };
    const acted = storeResetsWith(wanted, settledResets(wanted, []));
    assert.equal(isStatePending(wanted, acted), false);
  });

  it('of moved offsets never acts again, however many resets of stores come after it', () => {
    const wanted: WantedResets = { ...NO_RESETS, moved: 'back to 1' };
    const acted = storeResetsWith(wanted, settledMove(wanted, []));
    assert.equal(isMovePending(wanted, acted), false);
  });

  it('of more stores than are remembered otherwise acts once on each of them', () => {
    const stores = Object.fromEntries(names(100).map((name) => [name, FORM]));
    const wanted: WantedResets = { ...NO_RESETS, stores: { id: 'all of them', names: names(100) } };
    assert.equal(pendingStores(wanted, { resets: [], stores }).length, 100);
    assert.deepEqual(pendingStores(wanted, { resets: settledStores(wanted, []), stores }), []);
  });

  it('is forgotten in favour of later ones once the options do not name it: the record does not grow for ever', () => {
    const acted = storeResetsWith(NO_RESETS, ['state long ago']);
    assert.equal(acted.length, 64);
    assert.equal(acted.includes('state long ago'), false);
    assert.equal(acted.at(-1), 'store store7 id19');
  });
});

describe('the reset that is due', () => {
  const POSITIONS = { orders: { topicId: 'o', offset: 7 } };
  const RECORD: CheckpointRecord = {
    incarnation: 2,
    number: 40,
    positions: POSITIONS,
    clock: 1_000,
    stores: { sums: FORM, other: FORM },
    resets: [],
  };
  const INPUT = {
    topic: 'orders',
    topicId: 'o',
    bounds: { start: 3, end: 12, lastStable: 11 },
    committed: { offset: 4, metadata: '' },
  };
  const POLICIES = {
    startFrom: 'earliest',
    onOffsetsMoved: 'resetState',
    onOutOfRange: 'error',
    resets: NO_RESETS,
  } as const;
  const GOES_ON: PositionsDecision = {
    kind: 'positions',
    positions: POSITIONS,
    commitFirst: false,
    notes: [],
  };
  const MOVED: PositionsDecision = { kind: 'offsetsMoved', why: 'somebody moved them' };
  const decide = (
    resets: WantedResets,
    decision: PositionsDecision = GOES_ON,
    inputs = [INPUT],
    record = RECORD,
  ) => decideReset(record, inputs, decision, { ...POLICIES, resets });

  it('is none without a checkpoint, over missing state, or while the offsets are stale', () => {
    const resets: WantedResets = { ...NO_RESETS, state: { id: 'r', to: 'earliest' } };
    const policies = { ...POLICIES, resets };
    assert.equal(decideReset(undefined, [INPUT], GOES_ON, policies).kind, 'none');
    assert.equal(decide(resets, { kind: 'stateMissing', why: '' }).kind, 'none');
    assert.equal(decide(resets, { kind: 'stale', why: '' }).kind, 'none');
    assert.equal(decide(NO_RESETS).kind, 'none');
  });

  it('of the state begins a new incarnation at the inputs’ ends, with nothing in it', () => {
    for (const [to, offset] of [
      ['earliest', 3],
      ['latest', 11],
    ] as const) {
      const reset = decide({ ...NO_RESETS, state: { id: 'r', to } }, MOVED);
      assert.ok(reset.kind === 'reset');
      assert.equal(reset.given, 'state');
      const positions = { orders: { topicId: 'o', offset } };
      const anew = { incarnation: 3, number: 41, clock: -1, stores: {}, resets: ['state r'] };
      assert.deepEqual(reset.record, { ...anew, positions });
    }
  });

  it('by moved offsets goes on where they were moved to, unless the input does not reach there', () => {
    const resets: WantedResets = { ...NO_RESETS, moved: 'back' };
    const reset = decide(resets, MOVED);
    assert.ok(reset.kind === 'reset');
    assert.deepEqual(reset.record.positions, { orders: { topicId: 'o', offset: 4 } });
    const beyond = { ...INPUT, committed: { offset: 99, metadata: '' } };
    const refused = decide(resets, MOVED, [beyond]);
    assert.ok(refused.kind === 'refused');
    assert.equal(refused.by.kind, 'outOfRange');
    const acted = { ...RECORD, resets: settledMove(resets, []) };
    assert.equal(decide(resets, MOVED, [INPUT], acted).kind, 'none');
  });

  it('of stores keeps the incarnation, the clock, the positions and the other stores', () => {
    const reset = decide({ ...NO_RESETS, stores: { id: 's', names: ['sums', 'absent'] } });
    assert.ok(reset.kind === 'reset');
    assert.deepEqual(reset.given, ['sums']);
    assert.deepEqual(reset.record, {
      ...RECORD,
      number: 41,
      stores: { other: FORM },
      resets: ['store sums s', 'store absent s'],
    });
  });
});

describe('the rows of a store', () => {
  const key = (family: string): Uint8Array => storeKey(familyPrefix(family), Buffer.from('x'));

  it('are those of its own family and of its internal ones, and of no other store', () => {
    for (const family of ['sums', 'sums$w', 'sums$expiry']) {
      assert.ok(isOfStore(key(family), 'sums'), family);
      assert.equal(storeRanges('sums').filter((range) => isWithin(key(family), range)).length, 1, family);
    }
    for (const family of ['sum', 'sum$w', 'sums2', 'sums2$w', 'sum$sums$w', '$partita']) {
      assert.ok(!isOfStore(key(family), 'sums'), family);
      assert.ok(!storeRanges('sums').some((range) => isWithin(key(family), range)), family);
    }
  });

  function isWithin(bytes: Uint8Array, { gte, lt }: { gte: Uint8Array; lt: Uint8Array }): boolean {
    return compareBytes(bytes, gte) >= 0 && compareBytes(bytes, lt) < 0;
  }
});
