/**
 * A key-value store: finds entries, reads what is missed from the engine, stages what is written into the live layer.
 * It never flushes and knows no changelog. `key-value-view.ts` is what handlers see of it, `store-scan.ts` its scans.
 */
import { PartitaError } from '../core/errors.js';
import type { KeyValueDeclaration, RangeOptions } from '../processor/declarations.js';
import type { ByteArena } from './byte-arena.js';
import { asEngineError } from './engine-failure.js';
import { ABSENT, Entry, UNKNOWN, type EntryOwner, type MapKey } from './entry.js';
import type { KeyRange } from './layer-index.js';
import type { RecordScope } from './record-scope.js';
import { showKey } from './serde-failure.js';
import type { StateLayers } from './state-layers.js';
import type { StatePartition } from './state-partition.js';
import { StoreKeys } from './store-keys.js';
import { StoreScan } from './store-scan.js';
import { StoredForm } from './stored-form.js';

/** `latest` reads through the live layer, `committed` below it. */
export type ReadLevel = 'latest' | 'committed';

/** Measured on Node 20: an Entry, its slots in Map and ring, the key's header; and the headers of a value. */
const ENTRY_BYTES = 170;
const VALUE_BYTES = 40;
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

  constructor(
    name: string,
    declaration: KeyValueDeclaration<unknown, unknown>,
    layers: StateLayers,
    partition: StatePartition,
    maxRecordBytes: number,
  ) {
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

  set(key: unknown, value: unknown): void {
    this.#layers.check();
    let held = value;
    let valueBytes: number;
    if (this.#decoded) valueBytes = this.#form.admit(value, key);
    else {
      const stored = this.#form.encode(value, key);
      held = stored;
      valueBytes = stored.length;
    }
    this.#write(key, this.#find(key), held, valueBytes);
  }

  update(key: unknown, fn: (old: unknown) => unknown): void {
    const value = fn(this.get(key));
    if (value === undefined) this.delete(key);
    else this.set(key, value);
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

  writeValue(entry: Entry, held: unknown, arena: ByteArena): Uint8Array {
    return this.#form.write(held, entry.key, arena);
  }

  /** The held value that the live layer sees. */
  #latest(key: unknown): unknown {
    this.#layers.check();
    const entry = this.#find(key);
    if (entry === undefined) return this.#load(this.#keys.mapKey(key));
    entry.used = true;
    return entry.value === UNKNOWN ? this.#learn(entry) : entry.value;
  }

  #committed(key: unknown): unknown {
    const entry = this.#find(key);
    if (entry?.generation !== this.#layers.live.generation) return this.#latest(key);
    this.#layers.check();
    // Written blindly in the live layer, so not in the frozen one, which would have known: the engine's value is it.
    if (entry.base === UNKNOWN) entry.base = this.#read(entry.key);
    return entry.base;
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

  #load(key: MapKey): unknown {
    const stored = this.#readEngine(key);
    const held = stored === undefined ? ABSENT : this.#form.hold(stored, key);
    const { cache, flushed } = this.#layers;
    if (cache.retains) {
      // Loaded bytes are no bound but exact, and so weigh as much as three of a bound's.
      this.#insert(key, this.#keys.bytesMax(key), held, (this.#decoded ? 3 : 1) * (stored?.length ?? 0));
      cache.trim(flushed);
    }
    return held;
  }

  /** The value of an entry that was written blindly and rolled back. */
  #learn(entry: Entry): unknown {
    entry.value = this.#read(entry.key);
    return entry.value;
  }

  #read(key: MapKey): unknown {
    const stored = this.#readEngine(key);
    return stored === undefined ? ABSENT : this.#form.hold(stored, key);
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

  #write(key: unknown, found: Entry | undefined, held: unknown, valueBytes: number): void {
    if (found === undefined) {
      this.#writeBlindly(this.#keys.mapKey(key), held, valueBytes);
      return;
    }
    const bytesMax = found.keyBytesMax + valueBytes;
    if (bytesMax > this.#bytesMax) this.#checkSize(found.key, held);
    this.#layers.write(found, held, this.#bytesInMemory(found.key, valueBytes));
  }

  /** Over a value that nobody has read. */
  #writeBlindly(key: MapKey, held: unknown, valueBytes: number): void {
    const keyBytesMax = this.#keys.bytesMax(key);
    if (keyBytesMax + valueBytes > this.#bytesMax) this.#checkSize(key, held);
    const entry = this.#insert(key, keyBytesMax, UNKNOWN, 0);
    // Only what is written is safe from eviction.
    this.#layers.write(entry, held, this.#bytesInMemory(key, valueBytes));
    this.#layers.cache.trim(this.#layers.flushed);
  }

  #insert(key: MapKey, keyBytesMax: number, held: unknown, valueBytes: number): Entry {
    const entry = new Entry(this, key, keyBytesMax, held, this.#bytesInMemory(key, valueBytes));
    this.#entries.set(key, entry);
    this.#layers.cache.add(entry);
    return entry;
  }

  /** An estimate. The bound of an encoded value is some three times what its object takes, which has no text of names. */
  #bytesInMemory(key: MapKey, valueBytes: number): number {
    const bytes = ENTRY_BYTES + VALUE_BYTES + (typeof key === 'string' ? key.length : 0);
    return bytes + (this.#decoded ? Math.ceil(valueBytes / 3) : 2 * VALUE_BYTES + valueBytes);
  }

  /** The bounds were exceeded: measures exactly. @throws PartitaError RECORD_TOO_LARGE */
  #checkSize(key: MapKey, held: unknown): void {
    const bytes = this.#keys.storeKey(key).length + (held === ABSENT ? 0 : this.#form.bytesOf(held, key));
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
      reverse: options?.reverse ?? false,
      limit: options?.limit,
    });
  }
}
