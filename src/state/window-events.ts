/**
 * What windowed stores have to tell handlers about the record under way: changed windows and missed ones. The stores fill
 * it, `actor/record-processor.ts` empties it; a rollback clears it.
 */
export interface LateUpdate {
  readonly store: string;
  /** Of `LateEvent`, without where the record came from. */
  readonly late: Readonly<Record<string, unknown>>;
  readonly keyBytes: () => Uint8Array;
}

/** What a window's result is handed to. */
export type ResultHandler = (window: unknown, context: object) => unknown;

export class WindowEvents {
  /** Who is told of the windows of a store; the actor sets it before the first record. */
  handlerOf: (store: string) => ResultHandler | undefined = () => undefined;
  /** Changed windows, and beside each the name of its store. */
  readonly windows: unknown[] = [];
  readonly stores: string[] = [];
  readonly lates: LateUpdate[] = [];
  /** Values that were skipped for their null key, without those of what was rolled back. */
  nullKeys = 0;
  #savedNullKeys = 0;

  get any(): boolean {
    return this.windows.length > 0 || this.lates.length > 0;
  }

  update(store: string, window: unknown): void {
    this.stores.push(store);
    this.windows.push(window);
  }

  clearUpdates(): void {
    // Cheaper than setting the length, for the few that there are.
    while (this.stores.length > 0) this.stores.pop();
    while (this.windows.length > 0) this.windows.pop();
  }

  savepoint(): void {
    this.#savedNullKeys = this.nullKeys;
  }

  clear(): void {
    this.clearUpdates();
    this.lates.length = 0;
  }

  rollback(): void {
    this.clear();
    this.nullKeys = this.#savedNullKeys;
  }
}
