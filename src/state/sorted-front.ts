/**
 * The front of a due index: entries in the order of (time, key) in short sorted runs, so that an insert anywhere moves a
 * few of them only, and taking the first costs nothing. It knows nothing of rows and of what entries mean.
 */
import type { DueHead } from './due-source.js';

export class SortedFront<E extends DueHead> {
  readonly #runMax: number;
  /** None is empty, but for the first if it is the only one. */
  #runs: E[][] = [[]];
  /** What lies before it in the first run has been taken. */
  #start = 0;
  #size = 0;

  /** @param runMax entries of a run at most, an even number; a longer one is halved */
  constructor(runMax = 256) {
    this.#runMax = runMax;
  }

  get size(): number {
    return this.#size;
  }

  get first(): E | undefined {
    return this.#runs[0]![this.#start];
  }

  /** Replaces everything. The entries are sorted. */
  fill(entries: readonly E[]): void {
    this.#runs = [];
    const runMax = this.#runMax;
    for (let i = 0; i < entries.length; i += runMax) this.#runs.push(entries.slice(i, i + runMax));
    if (this.#runs.length === 0) this.#runs.push([]);
    this.#start = 0;
    this.#size = entries.length;
  }

  find(atMs: number, key: string): E | undefined {
    const run = this.#runs[this.#runOf(atMs, key)]!;
    const entry = run[this.#position(run, atMs, key)];
    return entry?.atMs === atMs && entry.key === key ? entry : undefined;
  }

  /** The entry is not in it yet. */
  insert(entry: E): void {
    const { atMs, key } = entry;
    const index = this.#runOf(atMs, key);
    const run = this.#runs[index]!;
    const at = this.#position(run, atMs, key);
    if (at === run.length) run.push(entry);
    else run.splice(at, 0, entry);
    this.#size++;
    if (run.length <= this.#runMax) return;
    this.#dropTaken();
    if (run.length > this.#runMax) this.#runs.splice(index + 1, 0, run.splice(this.#runMax / 2));
  }

  /** Forgets the first. */
  removeFirst(): void {
    this.#size--;
    this.#start++;
    if (this.#start < this.#runs[0]!.length) return;
    this.#start = 0;
    if (this.#runs.length > 1) this.#runs.shift();
    else this.#runs[0]!.length = 0;
  }

  /** Forgets an entry, wherever it is. */
  remove(entry: E): void {
    const index = this.#runOf(entry.atMs, entry.key);
    const run = this.#runs[index]!;
    const at = this.#position(run, entry.atMs, entry.key);
    if (run[at] !== entry) return;
    if (index === 0 && at === this.#start) {
      this.removeFirst();
      return;
    }
    this.#size--;
    run.splice(at, 1);
    if (run.length === 0) this.#runs.splice(index, 1);
  }

  /** Takes off what comes after the first `keep` entries, rounded up to a whole run. */
  cut(keep: number): E[] {
    let kept = this.#runs[0]!.length - this.#start;
    let runs = 1;
    while (runs < this.#runs.length && kept < keep) kept += this.#runs[runs++]!.length;
    const cutOff = this.#runs.splice(runs).flat();
    this.#size = kept;
    return cutOff;
  }

  get last(): E | undefined {
    return this.#size === 0 ? undefined : this.#runs.at(-1)!.at(-1);
  }

  *[Symbol.iterator](): Generator<E, void> {
    for (const [index, run] of this.#runs.entries())
      for (let i = index === 0 ? this.#start : 0; i < run.length; i++) yield run[i]!;
  }

  #dropTaken(): void {
    if (this.#start === 0) return;
    this.#runs[0]!.splice(0, this.#start);
    this.#start = 0;
  }

  /** The first run whose last entry is not before (atMs, key), or the last run. */
  #runOf(atMs: number, key: string): number {
    const runs = this.#runs;
    let low = 0;
    let high = runs.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const run = runs[middle]!;
      if (isAfter(atMs, key, run[run.length - 1]!)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The first position of the run whose entry is not before (atMs, key). */
  #position(run: readonly E[], atMs: number, key: string): number {
    let low = run === this.#runs[0] ? this.#start : 0;
    let high = run.length;
    // Many inserts are the latest of their run.
    if (high > low && isAfter(atMs, key, run[high - 1]!)) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isAfter(atMs, key, run[middle]!)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Whether (atMs, key) comes after the other. */
export function isAfter(atMs: number, key: string, than: DueHead): boolean {
  return atMs > than.atMs || (atMs === than.atMs && key > than.key);
}
