/**
 * Emissions by wall-clock (`trigger: { everyMs }`): each window that has changed since is emitted once at the next multiple
 * of the interval. A source of due work for the actor beside the closings of the same store; what has fired is persisted
 * with its transaction, so it does not fire again.
 */
import type { StoreParts } from '../declared-store.js';
import { DueIndex } from '../due-index.js';
import type { DueCall, DueHead, DueSource } from '../due-source.js';
import { KeyWindows } from './key-windows.js';
import type { WindowedStore } from './windowed-store.js';

export class IntervalEmissions implements DueSource {
  readonly kind = 'window';
  readonly domain = 'wall';
  readonly name: string;
  readonly #store: WindowedStore;
  readonly #parts: StoreParts;
  readonly #everyMs: number;
  readonly #closes: boolean;
  readonly #index: DueIndex;
  /** The key has more windows to emit at this time: it stays at the head. */
  #hasMore = false;

  constructor(store: WindowedStore, parts: StoreParts, everyMs: number, closes: boolean) {
    this.name = parts.name;
    this.#store = store;
    this.#parts = parts;
    this.#everyMs = everyMs;
    this.#closes = closes;
    this.#index = new DueIndex(parts, '$e', (atMs, key) => store.row(key)?.emitAt === atMs);
  }

  /** A window of the key has changed. */
  changed(windows: KeyWindows): void {
    if (windows.emitAt >= 0) return;
    windows.emitAt = (Math.floor(this.#parts.wallNow() / this.#everyMs) + 1) * this.#everyMs;
    this.#index.insert(windows.emitAt, windows.key);
  }

  get nextMs(): number {
    return this.#index.nextMs;
  }

  load(untilMs: number): Promise<void> | undefined {
    return this.#index.load(untilMs);
  }

  head(untilMs: number): DueHead | undefined {
    return this.#index.head(untilMs);
  }

  apply(untilMs: number): DueCall | undefined {
    const { atMs, key } = this.#index.head(untilMs)!;
    this.#hasMore = false;
    const isCurrent = this.#store.row(key)?.emitAt === atMs;
    const windows = isCurrent ? new KeyWindows(this.#store.families).open(key) : undefined;
    const fresh = windows === undefined ? [] : this.#fresh(windows);
    if (windows === undefined || fresh.length === 0) {
      this.#index.takeHead();
      if (windows === undefined) return undefined;
      windows.emitAt = -1;
      this.#store.writeBack(windows);
      return undefined;
    }
    this.#hasMore = true;
    const at = fresh[0]!;
    const state = windows.state(at);
    const call = this.#store.emission(key, state, this.#closes, this.#parts.wallNow());
    if (this.#closes) windows.remove(at);
    else windows.replace(at, { ...state, fresh: false });
    this.#store.writeBack(windows);
    return call;
  }

  pop(): void {
    if (!this.#hasMore) this.#index.pop();
  }

  rolledBack(): void {
    this.#index.rolledBack();
  }

  prepare(): void {
    this.#index.prepare();
  }

  clear(): void {
    this.#index.clear();
  }

  /** Positions of the open windows that changed since they were last emitted. */
  #fresh(windows: KeyWindows): number[] {
    const watermark = this.#store.watermark(windows.clock);
    const fresh: number[] = [];
    for (let i = 0; i < windows.length; i++) {
      const state = windows.state(i);
      if (state.fresh && this.#store.isOpen(state, watermark)) fresh.push(i);
    }
    return fresh;
  }
}
