/**
 * One assigned partition as its fetcher follows it, beside what the session knows of it: whether it may be asked for now,
 * what failed and when it is tried again, and which news it owes. It asks nobody (`fetcher.ts` and `leader-watch.ts` do).
 */
import { Backoff } from '../../core/backoff.js';
import { owesNews, type FetchState } from '../group/partition-fetcher.js';
import { keyOf } from '../by-topic.js';

const BACKOFF = { firstMs: 20, maxMs: 1_000, attemptsMax: Infinity } as const;
/** A broker gives one batch at least, however large (KIP-74); one that gave a part is asked for more, up to this. */
const GROWN_BYTES_MAX = 256 << 20;
/** So often what can't be decoded is asked for again. */
const UNDECODABLE_MAX = 5;
/** Who paused a partition that brought data just now has enough for the moment. */
const SOON_BACK_MS = 1_000;

export class FetchTrack {
  readonly state: FetchState;
  readonly key: string;
  /** Of the topic that positions are meant for; another one means that the topic was created again. */
  topicId: string | undefined;
  maxBytes: number;
  /** Its leader is to be looked for. */
  stale = false;
  /** Its bounds are being asked for. */
  busy = false;
  /** An outage is told once. */
  warned = false;
  /** A sibling's data came while its last chunk was under way: that chunk says nothing about afterwards. */
  owes = false;
  /** Monotonic ms; not asked for before. */
  retryAt = 0;
  /** Monotonic ms; when it last brought data. */
  dataAt = -Infinity;
  #failedVersion: number | undefined;
  #undecodable = 0;
  readonly #maxBytesFirst: number;
  readonly #backoff = new Backoff(BACKOFF);

  constructor(state: FetchState, maxBytes: number) {
    this.state = state;
    this.key = keyOf(state.id);
    this.maxBytes = maxBytes;
    this.#maxBytesFirst = maxBytes;
  }

  isReady(nowMs: number): boolean {
    const { paused, position, version } = this.state;
    if (paused || position === undefined || this.stale || this.busy) return false;
    return this.retryAt <= nowMs && this.#failedVersion !== version;
  }

  /** Whether it will probably be resumed in a moment, and then should not wait for the end of a long poll. */
  isSoonBack(nowMs: number): boolean {
    return this.state.paused && nowMs - this.dataAt < SOON_BACK_MS;
  }

  /** Whether somebody waits to hear that it is at its end, so that no broker is to sit on the answer. */
  get owesAtOnce(): boolean {
    const { lastFetch, siblings } = this.state;
    return this.owes || lastFetch === 0 || siblings.lastData > lastFetch;
  }

  owesNews(nowMs: number): boolean {
    return this.owes || owesNews(this.state, nowMs);
  }

  retryLater(nowMs: number): void {
    this.retryAt = nowMs + this.#backoff.next()!;
  }

  succeeded(): void {
    this.warned = false;
    this.#undecodable = 0;
    this.maxBytes = this.#maxBytesFirst;
    this.#backoff.reset();
  }

  /** Whether it is worth another try. */
  isUndecodable(nowMs: number): boolean {
    this.maxBytes = Math.max(this.maxBytes, Math.min(this.maxBytes * 4, GROWN_BYTES_MAX));
    this.retryLater(nowMs);
    return ++this.#undecodable <= UNDECODABLE_MAX;
  }

  /** Not asked for any more, until it is sought or assigned anew. */
  giveUp(): void {
    this.#failedVersion = this.state.version;
    this.#undecodable = 0;
  }
}
