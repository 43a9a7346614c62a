/**
 * A scan of one store: the layers' changes in its range, taken at the call, over the engine's snapshot of the same
 * moment, merged in either direction; or, instead of the whole, parts of it, as of that moment. It sees that to its end,
 * reads a page at a time, caches nothing, and closes its snapshot at its end, on `return`, on an error, and when its record
 * or the state ends.
 */
import { PartitaError } from '../core/errors.js';
import type { EngineScan, EngineSnapshot } from '../storage/storage-engine.js';
import { asEngineError } from './engine-failure.js';
import { ABSENT } from './entry.js';
import type { ReadLevel } from './key-value-store.js';
import { latin1 } from './latin1.js';
import type { KeyRange } from './layer-index.js';
import type { RecordScope } from './record-scope.js';
import type { OpenScan, StateLayers } from './state-layers.js';
import type { StatePartition } from './state-partition.js';
import type { StoreKeys } from './store-keys.js';
import type { StoredForm } from './stored-form.js';

export interface ScanRequest {
  readonly store: string;
  readonly keys: StoreKeys;
  readonly form: StoredForm;
  readonly layers: StateLayers;
  readonly partition: StatePartition;
  readonly scope: RecordScope;
  readonly range: KeyRange;
  readonly read: ReadLevel;
  /** What has expired by then is not there. */
  readonly clockMs: number;
  readonly reverse: boolean;
  readonly limit: number | undefined;
}

/** A change of a layer as readers saw it at the call: ABSENT hides what lies below. */
interface Overlay {
  readonly key: string;
  readonly held: unknown;
}

type ScanEntry = readonly [key: unknown, value: unknown];

export class StoreScan implements AsyncIterableIterator<ScanEntry>, OpenScan {
  readonly #request: ScanRequest;
  /** In the order of the scan. */
  readonly #overlay: readonly Overlay[];
  readonly #snapshot: EngineSnapshot | undefined;
  readonly #entries: AsyncGenerator<ScanEntry, undefined>;
  #ended: PartitaError | undefined;
  #iterated = false;
  /** A page of the engine is being read; whoever ends the scan leaves the closing to its return. */
  #reading = false;
  /** Entries of the engine that had expired. */
  #expired = 0;
  #closing: Promise<void> | undefined;

  /** @throws PartitaError INVALID_ARGUMENT for a limit that is none */
  constructor(request: ScanRequest) {
    this.#request = request;
    checkLimit(request);
    const { from, to } = request.range;
    const empty = (to !== undefined && from >= to) || request.limit === 0;
    this.#overlay = empty ? [] : overlayOf(request);
    this.#snapshot = empty ? undefined : this.#takeSnapshot();
    this.#entries = this.#merge(request.range, this.#overlay, true);
    request.scope.addScan(this);
    request.layers.addScan(this);
  }

  [Symbol.asyncIterator](): this {
    if (this.#iterated)
      throw new PartitaError(
        'ILLEGAL_STATE',
        'A scan is iterated once; call range, prefix or entries again.',
      );
    this.#iterated = true;
    return this;
  }

  next(): Promise<IteratorResult<ScanEntry, undefined>> {
    return this.#entries.next();
  }

  async return(): Promise<IteratorResult<ScanEntry, undefined>> {
    const result = await this.#entries.return(undefined);
    // A generator that was never entered runs no `finally`.
    await this.#close();
    return result;
  }

  /** The entries of a part of the range, in order, as often as it is asked for until `return`. Without limit, forwards. */
  part(from: unknown, to: unknown): AsyncGenerator<ScanEntry, undefined> {
    const { keys } = this.#request;
    const range = { from: keys.bound(from), to: keys.bound(to) };
    const overlay = this.#overlay.slice(
      position(this.#overlay, range.from),
      position(this.#overlay, range.to),
    );
    return this.#merge(range, overlay, false);
  }

  end(error: PartitaError): void {
    this.#ended ??= error;
    if (!this.#reading) void this.#close();
  }

  /** @param closes what it ends with: the whole scan, or a part of it only */
  async *#merge(
    within: KeyRange,
    overlay: readonly Overlay[],
    closes: boolean,
  ): AsyncGenerator<ScanEntry, undefined> {
    const { keys, form, clockMs, limit = Infinity, reverse } = this.#request;
    let at = 0;
    let given = 0;
    try {
      for await (const page of this.#pages(within)) {
        for (const [engineKey, stored] of page) {
          const key = overlay.length === 0 ? '' : latin1(engineKey);
          // What the layers have before this key of the engine, in the direction of the scan.
          for (; at < overlay.length && comes(overlay[at]!.key, key, reverse); at++) {
            const { held, key: sortKey } = overlay[at]!;
            if (held === ABSENT) continue;
            yield this.#checked(this.#overlaid(sortKey, held));
            if (++given >= limit) return;
          }
          if (overlay[at]?.key === key) continue;
          const decodedKey = keys.decode(engineKey);
          if (form.expiryOf(stored, decodedKey) <= clockMs) {
            this.#expired++;
            continue;
          }
          yield this.#checked([decodedKey, form.read(form.hold(stored, decodedKey), decodedKey)]);
          if (++given >= limit) return;
        }
      }
      for (; at < overlay.length; at++) {
        const { held, key: sortKey } = overlay[at]!;
        if (held === ABSENT) continue;
        yield this.#checked(this.#overlaid(sortKey, held));
        if (++given >= limit) return;
      }
    } finally {
      if (closes) await this.#close();
    }
  }

  /** Pages of the engine; the record may end while one is read. */
  async *#pages(within: KeyRange): AsyncGenerator<readonly (readonly [Uint8Array, Uint8Array])[], void> {
    this.#check();
    if (this.#snapshot === undefined) return;
    let range = within;
    for (let expired = -1; expired !== this.#expired;) {
      // What has expired was counted in the engine's limit: as often as there was such, the scan goes on behind.
      expired = this.#expired;
      const scan = this.#openScan(this.#snapshot, range);
      try {
        for (;;) {
          const page = await this.#readPage(scan);
          this.#check();
          if (page.length === 0) break;
          yield page;
          range = rest(range, page.at(-1)![0], this.#request.reverse);
        }
      } finally {
        await scan.close();
      }
      if (this.#request.limit === undefined) return;
    }
  }

  async #readPage(scan: EngineScan): Promise<readonly (readonly [Uint8Array, Uint8Array])[]> {
    this.#reading = true;
    try {
      return await scan.next();
    } catch (cause) {
      this.#check();
      throw this.#fail(cause);
    } finally {
      this.#reading = false;
    }
  }

  #openScan(snapshot: EngineSnapshot, range: KeyRange): EngineScan {
    const { reverse, limit } = this.#request;
    try {
      return snapshot.scan({
        gte: Buffer.from(range.from, 'latin1'),
        ...(range.to === undefined ? {} : { lt: Buffer.from(range.to, 'latin1') }),
        reverse,
        // Each change of a layer hides one entry at most.
        ...(limit === undefined ? {} : { limit: limit + this.#overlay.length }),
      });
    } catch (cause) {
      throw this.#fail(cause);
    }
  }

  #takeSnapshot(): EngineSnapshot {
    try {
      return this.#request.partition.snapshot();
    } catch (cause) {
      throw this.#fail(cause);
    }
  }

  #overlaid(sortKey: string, held: unknown): ScanEntry {
    const key = this.#request.keys.fromSortKey(sortKey);
    return [key, this.#request.form.read(held, key)];
  }

  #checked(entry: ScanEntry): ScanEntry {
    this.#check();
    return entry;
  }

  #check(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  #fail(cause: unknown): PartitaError {
    const error = asEngineError(cause, this.#request.store);
    this.#request.layers.end('failed', () => error);
    return error;
  }

  /** Idempotent. A snapshot that can't be closed is an engine that fails. */
  #close(): Promise<void> {
    this.#closing ??= this.#closeSnapshot();
    return this.#closing;
  }

  async #closeSnapshot(): Promise<void> {
    this.#request.scope.removeScan(this);
    this.#request.layers.removeScan(this);
    try {
      await this.#snapshot?.close();
    } catch (cause) {
      this.#fail(cause);
    }
  }
}

/** The changes in the range: the frozen layer's under the live one's, in the order of the scan. */
function overlayOf({ layers, range, read, clockMs, reverse }: ScanRequest): readonly Overlay[] {
  const frozen = (layers.frozen?.index.range(layers.frozen.entries, range) ?? []).map(({ key, entry }) => ({
    key,
    held: layers.frozenExpiryMs(entry) <= clockMs ? ABSENT : layers.frozenValue(entry),
  }));
  const live =
    read === 'committed'
      ? []
      : layers.live.index
          .range(layers.live.entries, range)
          .map(({ key, entry }) => ({ key, held: entry.expiryMs <= clockMs ? ABSENT : entry.value }));
  const merged = frozen.length === 0 ? live : live.length === 0 ? frozen : mergeOverlays(frozen, live);
  return reverse ? merged.reverse() : merged;
}

function mergeOverlays(below: readonly Overlay[], above: readonly Overlay[]): Overlay[] {
  const merged: Overlay[] = [];
  let i = 0;
  for (const over of above) {
    for (; i < below.length && below[i]!.key < over.key; i++) merged.push(below[i]!);
    if (below[i]?.key === over.key) i++;
    merged.push(over);
  }
  return merged.concat(below.slice(i));
}

/** The first position in an overlay, forwards, whose key is not below `key`. */
function position(overlay: readonly Overlay[], key: string): number {
  let low = 0;
  let high = overlay.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (overlay[middle]!.key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What of the range comes after `last`, in the direction of the scan. */
function rest(range: KeyRange, last: Uint8Array, reverse: boolean): KeyRange {
  const key = latin1(last);
  return reverse ? { from: range.from, to: key } : { from: `${key}\0`, to: range.to };
}

/** Whether `a` comes before `b` in the direction of the scan. */
function comes(a: string, b: string, reverse: boolean): boolean {
  return reverse ? a > b : a < b;
}

function checkLimit({ limit, store }: ScanRequest): void {
  if (limit === undefined || (Number.isSafeInteger(limit) && limit >= 0)) return;
  throw new PartitaError(
    'INVALID_ARGUMENT',
    `The limit of a scan of the store ${store} must be a whole number from 0 on, not ${String(limit)}.`,
  );
}
