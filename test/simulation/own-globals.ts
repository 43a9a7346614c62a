/**
 * What escapes a program's ports: immediates, random numbers and the machine's time. While a world runs, they are its own:
 * immediates are counted, random numbers come from the seed, and the machine's time stands still.
 */
import type { SeededRandom } from '../support/seeded-random.js';

export interface OwnGlobals {
  /** Immediates that have not run yet. */
  pending(): number;
  restore(): void;
}

export function ownGlobals(random: SeededRandom): OwnGlobals {
  const { setImmediate } = globalThis;
  const math = Math.random;
  const now = performance.now.bind(performance);
  const date = Date.now;
  let pending = 0;
  const counted = (fn: (...args: unknown[]) => void, ...args: unknown[]): NodeJS.Immediate => {
    pending++;
    return setImmediate(() => {
      pending--;
      fn(...args);
    });
  };
  globalThis.setImmediate = Object.assign(counted, setImmediate);
  Math.random = () => random.next();
  performance.now = () => 0;
  Date.now = () => 1_767_225_600_000;
  return {
    pending: () => pending,
    restore: () => {
      globalThis.setImmediate = setImmediate;
      Math.random = math;
      performance.now = now;
      Date.now = date;
    },
  };
}
