/**
 * One member's session: the partitions that it has, with their positions, pauses and epochs, between its membership
 * (`membership.ts`), its fetcher (`partition-fetcher.ts`) and the member. It calls its member one call at a time; only
 * `onLost` may come while an `onAssign` or `onRevoke` is pending. It never talks to a log, and never decodes what is fetched.
 */
import { keyOf } from '../by-topic.js';
import type { Clock } from '../../core/clock.js';
import type { Logger } from '../../core/logger.js';
import type { PartitionBounds, TopicPartition } from '../../core/log-types.js';
import type { GroupMember, GroupSession, JoinOptions, OwnershipAnswer } from '../log-client.js';
import type { GroupLink } from './group-link.js';
import { type Joined, Membership } from './membership.js';
import type { Fetched, FetchSink, FetchState, PartitionFetcher, Siblings } from './partition-fetcher.js';

export interface LogGroupSessionParts {
  readonly clock: Clock;
  readonly link: GroupLink;
  readonly clientId: string;
  /** Makes what fetches for this session. */
  readonly fetcher: (sink: FetchSink) => PartitionFetcher;
  /** @default 5 */
  readonly heartbeatsPerSession?: number;
  /** @default silent */
  readonly logger?: Logger;
  /** Of the waits between joins, uniform in [0, 1). @default Math.random */
  readonly random?: () => number;
  readonly onEnd: () => void;
}

export class LogGroupSession implements GroupSession {
  readonly #parts: LogGroupSessionParts;
  readonly #options: JoinOptions;
  readonly #member: GroupMember;
  readonly #membership: Membership;
  readonly #fetcher: PartitionFetcher;
  readonly #states = new Map<string, FetchState>();
  #epoch = 0;
  #fetches = 0;
  /** Whether chunks may be delivered: from the end of onAssign to the beginning of the barrier. */
  #delivering = false;
  /** Settles when the fetcher is closed; `undefined` until the session ends. */
  #fetcherClosed: Promise<void> | undefined;
  #leaving: Promise<void> | undefined;

  constructor(parts: LogGroupSessionParts, options: JoinOptions, member: GroupMember) {
    this.#parts = parts;
    this.#options = options;
    this.#member = member;
    this.#membership = new Membership(parts, options, {
      owned: () => this.#owned(),
      onAssigned: (joined) => this.#assign(joined),
      onRevoke: (deadline) => this.#revoke(deadline),
      onLost: () => {
        this.#lose();
      },
      onFatal: (error) => {
        this.#fatal(error);
      },
    });
    this.#fetcher = parts.fetcher(this.#sink());
  }

  /** Joins and fetches until `leave`. The member is called from a later turn of the event loop on. */
  start(): void {
    this.#membership.start();
    this.#fetcher.start();
  }

  get memberId(): string {
    return this.#membership.memberId;
  }

  pause(partitions: readonly TopicPartition[]): void {
    for (const state of this.#find(partitions)) state.paused = true;
  }

  resume(partitions: readonly TopicPartition[]): void {
    for (const state of this.#find(partitions)) state.paused = false;
    this.#fetcher.wakeUp();
  }

  seek(partition: TopicPartition, offset: number): void {
    for (const state of this.#find([partition])) {
      state.position = offset;
      state.version++;
      state.lastFetch = 0;
      this.#fetcher.wakeUp();
    }
  }

  nextEpoch(partition: TopicPartition): number {
    const epoch = ++this.#epoch;
    for (const state of this.#find([partition])) {
      state.epoch = epoch;
      state.version++;
    }
    return epoch;
  }

  async owns(partition: TopicPartition): Promise<OwnershipAnswer> {
    return this.#states.has(keyOf(partition)) ? this.#membership.owns(partition) : 'no';
  }

  ownerOf(partition: TopicPartition): string | undefined {
    return this.#parts.link.ownerOf(partition);
  }

  leave(): Promise<void> {
    return (this.#leaving ??= this.#leave());
  }

  /** Ends at once, without a barrier: the client was closed. */
  async abandon(): Promise<void> {
    const fetcherClosed = this.#end();
    await this.#membership.tellLeave();
    await fetcherClosed;
  }

  async #leave(): Promise<void> {
    await this.#membership.leave();
    const fetcherClosed = this.#end();
    await this.#membership.tellLeave();
    await fetcherClosed;
  }

  #end(): Promise<void> {
    if (this.#fetcherClosed !== undefined) return this.#fetcherClosed;
    this.#delivering = false;
    this.#membership.end();
    this.#fetcherClosed = this.#fetcher.close();
    this.#parts.onEnd();
    return this.#fetcherClosed;
  }

  // ---- for the membership

  #owned(): TopicPartition[] {
    return [...this.#states.values()].map((state) => state.id);
  }

  async #assign({ assignment, generation, memberId }: Joined): Promise<void> {
    const before = new Map(this.#states);
    const epoch = this.#take(assignment);
    this.#fetcher.assign([...this.#states.values()]);
    const has = (map: ReadonlyMap<string, unknown>, id: TopicPartition) => map.has(keyOf(id));
    try {
      await this.#member.onAssign({
        gained: assignment.filter((id) => !has(before, id)),
        kept: assignment.filter((id) => has(before, id)),
        lost: [...before.values()].map((state) => state.id).filter((id) => !has(this.#states, id)),
        epoch,
        generation,
        memberId,
      });
    } catch (error) {
      this.#fatal(error);
    }
    if (!this.#membership.isMember) return;
    this.#delivering = true;
    this.#fetcher.wakeUp();
  }

  /** The table becomes what is assigned; what was there before goes on where it was. The new epoch. */
  #take(assignment: readonly TopicPartition[]): number {
    const before = new Map(this.#states);
    const epoch = ++this.#epoch;
    const siblings = new Map<string, Siblings>();
    this.#states.clear();
    for (const id of assignment) {
      const state = before.get(keyOf(id)) ?? newState(id);
      state.epoch = epoch;
      state.version++;
      state.siblings = this.#siblingsOf(id, siblings);
      this.#states.set(keyOf(id), state);
    }
    return epoch;
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

  async #revoke(deadline: number): Promise<void> {
    this.#delivering = false;
    try {
      if (this.#states.size > 0) await this.#member.onRevoke(this.#owned(), { deadline });
    } catch (error) {
      this.#fatal(error);
    }
    if (this.#membership.isLeaving) this.#forget();
  }

  #lose(): void {
    this.#delivering = false;
    const partitions = this.#owned();
    this.#forget();
    if (partitions.length > 0) this.#member.onLost(partitions);
  }

  #forget(): void {
    this.#states.clear();
    this.#fetcher.assign([]);
  }

  // ---- for the fetcher

  #sink(): FetchSink {
    const isDelivering = () => this.#delivering;
    return {
      get delivering() {
        return isDelivering();
      },
      nextFetch: () => ++this.#fetches,
      deliver: (state, fetched) => {
        this.#deliver(state, fetched);
      },
      outOfRange: (state, bounds) => {
        this.#outOfRange(state, bounds);
      },
      fatal: (error) => {
        // What fails because everything is being closed is nobody's concern.
        if (!this.#membership.isOver()) this.#fatal(error);
      },
    };
  }

  #deliver(state: FetchState, fetched: Fetched): void {
    if (fetched.next > fetched.from) state.siblings.lastData = fetched.fetch;
    state.position = fetched.next;
    state.lastFetch = fetched.fetch;
    state.lastAt = this.#parts.clock.monotonic();
    this.#member.onChunk({ ...state.id, epoch: state.epoch, ...fetched });
  }

  #outOfRange(state: FetchState, bounds: PartitionBounds): void {
    state.paused = true;
    this.#member.onOutOfRange(state.id, bounds);
  }

  #find(partitions: readonly TopicPartition[]): FetchState[] {
    return partitions.flatMap((id) => this.#states.get(keyOf(id)) ?? []);
  }

  #fatal(error: unknown): void {
    this.#member.onFatal(error instanceof Error ? error : new Error(String(error)));
  }
}

/** Paused, and without a position, until the member seeks and resumes. */
function newState(id: TopicPartition): FetchState {
  return {
    id,
    position: undefined,
    paused: true,
    epoch: 0,
    version: 0,
    siblings: { lastData: 0 },
    lastFetch: 0,
    lastAt: 0,
  };
}
