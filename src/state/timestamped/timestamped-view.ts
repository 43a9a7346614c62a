/**
 * A timestamped store as handlers and queries see it: each call first asks whether its record is still open. It holds no
 * state of its own.
 */
import type { AnyStoreDeclaration, RangeOptions } from '../../processor/declarations.js';
import type { TimestampedDeclaration, TimestampedEntry } from '../../processor/timestamped.js';
import type { DeclaredStore, StoreParts } from '../declared-store.js';
import type { ReadLevel } from '../key-value-store.js';
import type { RecordScope } from '../record-scope.js';
import { TimestampedStore } from './timestamped-store.js';

/** A declared timestamped store. */
export function declaredTimestamped(declaration: AnyStoreDeclaration, parts: StoreParts): DeclaredStore {
  const store = new TimestampedStore(
    declaration as unknown as TimestampedDeclaration<unknown, unknown>,
    parts,
  );
  return {
    view: (scope) => new TimestampedView(store, scope),
    queryView: (read, scope) => new ReadonlyTimestampedView(store, scope, read),
    sources: [],
    prepare: () => {
      store.prepare();
    },
    clear: () => {
      store.clear();
    },
  };
}

/** Without any way to write, also for a caller without types. */
export class ReadonlyTimestampedView {
  readonly #store: TimestampedStore;
  readonly #scope: RecordScope;
  readonly #read: ReadLevel;

  constructor(store: TimestampedStore, scope: RecordScope, read: ReadLevel) {
    this.#store = store;
    this.#scope = scope;
    this.#read = read;
  }

  getAsOf(key: unknown, timestampMs: number): TimestampedEntry<unknown> | undefined {
    this.#scope.check();
    return this.#store.getAsOf(key, timestampMs, this.#read);
  }

  between(
    key: unknown,
    fromMs: number,
    toMs: number,
    options?: RangeOptions,
  ): readonly TimestampedEntry<unknown>[] {
    this.#scope.check();
    return this.#store.between(key, fromMs, toMs, options, this.#read);
  }

  interval(
    key: unknown,
    fromMs: number,
    toMs: number,
    options?: RangeOptions,
  ): AsyncIterable<readonly [number, unknown]> {
    this.#scope.check();
    return this.#store.interval(key, fromMs, toMs, options, this.#read, this.#scope);
  }
}

export class TimestampedView extends ReadonlyTimestampedView {
  readonly #store: TimestampedStore;
  readonly #scope: RecordScope;

  constructor(store: TimestampedStore, scope: RecordScope) {
    super(store, scope, 'latest');
    this.#store = store;
    this.#scope = scope;
  }

  set(key: unknown, value: unknown, timestampMs: number): boolean {
    this.#scope.check();
    return this.#store.set(key, value, timestampMs);
  }
}
