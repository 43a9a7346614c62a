/**
 * The manifest of a LevelDB or RocksDB database, as far as Partita has to know it: up to which sequence number and log
 * everything is in tables, and which tables are alive. Pure. Formats: db/version_edit.cc of either.
 */
import { readLogRecords, VarintCursor } from './database-bytes.js';

export interface Table {
  readonly number: number;
  readonly bytes: number;
}

export interface Manifest {
  /** Logs below this number have been written to tables. */
  readonly logNumber: number;
  /** At least the last sequence number that is in tables. */
  readonly lastSequence: number;
  readonly tables: readonly Table[];
}

type State = { logNumber: number; lastSequence: number; tables: Map<number, Table> };

/** `undefined`: makes no sense. A torn end is left to the database, and what it then misses to the log's sequence. */
export function readManifest(bytes: Buffer): Manifest | undefined {
  const { records, hole } = readLogRecords(bytes);
  const state: State = { logNumber: 0, lastSequence: 0, tables: new Map() };
  if (hole || !records.every((edit) => applyEdit(new VarintCursor(edit), state))) return undefined;
  return { ...state, tables: [...state.tables.values()] };
}

const TAG = {
  comparator: 1,
  logNumber: 2,
  nextFile: 3,
  lastSequence: 4,
  compactCursor: 5,
  deletedFile: 6,
  newFile: 7,
  previousLog: 9,
  // RocksDB's own.
  minLogToKeep: 10,
  newFile4: 103,
  columnFamily: 200,
  columnFamilyAdd: 201,
  maxColumnFamily: 203,
  inAtomicGroup: 300,
} as const;
/** RocksDB marks what an older reader may skip: bytes with their length. */
const SKIPPABLE = 1 << 13;
/** Ends the custom fields of RocksDB's newFile4. */
const LAST_FIELD = 1;

function applyEdit(cursor: VarintCursor, state: State): boolean {
  while (!cursor.ended) if (!applyTag(cursor.varint(), cursor, state)) return false;
  return !cursor.failed;
}

function applyTag(tag: number, cursor: VarintCursor, state: State): boolean {
  switch (tag) {
    case TAG.logNumber:
      state.logNumber = Math.max(state.logNumber, cursor.varint());
      return true;
    case TAG.lastSequence:
      state.lastSequence = Math.max(state.lastSequence, cursor.varint());
      return true;
    case TAG.deletedFile:
      cursor.varint();
      state.tables.delete(cursor.varint());
      return true;
    case TAG.newFile:
    case TAG.newFile4:
      applyNewFile(tag, cursor, state);
      return true;
    case TAG.compactCursor:
      cursor.varint();
      cursor.skipText();
      return true;
    case TAG.nextFile:
    case TAG.previousLog:
    case TAG.minLogToKeep:
    case TAG.columnFamily:
    case TAG.maxColumnFamily:
    case TAG.inAtomicGroup:
      cursor.varint();
      return true;
    case TAG.comparator:
    case TAG.columnFamilyAdd:
      cursor.skipText();
      return true;
    default:
      if (Math.floor(tag / SKIPPABLE) % 2 === 0) return false;
      cursor.skipText();
      return true;
  }
}

function applyNewFile(tag: number, cursor: VarintCursor, state: State): void {
  cursor.varint(); // level
  const table = { number: cursor.varint(), bytes: cursor.varint() };
  cursor.skipText(); // smallest key
  cursor.skipText(); // largest key
  state.tables.set(table.number, table);
  if (tag === TAG.newFile) return;
  cursor.varint(); // smallest sequence number
  cursor.varint(); // largest sequence number
  while (!cursor.ended && cursor.varint() !== LAST_FIELD) cursor.skipText();
}
