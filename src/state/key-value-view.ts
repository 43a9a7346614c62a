/**
 * A key-value store as handlers and queries see it: each call first asks whether its record is still open. Made once per
 * context, not per record. It holds no state of its own.
 */
import { PartitaError } from '../core/errors.js';
import type {
  AnyStoreDeclaration,
  KeyValueDeclaration,
  RangeOptions,
  SetOptions,
} from '../processor/declarations.js';
import type { DeclaredStore, StoreParts } from './declared-store.js';
import { ExpirySweep } from './expiry-sweep.js';
import { KeyValueStore, type ReadLevel } from './key-value-store.js';
import type { RecordScope } from './record-scope.js';

type Entries = AsyncIterable<readonly [unknown, unknown]>;

/** A declared key-value store. */
export function declaredKeyValue(declaration: AnyStoreDeclaration, parts: StoreParts): DeclaredStore {
  const { name, layers, partition, maxRecordBytes, clock } = parts;
  const keyValue = declaration as unknown as KeyValueDeclaration<unknown, unknown>;
  const store = new KeyValueStore(name, keyValue, layers, partition, maxRecordBytes, clock);
  const sweep = new ExpirySweep(parts, store);
  return {
    view: (scope) => new KeyValueView(store, scope, { name, ttlMs: keyValue.ttlMs }),
    queryView: (read, scope) => new ReadonlyKeyValueView(store, scope, read),
    sources: [],
    settle: () => sweep.settle(),
    prepare: () => {
      sweep.prepare();
    },
    clear: () => {
      store.clear();
      sweep.clear();
    },
  };
}

/** A table's store: handlers only read it, its input's records write it. */
export function declaredTable(declaration: AnyStoreDeclaration, parts: StoreParts): DeclaredStore {
  const { name, layers, partition, maxRecordBytes } = parts;
  const keyValue = declaration as unknown as KeyValueDeclaration<unknown, unknown>;
  const store = new KeyValueStore(name, keyValue, layers, partition, maxRecordBytes);
  return {
    view: (scope) => new ReadonlyKeyValueView(store, scope, 'latest'),
    queryView: (read, scope) => new ReadonlyKeyValueView(store, scope, read),
    sources: [],
    table: store,
    clear: () => {
      store.clear();
    },
  };
}

interface Lifetime {
  readonly name: string;
  /** The default. */
  readonly ttlMs: number | undefined;
}

/** Without any way to write, also for a caller without types. */
export class ReadonlyKeyValueView {
  readonly #store: KeyValueStore;
  readonly #scope: RecordScope;
  readonly #read: ReadLevel;

  constructor(store: KeyValueStore, scope: RecordScope, read: ReadLevel) {
    this.#store = store;
    this.#scope = scope;
    this.#read = read;
  }

  get(key: unknown): unknown {
    this.#scope.check();
    return this.#store.getAt(this.#read, key);
  }

  has(key: unknown): boolean {
    this.#scope.check();
    return this.#read === 'latest' ? this.#store.has(key) : this.#store.hasCommitted(key);
  }

  range(from: unknown, to: unknown, options?: RangeOptions): Entries {
    this.#scope.check();
    return this.#store.range(from, to, options, this.#read, this.#scope);
  }

  prefix(prefix: unknown, options?: RangeOptions): Entries {
    this.#scope.check();
    return this.#store.prefix(prefix, options, this.#read, this.#scope);
  }

  entries(options?: RangeOptions): Entries {
    this.#scope.check();
    return this.#store.all(options, this.#read, this.#scope);
  }
}

/** What handlers have: the same, and writing. */
export class KeyValueView extends ReadonlyKeyValueView {
  readonly #store: KeyValueStore;
  readonly #scope: RecordScope;
  readonly #lifetime: Lifetime;

  constructor(store: KeyValueStore, scope: RecordScope, lifetime: Lifetime) {
    super(store, scope, 'latest');
    this.#store = store;
    this.#scope = scope;
    this.#lifetime = lifetime;
  }

  set(key: unknown, value: unknown, options?: SetOptions): void {
    this.#scope.check();
    this.#store.set(key, value, this.#expiryMs(options));
  }

  update(key: unknown, fn: (old: unknown) => unknown, options?: SetOptions): void {
    this.#scope.check();
    const value = fn(this.#store.get(key));
    if (value === undefined) this.#store.delete(key);
    else this.#store.set(key, value, this.#expiryMs(options));
  }

  delete(key: unknown): void {
    this.#scope.check();
    this.#store.delete(key);
  }

  /** When what is set now expires; `undefined`: never. */
  #expiryMs(options: SetOptions | undefined): number | undefined {
    const ttlMs = options?.ttlMs ?? this.#lifetime.ttlMs;
    return ttlMs === undefined ? undefined : expiryAfter(ttlMs, this.#scope.timestamp, this.#lifetime.name);
  }
}

/** @throws PartitaError INVALID_ARGUMENT, TIMESTAMP_OUT_OF_RANGE */
function expiryAfter(ttlMs: number, timestamp: number, store: string): number {
  if (!Number.isSafeInteger(ttlMs) || ttlMs <= 0)
    throw new PartitaError(
      'INVALID_ARGUMENT',
      `The ttlMs of a value in the store ${store} must be a whole number of milliseconds above 0, not ${String(ttlMs)}.`,
      { details: { store } },
    );
  const expiryMs = timestamp + ttlMs;
  if (timestamp >= 0 && expiryMs <= Number.MAX_SAFE_INTEGER) return expiryMs;
  throw new PartitaError(
    'TIMESTAMP_OUT_OF_RANGE',
    timestamp < 0
      ? `A value in the store ${store} can't expire: what sets it has no timestamp.`
      : `A value in the store ${store} would expire at ${String(timestamp)} + ${String(ttlMs)} ms, which is beyond all time.`,
    { details: { store, timestamp, ttlMs } },
  );
}
