/**
 * A bounded queue with two lanes: control messages go first, data after them, each lane in its own order. Rings of a
 * power of two, so that a push or a shift is O(1) and allocates only when a ring grows. It never waits: whoever pushes is
 * told whether there was room, and decides.
 */
import { PartitaError } from './errors.js';

export interface MailboxOptions {
  /** Items of the data lane at most. */
  readonly itemsMax: number;
  /** Bytes of the data lane at most; one item is always accepted into an empty lane, however large. */
  readonly bytesMax: number;
  /** Items of the control lane at most: a bound against runaway senders, not a budget. Default 65,536. */
  readonly controlMax?: number;
}

export class Mailbox<T> {
  readonly #data = new Ring<T>();
  readonly #sizes = new Ring<number>();
  readonly #control = new Ring<T>();
  readonly #itemsMax: number;
  readonly #bytesMax: number;
  readonly #controlMax: number;
  #bytes = 0;

  constructor(options: MailboxOptions) {
    if (!(options.itemsMax >= 1 && options.bytesMax >= 0))
      throw new PartitaError('INVALID_ARGUMENT', 'A mailbox needs itemsMax ≥ 1 and bytesMax ≥ 0.');
    this.#itemsMax = options.itemsMax;
    this.#bytesMax = options.bytesMax;
    this.#controlMax = options.controlMax ?? 65_536;
  }

  /** Items of both lanes. */
  get length(): number {
    return this.#data.length + this.#control.length;
  }

  get dataLength(): number {
    return this.#data.length;
  }

  get controlLength(): number {
    return this.#control.length;
  }

  /** Bytes of the data lane. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether `push` would accept an item of so many bytes. */
  hasRoom(bytes: number): boolean {
    if (this.#data.length === 0) return true;
    return this.#data.length < this.#itemsMax && this.#bytes + bytes <= this.#bytesMax;
  }

  /** Appends to the data lane; `false`: full, nothing was queued. */
  push(item: T, bytes: number): boolean {
    if (!this.hasRoom(bytes)) return false;
    this.#data.push(item);
    this.#sizes.push(bytes);
    this.#bytes += bytes;
    return true;
  }

  /** Appends to the control lane; `false`: full, nothing was queued. */
  pushControl(item: T): boolean {
    if (this.#control.length >= this.#controlMax) return false;
    this.#control.push(item);
    return true;
  }

  /** The next control message, otherwise the next data item; `undefined` when both lanes are empty. */
  shift(): T | undefined {
    return this.#control.length > 0 ? this.#control.shift() : this.shiftData();
  }

  /** The next control message; `undefined` if there is none. */
  shiftControl(): T | undefined {
    return this.#control.shift();
  }

  /** The next data item, past any control messages; `undefined` if there is none. */
  shiftData(): T | undefined {
    if (this.#data.length === 0) return undefined;
    this.#bytes -= this.#sizes.shift()!;
    return this.#data.shift();
  }

  /** The item that `shiftData` would return. */
  peekData(): T | undefined {
    return this.#data.peek();
  }

  /** Empties both lanes; what was in them, control first. */
  drain(): T[] {
    const items: T[] = [];
    while (this.#control.length > 0) items.push(this.#control.shift()!);
    while (this.#data.length > 0) items.push(this.shiftData()!);
    return items;
  }
}

/** A first-in, first-out ring over an array whose length is a power of two. */
class Ring<T> {
  #items: (T | undefined)[] = new Array<T | undefined>(16).fill(undefined);
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(item: T): void {
    if (this.#length === this.#items.length) this.#grow();
    this.#items[(this.#head + this.#length) & (this.#items.length - 1)] = item;
    this.#length++;
  }

  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined; // Held no longer than it is queued.
    this.#head = (this.#head + 1) & (this.#items.length - 1);
    this.#length--;
    return item;
  }

  peek(): T | undefined {
    return this.#length === 0 ? undefined : this.#items[this.#head];
  }

  #grow(): void {
    const old = this.#items;
    const items = new Array<T | undefined>(old.length * 2).fill(undefined);
    for (let i = 0; i < this.#length; i++) items[i] = old[(this.#head + i) & (old.length - 1)];
    this.#items = items;
    this.#head = 0;
  }
}
