/**
 * A windowed store: adds events to the windows of their key, says what changed, and closes what the clocks have closed. It
 * is a source of due work for the actor; which windows there are is `placement.ts`'s, what is kept `key-windows.ts`'s, what
 * handlers and queries see `windowed-view.ts`'s.
 */
import { encodeWith } from '../../codec/serdes.js';
import { PartitaError } from '../../core/errors.js';
import type { WindowedDeclaration, WindowResult } from '../../processor/windowed.js';
import { family, type StoreParts } from '../declared-store.js';
import { DueIndex } from '../due-index.js';
import type { DueCall, DueHead, DueSource } from '../due-source.js';
import { internal, latin1Keys } from '../internal-serdes.js';
import type { KeyValueStore, ReadLevel } from '../key-value-store.js';
import type { RecordScope } from '../record-scope.js';
import { StoreKeys } from '../store-keys.js';
import type { ResultHandler } from '../window-events.js';
import { IntervalEmissions } from './interval-emissions.js';
import { KeyWindows, loadWindow, readBlock, resultOf, type WindowFamilies } from './key-windows.js';
import { placementOf, type Arrival, type Placed, type Placement } from './placement.js';
import { rowSerde, windowSerde, type KeyRow, type WindowState } from './window-state.js';

type Declaration = WindowedDeclaration<unknown, unknown, unknown>;
type Result = WindowResult<unknown, unknown>;

const NOTHING: readonly Result[] = [];

/** The one key of the family that holds what belongs to no key. */
const IDLE_KEY = 'idle';

export class WindowedStore implements DueSource {
  readonly kind = 'window';
  readonly domain = 'event';
  readonly name: string;
  readonly declaration: Declaration;
  readonly keys: StoreKeys;
  readonly families: WindowFamilies;
  readonly placement: Placement;
  readonly names: readonly string[];
  readonly #parts: StoreParts;
  readonly #byKey: boolean;
  readonly #isCount: boolean;
  readonly #isExclusive: boolean;
  readonly #isIdling: boolean;
  readonly #retentionMs: number;
  /** By closing time; with `closing: 'key'` of what the partition's clock may close. */
  readonly #due: DueIndex;
  /** With `closing: 'key'`: what a key's own clock has closed. */
  readonly #now: DueIndex;
  readonly #meta: KeyValueStore;
  readonly #windows: KeyWindows;
  readonly #arrival: Arrival;
  readonly #placed: Placed = { changed: [], filled: [], missed: [] };
  /** With `trigger.everyMs`. */
  readonly intervals: IntervalEmissions | undefined;
  /** The index whose head was applied. */
  #applied: DueIndex;

  constructor(declaration: Declaration, parts: StoreParts) {
    this.name = parts.name;
    this.declaration = declaration;
    this.#parts = parts;
    this.keys = new StoreKeys(parts.name, declaration.key);
    this.names = Object.keys(declaration.aggregations);
    const aggregations = Object.values(declaration.aggregations);
    this.placement = placementOf(declaration.window, declaration.graceMs);
    this.#byKey = declaration.closing === 'key';
    this.#isCount = declaration.window.kind === 'count';
    this.#isExclusive = ['tumbling', 'hopping'].includes(declaration.window.kind);
    this.#isIdling = declaration.idleAfterMs !== undefined;
    this.#retentionMs = declaration.keyClockRetentionMs;
    this.families = {
      store: parts.name,
      rows: family(parts, '$k', latin1Keys, rowSerde(aggregations)),
      windows: family(parts, '$w', latin1Keys, windowSerde(aggregations)),
      blocks: family(parts, '$b', latin1Keys, BLOCKS),
      aggregations,
      hasBlocks: aggregations.some((one) => one.blocks !== undefined),
      sharesBlocks: declaration.window.kind === 'sliding',
    };
    this.#windows = new KeyWindows(this.families);
    this.#arrival = { windows: this.#windows, value: undefined, timestamp: 0, watermark: 0 };
    this.#meta = family(parts, '$m', latin1Keys, NUMBERS);
    this.#due = new DueIndex(parts, '$d', (atMs, key) => this.row(key)?.dueAt === atMs);
    this.#now = new DueIndex(parts, '$n', (atMs, key) => this.row(key)?.nowAt === atMs);
    this.#applied = this.#due;
    const { trigger } = declaration;
    if (trigger !== undefined && 'everyMs' in trigger)
      this.intervals = new IntervalEmissions(this, parts, trigger.everyMs, trigger.closes === true);
  }

  row(key: string, read: ReadLevel = 'latest'): KeyRow | undefined {
    return this.families.rows.getAt(read, key) as KeyRow | undefined;
  }

  /** See `Windowed.add`. */
  add(key: unknown, value: unknown, scope: RecordScope): void {
    const { events } = this.#parts;
    if (key === null) {
      events.nullKeys++;
      return;
    }
    const { timestamp } = scope;
    if (!Number.isSafeInteger(timestamp) || timestamp < 0) throw this.#badTime(timestamp);
    const windows = this.#windows.open(this.keys.keyText(key));
    if (timestamp > windows.clock) windows.clock = timestamp;
    const watermark = this.watermark(windows.clock, 'latest', scope.dueAtMs);
    if (this.placement.keepsMs > 0) this.#dropKept(windows, watermark);
    const placed = this.#placed;
    empty(placed.changed);
    empty(placed.filled);
    empty(placed.missed);
    const arrival = this.#arrival;
    arrival.value = value;
    arrival.timestamp = timestamp;
    arrival.watermark = watermark;
    this.placement.place(arrival, placed);
    arrival.value = undefined;
    const emitted = this.#emissions(key, windows, placed);
    if (placed.changed.length > 0) this.intervals?.changed(windows);
    this.#schedule(windows, watermark);
    this.writeBack(windows);
    for (let i = 0; i < emitted.length; i++) events.update(this.name, emitted[i]!);
    for (const window of placed.missed) {
      const late = { key, value, timestamp, lateBy: watermark - timestamp, window };
      const keyBytes = () => this.#encoded(key);
      events.lates.push({ store: this.name, late, keyBytes });
    }
  }

  /**
   * Up to which closing time the windows of a key with this clock are closed.
   * @param untilMs how far time has come for who asks, if not for all
   */
  watermark(keyClock: number, read: ReadLevel = 'latest', untilMs = Infinity): number {
    const { clock } = this.#parts;
    const partition = Math.min(read === 'latest' ? clock.ms : clock.frozenMs, untilMs);
    const own = this.#byKey ? Math.max(keyClock, partition - this.#retentionMs) : partition;
    return this.#isIdling ? Math.max(own, Math.min(this.idleClock(read), untilMs)) : own;
  }

  /** `watermark` as of now, for whoever looks at one key after the other while time goes on. */
  watermarkNow(read: ReadLevel): (keyClock: number) => number {
    const unknown = this.watermark(-1, read);
    return this.#byKey ? (keyClock) => Math.max(keyClock, unknown) : () => unknown;
  }

  /** -1: it was never idle. */
  idleClock(read: ReadLevel = 'latest'): number {
    if (!this.#isIdling) return -1;
    return (this.#meta.getAt(read, IDLE_KEY) as number | undefined) ?? -1;
  }

  isOpen(state: WindowState, watermark: number): boolean {
    return !state.done && this.placement.closesAt(state.end) > watermark;
  }

  /** @param blockOf what a block of the window's values holds */
  resultOf(
    key: unknown,
    state: WindowState,
    closed: boolean,
    blockOf: (id: number) => readonly unknown[],
  ): Result {
    const blocks = this.families.hasBlocks ? { write: noBlocks, read: blockOf } : NO_BLOCKS;
    const result = resultOf(this.families.aggregations, state, this.names, blocks);
    return this.#shown(key, state, result, closed);
  }

  readBlock(key: string, id: number, read: ReadLevel): readonly unknown[] {
    return readBlock(this.families, key, id, read);
  }

  loadWindow(key: string, id: number, read: ReadLevel): WindowState | undefined {
    return loadWindow(this.families, key, id, read);
  }

  // ── idle time ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** After how many ms of idleness something closes; Infinity: nothing would. */
  get idleDueMs(): number {
    const { idleAfterMs } = this.declaration;
    if (idleAfterMs === undefined || this.#due.nextMs === Infinity) return Infinity;
    return Math.max(idleAfterMs, this.#due.nextMs - this.#parts.clock.ms);
  }

  /** All inputs have been at their end for so long: time goes on by itself. */
  raiseIdle(idleMs: number): void {
    const { idleAfterMs } = this.declaration;
    const { ms } = this.#parts.clock;
    if (idleAfterMs === undefined || idleMs < idleAfterMs || ms < 0) return;
    const idle = ms + Math.floor(idleMs);
    if (idle > this.idleClock()) this.#meta.set(IDLE_KEY, idle);
  }

  // ── what comes due ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether the clocks have reached something; when they will is not for the partition's clock alone to say. */
  get nextMs(): number {
    return this.#due.nextMs <= this.#dueLimit() || this.#now.nextMs <= this.#parts.clock.ms
      ? -Infinity
      : Infinity;
  }

  load(): Promise<void> | undefined {
    const due = this.#due.load(this.#dueLimit());
    const now = this.#now.load(this.#parts.clock.ms);
    if (due !== undefined && now !== undefined) return Promise.all([due, now]).then(() => undefined);
    return due ?? now;
  }

  head(): DueHead | undefined {
    const due = this.#due.head(this.#dueLimit());
    const now = this.#byKey ? this.#now.head(this.#parts.clock.ms) : undefined;
    if (due === undefined || now === undefined) return due ?? now;
    return now.atMs < due.atMs || (now.atMs === due.atMs && now.key < due.key) ? now : due;
  }

  apply(): DueCall | undefined {
    const head = this.head()!;
    const index = this.#byKey && head !== this.#due.head(Infinity) ? this.#now : this.#due;
    this.#applied = index;
    index.takeHead();
    const { atMs, key } = head;
    const windows = this.#windows.open(key);
    if ((index === this.#due ? windows.dueAt : windows.nowAt) !== atMs) return undefined;
    if (index === this.#due) windows.dueAt = -1;
    else windows.nowAt = -1;
    const watermark = this.watermark(windows.clock);
    const closed = this.#closeNext(windows, Math.min(atMs, watermark));
    if (this.placement.keepsMs > 0) this.#dropKept(windows, watermark);
    this.#schedule(windows, watermark);
    this.writeBack(windows);
    return closed;
  }

  pop(): void {
    this.#applied.pop();
  }

  rolledBack(): void {
    // The interval's source is asked by itself.
    this.#due.rolledBack();
    this.#now.rolledBack();
  }

  prepare(): void {
    this.#due.prepare();
    this.#now.prepare();
    this.intervals?.prepare();
  }

  clear(): void {
    const { rows, windows, blocks } = this.families;
    for (const one of [rows, windows, blocks, this.#meta, this.#due, this.#now]) one.clear();
    this.intervals?.clear();
  }

  /** Takes the window that closes first. */
  #closeNext(windows: KeyWindows, untilMs: number): DueCall | undefined {
    const first = this.#firstOpen(windows);
    if (first < 0) return undefined;
    const state = windows.state(first);
    // The key may stand too early in the index: others go first.
    if (this.#endsAt(state) > untilMs) return undefined;
    if (this.placement.keepsMs === 0) windows.remove(first);
    else windows.replace(first, { ...state, done: true, fresh: false });
    return this.emission(windows.key, state, true);
  }

  /**
   * What the handler is to be called with for a window of its own accord.
   * @param timestamp default event time of what is emitted; absent: the window's end
   * @returns `undefined` if nobody listens
   */
  emission(keyText: string, state: WindowState, closed: boolean, timestamp?: number): DueCall | undefined {
    const handler = this.#parts.events.handlerOf(this.name);
    if (handler === undefined) return undefined;
    const key = this.keys.fromKeyText(keyText);
    // Now, since its blocks are about to go.
    const result = this.resultOf(key, state, closed, (id) => this.readBlock(keyText, id, 'latest'));
    return new WindowCall(
      timestamp ?? (this.#isExclusive ? state.end - 1 : state.end),
      keyText,
      result,
      handler,
    );
  }

  /** When the state of a window is done with. */
  #endsAt({ end, done }: WindowState): number {
    return this.placement.closesAt(end) + (done ? this.placement.keepsMs : 0);
  }

  /** How far the index of closings may be taken. */
  #dueLimit(): number {
    return this.watermark(-1);
  }

  /** Gives the key its places in the indexes. Later ones than it has need no new place: it is asked when that comes. */
  #schedule(windows: KeyWindows, watermark: number): void {
    if (this.#isCount) return;
    const next = this.#nextEnd(windows);
    const at = next === Infinity ? (this.#byKey ? windows.clock : Infinity) : next;
    if (this.#byKey && next <= watermark && next > this.#dueLimit()) {
      if (windows.nowAt === next) return;
      if (windows.nowAt >= 0) this.#now.remove(windows.nowAt, windows.key);
      this.#now.insert(next, windows.key);
      windows.nowAt = next;
      return;
    }
    if (at === Infinity || (windows.dueAt >= 0 && windows.dueAt <= at)) return;
    if (windows.dueAt >= 0) this.#due.remove(windows.dueAt, windows.key);
    this.#due.insert(at, windows.key);
    windows.dueAt = at;
  }

  /** When the next window of the key closes, or, with none open, when the last one that is kept can go. */
  #nextEnd(windows: KeyWindows): number {
    if (windows.length === 0) return Infinity;
    const first = this.#firstOpen(windows);
    return this.#endsAt(windows.state(first < 0 ? windows.length - 1 : first));
  }

  /** Windows end in the order of their ids, and those that are kept after their closing come first. -1: none is open. */
  #firstOpen(windows: KeyWindows): number {
    const { length } = windows;
    let i = 0;
    if (this.placement.keepsMs > 0) while (i < length && windows.state(i).done) i++;
    return i < length ? i : -1;
  }

  /** Windows that were kept for their copies go when nothing can begin as one any more. */
  #dropKept(windows: KeyWindows, watermark: number): void {
    while (windows.length > 0) {
      const state = windows.state(0);
      if (!state.done || this.#endsAt(state) > watermark) return;
      windows.remove(0);
    }
  }

  /** Whether the clock of the partition says all that the row could say. */
  #isForgotten(windows: KeyWindows): boolean {
    if (windows.length > 0 || this.#isCount) return false;
    return !this.#byKey || windows.clock <= this.#dueLimit();
  }

  /** Writes the working copy back; a row that says nothing more goes. */
  writeBack(windows: KeyWindows): void {
    if (this.#isForgotten(windows)) {
      if (windows.exists) windows.drop();
      return;
    }
    windows.commit();
  }

  // ── emission ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What handlers are told of one event. */
  #emissions(key: unknown, windows: KeyWindows, placed: Placed): readonly Result[] {
    const { emission, trigger } = this.declaration;
    const { changed, filled } = placed;
    if (trigger === undefined && emission === 'final' && filled.length === 0) return NOTHING;
    const emitted: Result[] = [];
    for (const state of filled) emitted.push(this.#resultIn(key, windows, state, true));
    for (const state of changed) {
      const result = this.#resultIn(key, windows, state, false);
      const triggered = trigger !== undefined && this.#triggers(state, result);
      if (triggered && trigger.closes === true) {
        windows.remove(windows.position(state.id));
        emitted.push({ ...result, closed: true });
        continue;
      }
      if (triggered) this.#fired(windows, state);
      if (triggered || emission === 'updates') emitted.push(result);
    }
    return emitted;
  }

  #triggers(state: WindowState, { result }: Result): boolean {
    const trigger = this.declaration.trigger!;
    if ('count' in trigger) return state.events - state.fired >= trigger.count;
    if ('when' in trigger) return trigger.when(result);
    return false;
  }

  /** Notes what a trigger by count has emitted. */
  #fired(windows: KeyWindows, state: WindowState): void {
    if ('count' in this.declaration.trigger!)
      windows.replace(windows.position(state.id), { ...state, fired: state.events });
  }

  /** As `resultOf`, while blocks may not be written back yet. */
  #resultIn(key: unknown, windows: KeyWindows, state: WindowState, closed: boolean): Result {
    const result = windows.result(state, this.names);
    return this.#shown(key, state, result, closed);
  }

  #shown(key: unknown, state: WindowState, result: unknown, closed: boolean): Result {
    return { key, startMs: this.startOf(state), endMs: state.end, result, closed };
  }

  /** As results show it. */
  startOf({ minTs, id }: WindowState): number {
    return this.#isCount ? minTs : id;
  }

  #encoded(key: unknown): Uint8Array {
    return encodeWith(this.declaration.key, key, { what: 'key', store: this.name, key });
  }

  #badTime(timestamp: number): PartitaError {
    return new PartitaError(
      'TIMESTAMP_OUT_OF_RANGE',
      `A value was added to the windowed store ${this.name} at the time ${String(timestamp)}; it must be a whole number of ms from 0 on.`,
      { details: { store: this.name, timestamp } },
    );
  }
}

const BLOCKS = internal<readonly unknown[]>('block', {
  toText: (items) => JSON.stringify(items),
  fromText: (text) => JSON.parse(text) as readonly unknown[],
  bytesMax: (items) => JSON.stringify(items).length * 3,
});
const NUMBERS = internal<number>('number', {
  toText: String,
  fromText: Number,
  bytesMax: () => 18,
});

/** A closed window, or one emitted by the wall clock, on its way to its handler. */
class WindowCall implements DueCall {
  readonly timestamp: number;
  readonly #keyText: string;
  readonly #result: Result;
  readonly #handler: ResultHandler;

  constructor(timestamp: number, keyText: string, result: Result, handler: ResultHandler) {
    this.timestamp = timestamp;
    this.#keyText = keyText;
    this.#result = result;
    this.#handler = handler;
  }

  call(context: object): unknown {
    return this.#handler(this.#result, context);
  }

  describe(): { readonly key: Uint8Array; readonly value: unknown } {
    return { key: Buffer.from(this.#keyText, 'latin1'), value: this.#result };
  }
}

/** Cheaper than setting the length, for the few that there are. */
function empty(list: unknown[]): void {
  while (list.length > 0) list.pop();
}

const NO_BLOCKS = { write: noBlocks, read: noBlocks };

function noBlocks(): never {
  throw new PartitaError('ILLEGAL_STATE', 'A window is being read, not written.');
}
