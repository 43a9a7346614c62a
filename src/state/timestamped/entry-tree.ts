/**
 * The entries of every key of a timestamped store: a tree of blocks in rows of their own, found by point reads, so that a
 * write changes a block and the root, and a checkpoint carries only what changed. It knows the order of entries and the
 * smallest eligible timestamp; serdes and what users see are `timestamped-store.ts`'s.
 *
 * `nodes` under a key, by level and place:   root  { newest, min, height 1, top: [(0,0) (30,0) (62,0)] }
 *                                            level 0   (0,0): 3 8 12 …   (30,0): 30 31 …   (62,0): 62 …
 */
import type { KeyValueStore, ReadLevel } from '../key-value-store.js';
import type { RecordScope } from '../record-scope.js';
import {
  countUpTo,
  splitBlock,
  trimmed,
  withEntry,
  type Block,
  type BlockEntry,
  type BlockLimits,
} from './entry-block.js';
import { first, levelPrefix, Place, type Node, type Places, type Root } from './node-serdes.js';
import { timeText } from '../internal-serdes.js';

export interface TreeLimits extends BlockLimits {
  /** Places of a node at most. */
  readonly placesMax: number;
  /** Nodes that one checkpoint deletes at most; what is older than the grace is not found, whether or not it is gone. */
  readonly deletionsMax: number;
}

export const LIMITS: TreeLimits = {
  entriesMax: 64,
  bytesMax: 128 * 1024,
  placesMax: 64,
  deletionsMax: 4_096,
};

export interface TreeOptions {
  readonly roots: KeyValueStore;
  readonly nodes: KeyValueStore;
  readonly graceMs: number;
  readonly keepDuplicates: boolean;
  readonly limits: TreeLimits;
}

export class EntryTree {
  readonly #roots: KeyValueStore;
  readonly #nodes: KeyValueStore;
  readonly #graceMs: number;
  readonly #keepDuplicates: boolean;
  readonly #limits: TreeLimits;
  /** Keys that may have nodes to be deleted. A hint: after a crash the next write of a key sees it anew. */
  readonly #outgrown = new Set<string>();
  #deletionsLeft = 0;

  constructor(options: TreeOptions) {
    this.#roots = options.roots;
    this.#nodes = options.nodes;
    this.#graceMs = options.graceMs;
    this.#keepDuplicates = options.keepDuplicates;
    this.#limits = options.limits;
  }

  root(key: string, read: ReadLevel): Root | undefined {
    return this.#roots.getAt(read, key) as Root | undefined;
  }

  /** @returns whether it was young enough to be added */
  add(key: string, entry: BlockEntry): boolean {
    const old = this.root(key, 'latest') ?? EMPTY;
    const { timestamp } = entry;
    if (timestamp < old.min) return false;
    const newest = Math.max(old.newest, timestamp);
    const min = Math.max(old.min, newest - this.#graceMs);
    const root = this.#grown({ ...this.#withEntry(key, old, entry, min), newest, min }, key);
    this.#roots.set(key, root);
    if (mayTrim(root, min > old.min)) this.#outgrown.add(key);
    return true;
  }

  asOf(key: string, timestamp: number, read: ReadLevel): BlockEntry | undefined {
    const root = this.root(key, read);
    if (root === undefined || timestamp < root.min) return undefined;
    let node = root.top;
    for (let level = root.height; level > 0; level--) {
      const places = node as Places;
      node = this.#node(key, level - 1, places[indexUpTo(places, timestamp)]!, read);
    }
    const block = node as Block;
    const entry = block[countUpTo(block, timestamp) - 1];
    return entry === undefined || entry.timestamp < root.min ? undefined : entry;
  }

  /** Blocks that hold all entries with from ≤ timestamp < to, in order, one at a time. `from` is eligible. */
  *blocks(key: string, from: number, to: number, reverse: boolean, read: ReadLevel): Generator<Block, void> {
    const root = this.root(key, read);
    if (root !== undefined) yield* this.#blocksOf(key, root.height, root.top, from, to, reverse, read);
  }

  /** As `blocks`, of the moment of the call. */
  scan(
    key: string,
    from: number,
    to: number,
    reverse: boolean,
    read: ReadLevel,
    scope: RecordScope,
  ): AsyncIterable<readonly [unknown, unknown]> {
    const block = this.#blockBefore(key, from, read);
    const prefix = levelPrefix(key, 0);
    const end = to <= Number.MAX_SAFE_INTEGER ? prefix + timeText(Math.ceil(to)) : levelPrefix(key, 1);
    return this.#nodes.range(block.node(key, 0), end, { reverse }, read, scope);
  }

  /** Deletes blocks of which every entry is older than the grace, up to a bound. */
  trim(): void {
    this.#deletionsLeft = this.#limits.deletionsMax;
    for (const key of this.#outgrown) {
      if (this.#deletionsLeft <= 0) return;
      const root = this.root(key, 'latest');
      if (root !== undefined) this.#trimKey(key, root);
      if (this.#deletionsLeft > 0) this.#outgrown.delete(key);
    }
  }

  clear(): void {
    this.#outgrown.clear();
  }

  #node(key: string, level: number, place: Place, read: ReadLevel = 'latest'): Node {
    const at = place.node(key, level);
    return this.#nodes.getAt(read, at) as Node;
  }

  #setNode(key: string, level: number, place: Place, node: Node): void {
    this.#nodes.set(place.node(key, level), node);
  }

  #withEntry(key: string, root: Root, entry: BlockEntry, min: number): Pick<Root, 'height' | 'top'> {
    const { height, top } = root;
    if (height > 0) return { height, top: this.#addBelow(key, height, top as Places, entry) };
    // This row is written anyway.
    const block = trimmed(withEntry(top as Block, entry, this.#keepDuplicates), min);
    const parts = splitBlock(block, block.at(-1) === entry, this.#limits);
    if (parts.length === 1) return { height, top: block };
    return { height: 1, top: this.#writeBlocks(key, first(), parts) };
  }

  /** @returns the places with those of the nodes that were split off */
  #addBelow(key: string, level: number, places: Places, entry: BlockEntry): Places {
    const at = indexUpTo(places, entry.timestamp);
    const place = places[at]!;
    const node = this.#node(key, level - 1, place);
    const parts =
      level === 1
        ? this.#addToBlock(key, place, node as Block, entry)
        : this.#addToPlaces(key, level - 1, place, node as Places, entry);
    return parts.length === 1 ? places : [...places.slice(0, at), ...parts, ...places.slice(at + 1)];
  }

  #addToBlock(key: string, place: Place, old: Block, entry: BlockEntry): Places {
    const block = withEntry(old, entry, this.#keepDuplicates);
    return this.#writeBlocks(key, place, splitBlock(block, block.at(-1) === entry, this.#limits));
  }

  #addToPlaces(key: string, level: number, place: Place, old: Places, entry: BlockEntry): Places {
    const places = this.#addBelow(key, level, old, entry);
    return places === old ? [place] : this.#writePlaces(key, level, place, places);
  }

  /** Writes the parts of a block that began at `place`. */
  #writeBlocks(key: string, place: Place, parts: readonly Block[]): Places {
    const places: Place[] = [];
    let begin = place;
    for (const [i, part] of parts.entries()) {
      if (i > 0) begin = placeAfter(begin, parts[i - 1]!, part[0]!.timestamp);
      this.#setNode(key, 0, begin, part);
      places.push(begin);
    }
    return places;
  }

  /** Writes the places of a node that began at `place`, as two nodes if they are too many. */
  #writePlaces(key: string, level: number, place: Place, places: Places): Places {
    if (places.length <= this.#limits.placesMax) {
      this.#setNode(key, level, place, places);
      return [place];
    }
    const half = places.length >> 1;
    // A place is that of a node on one level.
    const right = new Place(places[half]!.timestamp, places[half]!.ordinal);
    this.#setNode(key, level, place, places.slice(0, half));
    this.#setNode(key, level, right, places.slice(half));
    return [place, right];
  }

  /** A root whose topmost node has become too large gets a level more. */
  #grown(root: Root, key: string): Root {
    const { height, top } = root;
    if (height === 0 || top.length <= this.#limits.placesMax) return root;
    return { ...root, height: height + 1, top: this.#writePlaces(key, height, first(), top as Places) };
  }

  *#blocksOf(
    key: string,
    level: number,
    node: Node,
    from: number,
    to: number,
    reverse: boolean,
    read: ReadLevel,
  ): Generator<Block, void> {
    if (level === 0) {
      yield node as Block;
      return;
    }
    const places = node as Places;
    const begin = indexBefore(places, from);
    let last = begin;
    while (last + 1 < places.length && places[last + 1]!.timestamp < to) last++;
    for (let n = 0; n <= last - begin; n++) {
      const place = places[reverse ? last - n : begin + n]!;
      yield* this.#blocksOf(key, level - 1, this.#node(key, level - 1, place, read), from, to, reverse, read);
    }
  }

  /** Where the last block begins that may hold something before everything of `timestamp`. */
  #blockBefore(key: string, timestamp: number, read: ReadLevel): Place {
    const root = this.root(key, read)!;
    let places = root.top as Places;
    for (let level = root.height; level > 1; level--)
      places = this.#node(key, level - 1, places[indexBefore(places, timestamp)]!, read) as Places;
    return places[indexBefore(places, timestamp)]!;
  }

  #trimKey(key: string, root: Root): void {
    if (root.height === 0) return;
    let { height } = root;
    let top: Node = this.#trimPlaces(key, height, root.top as Places, root.min, undefined);
    // A tree of a single node needs no level above it.
    while (height > 0 && top.length === 1) {
      const place = (top as Places)[0]!;
      height--;
      top = this.#node(key, height, place);
      this.#nodes.delete(place.node(key, height));
    }
    if (height === 0) top = trimmed(top as Block, root.min);
    if (top !== root.top) this.#roots.set(key, { ...root, height, top });
  }

  /**
   * Deletes from the left what is older than `min`.
   * @param next where the node to the right begins, if there is one
   * @returns the places that are left; none only if there is a node to the right
   */
  #trimPlaces(key: string, level: number, places: Places, min: number, next: Place | undefined): Places {
    let gone = 0;
    for (; gone < places.length && this.#deletionsLeft > 0; gone++) {
      const place = places[gone]!;
      const after = places[gone + 1] ?? next;
      if (level === 1) {
        if (after === undefined || !isBelow(after, min)) break;
      } else {
        const old = this.#node(key, level - 1, place) as Places;
        const left = this.#trimPlaces(key, level - 1, old, min, after);
        if (left.length > 0) {
          if (left !== old) this.#setNode(key, level - 1, place, left);
          break;
        }
      }
      this.#nodes.delete(place.node(key, level - 1));
      this.#deletionsLeft--;
    }
    return gone === 0 ? places : places.slice(gone);
  }
}

const EMPTY: Root = { newest: -1, min: 0, height: 0, top: [] };

/** The last place whose node may hold `timestamp`; what is before all of them belongs to the first. */
function indexUpTo(places: Places, timestamp: number): number {
  let low = 0;
  let high = places.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (places[middle]!.timestamp <= timestamp) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The last place before everything of `timestamp`: equal entries may begin in its node. */
function indexBefore(places: Places, timestamp: number): number {
  let low = 0;
  let high = places.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (places[middle]!.timestamp < timestamp) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Where the block after `block` begins, which began at `place`. */
function placeAfter(place: Place, block: Block, timestamp: number): Place {
  let equal = 0;
  while (equal < block.length && block[block.length - 1 - equal]!.timestamp === timestamp) equal++;
  return new Place(timestamp, equal + (place.timestamp === timestamp ? place.ordinal : 0));
}

/** Whether everything before this place is older than `min`. */
function isBelow(place: Place, min: number): boolean {
  return place.timestamp < min || (place.timestamp === min && place.ordinal === 0);
}

/** Whether there may be something to delete. Of a tree of more levels only its nodes say so. */
function mayTrim({ height, top, min }: Root, rose: boolean): boolean {
  if (height === 0) return false;
  return height > 1 ? rose : isBelow((top as Places)[1]!, min);
}
