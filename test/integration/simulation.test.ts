/**
 * Two hundred simulated worlds (`test/simulation/`): whatever happens to threads, processes, disks, messages and the log, the
 * promises hold after every step, and in the end the state is that of a plain loop. The same seed gives the same run.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulate } from '../simulation/world.js';

const SEEDS = 200;
const STEPS = 400;

test(`nothing is lost, doubled or torn in ${SEEDS} simulated worlds`, { timeout: 240_000 }, async () => {
  const faults = new Set<string>();
  for (let seed = 1; seed <= SEEDS; seed++) {
    const result = await simulate({ seed, steps: STEPS });
    for (const kind of Object.keys(result.faults)) faults.add(kind);
    assert.equal(
      result.failure,
      undefined,
      `npm run test:simulation -- --seed ${seed} --steps ${STEPS}\n${result.story.slice(-60).join('\n')}`,
    );
  }
  assert.ok(faults.size >= 15, `only these happened: ${[...faults].join(', ')}`);
});

test('the same seed gives the same run, to the last message', { timeout: 60_000 }, async () => {
  for (const seed of [3, 7, 11, 19]) {
    const once = await simulate({ seed, steps: STEPS });
    const again = await simulate({ seed, steps: STEPS });
    assert.deepEqual(again.story, once.story);
    assert.equal(again.hash, once.hash);
  }
});
