/**
 * The rows of an actor's database that are no store's: how far the changelog has been applied, and the checkpoint record of
 * the last checkpoint. Their keys and forms only; who writes them, and when, is `store-partition.ts`.
 */
import { familyPrefix, storeKey } from '../codec/keys.js';
import { PartitaError } from '../core/errors.js';

/** Families begin with the length of their name; no store's name may begin with `$` (`core/names.ts`). */
export const META_FAMILY = '$partita';
const META_PREFIX = familyPrefix(META_FAMILY);
export const POSITION_KEY = storeKey(META_PREFIX, Buffer.from('p'));
export const CHECKPOINT_KEY = storeKey(META_PREFIX, Buffer.from('c'));
/** So many rows of this family there are at most. */
export const META_ROWS_MAX = 2;
/** Offset and append time, each an int64. */
const POSITION_BYTES = 16;

/** How far the changelog has been applied. */
export interface AppliedPosition {
  /** Changelog offset up to which everything is applied; -1: nothing. */
  readonly offset: number;
  /** The log's append time of the last applied record, in ms; -1: none. */
  readonly appendTime: number;
}

/** Whether a row is the partition's own. */
export function isMetaKey(key: Uint8Array): boolean {
  if (key[0] !== META_FAMILY.length || key[1] !== META_FAMILY.charCodeAt(0)) return false;
  return Buffer.compare(key.subarray(0, META_PREFIX.length), META_PREFIX) === 0;
}

export function encodePosition({ offset, appendTime }: AppliedPosition): Uint8Array {
  const bytes = Buffer.allocUnsafe(POSITION_BYTES);
  bytes.writeBigInt64BE(BigInt(offset), 0);
  bytes.writeBigInt64BE(BigInt(appendTime), 8);
  return bytes;
}

/** @throws PartitaError CORRUPT */
export function decodePosition(row: Uint8Array, directory: string): AppliedPosition {
  const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  const offset = bytes.length === POSITION_BYTES ? Number(bytes.readBigInt64BE(0)) : Number.NaN;
  const appendTime = bytes.length === POSITION_BYTES ? Number(bytes.readBigInt64BE(8)) : Number.NaN;
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(appendTime) || offset < -1 || appendTime < -1)
    throw new PartitaError('CORRUPT', `The position row of the database in ${directory} makes no sense.`, {
      details: { directory },
    });
  return { offset, appendTime };
}

/** Whether the changelog may be applied up to `next` after `stored`. @throws PartitaError INVALID_ARGUMENT, OFFSET_BACKWARDS */
export function expectForwards(stored: AppliedPosition, next: AppliedPosition, directory: string): void {
  const { offset, appendTime } = next;
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(appendTime) || offset < 0 || appendTime < -1)
    throw new PartitaError(
      'INVALID_ARGUMENT',
      `The position ${offset} with append time ${appendTime} can't be stored in ${directory}.`,
    );
  if (offset < stored.offset)
    throw new PartitaError(
      'OFFSET_BACKWARDS',
      `The database in ${directory} holds its changelog up to offset ${stored.offset}; a batch up to offset ${offset} was refused.`,
      { details: { directory, stored: stored.offset, offset } },
    );
}
