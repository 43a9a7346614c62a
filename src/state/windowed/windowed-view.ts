/**
 * A windowed store as handlers and queries see it: the windows that the clocks say are open, whether or not those that
 * have closed are gone already. It holds no state of its own.
 */
import type { AnyStoreDeclaration } from '../../processor/declarations.js';
import type { WindowedDeclaration, WindowResult, WindowScanOptions } from '../../processor/windowed.js';
import type { DeclaredStore, StoreParts } from '../declared-store.js';
import type { ReadLevel } from '../key-value-store.js';
import type { RecordScope } from '../record-scope.js';
import type { KeyRow } from './window-state.js';
import { WindowedStore } from './windowed-store.js';

type Result = WindowResult<unknown, unknown>;

/** A declared windowed store. */
export function declaredWindowed(declaration: AnyStoreDeclaration, parts: StoreParts): DeclaredStore {
  const store = new WindowedStore(
    declaration as unknown as WindowedDeclaration<unknown, unknown, unknown>,
    parts,
  );
  return {
    view: (scope) => new WindowedView(store, scope),
    queryView: (read, scope) => new ReadonlyWindowedView(store, scope, read),
    sources: store.intervals === undefined ? [store] : [store, store.intervals],
    prepare: () => {
      store.prepare();
    },
    idle: store.declaration.idleAfterMs === undefined ? undefined : store,
    clear: () => {
      store.clear();
    },
  };
}

export class ReadonlyWindowedView {
  readonly #store: WindowedStore;
  readonly #scope: RecordScope;
  readonly #read: ReadLevel;

  constructor(store: WindowedStore, scope: RecordScope, read: ReadLevel) {
    this.#store = store;
    this.#scope = scope;
    this.#read = read;
  }

  current(key: unknown): readonly Result[] {
    this.#scope.check();
    const keyText = this.#store.keys.keyText(key);
    const row = this.#store.row(keyText, this.#read);
    return row === undefined ? [] : this.#open(key, keyText, row, this.#store.watermarkNow(this.#read));
  }

  async *fetch(key: unknown, fromMs: number, toMs: number): AsyncGenerator<Result, void> {
    for (const window of this.current(key)) {
      this.#scope.check();
      if (window.startMs >= fromMs && window.startMs < toMs) yield window;
    }
    await Promise.resolve();
  }

  async *all(fromMs: number, toMs: number, options?: WindowScanOptions): AsyncGenerator<Result, void> {
    this.#scope.check();
    let left = options?.limit ?? Infinity;
    // Of the moment that the scan is of.
    const watermark = this.#store.watermarkNow(this.#read);
    const rows = this.#store.families.rows.all(undefined, this.#read, this.#scope);
    for await (const [keyText, row] of rows) {
      const key = this.#store.keys.fromKeyText(keyText as string);
      for (const window of this.#open(key, keyText as string, row as KeyRow, watermark)) {
        if (window.startMs < fromMs || window.startMs >= toMs) continue;
        if (left-- <= 0) return;
        yield window;
      }
    }
  }

  #open(key: unknown, keyText: string, row: KeyRow, watermark: (keyClock: number) => number): Result[] {
    const store = this.#store;
    const states = row.slots.map((slot) =>
      // One that has a row of its own may be gone since the scan began.
      typeof slot === 'number' ? store.loadWindow(keyText, slot, this.#read) : slot,
    );
    const newest = row.split ? (states.at(-1)?.maxTs ?? -1) : -1;
    const until = watermark(Math.max(row.clock, newest));
    return states
      .filter((state) => state !== undefined)
      .filter((state) => store.isOpen(state, until))
      .map((state) => store.resultOf(key, keyText, state, false));
  }
}

export class WindowedView extends ReadonlyWindowedView {
  readonly #store: WindowedStore;
  readonly #scope: RecordScope;

  constructor(store: WindowedStore, scope: RecordScope) {
    super(store, scope, 'latest');
    this.#store = store;
    this.#scope = scope;
  }

  add(key: unknown, value: unknown): void {
    this.#scope.check();
    this.#store.add(key, value, this.#scope);
  }
}
