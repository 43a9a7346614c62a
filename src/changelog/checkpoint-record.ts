/**
 * The checkpoint record: one key of its own family in the changelog and in the database, written by every checkpoint in
 * the same transaction as the state and the offsets it speaks of. It is the truth about positions (semantics.md 8.4).
 * Only its form lives here; who writes it is `actor/checkpoint.ts`, who believes it `recovery-decision.ts`.
 */
import { PartitaError } from '../core/errors.js';
import { familyPrefix, storeKey } from '../codec/keys.js';

/** Version of the form below; a higher one is of a newer Partita and is refused. */
const FORM_VERSION = 1;

/** The whole store key of the checkpoint record. `$` is not allowed in store names, so that no store collides. */
export const CHECKPOINT_KEY: Uint8Array = storeKey(familyPrefix('$checkpoint'), Uint8Array.of(0));

/**
 * The whole store key of the reset record: what stands before it in the changelog is dropped in replay. A key of its own,
 * so that compaction keeps it at the offset where the state was given up.
 */
export const RESET_KEY: Uint8Array = storeKey(familyPrefix('$reset'), Uint8Array.of(0));

const STORE_RESET_PREFIX = storeKey(familyPrefix('$reset'), Uint8Array.of(1));

/**
 * The whole store key of one store's reset record: what stands before it of that store (`store-families.ts`) is dropped in
 * replay. A key for each store, so that compaction keeps the last reset of each at its offset.
 */
export function storeResetKey(store: string): Uint8Array {
  return storeKey(STORE_RESET_PREFIX, Buffer.from(store, 'utf8'));
}

/** The store that a record's key resets; `undefined` for every other key. */
export function storeResetOf(key: Uint8Array): string | undefined {
  const { length } = STORE_RESET_PREFIX;
  if (key.length <= length || key[0] !== STORE_RESET_PREFIX[0] || key[1] !== STORE_RESET_PREFIX[1])
    return undefined;
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  return bytes.compare(STORE_RESET_PREFIX, 0, length, 0, length) === 0
    ? bytes.toString('utf8', length)
    : undefined;
}

export interface InputPosition {
  readonly topicId: string;
  /** The next offset to be processed. */
  readonly offset: number;
}

/** Kind of a store and the names of its serdes: what must not change over existing state. */
export interface StoreForm {
  readonly kind: string;
  readonly key: string;
  readonly value: string;
  /** What else must not change: a text that is compared as it is. Absent: nothing. */
  readonly parameters?: string;
}

export interface CheckpointRecord {
  /** Rises when state is dropped on purpose. */
  readonly incarnation: number;
  /** +1 each. */
  readonly number: number;
  /** By topic name. */
  readonly positions: Readonly<Record<string, InputPosition>>;
  /** Largest event time processed in ms; -1: none. */
  readonly clock: number;
  /** By store name. */
  readonly stores: Readonly<Record<string, StoreForm>>;
  /** What was reset on demand and must not be reset again, oldest first (`resets.ts`). */
  readonly resets: readonly string[];
}

export function encodeCheckpointRecord(record: CheckpointRecord): Uint8Array {
  return Buffer.from(JSON.stringify({ version: FORM_VERSION, ...record }), 'utf8');
}

/** @throws PartitaError CHANGELOG_INVALID for what is not a checkpoint record of this or an older version. */
export function decodeCheckpointRecord(bytes: Uint8Array, where: string): CheckpointRecord {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
  } catch (cause) {
    throw new PartitaError('CHANGELOG_INVALID', `The checkpoint record of ${where} is not readable.`, {
      cause,
    });
  }
  const record = (parsed ?? {}) as Partial<CheckpointRecord> & { readonly version?: number };
  if (typeof record.version !== 'number')
    throw new PartitaError('CHANGELOG_INVALID', `The checkpoint record of ${where} has no version.`);
  if (record.version > FORM_VERSION)
    throw new PartitaError(
      'CHANGELOG_INVALID',
      `The checkpoint record of ${where} was written by a newer version of Partita (form ${String(record.version)}).`,
    );
  const { incarnation, number, positions, clock, stores, resets } = record;
  if (!isCount(incarnation) || !isCount(number) || positions === undefined || clock === undefined)
    throw new PartitaError('CHANGELOG_INVALID', `The checkpoint record of ${where} lacks fields.`);
  return { incarnation, number, positions, clock, stores: stores ?? {}, resets: resets ?? [] };
}

/** What identifies a checkpoint. */
export interface CheckpointId {
  readonly incarnation: number;
  readonly number: number;
}

/** Metadata of the offsets committed with a checkpoint: `incarnation:number`. */
export function commitMetadata(id: CheckpointId): string {
  return `${String(id.incarnation)}:${String(id.number)}`;
}

/** The metadata's parts; `undefined` for a text that Partita did not write. */
export function parseCommitMetadata(metadata: string): CheckpointId | undefined {
  const match = /^(\d{1,15}):(\d{1,15})$/.exec(metadata);
  return match === null ? undefined : { incarnation: Number(match[1]), number: Number(match[2]) };
}

/** Negative if `a` is older than `b`, 0 if they are the same checkpoint. */
export function compareCheckpoints(a: CheckpointId, b: CheckpointId): number {
  return a.incarnation !== b.incarnation ? a.incarnation - b.incarnation : a.number - b.number;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
