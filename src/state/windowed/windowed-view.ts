/**
 * A windowed store as handlers and queries see it: the windows that the clocks say are open, whether or not those that
 * have closed are gone already. It holds no state of its own. What it shows of all keys, over a time in which the store goes
 * on, is read by windows-moment.ts.
 */
import type { AnyStoreDeclaration } from '../../processor/declarations.js';
import type { WindowedDeclaration, WindowResult, WindowScanOptions } from '../../processor/windowed.js';
import type { DeclaredStore, StoreParts } from '../declared-store.js';
import type { ReadLevel } from '../key-value-store.js';
import type { RecordScope } from '../record-scope.js';
import type { KeyRow, WindowState } from './window-state.js';
import { WindowedStore } from './windowed-store.js';
import { WindowsMoment } from './windows-moment.js';

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
    if (row === undefined) return [];
    const states = row.slots.map((slot) =>
      typeof slot === 'number' ? this.#store.loadWindow(keyText, slot, this.#read)! : slot,
    );
    return openOf(this.#store, row, states, this.#store.watermarkNow(this.#read)).map((state) =>
      this.#store.resultOf(key, state, false, (id) => this.#store.readBlock(keyText, id, this.#read)),
    );
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
    const store = this.#store;
    const moment = new WindowsMoment(store.families, this.#read, this.#scope);
    const watermark = store.watermarkNow(this.#read);
    try {
      for await (const [keyText, row] of moment.rows()) {
        const key = store.keys.fromKeyText(keyText);
        const all = moment.statesOf(keyText, row);
        for (const state of openOf(store, row, all instanceof Promise ? await all : all, watermark)) {
          const startMs = store.startOf(state);
          if (startMs < fromMs || startMs >= toMs) continue;
          if (left-- <= 0) return;
          const asked = moment.blocksOf(keyText, state);
          const blocks = asked instanceof Promise ? await asked : asked;
          yield store.resultOf(key, state, false, (id) => blocks.get(id)!);
        }
      }
    } finally {
      await moment.close();
    }
  }
}

/** Those of a key's windows that are open. */
function openOf(
  store: WindowedStore,
  row: KeyRow,
  states: readonly WindowState[],
  watermark: (keyClock: number) => number,
): readonly WindowState[] {
  const newest = row.split ? (states.at(-1)?.maxTs ?? -1) : -1;
  const until = watermark(Math.max(row.clock, newest));
  return states.filter((state) => store.isOpen(state, until));
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
