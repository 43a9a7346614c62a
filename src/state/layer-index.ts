/**
 * The keys of one layer in the order of their bytes, for scans. Built when a scan first asks and extended by what was
 * written since, so that processing never pays for it. Keys are whole store keys as latin1 text: comparing such strings
 * compares the bytes, at a fraction of the cost.
 */
import type { Entry } from './entry.js';

export interface KeyRange {
  /** Inclusive. */
  readonly from: string;
  /** Exclusive; absent: to the end. */
  readonly to: string | undefined;
}

interface Indexed {
  readonly key: string;
  readonly entry: Entry;
}

export class LayerIndex {
  #sorted: Indexed[] = [];
  /** How many of the layer's entries are in it. */
  #count = 0;

  /** The entries of `layer` (which only grows, or is cut by `cut`) within the range, in order. */
  range(layer: readonly Entry[], range: KeyRange): readonly Indexed[] {
    this.#extend(layer);
    const start = this.#position(range.from);
    const end = range.to === undefined ? this.#sorted.length : this.#position(range.to);
    return this.#sorted.slice(start, Math.max(start, end));
  }

  /** The layer was cut to `length` by a rollback. */
  cut(length: number): void {
    if (this.#count <= length) return;
    this.#sorted = [];
    this.#count = 0;
  }

  #extend(layer: readonly Entry[]): void {
    if (this.#count === layer.length) return;
    const added: Indexed[] = [];
    for (let i = this.#count; i < layer.length; i++) {
      const entry = layer[i]!;
      added.push({ key: entry.owner.sortKey(entry), entry });
    }
    added.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
    this.#sorted = merge(this.#sorted, added);
    this.#count = layer.length;
  }

  /** The first position whose key is not below `key`. */
  #position(key: string): number {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sorted[middle]!.key < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function merge(a: Indexed[], b: Indexed[]): Indexed[] {
  if (a.length === 0) return b;
  const merged: Indexed[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) merged.push(a[i]!.key < b[j]!.key ? a[i++]! : b[j++]!);
  while (i < a.length) merged.push(a[i++]!);
  while (j < b.length) merged.push(b[j++]!);
  return merged;
}
