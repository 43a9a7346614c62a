/**
 * One consumer group as a broker coordinates it: members, generations, eager rebalances, sessions that expire. Nothing of
 * it survives a restart, since its members don't. Committed offsets are in `offset-table.ts`; what a member does with its
 * assignment is in `group/membership.ts`.
 *
 *     empty ─► preparing ─► stable ─► preparing | empty
 */
import type { Clock, Timer } from '../../core/clock.js';
import type { TopicPartition } from '../../core/log-types.js';
import type { OwnershipAnswer } from '../log-client.js';
import { assign } from '../group/assignor.js';
import type { GroupLink, HeartbeatAnswer, JoinAnswer, JoinRequest } from '../group/group-link.js';

/** A session is looked at this many times per timeout; a stalled event loop stalls the looking as well. */
const LOOKS_PER_SESSION = 4;

interface Member {
  readonly memberId: string;
  request: JoinRequest;
  assignment: readonly TopicPartition[];
  /** The generation of the assignment; −1 if there was none. */
  generation: number;
  /** Looks since the last heartbeat. */
  missed: number;
  /** Answers the join that waits for the rebalance to complete. */
  joined: ((answer: JoinAnswer) => void) | undefined;
  look: Timer | undefined;
}

/** For operators and tests. */
export interface GroupDescription {
  readonly group: string;
  readonly state: 'empty' | 'preparing' | 'stable';
  readonly generation: number;
  readonly members: readonly {
    readonly memberId: string;
    readonly clientId: string;
    readonly assignment: readonly TopicPartition[];
  }[];
}

export class GroupCoordinator implements GroupLink {
  readonly group: string;
  readonly #clock: Clock;
  readonly #partitionsOf: (topic: string) => number;
  readonly #members = new Map<string, Member>();
  #state: 'empty' | 'preparing' | 'stable' = 'empty';
  #generation = 0;
  #memberNumber = 0;
  #deadline = 0;
  #barrier: Timer | undefined;
  #closed = false;

  constructor(group: string, clock: Clock, partitionsOf: (topic: string) => number) {
    this.group = group;
    this.#clock = clock;
    this.#partitionsOf = partitionsOf;
  }

  describe(): GroupDescription {
    const members = [...this.#members.values()].map(({ memberId, request, assignment }) => ({
      memberId,
      clientId: request.clientId,
      assignment,
    }));
    return { group: this.group, state: this.#state, generation: this.#generation, members };
  }

  newMemberId(clientId: string): string {
    return `${clientId}-${this.group}-${++this.#memberNumber}`;
  }

  async join(request: JoinRequest): Promise<JoinAnswer> {
    if (this.#closed) return { kind: 'closed' };
    const known = this.#members.get(request.memberId);
    if (request.known && known === undefined) return { kind: 'unknownMember' };
    const member = known ?? this.#admit(request);
    member.request = request;
    member.missed = 0;
    const answer = new Promise<JoinAnswer>((resolve) => {
      member.joined = resolve;
    });
    if (this.#state === 'preparing') this.#completeIfAllJoined();
    else this.#prepare();
    return answer;
  }

  heartbeat(memberId: string, generation: number): HeartbeatAnswer {
    const member = this.#members.get(memberId);
    if (member === undefined) return 'unknownMember';
    member.missed = 0;
    return this.#state === 'preparing' || generation !== this.#generation ? 'rebalance' : 'ok';
  }

  revokeDeadline(): number {
    return this.#deadline;
  }

  leave(memberId: string): void {
    this.#remove(memberId);
  }

  owns(memberId: string, generation: number, { topic, partition }: TopicPartition): OwnershipAnswer {
    const member = this.#members.get(memberId);
    if (member === undefined) return 'no';
    // Between its join and the new assignment nobody can say whose the partition will be.
    if (member.joined !== undefined) return 'unknown';
    if (generation !== this.#generation) return 'no';
    return member.assignment.some((own) => own.topic === topic && own.partition === partition) ? 'yes' : 'no';
  }

  ownerOf({ topic, partition }: TopicPartition): string | undefined {
    for (const member of this.#members.values())
      if (member.assignment.some((own) => own.topic === topic && own.partition === partition))
        return member.request.advertise;
    return undefined;
  }

  /** Partitions were added to a topic, or it was deleted: its subscribers get a new assignment. */
  topicChanged(topic: string): void {
    if (this.#state === 'stable' && [...this.#members.values()].some((m) => m.request.topics.includes(topic)))
      this.#prepare();
  }

  close(): void {
    this.#closed = true;
    this.#barrier?.cancel();
    for (const member of this.#members.values()) {
      member.look?.cancel();
      member.joined?.({ kind: 'closed' });
    }
    this.#members.clear();
    this.#state = 'empty';
  }

  #admit(request: JoinRequest): Member {
    const { memberId } = request;
    const member: Member = {
      memberId,
      request,
      assignment: [],
      generation: -1,
      missed: 0,
      joined: undefined,
      look: undefined,
    };
    this.#members.set(memberId, member);
    this.#watch(member);
    return member;
  }

  #watch(member: Member): void {
    const every = member.request.sessionTimeoutMs / LOOKS_PER_SESSION;
    member.look = this.#clock.setTimer(
      every,
      () => {
        // A member that waits for the others' joins has nothing to say.
        if (member.joined === undefined && ++member.missed > LOOKS_PER_SESSION) this.#remove(member.memberId);
        else this.#watch(member);
      },
      { ref: false },
    );
  }

  #prepare(): void {
    this.#state = 'preparing';
    const timeouts = [...this.#members.values()].map((member) => member.request.rebalanceTimeoutMs);
    const timeout = Math.max(...timeouts);
    this.#deadline = this.#clock.now() + timeout;
    this.#barrier?.cancel();
    this.#barrier = this.#clock.setTimer(timeout, () => {
      for (const member of [...this.#members.values()]) if (member.joined === undefined) this.#drop(member);
      this.#completeIfAllJoined();
    });
    for (const member of this.#members.values()) if (member.joined === undefined) member.request.nudge();
    this.#completeIfAllJoined();
  }

  #completeIfAllJoined(): void {
    const members = [...this.#members.values()];
    if (members.some((member) => member.joined === undefined)) return;
    this.#barrier?.cancel();
    this.#barrier = undefined;
    this.#state = members.length === 0 ? 'empty' : 'stable';
    this.#generation++;
    const shares = assign(
      members[0]?.request.strategy ?? 'sticky',
      members.map(({ memberId, request, assignment, generation }) => ({
        memberId,
        topics: request.topics,
        streams: request.streams ?? {},
        owned: assignment,
        generation,
      })),
      this.#partitionsOf,
    );
    for (const member of members) {
      member.assignment = shares.get(member.memberId) ?? [];
      member.generation = this.#generation;
      member.missed = 0;
      const { memberId, assignment, generation, joined } = member;
      member.joined = undefined;
      joined?.({ kind: 'joined', memberId, generation, assignment });
    }
  }

  #remove(memberId: string): void {
    const member = this.#members.get(memberId);
    if (member === undefined) return;
    this.#drop(member);
    if (this.#state === 'preparing' || this.#members.size === 0) this.#completeIfAllJoined();
    else this.#prepare();
  }

  #drop(member: Member): void {
    this.#members.delete(member.memberId);
    member.look?.cancel();
    member.joined?.({ kind: 'unknownMember' });
    member.request.nudge();
  }
}
