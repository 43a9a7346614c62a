/**
 * Entries of one key in order, and what becomes of them when one is added: blocks are immutable, since layers, checkpoints
 * and queries share them. They split before they grow beyond what a row should be. It reads and writes nothing;
 * `entry-tree.ts` puts blocks together.
 */

export interface BlockLimits {
  /** Entries of a block at most. */
  readonly entriesMax: number;
  /** Upper bounds of the bytes of a block's values at most, unless it is a single one. */
  readonly bytesMax: number;
}

export interface BlockEntry {
  readonly timestamp: number;
  /** As `StoredForm` holds values. */
  readonly held: unknown;
  /** Upper bound of its stored bytes. */
  readonly bytes: number;
}

/** In the order of timestamps, equal ones in that of their insertion. */
export type Block = readonly BlockEntry[];

/** How many entries have a timestamp ≤ `timestamp`. */
export function countUpTo(block: Block, timestamp: number): number {
  let low = 0;
  let high = block.length;
  // As-of reads are mostly of the newest.
  if (high > 0 && block[high - 1]!.timestamp <= timestamp) return high;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (block[middle]!.timestamp <= timestamp) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The block with the entry in its place: after equal ones, or, without duplicates, instead of the equal one. */
export function withEntry(block: Block, entry: BlockEntry, keepDuplicates: boolean): Block {
  const at = countUpTo(block, entry.timestamp);
  const copy = block.slice();
  if (!keepDuplicates && at > 0 && block[at - 1]!.timestamp === entry.timestamp) copy[at - 1] = entry;
  else if (at === block.length) copy.push(entry);
  else copy.splice(at, 0, entry);
  return copy;
}

/** Without what is older than `minTimestamp`. */
export function trimmed(block: Block, minTimestamp: number): Block {
  if (block.length === 0 || block[0]!.timestamp >= minTimestamp) return block;
  return block.slice(countUpTo(block, minTimestamp - 1));
}

/** The block, in parts if it has grown too large. One that grew at its end is left full, as most do. */
export function splitBlock(block: Block, grewAtEnd: boolean, limits: BlockLimits): readonly Block[] {
  const { entriesMax, bytesMax } = limits;
  if (block.length <= 1 || (block.length <= entriesMax && bytesOf(block) <= bytesMax)) return [block];
  const at = grewAtEnd ? block.length - 1 : block.length >> 1;
  return [...splitBlock(block.slice(0, at), false, limits), ...splitBlock(block.slice(at), false, limits)];
}

export function bytesOf(block: Block): number {
  let bytes = 0;
  for (let i = 0; i < block.length; i++) bytes += block[i]!.bytes;
  return bytes;
}
