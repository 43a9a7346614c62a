/**
 * What is due when, in order: an index of (time, key) whose front is held in memory and whose rest lies in the engine, so
 * that neither an insert nor a look at the next one reads anything. Rows of the front are written only when a checkpoint
 * comes: what is due and done before that never reaches the log. An entry is a hint: whoever takes it asks the row that it
 * speaks of (`isCurrent`), so nothing has to be taken back when a record is rolled back.
 */
import type { DueHead } from './due-source.js';
import { family, type StoreParts } from './declared-store.js';
import { latin1Keys, presence, timeOfText, timeText } from './internal-serdes.js';
import type { KeyValueStore } from './key-value-store.js';
import { RecordScope } from './record-scope.js';
import { isAfter, SortedFront } from './sorted-front.js';
import type { StateLayers } from './state-layers.js';

export interface DueIndexSizes {
  /** Entries held in memory at most; beyond, the later half is left to the engine. */
  readonly frontMax: number;
  /** Entries that are read at once. */
  readonly pageEntries: number;
  /** Entries of a run of the front; at most a quarter of `frontMax`, so that a cut takes something off. */
  readonly runMax: number;
}

const SIZES: DueIndexSizes = { frontMax: 16_384, pageEntries: 8_192, runMax: 256 };

interface IndexEntry extends DueHead {
  /** Whether there is a row for it. Perhaps: it was deleted, which may be rolled back. */
  row: 'there' | 'perhaps' | 'none';
}

/** Where the front ends: everything up to here is in it. */
interface Horizon {
  readonly atMs: number;
  readonly key: string;
}

const NOWHERE: Horizon = { atMs: -1, key: '' };
const EVERYWHERE: Horizon = { atMs: Infinity, key: '' };

export class DueIndex {
  readonly #rows: KeyValueStore;
  readonly #layers: StateLayers;
  readonly #isCurrent: (atMs: number, key: string) => boolean;
  readonly #sizes: DueIndexSizes;
  readonly #front: SortedFront<IndexEntry>;
  #horizon = NOWHERE;
  #taken: IndexEntry | undefined;
  /** What was taken has been inserted again. */
  #isKept = false;
  /** What cuts left to the engine since the savepoint `#cutSince`: a rollback to it must not lose them. */
  #cutOff: IndexEntry[] = [];
  #cutSince = -1;
  /** Pages that were read, for tests and benchmarks. */
  pages = 0;

  /**
   * @param isCurrent whether the row of this key says that it is due at this time
   * @param sizes other ones than the default are for tests
   */
  constructor(
    parts: StoreParts,
    suffix: `$${string}`,
    isCurrent: (atMs: number, key: string) => boolean,
    sizes = SIZES,
  ) {
    this.#sizes = sizes;
    this.#front = new SortedFront(sizes.runMax);
    this.#rows = family(parts, suffix, latin1Keys, presence);
    this.#layers = parts.layers;
    this.#isCurrent = isCurrent;
  }

  /** A lower bound of the earliest time; Infinity: there is nothing. */
  get nextMs(): number {
    return this.#front.first?.atMs ?? this.#horizon.atMs;
  }

  /** The key is due at this time, in ms, a whole number from 0 on. `key` is bytes as latin1 text. */
  insert(atMs: number, key: string): void {
    if (isAfter(atMs, key, this.#horizon)) {
      this.#rows.set(timeText(atMs) + key, true);
      return;
    }
    const there = this.#front.find(atMs, key);
    if (there !== undefined) {
      // Due again at the same time: it stays where it is, and gets its row again with the next checkpoint.
      if (there === this.#taken) this.#isKept = true;
      return;
    }
    // Before the insert: the row that the new entry speaks of is not written yet.
    if (this.#front.size >= this.#sizes.frontMax) {
      this.#cut();
      this.insert(atMs, key);
      return;
    }
    this.#front.insert({ atMs, key, row: 'none' });
  }

  /** It is not due at that time any more. What remains of it in memory is found out when it is taken. */
  remove(atMs: number, key: string): void {
    const there = isAfter(atMs, key, this.#horizon) ? undefined : this.#front.find(atMs, key);
    if (there?.row !== 'none') this.#rows.delete(timeText(atMs) + key);
    // It may be inserted again, and must then get its row again.
    if (there?.row === 'there') there.row = 'perhaps';
  }

  /** Makes `head(untilMs)` exact; `undefined`: it is. */
  load(untilMs: number): Promise<void> | undefined {
    if (this.#front.size > 0 || this.#horizon.atMs > untilMs) return undefined;
    return this.#loadPage();
  }

  head(untilMs: number): DueHead | undefined {
    const entry = this.#front.first;
    return entry !== undefined && entry.atMs <= untilMs ? entry : undefined;
  }

  /** The head is being done with: deletes its row, in the live layer. May be repeated after a rollback. */
  takeHead(): void {
    const entry = this.#front.first!;
    this.#taken = entry;
    this.#isKept = false;
    if (entry.row === 'none') return;
    this.#rows.delete(timeText(entry.atMs) + entry.key);
    // Should its call make it due again, a cut during that call must write the row anew.
    entry.row = 'perhaps';
  }

  /** Forgets the head that was taken, unless it is due again at the same time. */
  pop(): void {
    const taken = this.#taken;
    this.#taken = undefined;
    if (this.#isKept) return;
    // Its call may have made something due that comes before it.
    if (taken === undefined || taken === this.#front.first) this.#front.removeFirst();
    else this.#front.remove(taken);
  }

  /** Before a freeze, hence between two calls: gives every current entry of the front its row, and forgets the others. */
  prepare(): void {
    this.#cutOff = [];
    const kept: IndexEntry[] = [];
    for (const entry of this.#front) {
      this.#store(entry);
      if (entry.row === 'there') kept.push(entry);
    }
    if (kept.length < this.#front.size) this.#front.fill(kept);
  }

  /** The live layer was rolled back: rows that a cut wrote in it are written again. */
  rolledBack(): void {
    if (this.#taken !== undefined) this.#putBack(this.#taken);
    // What was cut before the savepoint kept its rows, and may be in the front again by now.
    if (this.#cutSince !== this.#layers.savepoints) return;
    for (const entry of this.#cutOff) {
      entry.row = 'perhaps';
      this.#store(entry);
    }
  }

  clear(): void {
    this.#cutOff = [];
    this.#rows.clear();
    this.#front.fill([]);
    this.#horizon = NOWHERE;
  }

  /** The call of what was taken was rolled back: what lies before it came from that call, and it is the head again. */
  #putBack(taken: IndexEntry): void {
    const { atMs, key } = taken;
    if (this.#front.find(atMs, key) === taken) {
      while (this.#front.first !== taken) this.#front.removeFirst();
      return;
    }
    // So much came before it that it was cut off with all that follows, which has its rows again below.
    this.#front.fill([taken]);
    this.#horizon = { atMs, key };
  }

  #store(entry: IndexEntry): void {
    if (entry.row === 'there' || !this.#isCurrent(entry.atMs, entry.key)) return;
    this.#rows.set(timeText(entry.atMs) + entry.key, true);
    entry.row = 'there';
  }

  /** The later half goes to the engine; the front ends before it. */
  #cut(): void {
    const { savepoints } = this.#layers;
    // One record may cause several cuts.
    if (this.#cutSince !== savepoints) this.#cutOff = [];
    this.#cutSince = savepoints;
    for (const entry of this.#front.cut(this.#sizes.frontMax / 2)) {
      this.#cutOff.push(entry);
      this.#store(entry);
    }
    const { atMs, key } = this.#front.last!;
    this.#horizon = { atMs, key };
  }

  async #loadPage(): Promise<void> {
    const { pageEntries } = this.#sizes;
    const from = timeText(Math.max(0, this.#horizon.atMs)) + this.#horizon.key;
    const scope = new RecordScope();
    scope.open = true;
    const found: IndexEntry[] = [];
    try {
      const scan = this.#rows.range(from, AFTER_ALL, { limit: pageEntries + 1 }, 'latest', scope);
      for await (const [row] of scan) {
        const text = row as string;
        // The horizon itself was in the front before.
        if (text === from && this.#horizon !== NOWHERE) continue;
        found.push({ atMs: timeOfText(text), key: text.slice(8), row: 'there' });
      }
    } finally {
      scope.open = false;
    }
    this.pages++;
    this.#front.fill(found);
    const last = found.at(-1);
    this.#horizon =
      found.length < pageEntries || last === undefined ? EVERYWHERE : { atMs: last.atMs, key: last.key };
  }
}

/** Above every time: the bound of a scan. */
const AFTER_ALL = '\xff';
