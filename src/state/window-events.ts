/**
 * What windowed stores have to tell handlers about the record under way: changed windows and missed ones. The stores fill
 * it, `actor/record-processor.ts` empties it; a rollback clears it.
 */
export interface WindowUpdate {
  readonly store: string;
  readonly window: unknown;
}

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
  readonly updates: WindowUpdate[] = [];
  readonly lates: LateUpdate[] = [];
  /** Values that were skipped for their null key. */
  nullKeys = 0;

  get any(): boolean {
    return this.updates.length > 0 || this.lates.length > 0;
  }

  clear(): void {
    this.updates.length = 0;
    this.lates.length = 0;
  }
}
