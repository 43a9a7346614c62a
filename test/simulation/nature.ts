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
  /** Chance that time passes in a step, instead of a message. */
  readonly passing: number;
}

/** Little goes wrong, but guests come and go, and who is there misses their generations. */
const TIDAL = {
  hosts: 1,
  parkMs: 30_000,
  checkpointMs: 40,
  faultChance: 0.01,
  lossChance: 0,
  restless: true,
  sessionMs: 3_000,
  pace: 8,
  passing: 0.05,
} as const;

export function natureOf(random: SeededRandom): Nature {
  const nature: Nature = {
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
    passing: 0.12,
  };
  return random.chance(0.3) ? { ...nature, ...TIDAL } : nature;
}
