/**
 * A key-value store as handlers and queries see it: each call first asks whether its record is still open. Made once per
 * context, not per record. It holds no state of its own.
 */
import type { AnyStoreDeclaration, KeyValueDeclaration, RangeOptions } from '../processor/declarations.js';
import type { DeclaredStore, StoreParts } from './declared-store.js';
import { KeyValueStore, type ReadLevel } from './key-value-store.js';
import type { RecordScope } from './record-scope.js';

type Entries = AsyncIterable<readonly [unknown, unknown]>;

/** A declared key-value store. */
export function declaredKeyValue(declaration: AnyStoreDeclaration, parts: StoreParts): DeclaredStore {
  const { name, layers, partition, maxRecordBytes } = parts;
  const keyValue = declaration as unknown as KeyValueDeclaration<unknown, unknown>;
  const store = new KeyValueStore(name, keyValue, layers, partition, maxRecordBytes);
  return {
    view: (scope) => new KeyValueView(store, scope),
    queryView: (read, scope) => new ReadonlyKeyValueView(store, scope, read),
    sources: [],
    clear: () => {
      store.clear();
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

export class KeyValueView {
  readonly #store: KeyValueStore;
  readonly #scope: RecordScope;

  constructor(store: KeyValueStore, scope: RecordScope) {
    this.#store = store;
    this.#scope = scope;
  }

  get(key: unknown): unknown {
    this.#scope.check();
    return this.#store.get(key);
  }

  has(key: unknown): boolean {
    this.#scope.check();
    return this.#store.has(key);
  }

  set(key: unknown, value: unknown): void {
    this.#scope.check();
    this.#store.set(key, value);
  }

  update(key: unknown, fn: (old: unknown) => unknown): void {
    this.#scope.check();
    this.#store.update(key, fn);
  }

  delete(key: unknown): void {
    this.#scope.check();
    this.#store.delete(key);
  }

  range(from: unknown, to: unknown, options?: RangeOptions): Entries {
    this.#scope.check();
    return this.#store.range(from, to, options, 'latest', this.#scope);
  }

  prefix(prefix: unknown, options?: RangeOptions): Entries {
    this.#scope.check();
    return this.#store.prefix(prefix, options, 'latest', this.#scope);
  }

  entries(options?: RangeOptions): Entries {
    this.#scope.check();
    return this.#store.all(options, 'latest', this.#scope);
  }
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
    return this.#read === 'latest' ? this.#store.get(key) : this.#store.getCommitted(key);
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
