/**
 * A StatePartition for tests: plain sorted Maps, which count what is asked of them and fail on demand. It shares no code
 * with the engines.
 */
import type { EngineScan, EngineSnapshot, EngineWrite, ScanRange } from '../../src/storage/storage-engine.js';
import type { StatePartition } from '../../src/state/state-partition.js';

export class CountingPartition implements StatePartition {
  data = new Map<string, Uint8Array>();
  empty = false;
  gets = 0;
  snapshotsOpen = 0;
  /** Entries a page; small, so that scans need several. */
  pageEntries = 2;
  failGet: Error | undefined;
  failScan: Error | undefined;

  get(key: Uint8Array): Uint8Array | undefined {
    this.gets++;
    if (this.failGet !== undefined) throw this.failGet;
    return this.data.get(hex(key));
  }

  write(writes: readonly EngineWrite[]): void {
    const next = new Map(this.data);
    for (const { key, value } of writes) {
      if (value === null) next.delete(hex(key));
      else next.set(hex(key), new Uint8Array(value));
    }
    this.data = next;
  }

  snapshot(): EngineSnapshot {
    const data = this.data;
    let open = true;
    this.snapshotsOpen++;
    return {
      scan: (range) => this.#scan(data, range),
      close: async () => {
        if (open) this.snapshotsOpen--;
        open = false;
      },
    };
  }

  #scan(data: ReadonlyMap<string, Uint8Array>, range: ScanRange): EngineScan {
    let keys = [...data.keys()].sort();
    if (range.gte !== undefined) keys = keys.filter((key) => key >= hex(range.gte!));
    if (range.lt !== undefined) keys = keys.filter((key) => key < hex(range.lt!));
    if (range.reverse === true) keys.reverse();
    keys = keys.slice(0, range.limit);
    return {
      next: async () => {
        if (this.failScan !== undefined) throw this.failScan;
        return keys
          .splice(0, this.pageEntries)
          .map((key) => [Buffer.from(key, 'hex'), data.get(key)!] as const);
      },
      close: async () => undefined,
    };
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
