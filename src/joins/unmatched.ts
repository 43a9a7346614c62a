/**
 * What has stayed alone on an outer side of a stream join, until it is matched or its time is over. All records of one key
 * and timestamp are matched by the same others, so they are one moment: a count, a row for each value, and a timer.
 */
import { int64 } from '../codec/serdes.js';
import { PartitaError } from '../core/errors.js';
import { keyValue, type Frozen, type KeyValue, type KeyValueDeclaration } from '../processor/declarations.js';
import type { Serde } from '../processor/serde.js';
import { storeOf, type JoinContext, type Side } from './join-parts.js';

/** The n-th record of a key and timestamp. */
interface Moment<K> {
  readonly key: K;
  readonly timestamp: number;
  readonly n: number;
}

/** What it needs of a context's `schedule`: a timer is identified by its key and time. */
interface ScheduleMoment {
  (key: unknown, atMs: number, payload: number): void;
  cancel(key: unknown, atMs: number): void;
}

const TIMESTAMP_BYTES = 8;
const MOMENT_BYTES = 12;

export class Unmatched<K, V> {
  readonly #timer: string;
  readonly #spanMs: number;
  readonly #alone: KeyValueDeclaration<Moment<K>, V>;
  readonly #counts: KeyValueDeclaration<Moment<K>, number>;

  /**
   * @param timer what its timer is called, and the names of its stores begin with
   * @param spanMs after its timestamp the time of a record is over
   */
  constructor(timer: string, key: Serde<K>, value: Serde<V>, spanMs: number) {
    this.#timer = timer;
    this.#spanMs = spanMs;
    this.#alone = keyValue({ key: momentKeys(key), value });
    this.#counts = keyValue({ key: momentKeys(key), value: int64() });
  }

  get stores(): Readonly<
    Record<string, KeyValueDeclaration<Moment<K>, V> | KeyValueDeclaration<Moment<K>, number>>
  > {
    return { [`${this.#timer}.alone`]: this.#alone, [`${this.#timer}.counts`]: this.#counts };
  }

  /** A record has come that matches nothing so far. */
  add(context: JoinContext, key: K, timestamp: number, value: Side<V>): void {
    const { alone, counts } = this.#storesOf(context);
    const count = counts.get({ key, timestamp, n: 0 }) ?? 0;
    alone.set({ key, timestamp, n: count }, value);
    counts.set({ key, timestamp, n: 0 }, count + 1);
    if (count === 0) this.#schedule(context)(key, timestamp + this.#spanMs, timestamp);
  }

  /** Something has come that matches the records of this key and timestamp. */
  matched(context: JoinContext, key: K, timestamp: number): void {
    const count = this.#storesOf(context).counts.get({ key, timestamp, n: 0 }) ?? 0;
    if (count === 0) return;
    this.#forget(context, key, timestamp, count);
    this.#schedule(context).cancel(key, timestamp + this.#spanMs);
  }

  /** What has stayed alone to the end of its time, in the order of its coming; it is forgotten. */
  take(context: JoinContext, key: K, timestamp: number): Frozen<V>[] {
    const { alone, counts } = this.#storesOf(context);
    const count = counts.get({ key, timestamp, n: 0 }) ?? 0;
    const values = Array.from({ length: count }, (_, n) => alone.get({ key, timestamp, n })!);
    this.#forget(context, key, timestamp, count);
    return values;
  }

  #forget(context: JoinContext, key: K, timestamp: number, count: number): void {
    const { alone, counts } = this.#storesOf(context);
    for (let n = 0; n < count; n++) alone.delete({ key, timestamp, n });
    counts.delete({ key, timestamp, n: 0 });
  }

  #storesOf(context: JoinContext) {
    return {
      alone: storeOf(context, `${this.#timer}.alone`) as KeyValue<Moment<K>, V>,
      counts: storeOf(context, `${this.#timer}.counts`) as KeyValue<Moment<K>, number>,
    };
  }

  #schedule(context: JoinContext): ScheduleMoment {
    const { schedule: timers } = context as { readonly schedule?: Readonly<Record<string, ScheduleMoment>> };
    const schedule = timers?.[this.#timer];
    if (schedule !== undefined) return schedule;
    throw new PartitaError(
      'INVALID_PROCESSOR',
      `The processor lacks the timer ${this.#timer} of a join; spread the join's \`timers\` into its own.`,
      { details: { timer: this.#timer } },
    );
  }
}

/** Timestamp and number before the key: their lengths are fixed, so that no two moments share bytes. */
function momentKeys<K>(serde: Serde<K>): Serde<Moment<K>> {
  return {
    encode: ({ key, timestamp, n }) => {
      const encoded = serde.encode(key);
      const bytes = Buffer.alloc(MOMENT_BYTES + encoded.length);
      bytes.writeBigUInt64BE(BigInt(timestamp), 0);
      bytes.writeUInt32BE(n, TIMESTAMP_BYTES);
      bytes.set(encoded, MOMENT_BYTES);
      return bytes;
    },
    decode: (bytes) => {
      const buffer = Buffer.from(bytes);
      return {
        key: serde.decode(buffer.subarray(MOMENT_BYTES)),
        timestamp: Number(buffer.readBigUInt64BE(0)),
        n: buffer.readUInt32BE(TIMESTAMP_BYTES),
      };
    },
  };
}
