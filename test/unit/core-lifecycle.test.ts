/** Tests of `core/lifecycle.ts` and of the tables in `core/lifecycles.ts`. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isPartitaError } from '../../src/core/errors.js';
import { Lifecycle, type LifecycleTable } from '../../src/core/lifecycle.js';
import {
  actorLifecycle,
  checkpointLifecycle,
  managerLifecycle,
  threadLifecycle,
  transactionLifecycle,
} from '../../src/core/lifecycles.js';

test('a move that the table does not hold is refused with the thing, from and to', () => {
  const actor = new Lifecycle(actorLifecycle, 'actor payments-3');
  actor.move('opening');
  assert.throws(
    () => {
      actor.move('parked');
    },
    (error) =>
      isPartitaError(error, 'ILLEGAL_STATE') &&
      error.message.includes('actor payments-3') &&
      error.message.includes('from opening to parked') &&
      error.details['from'] === 'opening' &&
      error.details['to'] === 'parked',
  );
  assert.equal(actor.state, 'opening');
  assert.throws(
    () => {
      actor.expect('running', 'recovering');
    },
    (error) =>
      isPartitaError(error, 'ILLEGAL_STATE') &&
      error.message.includes('needs it to be running or recovering'),
  );
  actor.expect('opening');
});

test('a failed actor restarts; a closed one is closed for good', () => {
  const actor = new Lifecycle(actorLifecycle);
  for (const state of ['opening', 'recovering', 'running', 'failed', 'opening', 'closing', 'closed'] as const)
    actor.move(state);
  assert.equal(actor.final, true);
  assert.equal(actor.can('opening'), false);
});

const tables: readonly LifecycleTable<string>[] = [
  actorLifecycle,
  checkpointLifecycle,
  transactionLifecycle,
  threadLifecycle,
  managerLifecycle,
];
for (const table of tables)
  describe(`lifecycle of the ${table.name}`, () => {
    test('every state is reached, and every move leads to a state of the table', () => {
      const states = new Set(Object.keys(table.moves));
      const reached = new Set([table.initial]);
      for (const state of reached) for (const next of table.moves[state] ?? []) reached.add(next);
      assert.deepEqual(reached, states);
    });

    test('an end is reached from everywhere', () => {
      for (const state of Object.keys(table.moves)) {
        const reached = new Set([state]);
        for (const from of reached) for (const next of table.moves[from] ?? []) reached.add(next);
        assert.ok(
          [...reached].some((end) => table.moves[end]?.length === 0),
          `from ${state} no end is reached`,
        );
      }
    });
  });
