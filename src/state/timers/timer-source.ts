/**
 * What was scheduled of one timer by one clock: a row for each key and time, and an index by time, as a source of due work
 * for the actor. It neither checks what it is given nor reads a clock to decide; `timer-store.ts` is what handlers see.
 */
import { encodeWith } from '../../codec/serdes.js';
import type { TimerHandler } from '../../processor/define-processor.js';
import { traitsOf, type Serde } from '../../processor/serde.js';
import { family, type StoreParts } from '../declared-store.js';
import { DueIndex } from '../due-index.js';
import type { DueCall, DueHead, DueSource } from '../due-source.js';
import { latin1Keys, timeText } from '../internal-serdes.js';
import type { KeyValueStore } from '../key-value-store.js';
import type { StoreKeys } from '../store-keys.js';
import { timerPayloads, type TimerPayload } from './timer-payload.js';

export interface TimerSourceOptions {
  /** As it is declared. */
  readonly timer: string;
  readonly domain: 'event' | 'wall';
  readonly handler: TimerHandler;
  readonly keySerde: Serde<unknown>;
  readonly keys: StoreKeys;
}

/** Of equal lengths, so that an entry of the index is never larger than its row. */
const SUFFIXES = { event: { rows: '$er', due: '$ed' }, wall: { rows: '$wr', due: '$wd' } } as const;

export class TimerSource implements DueSource {
  readonly kind = 'timer';
  readonly name: string;
  readonly domain: 'event' | 'wall';
  readonly #options: TimerSourceOptions;
  readonly #parts: StoreParts;
  /** Keyed by time and key. */
  readonly #rows: KeyValueStore;
  readonly #index: DueIndex;

  constructor(options: TimerSourceOptions, parts: StoreParts) {
    this.name = options.timer;
    this.domain = options.domain;
    this.#options = options;
    this.#parts = parts;
    const { rows, due } = SUFFIXES[options.domain];
    this.#rows = family(parts, rows, latin1Keys, timerPayloads);
    this.#index = new DueIndex(parts, due, (atMs, key) => this.#rows.has(timeText(atMs) + key));
  }

  schedule(atMs: number, key: string, payload: TimerPayload): void {
    this.#rows.set(timeText(atMs) + key, payload);
    this.#index.insert(atMs, key);
  }

  cancel(atMs: number, key: string): void {
    const row = timeText(atMs) + key;
    // What is not there costs no tombstone.
    if (!this.#rows.has(row)) return;
    this.#rows.delete(row);
    this.#index.remove(atMs, key);
  }

  get nextMs(): number {
    return this.#index.nextMs;
  }

  load(untilMs: number): Promise<void> | undefined {
    return this.#index.load(untilMs);
  }

  head(untilMs: number): DueHead | undefined {
    return this.#index.head(untilMs);
  }

  apply(untilMs: number): DueCall | undefined {
    const { atMs, key } = this.#index.head(untilMs)!;
    this.#index.takeHead();
    const row = timeText(atMs) + key;
    const payload = this.#rows.get(row) as TimerPayload | undefined;
    // It was cancelled.
    if (payload === undefined) return undefined;
    this.#rows.delete(row);
    const { handler, keys } = this.#options;
    return {
      timestamp: this.domain === 'event' ? atMs : this.#parts.wallNow(),
      // Decoded under the call's savepoint and error policy: a serde of the user's own may throw.
      call: (context) => handler(context, keys.fromKeyText(key), payload.value),
      describe: () => this.#describe(atMs, key, payload),
    };
  }

  pop(): void {
    this.#index.pop();
  }

  rolledBack(): void {
    this.#index.rolledBack();
  }

  prepare(): void {
    this.#index.prepare();
  }

  clear(): void {
    this.#rows.clear();
    this.#index.clear();
  }

  /** A key that text or a number can show stands in the dead letter's value too. */
  #describe(atMs: number, keyText: string, payload: TimerPayload): ReturnType<DueCall['describe']> {
    const { timer, domain, keys, keySerde } = this.#options;
    const value = { timer, clock: domain, atMs, payload: payload.value };
    const stored = Buffer.from(keyText, 'latin1');
    let key: unknown;
    try {
      key = keys.fromKeyText(keyText);
    } catch (error) {
      // What can't be decoded may be why it failed; its bytes say what it was.
      return { key: stored, value: { ...value, keyError: String(error) } };
    }
    const shown = typeof key === 'string' || typeof key === 'number' ? { ...value, key } : value;
    // Some serdes have another form where keys are sorted than in a topic.
    const isWireForm = traitsOf(keySerde).ordered === undefined;
    const wire = isWireForm
      ? stored
      : encodeWith(keySerde, key, { what: 'key', store: this.#parts.name, key });
    return { key: wire, value: shown };
  }
}
