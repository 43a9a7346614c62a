/** What a world is like: how many of everything, how often something goes wrong. It is drawn once, and never changes. */
import type { SeededRandom } from '../support/seeded-random.js';

/** How a seed's world is made. */
export interface Nature {
  readonly exactlyOnce: boolean;
  readonly partitions: number;
  readonly hosts: number;
  readonly workers: number;
  readonly cacheBytes: number;
  readonly parkMs: number;
  readonly chunkBytes: number;
  readonly checkpointMs: number;
  /** Of a step. */
  readonly faultChance: number;
  /** Of a message. */
  readonly lossChance: number;
  readonly ghosts: boolean;
  /** Members come and go. */
  readonly restless: boolean;
  readonly sessionMs: number;
  /** Messages that arrive in one step, at most. */
  readonly pace: number;
}

export function natureOf(random: SeededRandom): Nature {
  return {
    exactlyOnce: random.chance(0.8),
    partitions: random.between(2, 4),
    hosts: random.between(1, 3),
    workers: random.between(1, 2),
    cacheBytes: random.pick([0, 0, 600, 1 << 20]),
    parkMs: random.pick([0, 300, 30_000, 30_000]),
    chunkBytes: random.pick([200, 600, 1 << 18]),
    checkpointMs: random.pick([10, 40, 150, 600]),
    faultChance: random.pick([0, 0.015, 0.04, 0.1]),
    lossChance: random.pick([0, 0.005, 0.02, 0.05]),
    ghosts: random.chance(0.5),
    sessionMs: random.pick([1_000, 1_000, 3_000]),
    restless: random.chance(0.4),
    pace: random.pick([1, 3, 8]),
  };
}
