/**
 * The bounds of a scan, read once for every engine: which are there, and whether nothing can lie between them. Pure;
 * the scans themselves are in the engines.
 */
import type { ScanRange } from './storage-engine.js';

export interface ResolvedRange {
  readonly gte: Uint8Array | undefined;
  readonly lt: Uint8Array | undefined;
  readonly reverse: boolean;
  readonly limit: number;
  /** Nothing can be found: an upper bound at or below the lower one, or a limit of nothing. */
  readonly empty: boolean;
}

/** Entries in a page of a scan; the first page is smaller, since most scans are short. */
export const SCAN_PAGE_FIRST = 64;
export const SCAN_PAGE = 512;

export function resolveRange(range: ScanRange): ResolvedRange {
  const { gte, lt } = range;
  const limit = range.limit ?? Number.POSITIVE_INFINITY;
  const crossed =
    lt !== undefined && (lt.length === 0 || (gte !== undefined && Buffer.compare(gte, lt) >= 0));
  return {
    gte: gte !== undefined && gte.length > 0 ? gte : undefined,
    lt,
    reverse: range.reverse ?? false,
    limit,
    empty: crossed || !(limit > 0),
  };
}
