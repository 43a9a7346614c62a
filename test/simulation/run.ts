/**
 * `npm run test:simulation -- [--seeds 1000] [--from 1] [--steps 300] [--seed n]`: simulated worlds one after the other,
 * the story of the first that breaks a promise, and a summary.
 */
import { parseArgs } from 'node:util';
import { simulate } from './world.js';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    steps: { type: 'string', default: '300' },
    seed: { type: 'string' },
    story: { type: 'boolean', default: false },
  },
});
const from = Number(values.seed ?? values.from);
const seeds = values.seed === undefined ? Number(values.seeds) : 1;
for (let seed = from; seed < from + seeds; seed++) {
  const result = await simulate({ seed, steps: Number(values.steps) });
  if (values.story) console.log(result.story.join('\n'));
  if (result.failure !== undefined) console.log(`seed ${seed}: ${result.failure.slice(0, 600)}`);
  else if (values.seed !== undefined) console.log(result.hash, result.faults, result.checked, result.records);
}
