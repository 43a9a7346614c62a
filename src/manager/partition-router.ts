/**
 * Fetched chunks to actors: (topic, partition) → actor. Owns the credits: how many bytes may be with an actor per input
 * topic before its partition is left out of the next fetch. Drops chunks of stale epochs. Per chunk, never per record.
 */
import { PartitaError } from '../core/errors.js';
import type { TopicPartition } from '../core/log-types.js';
import type { FetchedChunk, GroupSession } from '../log/log-client.js';
import type { ActorApi } from '../threads/protocol.js';

/** A running actor's inputs, as the router needs them. */
export interface Route {
  readonly api: ActorApi;
  readonly partition: number;
  /** The epoch that the actor's chunks carry; each partition of the log has one of its own. */
  readonly epoch: number;
  readonly inputs: readonly { readonly topic: string; readonly epoch: number }[];
  /** A chunk was refused or could not be processed: the actor is in trouble, or about to say so. */
  readonly onError: (error: unknown) => void;
}

interface Lane extends TopicPartition {
  readonly route: Route;
  readonly logEpoch: number;
  outstandingBytes: number;
  doneBytes: number;
  outstandingEmpty: number;
  /** A chunk says how far its input reaches. */
  hasChunk: boolean;
  paused: boolean;
}

export interface RouterOptions {
  /** Bytes that may be with one actor, per input topic. */
  readonly bytesMax: number;
  /** Bytes that may be with all actors; with many partitions each gets its share of it. */
  readonly bytesTotalMax: number;
}

/** Empty fetches say that an input is at its end; more of them unanswered say nothing new. */
const EMPTY_OUTSTANDING_MAX = 64;

export class PartitionRouter {
  readonly #options: RouterOptions;
  readonly #lanes = new Map<string, (Lane | undefined)[]>();
  #laneCount = 0;
  /** The credit of one lane at present. */
  #bytesMax: number;
  #session: GroupSession | undefined;

  constructor(options: RouterOptions) {
    this.#options = options;
    this.#bytesMax = options.bytesMax;
  }

  /** The session whose partitions are paused and resumed. */
  use(session: GroupSession): void {
    this.#session = session;
  }

  /** From here on the actor gets its partitions' chunks. */
  attach(route: Route): void {
    for (const { topic, epoch } of route.inputs) {
      let lanes = this.#lanes.get(topic);
      if (lanes === undefined) this.#lanes.set(topic, (lanes = []));
      if (lanes[route.partition] === undefined) this.#share(1);
      lanes[route.partition] = {
        route,
        topic,
        partition: route.partition,
        logEpoch: epoch,
        outstandingBytes: 0,
        doneBytes: 0,
        outstandingEmpty: 0,
        hasChunk: false,
        paused: false,
      };
    }
  }

  /** The actor gets nothing more. */
  detach(route: Route): void {
    for (const { topic } of route.inputs) {
      const lanes = this.#lanes.get(topic);
      if (lanes?.[route.partition]?.route !== route) continue;
      lanes[route.partition] = undefined;
      this.#share(-1);
    }
  }

  /** Whether somebody took it; a stale one is dropped. */
  deliver(chunk: FetchedChunk): boolean {
    const lane = this.#lanes.get(chunk.topic)?.[chunk.partition];
    if (lane?.logEpoch !== chunk.epoch) return false;
    if (chunk.bytes.byteLength === 0) return this.#deliverEmpty(lane, chunk);
    const bytes = chunk.bytes.byteLength;
    lane.outstandingBytes += bytes;
    if (!lane.paused && lane.outstandingBytes >= this.#bytesMax) {
      lane.paused = true;
      this.#session?.pause([lane]);
    }
    this.#send(lane, chunk, () => {
      lane.outstandingBytes -= bytes;
      lane.doneBytes += bytes;
      this.#maybeResume(lane);
    });
    return true;
  }

  /** Bytes that are with actors at present. */
  get outstandingBytes(): number {
    let total = 0;
    for (const lanes of this.#lanes.values()) for (const lane of lanes) total += lane?.outstandingBytes ?? 0;
    return total;
  }

  /** Bytes of these inputs that are with the partition's actor, and that it is done with since it serves. */
  load(topics: readonly string[], partition: number): { readonly waiting: number; readonly done: number } {
    const lanes = topics.map((topic) => this.#lanes.get(topic)?.[partition]);
    return {
      waiting: lanes.reduce((sum, lane) => sum + (lane?.outstandingBytes ?? 0), 0),
      done: lanes.reduce((sum, lane) => sum + (lane?.doneBytes ?? 0), 0),
    };
  }

  /**
   * A merge of several inputs waits for the news that one is at its end. With a single input the chunks say it, if there is
   * one: windows that close by idleness wait for it in an actor to which nothing comes any more.
   */
  #deliverEmpty(lane: Lane, chunk: FetchedChunk): boolean {
    const knows = lane.route.inputs.length === 1 && lane.hasChunk;
    if (knows || lane.outstandingEmpty >= EMPTY_OUTSTANDING_MAX) return false;
    lane.outstandingEmpty++;
    this.#send(lane, chunk, () => lane.outstandingEmpty--);
    return true;
  }

  #send(lane: Lane, chunk: FetchedChunk, onSettled: () => void): void {
    const { route } = lane;
    lane.hasChunk = true;
    route.api.process({ ...chunk, epoch: route.epoch }).then(
      ({ accepted }) => {
        onSettled();
        // A chunk that the actor in charge does not want leaves a gap which no later chunk can close.
        if (!accepted && this.#current(lane)) route.onError(refused(chunk));
      },
      (error: unknown) => {
        onSettled();
        if (this.#current(lane)) route.onError(error);
      },
    );
  }

  /** Half of the credit must be back: a partition that is resumed for every chunk would fetch in crumbs. */
  #maybeResume(lane: Lane): void {
    if (!lane.paused || lane.outstandingBytes > this.#bytesMax / 2 || !this.#current(lane)) return;
    lane.paused = false;
    this.#session?.resume([lane]);
  }

  /** A share of its own for each lane, so that a slow partition takes nothing from the others. */
  #share(lanesMore: number): void {
    this.#laneCount += lanesMore;
    const { bytesMax, bytesTotalMax } = this.#options;
    this.#bytesMax = Math.min(bytesMax, Math.ceil(bytesTotalMax / Math.max(1, this.#laneCount)));
  }

  #current(lane: Lane): boolean {
    return this.#lanes.get(lane.topic)?.[lane.partition] === lane;
  }
}

function refused(chunk: FetchedChunk): PartitaError {
  const { topic, partition, from } = chunk;
  return new PartitaError(
    'ACTOR_FAILED',
    `The actor of ${topic}-${partition} did not take the chunk at offset ${from}: it is not the next one.`,
    { details: { topic, partition, offset: from } },
  );
}
