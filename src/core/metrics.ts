/**
 * The port to metrics: counters, gauges and histograms by name and labels. `noMetrics` costs nothing; `MemoryMetrics`
 * keeps everything, for tests and `stats()`. An instrument is made once and kept by whoever updates it: nothing is looked
 * up by name in a hot path.
 */
import { PartitaError } from './errors.js';

export type Labels = Readonly<Record<string, string>>;

export interface Counter {
  /** Adds `by` ≥ 0. Default 1. */
  add(by?: number): void;
}

export interface Gauge {
  set(value: number): void;
}

export interface Histogram {
  observe(value: number): void;
}

export interface Metrics {
  /** The same name and labels give the same series. Names are snake_case and end in their unit: `…_total`, `…_ms`. */
  counter(name: string, labels?: Labels): Counter;
  gauge(name: string, labels?: Labels): Gauge;
  histogram(name: string, labels?: Labels): Histogram;
}

const nowhere: Counter & Gauge & Histogram = {
  add: () => undefined,
  set: () => undefined,
  observe: () => undefined,
};

/** Measures nothing: the default. */
export const noMetrics: Metrics = {
  counter: () => nowhere,
  gauge: () => nowhere,
  histogram: () => nowhere,
};

/** What a histogram of `MemoryMetrics` has seen. */
export interface HistogramSummary {
  readonly count: number;
  readonly sum: number;
  readonly min: number;
  readonly max: number;
}

type Kind = 'counter' | 'gauge' | 'histogram';

interface Series {
  readonly kind: Kind;
  value: number;
  count: number;
  min: number;
  max: number;
}

/** Keeps every series in memory, by name and labels. */
export class MemoryMetrics implements Metrics {
  readonly #series = new Map<string, Series>();

  counter(name: string, labels?: Labels): Counter {
    const series = this.#open('counter', name, labels);
    return {
      add(by = 1) {
        if (!(by >= 0))
          throw new PartitaError('INVALID_ARGUMENT', `The counter ${name} can't go back by ${by}.`);
        series.value += by;
      },
    };
  }

  gauge(name: string, labels?: Labels): Gauge {
    const series = this.#open('gauge', name, labels);
    return {
      set(value) {
        series.value = value;
      },
    };
  }

  histogram(name: string, labels?: Labels): Histogram {
    const series = this.#open('histogram', name, labels);
    return {
      observe(value) {
        series.value += value;
        series.count++;
        series.min = Math.min(series.min, value);
        series.max = Math.max(series.max, value);
      },
    };
  }

  /** The value of a counter or gauge; `undefined` if there is none of that name and labels. */
  value(name: string, labels?: Labels): number | undefined {
    const series = this.#series.get(seriesKey(name, labels));
    return series === undefined || series.kind === 'histogram' ? undefined : series.value;
  }

  /** What a histogram has seen; `undefined` if there is none of that name and labels. */
  summary(name: string, labels?: Labels): HistogramSummary | undefined {
    const series = this.#series.get(seriesKey(name, labels));
    if (series?.kind !== 'histogram') return undefined;
    return { count: series.count, sum: series.value, min: series.min, max: series.max };
  }

  #open(kind: Kind, name: string, labels: Labels | undefined): Series {
    const key = seriesKey(name, labels);
    const existing = this.#series.get(key);
    if (existing !== undefined && existing.kind !== kind)
      throw new PartitaError('INVALID_ARGUMENT', `The metric ${name} is a ${existing.kind}, not a ${kind}.`);
    if (existing !== undefined) return existing;
    const series: Series = { kind, value: 0, count: 0, min: Infinity, max: -Infinity };
    this.#series.set(key, series);
    return series;
  }
}

function seriesKey(name: string, labels: Labels = {}): string {
  const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([name, sorted]);
}
