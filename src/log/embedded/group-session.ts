/**
 * One member of a group: it joins, is told of its assignments, runs the revoke barrier, and fetches what it owns, one
 * fetch after the other, round-robin. It calls its member one call at a time; only `onLost` may come while an `onRevoke`
 * is pending, since what the barrier still does would be too late. It never decodes what it fetches.
 */
import type { Clock, Timer } from '../../core/clock.js';
import { isPartitaError } from '../../core/errors.js';
import type { PartitionBounds, TopicPartition } from '../../core/log-types.js';
import type { GroupMember, GroupSession, JoinOptions, OwnershipAnswer } from '../log-client.js';
import type { GroupLink, JoinAnswer } from './group-link.js';
import { type LogStorage, copyOut } from './log-storage.js';
import type { FetchPlan, PartitionLog } from './partition-log.js';

const CHUNK_BYTES_DEFAULT = 256 * 1024;
const SESSION_TIMEOUT_MS_DEFAULT = 10_000;
const REBALANCE_TIMEOUT_MS_DEFAULT = 30_000;
const HEARTBEATS_PER_SESSION = 5;
/** How often a partition at its end is reported as such. */
const EMPTY_FETCH_MS = 100;
/** A round hands out no more than this before the event loop has its turn. */
const ROUND_BYTES_MAX = 4 * 1024 * 1024;

export interface SessionParts {
  readonly clock: Clock;
  readonly storage: LogStorage;
  readonly link: GroupLink;
  readonly clientId: string;
  /** `undefined` once the topic is deleted. */
  readonly partition: (partition: TopicPartition) => PartitionLog | undefined;
  readonly onEnd: () => void;
}

/** The partition number of one stream: when one of its topics got data, the others owe news of their end. */
interface Siblings {
  lastData: number;
}

interface Fetching {
  readonly id: TopicPartition;
  log: PartitionLog | undefined;
  unlisten: () => void;
  siblings: Siblings;
  position: number | undefined;
  paused: boolean;
  epoch: number;
  /** Rises with seek and nextEpoch: a fetch under way is dropped. */
  version: number;
  /** The last fetch that was delivered, and when (monotonic); 0 if none since the last seek. */
  lastFetch: number;
  lastAt: number;
}

type News = 'none' | 'rebalance' | 'unknownMember';

export class EmbeddedGroupSession implements GroupSession {
  readonly #parts: SessionParts;
  readonly #options: JoinOptions;
  readonly #member: GroupMember;
  readonly #sessionTimeoutMs: number;
  readonly #partitions = new Map<string, Fetching>();
  #order: Fetching[] = [];
  #memberId: string;
  /** Whether the group has answered a join of this member id, and not yet forgotten it. */
  #admitted = false;
  #joining = false;
  #generation = -1;
  #epoch = 0;
  #fetches = 0;
  #turn = 0;
  /** Whether chunks may be delivered: from the end of onAssign to the beginning of the barrier. */
  #delivering = false;
  #ended = false;
  #isLeaving = false;
  #leaving: Promise<void> | undefined;
  #news: News = 'none';
  #tellNews: (() => void) | undefined;
  #beating = false;
  #heartbeat: Timer | undefined;
  #woken = false;
  #wake: (() => void) | undefined;
  /** Settles when no fetch is under way and no call to the member either. */
  #fetching: Promise<void> = Promise.resolve();
  #membership: Promise<void> = Promise.resolve();

  constructor(parts: SessionParts, options: JoinOptions, member: GroupMember) {
    this.#parts = parts;
    this.#options = options;
    this.#member = member;
    this.#memberId = parts.link.newMemberId(parts.clientId);
    this.#sessionTimeoutMs = options.sessionTimeoutMs ?? SESSION_TIMEOUT_MS_DEFAULT;
  }

  /** Joins and fetches until `leave`. The member is called from a later turn of the event loop on. */
  start(): void {
    this.#scheduleHeartbeat();
    this.#membership = this.#runMembership();
    this.#fetching = this.#runFetches();
  }

  get memberId(): string {
    return this.#memberId;
  }

  pause(partitions: readonly TopicPartition[]): void {
    for (const id of partitions) {
      const fetching = this.#partitions.get(keyOf(id));
      if (fetching !== undefined) fetching.paused = true;
    }
  }

  resume(partitions: readonly TopicPartition[]): void {
    for (const id of partitions) {
      const fetching = this.#partitions.get(keyOf(id));
      if (fetching !== undefined) fetching.paused = false;
    }
    this.#wakeUp();
  }

  seek(partition: TopicPartition, offset: number): void {
    const fetching = this.#partitions.get(keyOf(partition));
    if (fetching === undefined) return;
    fetching.position = offset;
    fetching.version++;
    fetching.lastFetch = 0;
    this.#wakeUp();
  }

  nextEpoch(partition: TopicPartition): number {
    const epoch = ++this.#epoch;
    const fetching = this.#partitions.get(keyOf(partition));
    if (fetching !== undefined) {
      fetching.epoch = epoch;
      fetching.version++;
    }
    return epoch;
  }

  async owns(partition: TopicPartition): Promise<OwnershipAnswer> {
    if (this.#ended || !this.#admitted || !this.#partitions.has(keyOf(partition))) return 'no';
    return this.#parts.link.owns(this.#memberId, this.#generation, partition);
  }

  ownerOf(partition: TopicPartition): string | undefined {
    return this.#parts.link.ownerOf(partition);
  }

  leave(): Promise<void> {
    return (this.#leaving ??= this.#leave());
  }

  /** Ends at once, without a barrier: the client was closed. */
  async abandon(): Promise<void> {
    this.#end();
    await this.#tellLeave();
  }

  async #leave(): Promise<void> {
    this.#isLeaving = true;
    // The barrier waits its turn behind an onAssign or onRevoke under way; a join under way is given up.
    this.#tellNews?.();
    if (this.#joining) await this.#tellLeave();
    await this.#membership;
    this.#end();
    await this.#tellLeave();
    await this.#fetching;
  }

  /** A group that can't be told forgets the member by its session timeout. */
  async #tellLeave(): Promise<void> {
    try {
      await this.#parts.link.leave(this.#memberId);
    } catch (error) {
      if (!isPartitaError(error)) throw error;
    }
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#delivering = false;
    this.#heartbeat?.cancel();
    for (const fetching of this.#partitions.values()) fetching.unlisten();
    this.#tellNews?.();
    this.#wakeUp();
    this.#parts.onEnd();
  }

  // ---- membership

  async #runMembership(): Promise<void> {
    await immediate();
    while (!this.#isOver()) {
      const answer = await this.#join();
      if (this.#isOver() || answer?.kind === 'closed') return;
      if (answer === undefined) continue;
      if (answer.kind === 'unknownMember') {
        this.#lose();
        continue;
      }
      await this.#adopt(answer);
      await this.#untilNews();
      if (this.#news === 'unknownMember') this.#lose();
      else if (this.#isMember()) await this.#runBarrier();
    }
  }

  async #join(): Promise<JoinAnswer | undefined> {
    this.#joining = true;
    try {
      return await this.#parts.link.join({
        ...this.#options,
        memberId: this.#memberId,
        known: this.#admitted,
        clientId: this.#parts.clientId,
        sessionTimeoutMs: this.#sessionTimeoutMs,
        rebalanceTimeoutMs: this.#options.rebalanceTimeoutMs ?? REBALANCE_TIMEOUT_MS_DEFAULT,
        nudge: () => {
          // In a turn of its own: the coordinator is in the middle of something.
          queueMicrotask(() => void this.#beat());
        },
      });
    } catch (error) {
      this.#fatal(error);
      await this.#parts.clock.sleep(EMPTY_FETCH_MS);
      return undefined;
    } finally {
      this.#joining = false;
    }
  }

  async #adopt(answer: Extract<JoinAnswer, { kind: 'joined' }>): Promise<void> {
    this.#admitted = true;
    this.#generation = answer.generation;
    this.#news = 'none';
    const before = new Map(this.#partitions);
    const epoch = ++this.#epoch;
    this.#partitions.clear();
    const siblings = new Map<string, Siblings>();
    for (const id of answer.assignment) {
      const kept = before.get(keyOf(id));
      const fetching = kept ?? this.#newFetching(id);
      // A topic that was deleted and created again has the same name, but is another log.
      if (kept !== undefined && kept.log !== this.#parts.partition(id)) this.#follow(kept);
      fetching.epoch = epoch;
      fetching.version++;
      fetching.siblings = this.#siblingsOf(id, siblings);
      this.#partitions.set(keyOf(id), fetching);
    }
    this.#order = [...this.#partitions.values()];
    const has = (map: ReadonlyMap<string, unknown>, id: TopicPartition) => map.has(keyOf(id));
    const lost = [...before.values()].filter((fetching) => !has(this.#partitions, fetching.id));
    for (const fetching of lost) fetching.unlisten();
    try {
      await this.#member.onAssign({
        gained: answer.assignment.filter((id) => !has(before, id)),
        kept: answer.assignment.filter((id) => has(before, id)),
        lost: lost.map((fetching) => fetching.id),
        epoch,
        generation: answer.generation,
        memberId: this.#memberId,
      });
    } catch (error) {
      this.#fatal(error);
    }
    if (!this.#isMember()) return;
    this.#delivering = true;
    this.#wakeUp();
  }

  #newFetching(id: TopicPartition): Fetching {
    const fetching: Fetching = {
      id,
      log: undefined,
      unlisten: () => undefined,
      siblings: { lastData: 0 },
      position: undefined,
      paused: true,
      epoch: 0,
      version: 0,
      lastFetch: 0,
      lastAt: 0,
    };
    this.#follow(fetching);
    return fetching;
  }

  /** Fetches from what is now the log of the partition. */
  #follow(fetching: Fetching): void {
    fetching.unlisten();
    fetching.log = this.#parts.partition(fetching.id);
    const unlisten = fetching.log?.listen(() => {
      this.#wakeUp();
    });
    fetching.unlisten = unlisten ?? (() => undefined);
  }

  #siblingsOf({ topic, partition }: TopicPartition, known: Map<string, Siblings>): Siblings {
    const stream = Object.entries(this.#options.streams ?? {}).find(([, topics]) =>
      topics.includes(topic),
    )?.[0];
    const key = stream === undefined ? `/${topic}/${partition}` : `${stream}/${partition}`;
    const siblings = known.get(key) ?? { lastData: 0 };
    known.set(key, siblings);
    return siblings;
  }

  #isOver(): boolean {
    return this.#ended || this.#isLeaving;
  }

  /** Whether the group knows this member: it may forget it, or the session may end, during any call of the member. */
  #isMember(): boolean {
    return this.#admitted && !this.#ended;
  }

  async #untilNews(): Promise<void> {
    // What happened during onAssign is learned by asking once more.
    await this.#beat();
    while (this.#news === 'none' && this.#isMember() && !this.#isLeaving)
      await new Promise<void>((resolve) => {
        this.#tellNews = resolve;
      });
    this.#tellNews = undefined;
  }

  async #runBarrier(): Promise<void> {
    this.#delivering = false;
    this.#news = 'none';
    const partitions = this.#order.map((fetching) => fetching.id);
    const now = this.#parts.clock.now();
    const timeout = this.#options.rebalanceTimeoutMs ?? REBALANCE_TIMEOUT_MS_DEFAULT;
    const deadline = this.#isLeaving ? now + timeout : this.#parts.link.revokeDeadline();
    try {
      if (partitions.length > 0) await this.#member.onRevoke(partitions, { deadline });
    } catch (error) {
      this.#fatal(error);
    }
    if (this.#isLeaving) this.#forget();
  }

  /** The membership is gone: everything owned is lost, the next join is a new member's. */
  #lose(): void {
    this.#delivering = false;
    this.#news = 'none';
    this.#admitted = false;
    this.#memberId = this.#parts.link.newMemberId(this.#parts.clientId);
    const partitions = this.#order.map((fetching) => fetching.id);
    this.#forget();
    if (partitions.length > 0) this.#member.onLost(partitions);
  }

  #forget(): void {
    for (const fetching of this.#order) fetching.unlisten();
    this.#partitions.clear();
    this.#order = [];
  }

  // ---- heartbeats

  #scheduleHeartbeat(): void {
    this.#heartbeat = this.#parts.clock.setTimer(
      this.#sessionTimeoutMs / HEARTBEATS_PER_SESSION,
      () => {
        void this.#beat();
        if (!this.#ended) this.#scheduleHeartbeat();
      },
      { ref: false },
    );
  }

  async #beat(): Promise<void> {
    if (this.#beating || this.#ended || !this.#admitted) return;
    this.#beating = true;
    try {
      const answering = this.#parts.link.heartbeat(this.#memberId, this.#generation);
      // Without a detour where the answer is at hand: a manual clock may fire many timers in one turn.
      const answer = typeof answering === 'string' ? answering : await answering;
      if (answer !== 'ok') this.#hear(answer);
    } catch (error) {
      // A heartbeat that is not answered is followed by the next one; the session timeout bounds it.
      if (!isPartitaError(error)) this.#fatal(error);
    } finally {
      this.#beating = false;
    }
  }

  #hear(news: Exclude<News, 'none'>): void {
    // An eviction can't wait for the end of the member's call under way: what it still does would be too late.
    if (news === 'unknownMember' && this.#tellNews === undefined) this.#lose();
    else if (this.#news !== 'unknownMember') this.#news = news;
    this.#tellNews?.();
  }

  // ---- fetching

  async #runFetches(): Promise<void> {
    try {
      while (!this.#ended) {
        const moved = this.#delivering ? await this.#round() : false;
        if (moved) await immediate();
        else await this.#untilWoken();
      }
    } catch (error) {
      // What fails because everything is being closed is nobody's concern.
      if (!this.#isOver()) this.#fatal(error);
    }
  }

  /** One fetch per partition that may be fetched; whether any brought data. */
  async #round(): Promise<boolean> {
    const order = this.#order;
    let bytes = 0;
    let data = false;
    for (let step = 0; step < order.length && bytes < ROUND_BYTES_MAX; step++) {
      const fetching = order[(this.#turn + step) % order.length]!;
      if (!this.#mayFetch(fetching)) continue;
      const plan = this.#plan(fetching);
      if (plan === undefined) continue;
      if (plan.entries.length === 0) {
        if (this.#owesNews(fetching)) this.#deliver(fetching, plan, new ArrayBuffer(0), ++this.#fetches);
        continue;
      }
      const fetched = await this.#fetch(fetching, plan);
      bytes += fetched;
      data ||= fetched > 0;
      if (!this.#delivering || order !== this.#order) return data;
    }
    this.#turn++;
    return data;
  }

  #mayFetch(fetching: Fetching): boolean {
    return (
      this.#delivering && !fetching.paused && fetching.position !== undefined && fetching.log !== undefined
    );
  }

  #plan(fetching: Fetching): FetchPlan | undefined {
    try {
      const bytesMax = this.#options.maxBytesPerPartition ?? CHUNK_BYTES_DEFAULT;
      return fetching.log!.plan(fetching.position!, bytesMax, 'read_committed');
    } catch (error) {
      if (!isPartitaError(error, 'OFFSET_OUT_OF_RANGE')) throw error;
      fetching.paused = true;
      this.#member.onOutOfRange(fetching.id, error.details['bounds'] as PartitionBounds);
      return undefined;
    }
  }

  /** The bytes that were delivered; 0 if the position was moved meanwhile. */
  async #fetch(fetching: Fetching, plan: FetchPlan): Promise<number> {
    const fetch = ++this.#fetches;
    const { version } = fetching;
    const copied = copyOut(this.#parts.storage, fetching.log!, plan.entries);
    const bytes = copied instanceof ArrayBuffer ? copied : await copied;
    if (fetching.version !== version || !this.#mayFetch(fetching)) return 0;
    fetching.position = plan.next;
    fetching.siblings.lastData = fetch;
    // The member may transfer the buffer, which then is empty.
    const { byteLength } = bytes;
    this.#deliver(fetching, plan, bytes, fetch);
    return byteLength;
  }

  #deliver(fetching: Fetching, plan: FetchPlan, bytes: ArrayBuffer, fetch: number): void {
    fetching.lastFetch = fetch;
    fetching.lastAt = this.#parts.clock.monotonic();
    this.#member.onChunk({
      ...fetching.id,
      epoch: fetching.epoch,
      bytes,
      from: plan.from,
      next: plan.next,
      aborted: plan.aborted,
      lastStable: plan.bounds.lastStable,
      highWatermark: plan.bounds.end,
      fetch,
    });
  }

  /** Whether a partition at its end is to be reported: first after a seek, after a sibling's data, and regularly. */
  #owesNews(fetching: Fetching): boolean {
    return (
      fetching.lastFetch === 0 ||
      fetching.siblings.lastData > fetching.lastFetch ||
      this.#parts.clock.monotonic() - fetching.lastAt >= EMPTY_FETCH_MS
    );
  }

  #wakeUp(): void {
    this.#woken = true;
    this.#wake?.();
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

  #fatal(error: unknown): void {
    this.#member.onFatal(error instanceof Error ? error : new Error(String(error)));
  }
}

function immediate(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}
