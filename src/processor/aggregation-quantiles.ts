/**
 * `quantiles`: exact while a window has at most 64 values, then by a sketch with a bounded relative error. Newer values
 * wait in a short list, so that an add copies that list and not the sketch, which is in `quantile-sketch.ts`.
 */
import { NUMBER_BYTES } from './aggregation-numbers.js';
import {
  aggregation,
  invalid,
  isFiniteNumber,
  notANumber,
  type NumberOf,
  requireFunction,
  requireIntegerIn,
  requireNumberIn,
} from './aggregation-parts.js';
import type { Aggregation, QuantileOptions } from './aggregations.js';
import {
  type PackedSketch,
  packSketch,
  QuantileScale,
  type QuantileSketch,
  rankOf,
  sketchBytes,
  unpackSketch,
} from './quantile-sketch.js';

const KIND = 'quantiles';
const WAITING_MAX = 64;
const ACCURACY = 0.01;
const BINS_MAX = 2048;

interface Quantiles {
  /** Values that are not in the sketch yet. */
  readonly waiting: readonly number[];
  /** Present if there are more than `WAITING_MAX` values in all, whatever the order in which they came. */
  readonly sketch: QuantileSketch | undefined;
  /** Of the sketch. */
  readonly bound: number;
}

const NOTHING: Quantiles = Object.freeze({ waiting: Object.freeze([]), sketch: undefined, bound: 0 });

export function quantiles<V>(
  of: NumberOf<V>,
  qs: readonly number[],
  options: QuantileOptions = {},
): Aggregation<V, readonly (number | undefined)[]> {
  requireFunction(KIND, 'of', of);
  if (!Array.isArray(qs)) throw invalid(`The aggregation ${KIND} needs an array of quantiles.`);
  const wanted: readonly number[] = [...(qs as readonly number[])];
  for (const q of wanted) requireNumberIn(KIND, 'qs', q, 0, 1);
  const { accuracy = ACCURACY, binsMax = BINS_MAX } = options;
  requireNumberIn(KIND, 'accuracy', accuracy, 0.0001, 0.2);
  requireIntegerIn(KIND, 'binsMax', binsMax, 64, 65_536);
  const scale = new QuantileScale(accuracy, binsMax);
  return aggregation<Quantiles, V, readonly (number | undefined)[]>({
    // Which quantiles are wanted changes nothing in what is stored.
    kind: `${KIND}(${accuracy},${binsMax})`,
    initial: () => NOTHING,
    add: (state, value) => {
      const given = of(value);
      if (given === null || given === undefined) return state;
      if (!isFiniteNumber(given)) throw notANumber(KIND, given);
      // JSON has no −0; adding 0 makes it 0.
      const { waiting, sketch, bound } = state;
      return settled(scale, { waiting: [...waiting, given + 0], sketch, bound });
    },
    result: (state) => Object.freeze(resultOf(scale, state, wanted)),
    merge: (a, b) => merged(scale, a, b),
    admit: ({ waiting, bound }) => bound + (NUMBER_BYTES + 1) * waiting.length + 5,
    pack: ({ waiting, sketch }) => (sketch === undefined ? [waiting] : [waiting, packSketch(sketch)]),
    unpack: (packed) => {
      const [waiting, given] = packed as [number[], PackedSketch?];
      return given === undefined
        ? { waiting, sketch: undefined, bound: 0 }
        : withSketch(waiting, unpackSketch(given));
    },
  });
}

/** Moves the waiting values to the sketch if they are too many. */
function settled(scale: QuantileScale, state: Quantiles): Quantiles {
  return state.waiting.length > WAITING_MAX ? withSketch([], sketched(scale, state)) : state;
}

/** The sketch of all values of a state, of which there is at least one. */
function sketched(scale: QuantileScale, { waiting, sketch }: Quantiles): QuantileSketch {
  if (waiting.length === 0 && sketch !== undefined) return sketch;
  const fresh = scale.sketchOf(waiting);
  return sketch === undefined ? fresh : scale.merge(sketch, fresh);
}

function withSketch(waiting: readonly number[], sketch: QuantileSketch): Quantiles {
  return { waiting, sketch, bound: sketchBytes(sketch) };
}

function merged(scale: QuantileScale, a: Quantiles, b: Quantiles): Quantiles {
  const waiting = [...a.waiting, ...b.waiting];
  const only = b.sketch === undefined ? a : a.sketch === undefined ? b : undefined;
  if (only !== undefined) return settled(scale, { waiting, sketch: only.sketch, bound: only.bound });
  return settled(scale, withSketch(waiting, scale.merge(a.sketch!, b.sketch!)));
}

function resultOf(scale: QuantileScale, state: Quantiles, wanted: readonly number[]): (number | undefined)[] {
  const { waiting, sketch } = state;
  if (sketch !== undefined) {
    const all = sketched(scale, state);
    return wanted.map((q) => scale.quantile(all, q));
  }
  const sorted = waiting.toSorted((x, y) => x - y);
  return wanted.map((q) => sorted[rankOf(q, sorted.length)]);
}
