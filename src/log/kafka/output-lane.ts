/**
 * The batches of one partition that wait for the output producer, in order, and the producer id and sequence they are
 * stamped with. At most the first one is under way, so a retry neither reorders nor leaves a gap. It sends nothing
 * (`output-producer.ts` does) and knows of the calls only that they are to be told.
 */
import type { Deadline } from '../../core/deadline.js';
import { PartitaError } from '../../core/errors.js';
import type { TopicPartition } from '../../core/log-types.js';
import { sequenceAfter, stampSealed, type SealedBatch } from './sealed-batches.js';
import type { ProducerEpoch } from './wire/transactions.js';

/** One call of `produce`. It settles when nothing of it is under way any more, or at its first failure. */
export class OutputCall {
  readonly #baseOffsets: number[];
  #resolve!: (results: readonly { readonly baseOffset: number }[]) => void;
  #reject!: (error: Error) => void;
  #left: number;
  #purged: PartitaError | undefined;
  readonly settled: Promise<readonly { readonly baseOffset: number }[]>;

  /** @param batches how many were given @param parts how many record batches these are */
  constructor(batches: number, parts: number) {
    this.#baseOffsets = new Array<number>(batches).fill(-1);
    this.#left = parts;
    this.settled = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** @param baseOffset −1 if the broker has it and does not know any more where */
  acknowledged({ batch, isFirst }: OutputEntry, baseOffset: number): void {
    if (isFirst) this.#baseOffsets[batch] = baseOffset;
    this.#one();
  }

  failed(error: Error): void {
    this.#reject(error);
    this.#one();
  }

  /** Never sent. The call waits for what of it is under way. */
  purged(reason: PartitaError): void {
    this.#purged ??= reason;
    this.#one();
  }

  #one(): void {
    if (--this.#left > 0) return;
    if (this.#purged === undefined) this.#resolve(this.#baseOffsets.map((baseOffset) => ({ baseOffset })));
    else this.#reject(this.#purged);
  }
}

/** A record batch that waits or is under way. */
export interface OutputEntry extends SealedBatch {
  readonly call: OutputCall;
  /** Which batch of the call it is from, and whether it is the first one in it. */
  readonly batch: number;
  readonly isFirst: boolean;
  /** It may be on the broker: it keeps its sequence and can't be purged. */
  sent: boolean;
  /** Until when it is tried; set when its turn comes. */
  deadline: Deadline | undefined;
}

/**
 * idle ──▶ preparing ──▶ ready ──▶ underWay ──▶ idle
 *            ▲  ▲          │          │ more of it: ready
 *            │  └──────────┼──────────┘ to be tried again
 *            └─────────────┘ (purged while it was ready: idle)
 */
export type LaneState = 'idle' | 'preparing' | 'ready' | 'underWay';

export class OutputLane implements TopicPartition {
  readonly topic: string;
  readonly partition: number;
  state: LaneState = 'idle';
  /** Not yet known, or given up with the batch that failed. */
  producer: ProducerEpoch | undefined;
  /** The partition had a failure: it begins anew under an id of its own, where it leaves no gap. */
  needsOwnId = false;
  attempts = 0;
  #sequence = 0;
  #entries: OutputEntry[] = [];
  /** Entries before it are done; a shift of a long queue would be slow. */
  #head = 0;

  constructor({ topic, partition }: TopicPartition) {
    this.topic = topic;
    this.partition = partition;
  }

  get first(): OutputEntry | undefined {
    return this.#entries[this.#head];
  }

  push(entry: OutputEntry): void {
    this.#entries.push(entry);
  }

  /** Stamps the first batch, unless it carries its sequence already. */
  stampFirst(): OutputEntry {
    const entry = this.first;
    if (entry === undefined || this.producer === undefined)
      throw new PartitaError('ILLEGAL_STATE', `${this.topic}-${this.partition} has nothing to send.`);
    if (!entry.sent) stampSealed(entry, this.producer, this.#sequence, false);
    return entry;
  }

  /** The first batch is on the broker. */
  advance(): OutputEntry {
    const entry = this.first!;
    this.#sequence = sequenceAfter(this.#sequence, entry.offsets);
    this.attempts = 0;
    this.#head++;
    if (this.#head > 64 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
    return entry;
  }

  /** Gives up everything that waits; what comes next begins anew. */
  takeAll(): readonly OutputEntry[] {
    const all = this.#entries.slice(this.#head);
    this.#entries = [];
    this.#head = 0;
    this.#sequence = 0;
    this.attempts = 0;
    this.producer = undefined;
    this.needsOwnId = true;
    return all;
  }

  /** Gives up what is not sent yet and meets the condition. */
  takeUnsent(isMeant: (entry: OutputEntry) => boolean): readonly OutputEntry[] {
    const waiting = this.#entries.slice(this.#head);
    const isTaken = (entry: OutputEntry, at: number): boolean =>
      !entry.sent && !(at === 0 && this.state === 'underWay') && isMeant(entry);
    this.#entries = waiting.filter((entry, at) => !isTaken(entry, at));
    this.#head = 0;
    return waiting.filter(isTaken);
  }
}
