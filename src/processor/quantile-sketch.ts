/**
 * DDSketch: counts of values in bins whose bounds grow by a constant factor, so that every quantile is known up to a
 * relative error. Sketches are immutable; what one holds depends only on the values, not on their order or on merges. Raw
 * values that are not yet in a sketch are the matter of `aggregation-quantiles.ts`.
 *
 * Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019. Not
 * @datadog/sketches-js 2.1.1, which loses negative values in a merge and the extremes when stored, and changes in place;
 * tdigest chooses at random, hdr-histogram-js has a fixed range of integers.
 */

/** Bins of one sign: keys in ascending order of magnitude, and how many values are in each. */
interface Bins {
  readonly keys: readonly number[];
  readonly counts: readonly number[];
}

export interface QuantileSketch {
  readonly count: number;
  readonly zeros: number;
  readonly min: number;
  readonly max: number;
  readonly negative: Bins;
  readonly positive: Bins;
}

/** What a packed sketch is: an object of short names, as there may be thousands of them. */
export interface PackedSketch {
  readonly z: number;
  readonly r: readonly [min: number, max: number];
  readonly n: readonly [keys: readonly number[], counts: readonly number[]];
  readonly p: readonly [keys: readonly number[], counts: readonly number[]];
}

/** Below, numbers have fewer digits than the error: they count as zero. */
const NORMAL_MIN = 2.2250738585072014e-308;
const NO_BINS: Bins = Object.freeze({ keys: [], counts: [] });

export class QuantileScale {
  /** Natural logarithm of the factor between bounds. */
  readonly #step: number;
  /** Factor from a bin's upper bound to the value that stands for it, equally far from both bounds in relative terms. */
  readonly #middle: number;
  readonly #binsMax: number;

  /**
   * `accuracy`: relative error at most. `binsMax`: bins of a sign at most; when the magnitudes of one sign lie further apart
   * than so many bins, the smallest count as the smallest that has one.
   */
  constructor(accuracy: number, binsMax: number) {
    const factor = (1 + accuracy) / (1 - accuracy);
    this.#step = Math.log(factor);
    this.#middle = 2 / (1 + factor);
    this.#binsMax = binsMax;
  }

  /** The sketch of finite numbers, at least one. */
  sketchOf(values: readonly number[]): QuantileSketch {
    const negative = new Map<number, number>();
    const positive = new Map<number, number>();
    let zeros = 0;
    let min = Infinity;
    let max = -Infinity;
    for (const value of values) {
      if (value < min) min = value;
      if (value > max) max = value;
      const magnitude = Math.abs(value);
      if (magnitude < NORMAL_MIN) zeros++;
      else {
        const side = value < 0 ? negative : positive;
        const key = Math.ceil(Math.log(magnitude) / this.#step);
        side.set(key, (side.get(key) ?? 0) + 1);
      }
    }
    return {
      count: values.length,
      zeros,
      min,
      max,
      negative: this.#binsOf(negative),
      positive: this.#binsOf(positive),
    };
  }

  merge(a: QuantileSketch, b: QuantileSketch): QuantileSketch {
    return {
      count: a.count + b.count,
      zeros: a.zeros + b.zeros,
      min: Math.min(a.min, b.min),
      max: Math.max(a.max, b.max),
      negative: this.#joined(a.negative, b.negative),
      positive: this.#joined(a.positive, b.positive),
    };
  }

  /** About the value at position ⌊q · (count − 1)⌋ of all in ascending order. */
  quantile({ count, zeros, min, max, negative, positive }: QuantileSketch, q: number): number {
    const rank = rankOf(q, count);
    // The extremes are known, and a bin at the end of the numbers has a middle beyond them.
    if (rank === 0) return min;
    if (rank === count - 1) return max;
    let before = 0;
    for (let i = negative.keys.length - 1; i >= 0; i--) {
      before += negative.counts[i]!;
      if (before > rank) return Math.max(min, -this.#valueOf(negative.keys[i]!));
    }
    before += zeros;
    if (before > rank) return 0;
    for (let i = 0; i < positive.keys.length; i++) {
      before += positive.counts[i]!;
      if (before > rank) return Math.min(max, this.#valueOf(positive.keys[i]!));
    }
    return max;
  }

  #valueOf(key: number): number {
    return Math.exp(key * this.#step) * this.#middle;
  }

  #binsOf(side: ReadonlyMap<number, number>): Bins {
    if (side.size === 0) return NO_BINS;
    const keys = [...side.keys()].sort((x, y) => x - y);
    return this.#collapsed({ keys, counts: keys.map((key) => side.get(key)!) });
  }

  #joined(a: Bins, b: Bins): Bins {
    if (a.keys.length === 0) return b;
    if (b.keys.length === 0) return a;
    const keys: number[] = [];
    const counts: number[] = [];
    let i = 0;
    let j = 0;
    while (i < a.keys.length || j < b.keys.length) {
      const left = a.keys[i] ?? Infinity;
      const right = b.keys[j] ?? Infinity;
      keys.push(Math.min(left, right));
      counts.push((left <= right ? a.counts[i++]! : 0) + (right <= left ? b.counts[j++]! : 0));
    }
    return this.#collapsed({ keys, counts });
  }

  /** The lowest key that is kept hangs on the highest alone, so that the order of merges does not matter. */
  #collapsed(bins: Bins): Bins {
    const { keys, counts } = bins;
    const lowest = keys[keys.length - 1]! - this.#binsMax + 1;
    const below = keys.findIndex((key) => key > lowest);
    if (below <= 0 || keys[0]! === lowest) return bins;
    let collapsed = 0;
    for (let i = 0; i < below; i++) collapsed += counts[i]!;
    return { keys: [lowest, ...keys.slice(below)], counts: [collapsed, ...counts.slice(below)] };
  }
}

/** Position of a quantile among `count` values in ascending order. */
export function rankOf(q: number, count: number): number {
  return Math.floor(q * (count - 1));
}

/** Upper bound of the bytes of its packed form's JSON text. */
export function sketchBytes({ count, negative, positive }: QuantileSketch): number {
  // A key has at most 8 digits with its sign, no bin counts more than all.
  const perBin = 9 + String(count).length + 1;
  return 150 + perBin * (negative.keys.length + positive.keys.length);
}

export function packSketch({ zeros, min, max, negative, positive }: QuantileSketch): PackedSketch {
  return {
    z: zeros,
    r: [min, max],
    n: [negative.keys, negative.counts],
    p: [positive.keys, positive.counts],
  };
}

export function unpackSketch({ z, r, n, p }: PackedSketch): QuantileSketch {
  const total = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0);
  return {
    count: z + total(n[1]) + total(p[1]),
    zeros: z,
    min: r[0],
    max: r[1],
    negative: { keys: n[0], counts: n[1] },
    positive: { keys: p[0], counts: p[1] },
  };
}
