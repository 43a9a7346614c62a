// Which resets are remembered as having acted: one that is forgotten while the options name it would drop state again.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CheckpointRecord, StoreForm } from '../../src/changelog/checkpoint-record.js';
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
