/**
 * Looks for the leaders of partitions that have lost theirs: one question at a time for all of them, with back-off, until
 * there is one, however long it takes. It never fetches (`fetcher.ts` does).
 */
import { isPartitaError, type PartitaError } from '../../core/errors.js';
import type { Cluster } from './cluster.js';
import type { FetchTrack } from './fetch-track.js';

export interface LeaderWatchParts {
  readonly cluster: Pick<Cluster, 'clock' | 'logger' | 'metadata' | 'known' | 'leaderOf'>;
  /** Ends the watch. */
  readonly signal: AbortSignal;
  readonly tracks: () => Iterable<FetchTrack>;
  /** Some partitions have a leader again. */
  readonly onFound: () => void;
  /** Brokers refuse to say, for good. */
  readonly onRefused: (track: FetchTrack, error: PartitaError) => void;
  /** What must not happen. */
  readonly onFailure: (error: unknown) => void;
}

/** One question, not retried: the watch itself is the retry. */
const ONE_TRY = { budgetMs: 0 } as const;

export class LeaderWatch {
  readonly #parts: LeaderWatchParts;
  #isWatching = false;

  constructor(parts: LeaderWatchParts) {
    this.#parts = parts;
  }

  /** From `retryAt` of the track on its leader is asked for, until there is one. */
  look(track: FetchTrack): void {
    track.stale = true;
    if (this.#isWatching) return;
    this.#isWatching = true;
    void this.#watch();
  }

  async #watch(): Promise<void> {
    const { cluster, signal, tracks, onFailure } = this.#parts;
    // In a turn of its own: the caller marks all that are concerned.
    await Promise.resolve();
    try {
      for (;;) {
        const stale = [...tracks()].filter((track) => track.stale);
        if (stale.length === 0 || signal.aborted) return;
        const waitMs = Math.min(...stale.map((track) => track.retryAt)) - cluster.clock.monotonic();
        if (waitMs > 0) await cluster.clock.sleep(waitMs, signal);
        await this.#ask([...tracks()].filter((track) => track.stale));
      }
    } catch (error) {
      if (!signal.aborted) onFailure(error);
    } finally {
      this.#isWatching = false;
    }
  }

  async #ask(tracks: readonly FetchTrack[]): Promise<void> {
    const { cluster, signal, onFound } = this.#parts;
    const topics = [...new Set(tracks.map((track) => track.state.id.topic))];
    try {
      await cluster.metadata(topics, { ...ONE_TRY, signal });
    } catch (error) {
      if (signal.aborted || isPartitaError(error, 'LOG_CLOSED')) throw error;
      // One topic that is refused holds no other one up.
      if (topics.length === 1) this.#failed(tracks, error);
      else
        for (const topic of topics) await this.#ask(tracks.filter((track) => track.state.id.topic === topic));
      return;
    }
    for (const track of tracks) this.#heard(track);
    onFound();
  }

  #heard(track: FetchTrack): void {
    const { cluster } = this.#parts;
    const { topic, partition } = track.state.id;
    if (cluster.leaderOf(track.state.id) !== undefined) {
      track.stale = false;
      return;
    }
    track.retryLater(cluster.clock.monotonic());
    if (track.warned) return;
    track.warned = true;
    const problem = cluster.known(topic) === undefined ? 'does not exist' : 'has no leader';
    cluster.logger.warn({ topic, partition }, `${topic}-${partition} ${problem}; it is asked for again.`);
  }

  #failed(tracks: readonly FetchTrack[], error: unknown): void {
    const { cluster, onRefused } = this.#parts;
    cluster.logger.debug({ err: error }, 'Looking for leaders is tried again.');
    for (const track of tracks) {
      track.retryLater(cluster.clock.monotonic());
      if (!isPartitaError(error) || error.retryable) continue;
      track.stale = false;
      onRefused(track, error);
    }
  }
}
