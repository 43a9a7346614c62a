/**
 * HyperLogLog: how many different hashes a window has seen, in bounded space. Sketches are immutable and JSON as they are.
 * The few libraries that exist change theirs in place, or need an addon or lodash for it. Which values are counted, and how
 * they are hashed, is the matter of `aggregation-distinct.ts` and `hash53.ts`.
 *
 * Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog: the analysis of a near-optimal cardinality estimation algorithm", 2007,
 * with more than 32 bits of hash and a sparse form while there are few, after Heule, Nunkesser, Hall, "HyperLogLog in
 * practice", 2013. In place of their tables of bias the estimator of Ertl, "New cardinality estimation algorithms for
 * HyperLogLog sketches", 2017, algorithm 6, which has no bias at any size.
 */

/**
 * Few hashes are listed, in ascending order. Many become registers, one character each: `0` and its rank. A string is
 * immutable, short to copy, and what JSON writes.
 */
export type Hll = readonly number[] | string;

export const PRECISION_MIN = 4;
export const PRECISION_MAX = 16;
export const EMPTY_HLL: Hll = Object.freeze([]);

const HASH_BITS = 53;
/** Ranks end before the backslash, which JSON would escape; no window sees 2^42 times its registers. */
const RANK_MAX = 43;
const ZERO = 48;
const ALPHA = 1 / (2 * Math.LN2);

/** Up to so many hashes are listed, and the count is exact. */
export function listedMax(precision: number): number {
  return Math.max(64, 2 ** precision / 16);
}

/** `hash`: 53 random bits, as a number. The same sketch if it has been there, or tells nothing new. */
export function hllAdd(sketch: Hll, hash: number, precision: number): Hll {
  if (typeof sketch === 'string') return raised(sketch, hash, precision);
  const at = placeOf(sketch, hash);
  if (sketch[at] === hash) return sketch;
  const list = sketch.slice();
  list.splice(at, 0, hash);
  return list.length > listedMax(precision) ? registersOf(list, precision) : list;
}

/** The sketch of all that either has seen; the same as if one had seen it all. */
export function hllMerge(a: Hll, b: Hll, precision: number): Hll {
  if (typeof a === 'string' && typeof b === 'string') {
    const registers = Buffer.from(a, 'latin1');
    for (let i = 0; i < registers.length; i++) registers[i] = Math.max(registers[i]!, b.charCodeAt(i));
    return registers.toString('latin1');
  }
  const [into, from] = typeof b === 'string' ? [b, a as readonly number[]] : [a, b];
  let sketch: Hll = into;
  for (const hash of from) sketch = hllAdd(sketch, hash, precision);
  return sketch;
}

/** Exact while hashes are listed, then with a standard error of 1.04 / √(2^precision). */
export function hllCount(sketch: Hll, precision: number): number {
  return typeof sketch === 'string' ? estimate(sketch, precision) : sketch.length;
}

/** Upper bound of the bytes of its JSON text. */
export function hllBytes(sketch: Hll): number {
  return typeof sketch === 'string' ? sketch.length + 2 : 17 * sketch.length + 2;
}

function raised(registers: string, hash: number, precision: number): string {
  const index = hash % 2 ** precision;
  const code = ZERO + rankOf(hash, precision);
  if (registers.charCodeAt(index) >= code) return registers;
  return registers.slice(0, index) + String.fromCharCode(code) + registers.slice(index + 1);
}

function registersOf(hashes: readonly number[], precision: number): string {
  const registers = Buffer.alloc(2 ** precision, ZERO);
  for (const hash of hashes) {
    const index = hash % registers.length;
    registers[index] = Math.max(registers[index]!, ZERO + rankOf(hash, precision));
  }
  return registers.toString('latin1');
}

/** One more than the zeros that lead the bits beside those of the index. */
function rankOf(hash: number, precision: number): number {
  const high = Math.floor(hash / 2 ** 32);
  const rank =
    high > 0
      ? Math.clz32(high) - (64 - HASH_BITS) + 1
      : HASH_BITS - 32 + Math.clz32((hash >>> 0) >>> precision) - precision + 1;
  return Math.min(rank, RANK_MAX);
}

function rankMaxOf(precision: number): number {
  return Math.min(RANK_MAX, HASH_BITS - precision + 1);
}

function estimate(registers: string, precision: number): number {
  const m = registers.length;
  const rankMax = rankMaxOf(precision);
  const withRank = new Array<number>(RANK_MAX + 1).fill(0);
  for (let i = 0; i < m; i++) withRank[registers.charCodeAt(i) - ZERO]!++;
  let z = m * tau(1 - withRank[rankMax]! / m);
  for (let rank = rankMax - 1; rank >= 1; rank--) z = (z + withRank[rank]!) / 2;
  z += m * sigma(withRank[0]! / m);
  return Math.round((ALPHA * m * m) / z);
}

/** x + Σ x^(2^k) · 2^(k − 1): the share of registers that saw nothing. Ends when a term no longer counts. */
function sigma(x: number): number {
  if (x === 1) return Infinity;
  let sum = x;
  let before: number;
  let weight = 1;
  do {
    x *= x;
    before = sum;
    sum += x * weight;
    weight *= 2;
  } while (sum !== before);
  return sum;
}

/** (1 − x − Σ (1 − x^(2^−k))² · 2^−k) / 3: the share of registers that are full. */
function tau(x: number): number {
  if (x === 0 || x === 1) return 0;
  let sum = 1 - x;
  let before: number;
  let weight = 1;
  do {
    x = Math.sqrt(x);
    before = sum;
    weight /= 2;
    sum -= (1 - x) ** 2 * weight;
  } while (sum !== before);
  return sum / 3;
}

/** Index of the first hash that is not smaller. */
function placeOf(list: readonly number[], hash: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (list[middle]! < hash) low = middle + 1;
    else high = middle;
  }
  return low;
}
