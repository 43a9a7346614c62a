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

export class WindowEvents {
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
