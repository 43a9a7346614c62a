/**
 * The order of a memory engine's keys, kept lazily: nothing until the first scan, then sorted runs that are merged as
 * they grow (each key moves O(log n) times). It never holds values and never says which keys are alive: a run may hold
 * deleted keys, which whoever scans skips. Keys are latin1 strings, whose order is that of their bytes.
 */

/** Dead and repeated keys that an index may hold beside as many as are alive, before it is dropped and built afresh. */
const STALE_KEYS_MIN = 4096;

export interface KeyBounds {
  /** Inclusive (exclusive if `afterGte`). */
  readonly gte: string | undefined;
  readonly afterGte: boolean;
  /** Exclusive. */
  readonly lt: string | undefined;
}

export class OrderedKeys {
  #runs: string[][] = [];
  #fresh: string[] = [];
  #held = 0;
  #built = false;

  /** A key that was not alive has come; `alive` keys there are now. */
  added(key: string, alive: number): void {
    if (!this.#built) return;
    this.#fresh.push(key);
    this.#held++;
    if (this.#held > 2 * alive + STALE_KEYS_MIN) this.#drop();
  }

  /** Sorted runs that together hold every key that is alive. Immutable: they may be kept until the next change. */
  runs(all: Iterable<string>): readonly (readonly string[])[] {
    if (!this.#built) {
      this.#runs = [[...all].sort()];
      this.#held = this.#runs[0]!.length;
      this.#built = true;
    } else if (this.#fresh.length > 0) {
      this.#push(this.#fresh.sort());
      this.#fresh = [];
    }
    return this.#runs;
  }

  #push(run: string[]): void {
    let last = run;
    const runs = [...this.#runs];
    for (
      let below = runs.at(-1);
      below !== undefined && last.length * 2 >= below.length;
      below = runs.at(-1)
    ) {
      last = mergeRuns(below, last);
      runs.pop();
    }
    runs.push(last);
    this.#runs = runs;
    this.#held = runs.reduce((sum, one) => sum + one.length, 0);
  }

  #drop(): void {
    this.#runs = [];
    this.#fresh = [];
    this.#held = 0;
    this.#built = false;
  }
}

/** Visits the keys of several runs in order, each once, until `visit` returns false. */
export function walkRuns(
  runs: readonly (readonly string[])[],
  bounds: KeyBounds,
  reverse: boolean,
  visit: (key: string) => boolean,
): void {
  const step = reverse ? -1 : 1;
  const cursors = runs.map((run) => firstWithin(run, bounds, reverse));
  let previous: string | undefined;
  for (;;) {
    let best: string | undefined;
    let bestRun = -1;
    for (let i = 0; i < runs.length; i++) {
      const key = runs[i]![cursors[i]!];
      if (key === undefined) continue;
      if (best === undefined || (reverse ? key > best : key < best)) {
        best = key;
        bestRun = i;
      }
    }
    if (best === undefined || !isWithin(best, bounds)) return;
    cursors[bestRun]! += step;
    if (best === previous) continue;
    previous = best;
    if (!visit(best)) return;
  }
}

function isWithin(key: string, bounds: KeyBounds): boolean {
  if (bounds.lt !== undefined && key >= bounds.lt) return false;
  if (bounds.gte === undefined) return true;
  return bounds.afterGte ? key > bounds.gte : key >= bounds.gte;
}

function firstWithin(run: readonly string[], bounds: KeyBounds, reverse: boolean): number {
  if (reverse) return bounds.lt === undefined ? run.length - 1 : lowerBound(run, bounds.lt) - 1;
  if (bounds.gte === undefined) return 0;
  const at = lowerBound(run, bounds.gte);
  if (!bounds.afterGte) return at;
  let after = at;
  while (run[after] === bounds.gte) after++;
  return after;
}

/** Index of the first key that is not below `bound`. */
function lowerBound(run: readonly string[], bound: string): number {
  let low = 0;
  let high = run.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (run[middle]! < bound) low = middle + 1;
    else high = middle;
  }
  return low;
}

function mergeRuns(a: readonly string[], b: readonly string[]): string[] {
  const merged: string[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const left = a[i];
    const right = b[j];
    const takeLeft = right === undefined || (left !== undefined && left <= right);
    const key = takeLeft ? left! : right;
    if (takeLeft) i++;
    else j++;
    if (merged[merged.length - 1] !== key) merged.push(key);
  }
  return merged;
}
