/**
 * The windows of all keys as of one moment, for whoever reads them while the store goes on: rows, windows in rows of their
 * own, and blocks of values, all as they were when it was made. It decides nothing; windowed-view.ts asks it.
 */
import { timeOfText, timeText } from '../internal-serdes.js';
import type { ReadLevel } from '../key-value-store.js';
import type { RecordScope } from '../record-scope.js';
import type { StoreScan } from '../store-scan.js';
import { blocksOf, type WindowFamilies } from './key-windows.js';
import type { KeyRow, Slot, WindowState } from './window-state.js';

type Blocks = ReadonlyMap<number, readonly unknown[]>;

const NO_BLOCKS: Blocks = new Map();

export class WindowsMoment {
  readonly #families: WindowFamilies;
  readonly #rows: StoreScan;
  readonly #windows: StoreScan;
  readonly #blocks: StoreScan | undefined;

  constructor(families: WindowFamilies, read: ReadLevel, scope: RecordScope) {
    this.#families = families;
    this.#rows = families.rows.all(undefined, read, scope);
    this.#windows = families.windows.all(undefined, read, scope);
    this.#blocks = families.hasBlocks ? families.blocks.all(undefined, read, scope) : undefined;
  }

  /** Once. */
  rows(): AsyncIterable<readonly [keyText: string, row: KeyRow]> {
    return this.#rows as AsyncIterable<readonly [string, KeyRow]>;
  }

  /** At once for most keys, whose windows stand in their row. */
  statesOf(
    keyText: string,
    { split, slots }: KeyRow,
  ): readonly WindowState[] | Promise<readonly WindowState[]> {
    return split ? this.#apart(keyText, slots) : (slots as readonly WindowState[]);
  }

  /** At once for windows that have none. */
  blocksOf(keyText: string, state: WindowState): Blocks | Promise<Blocks> {
    if (this.#blocks === undefined) return NO_BLOCKS;
    const ids = blocksOf(this.#families, state);
    return ids.length === 0 ? NO_BLOCKS : (this.#byId(this.#blocks, keyText, ids) as Promise<Blocks>);
  }

  /** Idempotent. */
  async close(): Promise<void> {
    await this.#rows.return();
    await this.#windows.return();
    await this.#blocks?.return();
  }

  async #apart(keyText: string, slots: readonly Slot[]): Promise<readonly WindowState[]> {
    const apart = await this.#byId(
      this.#windows,
      keyText,
      slots.filter((slot) => typeof slot === 'number'),
    );
    return slots.map((slot) => (typeof slot === 'number' ? (apart.get(slot) as WindowState) : slot));
  }

  /** What a key has under these ids. */
  async #byId(
    scan: StoreScan,
    keyText: string,
    ids: readonly number[],
  ): Promise<ReadonlyMap<number, unknown>> {
    const found = new Map<number, unknown>();
    const wanted = new Set(ids);
    const from = keyText + timeText(ids.reduce((a, b) => Math.min(a, b)));
    const to = keyText + timeText(ids.reduce((a, b) => Math.max(a, b)) + 1);
    for await (const [whole, value] of scan.part(from, to)) {
      // Another key may begin with this one and lie in between.
      const text = whole as string;
      if (text.length !== from.length) continue;
      const id = timeOfText(text.slice(keyText.length));
      if (wanted.has(id)) found.set(id, value);
    }
    return found;
  }
}
