/**
 * The windows of one key while something is done with them: a working copy that is written back whole, or left alone when
 * an aggregation throws. It knows where states lie (in the key's row or in rows of their own) and how aggregations add and
 * merge; which windows there are is decided by `placement.ts`, when they close by `windowed-store.ts`.
 */
import type { Blocks } from '../../processor/aggregations.js';
import { serdeFailed } from '../serde-failure.js';
import { timeText } from '../internal-serdes.js';
import type { KeyValueStore, ReadLevel } from '../key-value-store.js';
import {
  boundOf,
  NO_ROW,
  type AggregationList,
  type KeyRow,
  type Slot,
  type WindowState,
} from './window-state.js';

/** A key's windows stand in its row up to these bounds. */
const INLINE_BYTES_MAX = 8 * 1024;
const INLINE_WINDOWS_MAX = 128;

/** The families of a windowed store. */
export interface WindowFamilies {
  readonly store: string;
  readonly rows: KeyValueStore;
  readonly windows: KeyValueStore;
  readonly blocks: KeyValueStore;
  readonly aggregations: AggregationList;
  /** An aggregation keeps blocks. */
  readonly hasBlocks: boolean;
  /** Windows may share blocks, since one begins as the copy of another. */
  readonly sharesBlocks: boolean;
}

/** One serves key after key: `open` begins anew. */
export class KeyWindows implements Blocks {
  /** Encoded key as latin1 text. */
  key = '';
  clock = -1;
  dueAt = -1;
  nowAt = -1;
  emitAt = -1;
  nextEvent = 0;
  readonly #families: WindowFamilies;
  #row: KeyRow | undefined;
  #slots: Slot[] = [];
  #nextBlock = 0;
  #listChanged = false;
  #removed: WindowState[] | undefined;
  /** Ids of windows that had rows of their own. */
  #removedRows: Set<number> | undefined;

  constructor(families: WindowFamilies) {
    this.#families = families;
  }

  /** The windows of this key as they are. */
  open(key: string): this {
    this.key = key;
    this.#row = this.#families.rows.get(key) as KeyRow | undefined;
    const row = this.#row ?? NO_ROW;
    this.clock = row.clock;
    this.dueAt = row.dueAt;
    this.nowAt = row.nowAt;
    this.emitAt = row.emitAt;
    this.nextEvent = row.nextEvent;
    this.#nextBlock = row.nextBlock;
    this.#slots = row.slots.slice();
    this.#listChanged = false;
    this.#removed = undefined;
    this.#removedRows = undefined;
    // A split row is not written with every event: its newest window has seen the newest one.
    if (row.split && this.#slots.length > 0)
      this.clock = Math.max(this.clock, this.state(this.#slots.length - 1).maxTs);
    return this;
  }

  /** Whether the key has a row. */
  get exists(): boolean {
    return this.#row !== undefined;
  }

  get length(): number {
    return this.#slots.length;
  }

  id(i: number): number {
    const slot = this.#slots[i]!;
    return typeof slot === 'number' ? slot : slot.id;
  }

  state(i: number): WindowState {
    const slot = this.#slots[i]!;
    return typeof slot === 'number' ? loadWindow(this.#families, this.key, slot, 'latest')! : slot;
  }

  /** The first position whose id is not below `id`. */
  position(id: number): number {
    let i = this.#slots.length;
    // Most events are new ones.
    while (i > 0 && this.id(i - 1) >= id) i--;
    return i;
  }

  has(i: number, id: number): boolean {
    return i < this.#slots.length && this.id(i) === id;
  }

  replace(i: number, state: WindowState): void {
    this.#slots[i] = state;
  }

  insert(i: number, state: WindowState): void {
    this.#listChanged = true;
    if (i === this.#slots.length) this.#slots.push(state);
    else this.#slots.splice(i, 0, state);
  }

  /** @param merged its blocks go on in another window */
  remove(i: number, merged = false): void {
    const state = this.state(i);
    if (!merged && this.#families.hasBlocks) (this.#removed ??= []).push(state);
    if (this.#row?.split === true) (this.#removedRows ??= new Set()).add(state.id);
    this.#listChanged = true;
    this.#slots.splice(i, 1);
  }

  /** A window without events. */
  empty(id: number, end: number): WindowState {
    const { aggregations } = this.#families;
    const parts = aggregations.map((one) => one.initial());
    const times = { minTs: Infinity, maxTs: -1 };
    return { id, end, ...times, events: 0, fired: 0, done: false, fresh: false, parts, bytes: 0 };
  }

  /** The window with one more event. Throws what an aggregation throws, SERDE_FAILED for a state that JSON can't hold. */
  added(state: WindowState, value: unknown, timestamp: number): WindowState {
    const { aggregations } = this.#families;
    const parts = new Array<unknown>(aggregations.length);
    for (let i = 0; i < aggregations.length; i++)
      parts[i] = aggregations[i]!.add(state.parts[i], value, timestamp, this);
    return {
      id: state.id,
      end: state.end,
      minTs: timestamp < state.minTs ? timestamp : state.minTs,
      maxTs: timestamp > state.maxTs ? timestamp : state.maxTs,
      events: state.events + 1,
      fired: state.fired,
      done: false,
      fresh: true,
      parts,
      bytes: this.#bound(parts),
    };
  }

  /** Two sessions that became one, `a` the earlier. */
  merged(a: WindowState, b: WindowState): WindowState {
    const { aggregations } = this.#families;
    const parts = aggregations.map((one, i) => one.merge!(a.parts[i], b.parts[i], this));
    return {
      id: Math.min(a.id, b.id),
      end: Math.max(a.end, b.end),
      minTs: Math.min(a.minTs, b.minTs),
      maxTs: Math.max(a.maxTs, b.maxTs),
      events: a.events + b.events,
      fired: a.fired + b.fired,
      done: false,
      fresh: true,
      parts,
      bytes: this.#bound(parts),
    };
  }

  result(state: WindowState, names: readonly string[]): Readonly<Record<string, unknown>> {
    return resultOf(this.#families.aggregations, state, names, this);
  }

  /** Ids of blocks are never given twice while the key has a row. */
  write(items: readonly unknown[]): number {
    const id = this.#nextBlock++;
    this.#listChanged = true;
    this.#families.blocks.set(this.key + timeText(id), items);
    return id;
  }

  read(id: number): readonly unknown[] {
    return readBlock(this.#families, this.key, id, 'latest');
  }

  /** Writes everything back, in the live layer. */
  commit(): void {
    const { rows, windows } = this.#families;
    if (this.#removed !== undefined) this.#releaseBlocks(this.#removed);
    const split = this.#slots.length > 0 && (this.#row?.split === true || this.#isLarge());
    if (split) {
      for (let i = 0; i < this.#slots.length; i++) {
        const slot = this.#slots[i]!;
        if (typeof slot === 'number') continue;
        windows.set(this.key + timeText(slot.id), slot);
        this.#removedRows?.delete(slot.id);
        this.#slots[i] = slot.id;
      }
    }
    if (this.#removedRows !== undefined) this.#deleteRows(this.#removedRows);
    if (split && this.#row?.split === true && !this.#listChanged && !this.#headChanged()) return;
    const { clock, dueAt, nowAt, emitAt, nextEvent } = this;
    const nextBlock = this.#nextBlock;
    rows.set(this.key, { clock, dueAt, nowAt, emitAt, nextEvent, nextBlock, split, slots: this.#slots });
  }

  /** Nothing of the key is worth keeping. */
  drop(): void {
    if (this.#removed !== undefined) this.#releaseBlocks(this.#removed);
    if (this.#removedRows !== undefined) this.#deleteRows(this.#removedRows);
    this.#families.rows.delete(this.key);
  }

  #deleteRows(ids: ReadonlySet<number>): void {
    for (const id of ids) this.#families.windows.delete(this.key + timeText(id));
  }

  #headChanged(): boolean {
    const row = this.#row!;
    return (
      this.dueAt !== row.dueAt ||
      this.nowAt !== row.nowAt ||
      this.emitAt !== row.emitAt ||
      this.nextEvent !== row.nextEvent
    );
  }

  #isLarge(): boolean {
    if (this.#slots.length > INLINE_WINDOWS_MAX) return true;
    let bytes = 0;
    for (const slot of this.#slots) if (typeof slot !== 'number') bytes += slot.bytes;
    return bytes > INLINE_BYTES_MAX && this.#slots.length > 1;
  }

  #releaseBlocks(removed: readonly WindowState[]): void {
    const ids = new Set(removed.flatMap((state) => this.#blocksOf(state)));
    if (ids.size === 0) return;
    if (this.#families.sharesBlocks)
      for (let i = 0; i < this.#slots.length; i++)
        for (const id of this.#blocksOf(this.state(i))) ids.delete(id);
    for (const id of ids) this.#families.blocks.delete(this.key + timeText(id));
  }

  #blocksOf(state: WindowState): readonly number[] {
    return blocksOf(this.#families, state);
  }

  #bound(parts: readonly unknown[]): number {
    const { aggregations, store } = this.#families;
    try {
      return boundOf(aggregations, parts);
    } catch (cause) {
      throw serdeFailed('value', store, this.key, cause);
    }
  }
}

/** Ids of the blocks that a window's values lie in. */
export function blocksOf({ aggregations }: WindowFamilies, { parts }: WindowState): readonly number[] {
  return aggregations.flatMap((one, i) => one.blocks?.(parts[i]) ?? []);
}

export function readBlock(
  { blocks }: WindowFamilies,
  key: string,
  id: number,
  read: ReadLevel,
): readonly unknown[] {
  return (blocks.getAt(read, key + timeText(id)) ?? []) as readonly unknown[];
}

/** The state of a window that has a row of its own; `undefined`: it is gone. */
export function loadWindow(
  { windows }: WindowFamilies,
  key: string,
  id: number,
  read: ReadLevel,
): WindowState | undefined {
  return windows.getAt(read, key + timeText(id)) as WindowState | undefined;
}

export function resultOf(
  aggregations: AggregationList,
  { parts }: WindowState,
  names: readonly string[],
  blocks: Blocks,
): Readonly<Record<string, unknown>> {
  const result: Record<string, unknown> = {};
  for (let i = 0; i < names.length; i++) result[names[i]!] = aggregations[i]!.result(parts[i], blocks);
  return result;
}
