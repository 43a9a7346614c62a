/**
 * Fetches a session's partitions from the embedded log, one fetch after the other, round-robin, as copies. It follows a
 * topic that is deleted and created again to its new log. It never decides what may be fetched: that is
 * `group/group-session.ts`.
 */
import type { Clock } from '../../core/clock.js';
import { isPartitaError } from '../../core/errors.js';
import type { PartitionBounds, TopicPartition } from '../../core/log-types.js';
import {
  EMPTY_FETCH_MS,
  type FetchSink,
  type FetchState,
  type PartitionFetcher,
  owesNews,
} from '../group/partition-fetcher.js';
import { type LogStorage, copyOut } from './log-storage.js';
import type { FetchPlan, PartitionLog } from './partition-log.js';

const CHUNK_BYTES_DEFAULT = 256 * 1024;
/** A round hands out no more than this before the event loop has its turn. */
const ROUND_BYTES_MAX = 4 * 1024 * 1024;

export interface EmbeddedFetcherParts {
  readonly clock: Clock;
  readonly storage: LogStorage;
  /** `undefined` once the topic is deleted. */
  readonly partition: (partition: TopicPartition) => PartitionLog | undefined;
  /** Bytes of one chunk at most, but at least one batch. @default 256 KiB */
  readonly chunkBytesMax?: number | undefined;
}

interface Followed {
  readonly state: FetchState;
  readonly log: PartitionLog | undefined;
  readonly unlisten: () => void;
}

export class EmbeddedFetcher implements PartitionFetcher {
  readonly #parts: EmbeddedFetcherParts;
  readonly #sink: FetchSink;
  readonly #chunkBytesMax: number;
  /** Replaced as a whole by every assignment, so that a round under way sees that it is over. */
  #order: readonly Followed[] = [];
  #turn = 0;
  #closed = false;
  #woken = false;
  #wake: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(parts: EmbeddedFetcherParts, sink: FetchSink) {
    this.#parts = parts;
    this.#sink = sink;
    this.#chunkBytesMax = parts.chunkBytesMax ?? CHUNK_BYTES_DEFAULT;
  }

  start(): void {
    this.#running = this.#run();
  }

  assign(states: readonly FetchState[]): void {
    const before = new Map(this.#order.map((followed) => [followed.state, followed]));
    this.#order = states.map((state) => {
      const kept = before.get(state);
      // A topic that was deleted and created again has the same name, but is another log.
      if (kept === undefined || kept.log !== this.#parts.partition(state.id)) return this.#follow(state);
      before.delete(state);
      return kept;
    });
    for (const { unlisten } of before.values()) unlisten();
  }

  wakeUp(): void {
    this.#woken = true;
    this.#wake?.();
  }

  close(): Promise<void> {
    this.#closed = true;
    this.assign([]);
    this.wakeUp();
    return this.#running;
  }

  #follow(state: FetchState): Followed {
    const log = this.#parts.partition(state.id);
    const unlisten = log?.listen(() => {
      this.wakeUp();
    });
    return { state, log, unlisten: unlisten ?? (() => undefined) };
  }

  async #run(): Promise<void> {
    try {
      while (!this.#closed) {
        const moved = this.#sink.delivering ? await this.#round() : false;
        if (moved) await immediate();
        else await this.#untilWoken();
      }
    } catch (error) {
      this.#sink.fatal(error);
    }
  }

  /** One fetch per partition that may be fetched; whether any brought data. */
  async #round(): Promise<boolean> {
    const order = this.#order;
    let bytes = 0;
    let data = false;
    for (let step = 0; step < order.length && bytes < ROUND_BYTES_MAX; step++) {
      const { state, log } = order[(this.#turn + step) % order.length]!;
      if (log === undefined || !this.#mayFetch(state)) continue;
      const plan = this.#plan(state, log);
      if (plan === undefined) continue;
      if (plan.entries.length === 0) {
        if (owesNews(state, this.#parts.clock.monotonic()))
          this.#deliver(state, plan, new ArrayBuffer(0), this.#sink.nextFetch());
        continue;
      }
      const fetched = await this.#fetch(state, log, plan);
      bytes += fetched;
      data ||= fetched > 0;
      if (!this.#sink.delivering || order !== this.#order) return data;
    }
    this.#turn++;
    return data;
  }

  #mayFetch(state: FetchState): boolean {
    return this.#sink.delivering && !state.paused && state.position !== undefined;
  }

  #plan(state: FetchState, log: PartitionLog): FetchPlan | undefined {
    try {
      return log.plan(state.position!, this.#chunkBytesMax, 'read_committed');
    } catch (error) {
      if (!isPartitaError(error, 'OFFSET_OUT_OF_RANGE')) throw error;
      this.#sink.outOfRange(state, error.details['bounds'] as PartitionBounds);
      return undefined;
    }
  }

  /** The bytes that were delivered; 0 if the position was moved meanwhile. */
  async #fetch(state: FetchState, log: PartitionLog, plan: FetchPlan): Promise<number> {
    const fetch = this.#sink.nextFetch();
    const { version } = state;
    const copied = copyOut(this.#parts.storage, log, plan.entries);
    const bytes = copied instanceof ArrayBuffer ? copied : await copied;
    if (state.version !== version || !this.#mayFetch(state)) return 0;
    // The member may transfer the buffer, which then is empty.
    const { byteLength } = bytes;
    this.#deliver(state, plan, bytes, fetch);
    return byteLength;
  }

  #deliver(state: FetchState, plan: FetchPlan, bytes: ArrayBuffer, fetch: number): void {
    const { from, next, aborted, bounds } = plan;
    const { lastStable, end } = bounds;
    this.#sink.deliver(state, { bytes, from, next, aborted, lastStable, highWatermark: end, fetch });
  }

  /** Until there may be something to fetch or to report. */
  async #untilWoken(): Promise<void> {
    if (!this.#woken)
      await new Promise<void>((resolve) => {
        const timer = this.#parts.clock.setTimer(EMPTY_FETCH_MS, resolve);
        this.#wake = () => {
          timer.cancel();
          resolve();
        };
      });
    this.#wake = undefined;
    this.#woken = false;
    // Appends that come together are fetched together, and the member's own work has its turn.
    await immediate();
  }
}

function immediate(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
