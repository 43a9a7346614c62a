/** Makes a broken world smaller: leaves out one fault after the other, as long as it still breaks, and cuts the steps behind. */
import { simulate, type SimulationResult } from './world.js';

const RUNS_MAX = 200;

/** The smallest run found that still breaks; the given one if it does not break. */
export async function minimise(broken: SimulationResult): Promise<{
  readonly result: SimulationResult;
  readonly without: readonly number[];
}> {
  let result = broken;
  let without: readonly number[] = [];
  let runs = 0;
  const attempt = async (steps: number, left: readonly number[]): Promise<boolean> => {
    if (runs++ >= RUNS_MAX) return false;
    const smaller = await simulate({ seed: broken.seed, steps, without: new Set(left) });
    if (smaller.failure === undefined || kindOf(smaller.failure) !== kindOf(broken.failure!)) return false;
    result = smaller;
    without = left;
    return true;
  };
  for (let steps = Math.ceil(result.steps / 2); steps >= 1 && (await attempt(steps, without));)
    steps = Math.ceil(steps / 2) === steps ? 0 : Math.ceil(steps / 2);
  for (const step of [...new Set(broken.faultySteps)].reverse())
    if (step < result.steps) await attempt(result.steps, [...without, step]);
  return { result, without };
}

/** What is broken, whichever partition, member or number it is. */
function kindOf(failure: string): string {
  return failure
    .split('\n')[0]!
    .replace(/\{[^}]*\}|\[[^\]]*\]|\d+/g, '#')
    .slice(0, 60);
}
