/**
 * A key-value store: finds entries, reads what is missed from the engine, stages what is written into the live layer.
 * It never flushes and knows no changelog. `key-value-view.ts` is what handlers see of it, `store-scan.ts` its scans.
 */
import { PartitaError } from '../core/errors.js';
import type { KeyValueDeclaration, RangeOptions } from '../processor/declarations.js';
import type { ByteArena } from './byte-arena.js';
import { asEngineError } from './engine-failure.js';
import { ABSENT, Entry, Life, UNKNOWN, type EntryOwner, type MapKey } from './entry.js';
import type { EventClock } from './event-clock.js';
import type { KeyRange } from './layer-index.js';
import type { RecordScope } from './record-scope.js';
import { showKey } from './serde-failure.js';
import type { StateLayers } from './state-layers.js';
import type { StatePartition } from './state-partition.js';
import { StoreKeys } from './store-keys.js';
import { StoreScan } from './store-scan.js';
import { EXPIRY_BYTES, StoredForm } from './stored-form.js';

/** `latest` reads through the live layer, `committed` below it. */
export type ReadLevel = 'latest' | 'committed';

/** Measured on Node 20: an Entry, its slots in Map and ring, the key's header; and the headers of a value. */
const ENTRY_BYTES = 170;
const VALUE_BYTES = 40;
/** A `Life` with its numbers. */
const LIFE_BYTES = 72;
/** Batch header, record header and their varints, beside key and value of a record. */
const RECORD_OVERHEAD_BYTES = 96;

export class KeyValueStore implements EntryOwner {
  readonly #name: string;
  readonly #layers: StateLayers;
  readonly #partition: StatePartition;
  readonly #bytesMax: number;
  readonly #keys: StoreKeys;
  readonly #form: StoredForm;
  readonly #direct: boolean;
  readonly #decoded: boolean;
  readonly #entries = new Map<unknown, Entry>();
  /** Every key that the engine may hold has an entry: what is not found here is nowhere. Ends with the first eviction. */
  #complete: boolean;
  /** For values that expire. */
  readonly #clock: EventClock | undefined;
  #expires = false;

  /** @param clock by which values expire; without it none may */
  constructor(
    name: string,
    declaration: KeyValueDeclaration<unknown, unknown>,
    layers: StateLayers,
    partition: StatePartition,
    maxRecordBytes: number,
    clock?: EventClock,
  ) {
    this.#clock = clock;
    this.#name = name;
    this.#layers = layers;
    this.#partition = partition;
    this.#bytesMax = maxRecordBytes - RECORD_OVERHEAD_BYTES;
    this.#keys = new StoreKeys(name, declaration.key);
    this.#form = new StoredForm(name, declaration.value);
    this.#direct = this.#keys.direct;
    this.#decoded = this.#form.decoded;
    this.#complete = partition.empty === true;
  }

  get(key: unknown): unknown {
    const held = this.#latest(key);
    return this.#decoded || held === ABSENT ? held : this.#form.read(held, key);
  }

  /** `get` or `getCommitted`. */
  getAt(read: ReadLevel, key: unknown): unknown {
    return read === 'latest' ? this.get(key) : this.getCommitted(key);
  }

  has(key: unknown): boolean {
    return this.#latest(key) !== ABSENT;
  }

  /** As of the frozen layer. */
  getCommitted(key: unknown): unknown {
    const held = this.#committed(key);
    return this.#decoded || held === ABSENT ? held : this.#form.read(held, key);
  }

  hasCommitted(key: unknown): boolean {
    return this.#committed(key) !== ABSENT;
  }

  /** @param expiryMs event time from which on the value is not seen any more; absent: it is permanent */
  set(key: unknown, value: unknown, expiryMs?: number): void {
    this.#layers.check();
    let held = value;
    let valueBytes: number;
    if (this.#decoded) valueBytes = this.#form.admit(value, key);
    else {
      const stored = this.#form.encode(value, key, expiryMs);
      held = stored;
      valueBytes = stored.length;
    }
    if (expiryMs !== undefined) {
      if (this.#decoded) valueBytes += EXPIRY_BYTES;
      this.#expires = true;
    }
    this.#write(key, this.#find(key), held, valueBytes, expiryMs);
  }

  delete(key: unknown): void {
    this.#layers.check();
    const entry = this.#find(key);
    if (entry === undefined || entry.value !== ABSENT) this.#write(key, entry, ABSENT, 0);
  }

  range(from: unknown, to: unknown, options: RangeOptions | undefined, read: ReadLevel, scope: RecordScope) {
    return this.#scan({ from: this.#keys.bound(from), to: this.#keys.bound(to) }, options, read, scope);
  }

  prefix(prefix: unknown, options: RangeOptions | undefined, read: ReadLevel, scope: RecordScope) {
    return this.#scan(this.#keys.prefixed(prefix), options, read, scope);
  }

  all(options: RangeOptions | undefined, read: ReadLevel, scope: RecordScope) {
    return this.#scan(this.#keys.all(), options, read, scope);
  }

  /** Whether a value that expires was met since the store was opened. */
  get expires(): boolean {
    return this.#expires;
  }

  /** The encoded key, as latin1 text. */
  keyText(entry: Entry): string {
    return this.#keys.text(entry.key);
  }

  /** When the present value of an encoded key expires; Infinity if it is permanent or absent. Caches nothing. */
  expiryOf(keyText: string): number {
    const key = this.#keys.ofText(keyText);
    const entry = this.#entries.get(key);
    if (entry !== undefined && entry.value !== UNKNOWN) return entry.expiryMs;
    const stored = this.#readEngine(key);
    return stored === undefined ? Infinity : this.#form.expiryOf(stored, key);
  }

  /** Deletes an encoded key in the live layer. */
  deleteText(keyText: string): void {
    const key = this.#keys.ofText(keyText);
    const entry = this.#entries.get(key);
    if (entry === undefined) this.#writeBlindly(key, ABSENT, 0);
    else this.deleteEntry(entry);
  }

  deleteEntry(entry: Entry): void {
    this.#layers.write(entry, ABSENT, this.#bytesInMemory(entry.key, 0));
  }

  forget(entry: Entry): void {
    if (entry.value !== ABSENT) this.#complete = false;
    this.#entries.delete(entry.key);
  }

  clear(): void {
    this.#entries.clear();
  }

  sortKey(entry: Entry): string {
    return this.#keys.sortKey(entry.key);
  }

  writeKey(entry: Entry, arena: ByteArena): Uint8Array {
    return this.#keys.write(entry.key, arena);
  }

  writeValue(entry: Entry, held: unknown, expiryMs: number, arena: ByteArena): Uint8Array {
    return this.#form.write(held, entry.key, arena, expiryMs);
  }

  /** The held value that the live layer sees, as of its clock, or of the frozen one's. */
  #latest(key: unknown, atFrozenClock = false): unknown {
    this.#layers.check();
    let entry = this.#find(key);
    if (entry === undefined) entry = this.#load(this.#keys.mapKey(key));
    else entry.used = true;
    if (entry.value === UNKNOWN) this.#learn(entry);
    return entry.life !== undefined && this.#isOver(entry.life.valueMs, atFrozenClock) ? ABSENT : entry.value;
  }

  #isOver(expiryMs: number, atFrozenClock: boolean): boolean {
    const clock = this.#clock!;
    return expiryMs <= (atFrozenClock ? clock.frozenMs : clock.ms);
  }

  #committed(key: unknown): unknown {
    const entry = this.#find(key);
    if (entry?.generation !== this.#layers.live.generation) return this.#latest(key, true);
    this.#layers.check();
    // Written blindly in the live layer, so not in the frozen one, which would have known: the engine's value is it.
    if (entry.base === UNKNOWN) this.#learnBase(entry);
    return entry.life !== undefined && this.#isOver(entry.life.baseMs, true) ? ABSENT : entry.base;
  }

  /** A Map lookup; a key that is not its own Map key is looked up by its encoded form. */
  #find(key: unknown): Entry | undefined {
    if (!this.#direct) return this.#entries.get(this.#keys.mapKey(key));
    const entry = this.#entries.get(key);
    if (entry !== undefined) return entry;
    // Rarely the same key in another guise: text with a lone surrogate.
    const mapKey = this.#keys.mapKey(key);
    return mapKey === key ? undefined : this.#entries.get(mapKey);
  }

  /** An entry with the engine's value, which the cache keeps if it has room. */
  #load(key: MapKey): Entry {
    const stored = this.#readEngine(key);
    // Loaded bytes are no bound but exact, and so weigh as much as three of a bound's.
    const bytes = this.#bytesInMemory(key, (this.#decoded ? 3 : 1) * (stored?.length ?? 0));
    const entry = new Entry(this, key, this.#keys.bytesMax(key), ABSENT, bytes);
    if (stored !== undefined) {
      entry.expiryMs = this.#expiryOf(stored, key);
      entry.value = this.#form.hold(stored, key);
      if (entry.life !== undefined) entry.bytes += LIFE_BYTES;
    }
    const { cache, flushed } = this.#layers;
    if (cache.retains) {
      this.#keep(entry);
      cache.trim(flushed);
    }
    return entry;
  }

  /** The value of an entry that was written blindly and rolled back. */
  #learn(entry: Entry): void {
    const stored = this.#readEngine(entry.key);
    entry.expiryMs = stored === undefined ? Infinity : this.#expiryOf(stored, entry.key);
    entry.value = stored === undefined ? ABSENT : this.#form.hold(stored, entry.key);
  }

  #learnBase(entry: Entry): void {
    const stored = this.#readEngine(entry.key);
    const expiryMs = stored === undefined ? Infinity : this.#expiryOf(stored, entry.key);
    if (expiryMs !== Infinity) (entry.life ??= new Life()).baseMs = expiryMs;
    entry.base = stored === undefined ? ABSENT : this.#form.hold(stored, entry.key);
  }

  #expiryOf(stored: Uint8Array, key: MapKey): number {
    const expiryMs = this.#form.expiryOf(stored, key);
    if (expiryMs !== Infinity) this.#expires = true;
    return expiryMs;
  }

  /** Engine errors fail the transaction, whatever the handler does with them. */
  #readEngine(key: MapKey): Uint8Array | undefined {
    if (this.#complete) return undefined;
    const storeKey = this.#keys.storeKey(key);
    try {
      return this.#partition.get(storeKey);
    } catch (cause) {
      const error = asEngineError(cause, this.#name);
      this.#layers.end('failed', () => error);
      throw error;
    }
  }

  #write(key: unknown, found: Entry | undefined, held: unknown, valueBytes: number, expiryMs?: number): void {
    if (found === undefined) {
      this.#writeBlindly(this.#keys.mapKey(key), held, valueBytes, expiryMs);
      return;
    }
    const bytesMax = found.keyBytesMax + valueBytes;
    if (bytesMax > this.#bytesMax) this.#checkSize(found.key, held, expiryMs);
    this.#layers.write(found, held, this.#bytesInMemory(found.key, valueBytes, expiryMs), expiryMs);
  }

  /** Over a value that nobody has read. */
  #writeBlindly(key: MapKey, held: unknown, valueBytes: number, expiryMs?: number): void {
    const keyBytesMax = this.#keys.bytesMax(key);
    if (keyBytesMax + valueBytes > this.#bytesMax) this.#checkSize(key, held, expiryMs);
    const entry = this.#keep(new Entry(this, key, keyBytesMax, UNKNOWN, this.#bytesInMemory(key, 0)));
    // Only what is written is safe from eviction.
    this.#layers.write(entry, held, this.#bytesInMemory(key, valueBytes, expiryMs), expiryMs);
    this.#layers.cache.trim(this.#layers.flushed);
  }

  #keep(entry: Entry): Entry {
    this.#entries.set(entry.key, entry);
    this.#layers.cache.add(entry);
    return entry;
  }

  /** An estimate. The bound of an encoded value is some three times what its object takes, which has no text of names. */
  #bytesInMemory(key: MapKey, valueBytes: number, expiryMs?: number): number {
    let bytes = ENTRY_BYTES + VALUE_BYTES + (typeof key === 'string' ? key.length : 0);
    if (expiryMs !== undefined) bytes += LIFE_BYTES;
    return bytes + (this.#decoded ? Math.ceil(valueBytes / 3) : 2 * VALUE_BYTES + valueBytes);
  }

  /** The bounds were exceeded: measures exactly. @throws PartitaError RECORD_TOO_LARGE */
  #checkSize(key: MapKey, held: unknown, expiryMs: number | undefined): void {
    const valueBytes = held === ABSENT ? 0 : this.#form.bytesOf(held, key);
    const expiryBytes = this.#decoded && expiryMs !== undefined ? EXPIRY_BYTES : 0;
    const bytes = this.#keys.storeKey(key).length + valueBytes + expiryBytes;
    if (bytes <= this.#bytesMax) return;
    throw new PartitaError(
      'RECORD_TOO_LARGE',
      `Key and value of ${String(showKey(key))} in the store ${this.#name} are ${bytes} bytes; the changelog takes at most ${this.#bytesMax}.`,
      { details: { store: this.#name, key: showKey(key), bytes, bytesMax: this.#bytesMax } },
    );
  }

  #scan(range: KeyRange, options: RangeOptions | undefined, read: ReadLevel, scope: RecordScope): StoreScan {
    this.#layers.check();
    return new StoreScan({
      store: this.#name,
      keys: this.#keys,
      form: this.#form,
      layers: this.#layers,
      partition: this.#partition,
      scope,
      range,
      read,
      clockMs: (read === 'latest' ? this.#clock?.ms : this.#clock?.frozenMs) ?? -1,
      reverse: options?.reverse ?? false,
      limit: options?.limit,
    });
  }
}
