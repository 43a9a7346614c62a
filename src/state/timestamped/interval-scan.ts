/**
 * The entries of an interval one after another, from blocks that are read a page at a time, of the moment of the call. It
 * ends with the record that it belongs to; the snapshot beneath it is its store scan's to close.
 */
import { PartitaError } from '../../core/errors.js';
import type { RecordScope } from '../record-scope.js';
import type { OpenScan } from '../state-layers.js';
import type { Block, BlockEntry } from './entry-block.js';

type IntervalEntry = readonly [timestampMs: number, value: unknown];

export interface IntervalOptions {
  /** Either the block itself, or a scan of rows. */
  readonly blocks: readonly Block[] | AsyncIterable<readonly [unknown, unknown]>;
  /** Those of the interval, in the order of the reading. */
  readonly entriesOf: (block: Block) => Block;
  readonly read: (entry: BlockEntry) => IntervalEntry;
  readonly limit: number;
  readonly scope: RecordScope;
}

export class IntervalScan implements AsyncIterableIterator<IntervalEntry>, OpenScan {
  readonly #options: IntervalOptions;
  readonly #entries: AsyncGenerator<IntervalEntry, undefined>;
  #ended: PartitaError | undefined;
  #iterated = false;

  constructor(options: IntervalOptions) {
    this.#options = options;
    this.#entries = this.#walk();
    options.scope.addScan(this);
  }

  [Symbol.asyncIterator](): this {
    if (this.#iterated)
      throw new PartitaError('ILLEGAL_STATE', 'An interval is iterated once; call interval again.');
    this.#iterated = true;
    return this;
  }

  next(): Promise<IteratorResult<IntervalEntry, undefined>> {
    return this.#entries.next();
  }

  async return(): Promise<IteratorResult<IntervalEntry, undefined>> {
    const result = await this.#entries.return(undefined);
    // A generator that was never entered runs no `finally`.
    await this.#close();
    return result;
  }

  end(error: PartitaError): void {
    this.#ended ??= error;
  }

  async *#walk(): AsyncGenerator<IntervalEntry, undefined> {
    const { entriesOf, read, limit } = this.#options;
    let given = 0;
    try {
      for await (const block of this.#blocks())
        for (const entry of entriesOf(block)) {
          this.#check();
          yield read(entry);
          if (++given >= limit) return;
        }
      this.#check();
    } finally {
      await this.#close();
    }
  }

  async *#blocks(): AsyncGenerator<Block, void> {
    const { blocks } = this.#options;
    if (!(Symbol.asyncIterator in blocks)) yield* blocks;
    else for await (const [, block] of blocks) yield block as Block;
  }

  #check(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  async #close(): Promise<void> {
    const { blocks, scope } = this.#options;
    scope.removeScan(this);
    if (!(Symbol.asyncIterator in blocks)) return;
    const scan = blocks as Partial<AsyncIterator<unknown>>;
    await scan.return?.();
  }
}
