/**
 * Fetches the partitions that a session was assigned: one long poll per broker at a time, over what that broker leads and
 * the session may be given. What comes is copied out once, as whole batches, and handed on; nothing is decoded, so it costs
 * per megabyte. A lost broker is never fatal. Where leaders are looked for is `leader-watch.ts`.
 *
 * What the numbers of chunks say (semantics.md 8.6): the polls of several brokers overlap, so a partition's end is known
 * only as of the chunks that were there when its poll was sent. A broker reads a poll's partitions in the order asked.
 */
import { isPartitaError, PartitaError } from '../../core/errors.js';
import type { PartitionBounds, TopicPartition } from '../../core/log-types.js';
import type { FetchSink, FetchState, PartitionFetcher } from '../group/partition-fetcher.js';
import { byTopic, keyOf } from '../by-topic.js';
import type { Cluster, RetryOptions } from './cluster.js';
import { FetchLoop } from './fetch-loop.js';
import { FetchTrack } from './fetch-track.js';
import { BrokerAnswerError, isLeaderError, toPartitaError } from './kafka-errors.js';
import type { FetchRequest } from './kafkajs-internals.js';
import { LeaderWatch } from './leader-watch.js';
import { isOutOfRange } from './offsets-reader.js';
import { copyOut, decodeFetch, wholeBatches, type FetchAnswer, type FetchedPartition } from './wire/fetch.js';

export interface FetcherParts {
  readonly cluster: Pick<
    Cluster,
    | 'options'
    | 'clock'
    | 'logger'
    | 'metadata'
    | 'known'
    | 'leaderOf'
    | 'connection'
    | 'disconnect'
    | 'errorType'
  >;
  readonly offsets: {
    bounds(
      partitions: readonly TopicPartition[],
      options?: RetryOptions,
    ): Promise<readonly PartitionBounds[]>;
  };
  /** Tells the connections of this fetcher from those of others: a long poll holds up what comes behind it. */
  readonly name: string;
  readonly maxBytesPerPartition: number;
}

/** One partition of a poll. */
interface Asked extends TopicPartition {
  readonly track: FetchTrack;
  readonly version: number;
  readonly from: number;
}

type Brought = 'data' | 'news' | 'nothing';

/** An answer that brings nothing within this time did not wait for anything. */
const AT_ONCE_MS = 5;
/** How long a poll may take while a partition has been paused only for a moment. */
const SHORT_WAIT_MS = 10;
const BOUNDS_BUDGET_MS = 1_000;

export class KafkaFetcher implements PartitionFetcher {
  readonly #sink: FetchSink;
  readonly #parts: FetcherParts;
  readonly #cluster: FetcherParts['cluster'];
  readonly #watch: LeaderWatch;
  readonly #closing = new AbortController();
  readonly #loops = new Map<number, FetchLoop>();
  #tracks = new Map<string, FetchTrack>();
  #started = false;
  /** No stream has several inputs. */
  #areSingle = true;
  /** Number of the chunk that was delivered last. */
  #delivered = 0;
  #closed: Promise<void> | undefined;

  constructor(sink: FetchSink, parts: FetcherParts) {
    this.#sink = sink;
    this.#parts = parts;
    this.#cluster = parts.cluster;
    this.#watch = new LeaderWatch({
      cluster: parts.cluster,
      signal: this.#closing.signal,
      tracks: () => this.#tracks.values(),
      onFound: () => {
        this.wakeUp();
      },
      onRefused: (track, error) => {
        this.#giveUp(track, error);
      },
      onFailure: (error) => {
        this.#fail(error);
      },
    });
  }

  start(): void {
    this.#started = true;
    this.#spread();
  }

  assign(states: readonly FetchState[]): void {
    const before = this.#tracks;
    this.#tracks = new Map();
    for (const state of states) {
      const key = keyOf(state.id);
      const known = before.get(key);
      const track = known?.state === state ? known : new FetchTrack(state, this.#parts.maxBytesPerPartition);
      this.#tracks.set(key, track);
    }
    this.#areSingle = new Set(states.map(({ siblings }) => siblings)).size === states.length;
    this.wakeUp();
  }

  wakeUp(): void {
    this.#spread();
    for (const loop of this.#loops.values()) loop.wake();
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#end();
    try {
      // Polls under way reject.
      await this.#cluster.disconnect(this.#purpose);
    } catch (error) {
      this.#cluster.logger.debug({ err: error }, 'The connections of a fetcher did not close well.');
    }
  }

  /** Loops end as soon as what they wait for is over; nothing is delivered meanwhile. */
  #end(): void {
    this.#closing.abort();
    for (const loop of this.#loops.values()) loop.wake();
  }

  /** What must not happen: the session is told, unless the client was closed, and nothing is fetched any more. */
  #fail(error: unknown): void {
    if (this.#isClosed) return;
    this.#end();
    if (!isPartitaError(error, 'LOG_CLOSED')) this.#sink.fatal(error);
  }

  get #purpose(): `fetch/${string}` {
    return `fetch/${this.#parts.name}`;
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  // ── loops ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Every partition with a leader has a loop; those without one are looked for. */
  #spread(): void {
    if (!this.#started || this.#isClosed) return;
    for (const track of this.#tracks.values()) {
      const node = this.#cluster.leaderOf(track.state.id);
      if (node === undefined) this.#watch.look(track);
      else if (!this.#loops.has(node)) this.#startLoop(node);
    }
  }

  #startLoop(node: number): void {
    const loop = new FetchLoop(node, this.#cluster.clock);
    this.#loops.set(node, loop);
    void this.#run(loop).catch((error: unknown) => {
      this.#fail(error);
    });
  }

  /** Polls the broker for as long as it leads anything. */
  async #run(loop: FetchLoop): Promise<void> {
    // In a turn of its own: resumed partitions that come together are fetched together.
    await Promise.resolve();
    while (!this.#isClosed) {
      this.#spread();
      const led = [...this.#tracks.values()].filter(
        ({ state }) => this.#cluster.leaderOf(state.id) === loop.node,
      );
      if (led.length === 0) break;
      const asked = this.#plan(loop, led);
      if (asked.length === 0) await loop.untilDue(led.map((track) => track.retryAt));
      else await this.#poll(loop, asked, asked.length === led.length && this.#areSingle);
    }
    this.#loops.delete(loop.node);
  }

  /** What to ask for now, first another partition each time: a broker fills its answer in the order asked (KIP-74). */
  #plan(loop: FetchLoop, led: readonly FetchTrack[]): Asked[] {
    const now = this.#cluster.clock.monotonic();
    if (!this.#sink.delivering || loop.retryAt > now) return [];
    const ready = led.filter((track) => track.isReady(now) && !this.#isRecreated(track));
    const first = ready.length === 0 ? 0 : loop.nextTurn() % ready.length;
    const turned = [...ready.slice(first), ...ready.slice(0, first)].map((track) => {
      const { id, version, position } = track.state;
      return { ...id, track, version, from: position! };
    });
    return [...byTopic(turned).values()].flat();
  }

  /** A topic that was deleted and created again has the same name, but is another log. */
  #isRecreated(track: FetchTrack): boolean {
    const topicId = this.#cluster.known(track.state.id.topic)?.topicId;
    track.topicId ??= topicId;
    if (topicId === undefined || track.topicId === topicId) return false;
    void this.#tellOutOfRange(track, topicId);
    return true;
  }

  // ── polls ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** @param mayBeQuiet nothing is paused that may come back meanwhile, and no input's end is waited for by another one */
  async #poll(loop: FetchLoop, asked: readonly Asked[], mayBeQuiet: boolean): Promise<void> {
    const { clock, options } = this.#cluster;
    const sent = this.#sink.nextFetch();
    const began = clock.monotonic();
    let answer: FetchAnswer;
    try {
      const { maxWaitMs } = options.fetch;
      answer = await this.#fetch(loop, asked, mayBeQuiet ? loop.patience(maxWaitMs) : maxWaitMs);
    } catch (error) {
      if (!this.#isClosed) this.#lost(loop, asked, error);
      return;
    }
    loop.answered();
    const brought = this.#take(asked, answer, sent);
    const hasWaited = clock.monotonic() - began >= Math.min(AT_ONCE_MS, options.fetch.maxWaitMs / 2);
    loop.brought(brought === 'data', hasWaited || brought === 'news');
  }

  async #fetch(loop: FetchLoop, asked: readonly Asked[], maxWaitMs: number): Promise<FetchAnswer> {
    const connection = await this.#cluster.connection(loop.node, this.#purpose);
    const { minBytes, maxBytes } = this.#cluster.options.fetch;
    const request: FetchRequest = {
      isolationLevel: 1,
      maxWaitTime: Math.min(maxWaitMs, this.#waitMs(asked)),
      minBytes,
      maxBytes,
      topics: [...byTopic(asked)].map(([topic, partitions]) => ({
        topic,
        partitions: partitions.map(({ partition, from, track }) => ({
          partition,
          fetchOffset: from,
          maxBytes: track.maxBytes,
        })),
      })),
    };
    const answer = await connection.fetch(request, decodeFetch);
    const type = this.#cluster.errorType(answer.errorCode);
    if (type !== 'NONE')
      throw new BrokerAnswerError(type, `Broker ${loop.node} answered ${type} to a fetch.`);
    return answer;
  }

  /** A poll can't be called off: how long it may take, for the sake of those that can't wait. */
  #waitMs(asked: readonly Asked[]): number {
    if (asked.some(({ track }) => track.owesAtOnce)) return 0;
    const now = this.#cluster.clock.monotonic();
    for (const track of this.#tracks.values()) if (track.isSoonBack(now)) return SHORT_WAIT_MS;
    return Infinity;
  }

  /** Hands on what came, in the order asked. */
  #take(asked: readonly Asked[], answer: FetchAnswer, sent: number): Brought {
    const answered = new Map(answer.partitions.map((fetched) => [keyOf(fetched), fetched]));
    // Unless another broker's answer came between, nothing is newer than this one but its own chunks.
    const overlaps = this.#delivered > sent;
    let brought = 'nothing' as Brought;
    for (const one of asked) {
      if (!this.#isWanted(one)) continue;
      const fetched = answered.get(one.track.key);
      const type =
        fetched === undefined ? 'UNKNOWN_TOPIC_OR_PARTITION' : this.#cluster.errorType(fetched.errorCode);
      if (type !== 'NONE') this.#refused(one, type);
      else if (this.#deliver(one, fetched!, overlaps ? sent : undefined))
        brought = fetched!.end > fetched!.start || brought === 'data' ? 'data' : 'news';
    }
    return brought;
  }

  #isWanted({ track, version }: Asked): boolean {
    return (
      !this.#isClosed &&
      this.#sink.delivering &&
      this.#tracks.get(track.key) === track &&
      track.state.version === version &&
      !track.state.paused
    );
  }

  #deliver(one: Asked, fetched: FetchedPartition, overlapping: number | undefined): boolean {
    const { track, from } = one;
    const { buffer, start, lastStable, highWatermark, aborted } = fetched;
    const now = this.#cluster.clock.monotonic();
    const { end, next } = wholeBatches(buffer, start, fetched.end, from);
    const isEmpty = fetched.end === start;
    if (!isEmpty && next === from) {
      this.#undecodable(one, 'The broker gave bytes, but not one whole batch that reaches beyond the offset');
      return false;
    }
    track.succeeded();
    // An answer that was cut off before this partition says nothing of it.
    if (isEmpty && (from < lastStable || !track.owesNews(now))) return false;
    const fetch = this.#sink.nextFetch();
    const asOf = overlapping ?? fetch - 1;
    track.owes = track.state.siblings.lastData > asOf;
    this.#delivered = fetch;
    if (!isEmpty) track.dataAt = now;
    const bytes = copyOut(buffer, start, end);
    this.#sink.deliver(track.state, { bytes, from, next, aborted, lastStable, highWatermark, fetch, asOf });
    return true;
  }

  // ── failures ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The broker gave no answer, or none that can be understood. */
  #lost(loop: FetchLoop, asked: readonly Asked[], error: unknown): void {
    if (isPartitaError(error, 'LOG_CLOSED')) {
      this.#fail(error);
      return;
    }
    const level = loop.failed() ? 'warn' : 'debug';
    const { node } = loop;
    this.#cluster.logger[level](
      { node, err: error },
      `Fetching from broker ${node} failed and is tried again.`,
    );
    // Reached, but refused or not understood: that may pass, or be so for good.
    if (error instanceof RangeError || (isPartitaError(error) && !error.retryable)) {
      if (loop.refused()) this.#giveUpAll(asked, error);
      return;
    }
    for (const { track } of asked) this.#watch.look(track);
  }

  #giveUpAll(asked: readonly Asked[], error: Error): void {
    for (const { track } of asked) track.giveUp();
    this.#sink.fatal(
      isPartitaError(error) ? error : corrupt(asked[0]!, 'The answer to a fetch can not be decoded', error),
    );
  }

  /** What the broker says of one partition. */
  #refused(one: Asked, type: string): void {
    const { track, topic, partition } = one;
    const error = new BrokerAnswerError(type, `The leader of ${topic}-${partition} answered ${type}.`);
    const failure = toPartitaError(error, `Fetching ${topic}-${partition} from offset ${one.from}`, {
      topic,
      partition,
      offset: one.from,
    });
    if (type === 'OFFSET_OUT_OF_RANGE') void this.#tellOutOfRange(track, undefined);
    else if (type === 'CORRUPT_MESSAGE') this.#undecodable(one, 'The broker finds its log corrupt', error);
    else if (isLeaderError(error) || failure.retryable) this.#tryElsewhere(track, type);
    else this.#giveUp(track, failure);
  }

  #tryElsewhere(track: FetchTrack, why: string): void {
    this.#cluster.logger.debug({ ...track.state.id, why }, 'The leader of a partition is looked for.');
    track.retryLater(this.#cluster.clock.monotonic());
    this.#watch.look(track);
  }

  #undecodable(one: Asked, problem: string, cause?: unknown): void {
    if (one.track.isUndecodable(this.#cluster.clock.monotonic())) return;
    this.#giveUp(one.track, corrupt(one, problem, cause));
  }

  #giveUp(track: FetchTrack, error: PartitaError): void {
    track.giveUp();
    this.#sink.fatal(error);
  }

  /** The group's offset stays as it is: what to do is decided by whoever is told (kafka.md, hazard 10). */
  async #tellOutOfRange(track: FetchTrack, recreated: string | undefined): Promise<void> {
    const { state } = track;
    const { version } = state;
    track.busy = true;
    try {
      const [bounds] = await this.#parts.offsets.bounds([state.id], {
        budgetMs: BOUNDS_BUDGET_MS,
        signal: this.#closing.signal,
      });
      if (!this.#isWanted({ ...state.id, track, version, from: state.position! })) return;
      // A leader that has just begun may have answered what is no longer so.
      if (recreated === undefined && !isOutOfRange(state.position!, bounds!)) {
        this.#tryElsewhere(track, 'OFFSET_OUT_OF_RANGE');
        return;
      }
      track.topicId = recreated ?? track.topicId;
      this.#sink.outOfRange(state, bounds!);
    } catch (error) {
      if (!this.#isClosed) this.#tryElsewhere(track, String(error));
    } finally {
      track.busy = false;
      this.wakeUp();
    }
  }
}

function corrupt({ topic, partition, from }: Asked, problem: string, cause?: unknown): PartitaError {
  return new PartitaError('RECORD_BATCH_CORRUPT', `${problem}: ${topic}-${partition} at offset ${from}.`, {
    ...(cause === undefined ? {} : { cause }),
    details: { topic, partition, offset: from },
  });
}
