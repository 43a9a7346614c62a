/**
 * `npm run test:simulation -- [--seeds 1000] [--from 1] [--steps 400] [--seed n [--without 3,17]] [--story] [--first]
 * [--mutants]`: simulated worlds one after the other; the story of each that breaks a promise, made as small as it gets, and
 * a summary as a line of JSON and as a table. `--mutants` plants bugs instead and tells which seed finds each.
 */
import { parseArgs } from 'node:util';
import { minimise } from './minimise.js';
import { hunt, MUTANTS } from './mutants.js';
import { simulate, type SimulationResult } from './world.js';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    steps: { type: 'string', default: '400' },
    seed: { type: 'string' },
    without: { type: 'string', default: '' },
    story: { type: 'boolean', default: false },
    first: { type: 'boolean', default: false },
    mutants: { type: 'boolean', default: false },
  },
});
const STORY_LINES_MAX = 150;
const steps = Number(values.steps);
const print = (text: string): void => void process.stdout.write(`${text}\n`);

if (values.mutants) await runMutants();
else await runSeeds();

async function runMutants(): Promise<void> {
  for (const mutant of MUTANTS) {
    const { seed, how } = await hunt(mutant, { seeds: 200, steps });
    print(`${seed === undefined ? 'MISSED' : `seed ${seed}`.padEnd(9)} ${mutant.name}: ${how}`);
    if (seed === undefined) process.exitCode = 1;
  }
}

async function runSeeds(): Promise<void> {
  const from = Number(values.seed ?? values.from);
  const seeds = values.seed === undefined ? Number(values.seeds) : 1;
  const without = new Set(values.without === '' ? [] : values.without.split(',').map(Number));
  const sums = { seeds: 0, steps: 0, records: 0, broken: 0 };
  const faults: Record<string, number> = {};
  const happened: Record<string, number> = {};
  const checked: Record<string, number> = {};
  for (let seed = from; seed < from + seeds; seed++) {
    const result = await simulate({ seed, steps, without });
    if (values.story) print(result.story.join('\n'));
    sums.seeds++;
    sums.steps += steps;
    sums.records += result.records;
    addTo(faults, result.faults);
    addTo(happened, result.happened);
    addTo(checked, result.checked);
    if (result.failure === undefined) continue;
    sums.broken++;
    process.exitCode = 1;
    print(`BROKEN seed ${seed}: ${result.failure.split('\n')[0]!}`);
    if (values.first) return;
    if (!values.story) await tell(result);
  }
  print(JSON.stringify({ ...sums, happened, faults, checked }));
  for (const [what, count] of Object.entries({ ...sums, ...happened, ...faults, ...checked }))
    print(`| ${what} | ${count} |`);
}

async function tell(broken: SimulationResult): Promise<void> {
  const { result, without } = await minimise(broken);
  print(result.story.slice(-STORY_LINES_MAX).join('\n'));
  const leftOut = without.length === 0 ? '' : ` --without ${without.join(',')}`;
  print(`npm run test:simulation -- --seed ${result.seed} --steps ${result.steps}${leftOut} --story`);
}

function addTo(sums: Record<string, number>, more: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(more)) sums[name] = (sums[name] ?? 0) + count;
}
