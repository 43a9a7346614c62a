/**
 * What is kept of a window and of a key that has windows, and how it stands in the database: plain immutable objects, made
 * anew by every change, so that layers and savepoints may share them. It decides nothing.
 */
import type { Serde } from '../../processor/serde.js';
import type { Aggregation } from '../../processor/aggregations.js';
import { internal } from '../internal-serdes.js';

/** One window of one key. */
export interface WindowState {
  /** Its place among the key's windows: its start, or for windows by count the number of its first event. */
  readonly id: number;
  /** As results show it: exclusive for tumbling and hopping windows. Of windows by count, the largest timestamp. */
  readonly end: number;
  readonly minTs: number;
  readonly maxTs: number;
  /** Events that were added. */
  readonly events: number;
  /** Events that the last emission by `trigger.count` had seen. */
  readonly fired: number;
  /** Closed, and kept because later windows may begin as its copy (sliding windows only). */
  readonly done: boolean;
  /** Changed since the last emission by `trigger.everyMs`. */
  readonly fresh: boolean;
  /** States of the aggregations, in the order of their declaration. */
  readonly parts: readonly unknown[];
  /** Upper bound of its bytes in the database. */
  readonly bytes: number;
}

/** A window that stands in the key's row, or the id of one that has a row of its own. */
export type Slot = WindowState | number;

/** What is kept of a key. */
export interface KeyRow {
  /** Largest timestamp added under the key, as of the last write of this row; -1: none. */
  readonly clock: number;
  /** Where the key stands in the index of closings; -1: nowhere. */
  readonly dueAt: number;
  /** `closing: 'key'`: where it stands in the index of what its own clock has closed; -1: nowhere. */
  readonly nowAt: number;
  /** `trigger.everyMs`: the wall-clock time of its next emission; -1: none is due. */
  readonly emitAt: number;
  /** Number of the next event of windows by count. */
  readonly nextEvent: number;
  readonly nextBlock: number;
  /** Every window has a row of its own. */
  readonly split: boolean;
  /** By id. */
  readonly slots: readonly Slot[];
}

export const NO_ROW: KeyRow = {
  clock: -1,
  dueAt: -1,
  nowAt: -1,
  emitAt: -1,
  nextEvent: 0,
  nextBlock: 0,
  split: false,
  slots: [],
};

/** Bytes of the numbers of a window and of a row, with their commas, at most. */
const WINDOW_BYTES = 7 * 18;
const ROW_BYTES = 8 * 18;
const ID_BYTES = 18;

export type AggregationList = readonly Aggregation<unknown, unknown>[];

/** The bound of a window with these states. Throws what `admit` throws: a state that JSON can't hold. */
export function boundOf(aggregations: AggregationList, parts: readonly unknown[]): number {
  let bytes = WINDOW_BYTES;
  for (let i = 0; i < aggregations.length; i++) bytes += aggregations[i]!.admit(parts[i]) + 1;
  return bytes;
}

export function windowSerde(aggregations: AggregationList): Serde<unknown> {
  return internal<WindowState>('window', {
    toText: (state) => JSON.stringify(pack(aggregations, state)),
    fromText: (text) => unpack(aggregations, JSON.parse(text) as PackedWindow),
    bytesMax: (state) => state.bytes,
  });
}

export function rowSerde(aggregations: AggregationList): Serde<unknown> {
  return internal<KeyRow>('key windows', {
    toText: (row) =>
      JSON.stringify([
        row.clock,
        row.dueAt,
        row.nowAt,
        row.emitAt,
        row.nextEvent,
        row.nextBlock,
        row.split ? 1 : 0,
        row.slots.map((slot) => (typeof slot === 'number' ? slot : pack(aggregations, slot))),
      ]),
    fromText: (text) => {
      const [clock, dueAt, nowAt, emitAt, nextEvent, nextBlock, split, slots] = JSON.parse(text) as PackedRow;
      return {
        clock,
        dueAt,
        nowAt,
        emitAt,
        nextEvent,
        nextBlock,
        split: split === 1,
        slots: slots.map((slot) => (typeof slot === 'number' ? slot : unpack(aggregations, slot))),
      };
    },
    bytesMax: ({ slots }) => {
      let bytes = ROW_BYTES;
      for (const slot of slots) bytes += typeof slot === 'number' ? ID_BYTES : slot.bytes;
      return bytes;
    },
  });
}

type PackedWindow = readonly [
  id: number,
  end: number,
  minTs: number,
  maxTs: number,
  events: number,
  fired: number,
  flags: number,
  ...parts: unknown[],
];
type PackedRow = readonly [number, number, number, number, number, number, number, (PackedWindow | number)[]];

const DONE = 1;
const FRESH = 2;

function pack(aggregations: AggregationList, state: WindowState): PackedWindow {
  const { id, end, minTs, maxTs, events, fired, done, fresh, parts } = state;
  const flags = (done ? DONE : 0) | (fresh ? FRESH : 0);
  return [id, end, minTs, maxTs, events, fired, flags, ...aggregations.map((one, i) => one.pack(parts[i]))];
}

function unpack(aggregations: AggregationList, packed: PackedWindow): WindowState {
  const [id, end, minTs, maxTs, events, fired, flags, ...packedParts] = packed;
  const parts = aggregations.map((one, i) => one.unpack(packedParts[i]));
  const bytes = boundOf(aggregations, parts);
  const done = (flags & DONE) !== 0;
  const fresh = (flags & FRESH) !== 0;
  return { id, end, minTs, maxTs, events, fired, done, fresh, parts, bytes };
}
