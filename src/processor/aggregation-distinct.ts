/**
 * `distinctCount`: how many different texts and numbers a window has seen, by a HyperLogLog in bounded space, or exactly by
 * a set that grows with them. The number 1 and the text '1' are different, 0 and −0 are not. The sketch is in
 * `hyperloglog.ts`.
 */
import { NUMBER_BYTES } from './aggregation-numbers.js';
import {
  aggregation,
  invalid,
  isFiniteNumber,
  requireFunction,
  requireIntegerIn,
  same,
  typeNameOf,
} from './aggregation-parts.js';
import type { Aggregation, DistinctOptions } from './aggregations.js';
import { hash53 } from './hash53.js';
import {
  EMPTY_HLL,
  type Hll,
  hllAdd,
  hllBytes,
  hllCount,
  hllMerge,
  PRECISION_MAX,
  PRECISION_MIN,
} from './hyperloglog.js';

const KIND = 'distinctCount';
/** 4096 registers: 4 KiB and a standard error of 1.6 %. */
const PRECISION = 12;

type Counted = string | number;

export function distinctCount<V>(
  of: (value: V) => Counted | null | undefined,
  options: DistinctOptions = {},
): Aggregation<V, number> {
  requireFunction(KIND, 'of', of);
  const { exact = false, precision = PRECISION } = options;
  if (typeof (exact as unknown) !== 'boolean')
    throw invalid(`The aggregation ${KIND} needs a boolean \`exact\`.`);
  requireIntegerIn(KIND, 'precision', precision, PRECISION_MIN, PRECISION_MAX);
  return exact ? exactCount(of) : sketchedCount(of, precision);
}

function sketchedCount<V>(
  of: (value: V) => Counted | null | undefined,
  precision: number,
): Aggregation<V, number> {
  return aggregation<Hll, V, number>({
    kind: `${KIND}(${precision})`,
    initial: () => EMPTY_HLL,
    add: (state, value) => {
      const given = of(value);
      return given === null || given === undefined
        ? state
        : hllAdd(state, hash53(countable(given)), precision);
    },
    result: (state) => hllCount(state, precision),
    merge: (a, b) => hllMerge(a, b, precision),
    admit: hllBytes,
    pack: same,
    unpack: (packed) => packed as Hll,
  });
}

function exactCount<V>(of: (value: V) => Counted | null | undefined): Aggregation<V, number> {
  return aggregation<DistinctValues, V, number>({
    kind: `${KIND}(exact)`,
    initial: () => new DistinctValues(),
    add: (state, value) => {
      const given = of(value);
      return given === null || given === undefined ? state : state.with(countable(given));
    },
    result: (state) => state.size,
    merge: (a, b) => b.values().reduce<DistinctValues>((all, value) => all.with(value), a),
    admit: (state) => state.bound,
    pack: (state) => state.values(),
    unpack: (packed) =>
      (packed as readonly Counted[]).reduce<DistinctValues>(
        (all, value) => all.with(value),
        new DistinctValues(),
      ),
  });
}

function countable(given: Counted): Counted {
  if (typeof given === 'string' || isFiniteNumber(given)) return given;
  throw typeof (given as unknown) === 'number'
    ? new RangeError(`The aggregation ${KIND} takes texts and finite numbers, not ${given as number}`)
    : new TypeError(
        `The aggregation ${KIND} takes texts, numbers, null and undefined, not ${typeNameOf(given)}`,
      );
}

/**
 * An immutable set of which the next one costs no copy: all sets of a lineage share one growing list, and each is its first
 * `size` values. Only one that is no longer the newest, after a record that failed, is copied when something is added.
 */
class DistinctValues {
  readonly size: number;
  /** Upper bound of the bytes of its JSON text. */
  readonly bound: number;
  readonly #shared: { readonly list: Counted[]; readonly places: Map<Counted, number> };

  constructor(from?: DistinctValues, value?: Counted) {
    if (from === undefined || value === undefined) {
      this.#shared = { list: [], places: new Map() };
      this.size = 0;
      this.bound = 2;
      return;
    }
    this.#shared = from.size === from.#shared.list.length ? from.#shared : from.#copy();
    this.#shared.places.set(value, from.size);
    this.#shared.list.push(value);
    this.size = from.size + 1;
    this.bound = from.bound + 1 + (typeof value === 'string' ? 6 * value.length + 2 : NUMBER_BYTES);
  }

  with(value: Counted): DistinctValues {
    const place = this.#shared.places.get(value);
    return place !== undefined && place < this.size ? this : new DistinctValues(this, value);
  }

  values(): Counted[] {
    return this.#shared.list.slice(0, this.size);
  }

  #copy(): { list: Counted[]; places: Map<Counted, number> } {
    const list = this.values();
    return { list, places: new Map(list.map((value, place) => [value, place])) };
  }
}
