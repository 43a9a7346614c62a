/**
 * Resets on demand: which of those that the options name have not acted yet on one partition's state. What has acted
 * stands in the checkpoint record, so that a start with the same options does nothing. Pure; `actor/state-recovery.ts`
 * carries out what is due.
 */
import type { CheckpointRecord } from './checkpoint-record.js';

/**
 * So many are remembered, the latest ones: the record goes with every checkpoint. Those that the options still name are
 * never forgotten, however many there are: each would act once more.
 */
const REMEMBERED_MAX = 64;

/** What the options name, for one stream. */
export interface WantedResets {
  /** Of `onOffsetsMoved: 'resetState'`. */
  readonly moved: string | undefined;
  readonly state: { readonly id: string; readonly to: 'earliest' | 'latest' } | undefined;
  readonly stores: { readonly id: string; readonly names: readonly string[] } | undefined;
}

export const NO_RESETS: WantedResets = { moved: undefined, state: undefined, stores: undefined };

type Acted = CheckpointRecord['resets'];

/** Whether a move of the group's offsets is still to be answered by a reset of the state. */
export function isMovePending(wanted: WantedResets, acted: Acted): boolean {
  return wanted.moved !== undefined && !acted.includes(movedEntry(wanted.moved));
}

export function isStatePending(wanted: WantedResets, acted: Acted): boolean {
  return wanted.state !== undefined && !acted.includes(stateEntry(wanted.state.id));
}

/** Of the wanted stores those that the state holds and that this id has not reset yet. */
export function pendingStores(
  wanted: WantedResets,
  { resets, stores }: Pick<CheckpointRecord, 'resets' | 'stores'>,
): readonly string[] {
  if (wanted.stores === undefined) return [];
  const { id, names } = wanted.stores;
  return names.filter((name) => Object.hasOwn(stores, name) && !resets.includes(storeEntry(id, name)));
}

/** What is remembered once nothing is left to reset: by an empty state, and after a reset of all of it. */
export function settledResets(wanted: WantedResets, acted: Acted): Acted {
  return remember(wanted, acted, [...stateEntries(wanted), ...storeEntries(wanted)]);
}

/** As `settledResets`, and the move of the offsets is answered. */
export function settledMove(wanted: WantedResets, acted: Acted): Acted {
  return remember(wanted, acted, [...stateEntries(wanted), ...storeEntries(wanted), ...movedEntries(wanted)]);
}

/** What is remembered when no reset of the whole state is due: also stores that were not there to be reset. */
export function settledStores(wanted: WantedResets, acted: Acted): Acted {
  return remember(wanted, acted, storeEntries(wanted));
}

function remember(wanted: WantedResets, acted: Acted, added: Acted): Acted {
  const fresh = added.filter((entry) => !acted.includes(entry));
  if (fresh.length === 0) return acted;
  const all = [...acted, ...fresh];
  const named = [...stateEntries(wanted), ...storeEntries(wanted), ...movedEntries(wanted)];
  let surplus = all.length - REMEMBERED_MAX;
  return all.filter((entry) => named.includes(entry) || surplus-- <= 0);
}

function movedEntries({ moved }: WantedResets): Acted {
  return moved === undefined ? [] : [movedEntry(moved)];
}

function stateEntries({ state }: WantedResets): Acted {
  return state === undefined ? [] : [stateEntry(state.id)];
}

function storeEntries({ stores }: WantedResets): Acted {
  return stores === undefined ? [] : stores.names.map((name) => storeEntry(stores.id, name));
}

function movedEntry(id: string): string {
  return `moved ${id}`;
}

function stateEntry(id: string): string {
  return `state ${id}`;
}

function storeEntry(id: string, store: string): string {
  return `store ${store} ${id}`;
}
