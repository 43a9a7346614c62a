/**
 * What a group session and the fetcher of its log share: the assigned partitions with their positions, and the way of
 * what was fetched to the member. The session decides who is assigned and from where; the fetcher (`embedded/` copies,
 * `kafka/` long-polls) brings bytes. Neither decodes a record.
 */
import type { AbortedTransaction, PartitionBounds, TopicPartition } from '../../core/log-types.js';

/** The partition number of one stream: when one of its topics got data, the others owe news of their end. */
export interface Siblings {
  /** The latest fetch that brought data to any of them. */
  lastData: number;
}

/** One assigned partition, the same object for as long as it stays assigned. The session writes it, the fetcher reads it. */
export interface FetchState {
  readonly id: TopicPartition;
  /** The next offset to be fetched; `undefined` until the first seek. */
  position: number | undefined;
  paused: boolean;
  /** What chunks of the partition carry. */
  epoch: number;
  /** Rises with every seek, epoch and assignment: an answer that was asked for under an older one is dropped. */
  version: number;
  siblings: Siblings;
  /** The last fetch that was delivered, and when (monotonic ms); 0 if none since the last seek. */
  lastFetch: number;
  lastAt: number;
}

/** What a fetch brought; `bytes` are the member's from here on. */
export interface Fetched {
  readonly bytes: ArrayBuffer;
  readonly from: number;
  readonly next: number;
  readonly aborted: readonly AbortedTransaction[];
  readonly lastStable: number;
  readonly highWatermark: number;
  /** Strictly rising per session in the order of delivery; `FetchSink.nextFetch` gives it. */
  readonly fetch: number;
  /** @see Chunk.asOf */
  readonly asOf?: number;
}

/** The session, as its fetcher sees it. */
export interface FetchSink {
  /** Whether chunks may be delivered: from the end of onAssign to the beginning of the barrier. */
  readonly delivering: boolean;
  nextFetch(): number;
  /**
   * Moves the state (`position`, `lastFetch`, `lastAt`, `siblings.lastData`) to what was fetched and hands the chunk to the
   * member, which may transfer its bytes at once. The caller has checked `version`, `paused` and `delivering`.
   */
  deliver(state: FetchState, fetched: Fetched): void;
  /** Pauses the partition and tells the member. */
  outOfRange(state: FetchState, bounds: PartitionBounds): void;
  /** The fetcher can't go on. Nobody is told once the session is over: what fails then fails because of that. */
  fatal(error: unknown): void;
}

export interface PartitionFetcher {
  /** Fetches what `assign` names, until `close`. */
  start(): void;
  /**
   * The partitions that are assigned from now on; those that were before and are not named are forgotten. Called before the
   * member's `onAssign`, while nothing is delivered; may come with none after `close`.
   */
  assign(states: readonly FetchState[]): void;
  /** Something may be fetched that could not be before: resumed, sought, delivering again. May come after `close`. */
  wakeUp(): void;
  /** Nothing is delivered afterwards. Idempotent; never rejects. */
  close(): Promise<void>;
}

/** How often a partition at its end is reported as such, in ms. */
export const EMPTY_FETCH_MS = 100;

/** Whether a partition at its end is to be reported: first after a seek, after a sibling's data, and regularly. */
export function owesNews(state: FetchState, monotonicMs: number): boolean {
  return (
    state.lastFetch === 0 ||
    state.siblings.lastData > state.lastFetch ||
    monotonicMs - state.lastAt >= EMPTY_FETCH_MS
  );
}
