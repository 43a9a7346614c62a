/** Bugs planted into copies of the compiled product: the simulator must find each of them within 200 seeds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hunt, MUTANTS } from '../simulation/mutants.js';

for (const mutant of MUTANTS)
  test(`the simulator finds it if ${mutant.name}`, { timeout: 240_000 }, async () => {
    const { seed, how } = await hunt(mutant, { seeds: 200, steps: 400 });
    assert.notEqual(seed, undefined, how);
  });
