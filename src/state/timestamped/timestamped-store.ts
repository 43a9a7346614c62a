/**
 * A timestamped store: checks what is written, brings keys and values into the form that the rows hold, and reads them.
 * Where entries lie is `entry-tree.ts`'s affair, what handlers and queries see `timestamped-view.ts`'s.
 */
import { PartitaError } from '../../core/errors.js';
import type { RangeOptions } from '../../processor/declarations.js';
import type { TimestampedDeclaration, TimestampedEntry } from '../../processor/timestamped.js';
import { family, type StoreParts } from '../declared-store.js';
import { latin1Keys } from '../internal-serdes.js';
import type { ReadLevel } from '../key-value-store.js';
import type { RecordScope } from '../record-scope.js';
import { showKey } from '../serde-failure.js';
import { StoreKeys } from '../store-keys.js';
import { StoredForm } from '../stored-form.js';
import { countUpTo, type Block, type BlockEntry } from './entry-block.js';
import { EntryTree, LIMITS, type TreeLimits } from './entry-tree.js';
import { IntervalScan } from './interval-scan.js';
import { ENTRY_OVERHEAD_BYTES, nodeSerde, rootSerde } from './node-serdes.js';

type Entry = TimestampedEntry<unknown>;

/** What the key of a node takes beside the encoded key, and a record of the changelog beside both. */
const ROW_OVERHEAD_BYTES = 512;

export class TimestampedStore {
  readonly #name: string;
  readonly #keys: StoreKeys;
  readonly #form: StoredForm;
  readonly #tree: EntryTree;
  readonly #bytesMax: number;

  /** @param limits of rows; tests choose small ones */
  constructor(
    declaration: TimestampedDeclaration<unknown, unknown>,
    parts: StoreParts,
    limits: TreeLimits = LIMITS,
  ) {
    this.#name = parts.name;
    this.#keys = new StoreKeys(parts.name, declaration.key);
    const form = new StoredForm(parts.name, declaration.value);
    this.#form = form;
    this.#bytesMax = parts.maxRecordBytes - ROW_OVERHEAD_BYTES - ENTRY_OVERHEAD_BYTES;
    const { graceMs, keepDuplicates } = declaration;
    this.#tree = new EntryTree({
      roots: family(parts, '$root', latin1Keys, rootSerde(form)),
      nodes: family(parts, '$node', latin1Keys, nodeSerde(form)),
      graceMs,
      keepDuplicates,
      limits,
    });
  }

  /** See `Timestamped.set`. */
  set(key: unknown, value: unknown, timestamp: number): boolean {
    this.#checkTimestamp(timestamp);
    const keyText = this.#keys.keyText(key);
    return this.#tree.add(keyText, this.#entry(key, keyText, value, timestamp));
  }

  /** See `ReadonlyTimestamped.getAsOf`. */
  getAsOf(key: unknown, timestamp: number, read: ReadLevel): Entry | undefined {
    this.#checkTimestamp(timestamp);
    const entry = this.#tree.asOf(this.#keys.keyText(key), timestamp, read);
    return entry === undefined ? undefined : this.#shown(key, entry);
  }

  /** See `ReadonlyTimestamped.between`. */
  between(
    key: unknown,
    from: number,
    to: number,
    options: RangeOptions | undefined,
    read: ReadLevel,
  ): readonly Entry[] {
    const { reverse, limit } = this.#checked(from, to, options);
    const keyText = this.#keys.keyText(key);
    const eligible = Math.max(from, this.#tree.root(keyText, read)?.min ?? 0);
    const found: Entry[] = [];
    if (eligible >= to || limit === 0) return found;
    for (const block of this.#tree.blocks(keyText, eligible, to, reverse, read))
      for (const entry of entriesWithin(block, eligible, to, reverse)) {
        found.push(this.#shown(key, entry));
        if (found.length >= limit) return found;
      }
    return found;
  }

  /** See `ReadonlyTimestamped.interval`. */
  interval(
    key: unknown,
    from: number,
    to: number,
    options: RangeOptions | undefined,
    read: ReadLevel,
    scope: RecordScope,
  ): IntervalScan {
    const { reverse, limit } = this.#checked(from, to, options);
    const keyText = this.#keys.keyText(key);
    const root = this.#tree.root(keyText, read);
    const eligible = Math.max(from, root?.min ?? 0);
    const isEmpty = root === undefined || eligible >= to || limit === 0;
    const blocks = isEmpty
      ? []
      : root.height === 0
        ? [root.top as Block]
        : this.#tree.scan(keyText, eligible, to, reverse, read, scope);
    return new IntervalScan({
      blocks,
      entriesOf: (block) => entriesWithin(block, eligible, to, reverse),
      read: ({ timestamp, held }) => [timestamp, this.#form.read(held, key)],
      limit,
      scope,
    });
  }

  prepare(): void {
    this.#tree.trim();
  }

  clear(): void {
    this.#tree.clear();
  }

  #entry(key: unknown, keyText: string, value: unknown, timestamp: number): BlockEntry {
    const form = this.#form;
    if (form.decoded) {
      let bytes = form.admit(value, key);
      // A bound, exceeded: measures exactly.
      if (keyText.length + bytes > this.#bytesMax) bytes = form.bytesOf(value, key);
      this.#checkSize(key, keyText, bytes);
      return { timestamp, held: value, bytes };
    }
    const held = form.encode(value, key, undefined);
    this.#checkSize(key, keyText, held.length);
    return { timestamp, held, bytes: held.length };
  }

  #shown(key: unknown, { timestamp, held }: BlockEntry): Entry {
    return { timestamp, value: this.#form.read(held, key) };
  }

  #checkSize(key: unknown, keyText: string, bytes: number): void {
    if (keyText.length + bytes <= this.#bytesMax) return;
    throw new PartitaError(
      'RECORD_TOO_LARGE',
      `Key and value of ${String(showKey(key))} in the store ${this.#name} are ${keyText.length + bytes} bytes; the changelog takes at most ${this.#bytesMax}.`,
      { details: { store: this.#name, key: showKey(key), bytes, bytesMax: this.#bytesMax } },
    );
  }

  #checkTimestamp(timestamp: number): void {
    if (Number.isSafeInteger(timestamp) && timestamp >= 0) return;
    throw new PartitaError(
      'TIMESTAMP_OUT_OF_RANGE',
      `A timestamp of the store ${this.#name} must be a whole number of ms from 0 on, not ${String(timestamp)}.`,
      { details: { store: this.#name, timestamp } },
    );
  }

  /** Bounds need not be timestamps, but have to be in order with them. */
  #checked(from: number, to: number, options: RangeOptions | undefined): { reverse: boolean; limit: number } {
    const { reverse = false, limit = Infinity } = options ?? {};
    if (typeof from !== 'number' || typeof to !== 'number' || Number.isNaN(from) || Number.isNaN(to))
      throw this.#invalid(`The bounds of an interval are numbers, not ${String(from)} and ${String(to)}.`);
    if (limit !== Infinity && (!Number.isSafeInteger(limit) || limit < 0))
      throw this.#invalid(`The limit of an interval is a whole number from 0 on, not ${String(limit)}.`);
    return { reverse, limit };
  }

  #invalid(why: string): PartitaError {
    return new PartitaError('INVALID_ARGUMENT', `${why} (store ${this.#name})`, {
      details: { store: this.#name },
    });
  }
}

/** The entries of a block with from ≤ timestamp < to, in the order of the reading. */
function entriesWithin(block: Block, from: number, to: number, reverse: boolean): Block {
  const first = block.length > 0 && block[0]!.timestamp >= from ? 0 : countBefore(block, from);
  const end = block.length > 0 && block.at(-1)!.timestamp < to ? block.length : countBefore(block, to);
  const within = block.slice(first, Math.max(first, end));
  return reverse ? within.reverse() : within;
}

/** Bounds may lie between the whole numbers that timestamps are. */
function countBefore(block: Block, bound: number): number {
  return countUpTo(block, Math.ceil(bound) - 1);
}
