/**
 * A member's calls to its group's coordinator, in Kafka's classic protocol: JoinGroup and SyncGroup as one join,
 * heartbeats, leave. Whoever the coordinator makes leader assigns whole streams for all and copies the addresses into
 * every assignment. It owns one connection, since joining blocks it; when to call is `group/membership.ts`.
 */
import { PartitaError } from '../../core/errors.js';
import type { TopicPartition } from '../../core/log-types.js';
import { assign } from '../group/assignor.js';
import type { GroupLink, HeartbeatAnswer, JoinAnswer, JoinRequest } from '../group/group-link.js';
import type { OwnershipAnswer } from '../log-client.js';
import { keyOf } from '../by-topic.js';
import type { Cluster, Purpose } from './cluster.js';
import {
  isConnectionError,
  isCoordinatorError,
  isRetriable,
  kafkaType,
  toPartitaError,
} from './kafka-errors.js';
import type { BrokerConnection, Requests } from './kafkajs-internals.js';
import {
  assignorMember,
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
  type Addresses,
  type MemberSubscription,
} from './member-metadata.js';

/** Kafka's own consumers' type, so that its tools show the group; their assignment protocols are others. */
const PROTOCOL_TYPE = 'consumer';
const PROTOCOLS = { sticky: 'partita-sticky', range: 'partita-range' } as const;
/** How many heartbeats go out per session timeout; a rebalance is heard of by them. */
export const HEARTBEATS_PER_SESSION = 10;
/** What the answers in a barrier need to get through. */
const BARRIER_MARGIN_MS = 250;

type Joined = Awaited<ReturnType<Requests['joinGroup']>>;

let links = 0;

export class KafkaGroupLink implements GroupLink {
  readonly #cluster: Cluster;
  readonly #group: string;
  readonly #purpose: Purpose = `group/${++links}`;
  /** The id that the coordinator gave, also while a first join is not complete. */
  #memberId = '';
  #left = false;
  #revokeBudgetMs = 0;
  #addresses: Addresses = new Map();
  /** Partition counts that the assignment in force was made with, by the leader. */
  #counts: ReadonlyMap<string, number> | undefined;
  #countsCheckedAt = 0;
  #countsChanged = false;

  constructor(cluster: Cluster, group: string) {
    this.#cluster = cluster;
    this.#group = group;
  }

  /** One whose generation was missed is known to the group all the same, and would be waited for. */
  newMemberId(): string {
    return this.#memberId;
  }

  async join(request: JoinRequest): Promise<JoinAnswer> {
    this.#left = false;
    const beatMs = request.sessionTimeoutMs / HEARTBEATS_PER_SESSION;
    this.#revokeBudgetMs = Math.max(
      request.rebalanceTimeoutMs / 2,
      request.rebalanceTimeoutMs - beatMs - BARRIER_MARGIN_MS,
    );
    // A first join whose sync failed has an id that the group knows already.
    const memberId = request.memberId === '' ? this.#memberId : request.memberId;
    try {
      const connection = await this.#coordinator(this.#purpose);
      const joined = await this.#joinGroup(connection, request, memberId);
      this.#memberId = joined.memberId;
      const isLeader = joined.leaderId === joined.memberId;
      const groupAssignment = isLeader ? await this.#assign(joined) : [];
      if (!isLeader) this.#counts = undefined;
      const { memberAssignment } = await connection.requests.syncGroup({
        groupId: this.#group,
        generationId: joined.generationId,
        memberId: joined.memberId,
        groupAssignment,
      });
      const { partitions, addresses } = decodeAssignment(memberAssignment);
      this.#addresses = addresses;
      const { memberId: id, generationId: generation } = joined;
      return { kind: 'joined', memberId: id, generation, assignment: partitions };
    } catch (error) {
      return this.#joinFailed(error, memberId);
    }
  }

  async heartbeat(memberId: string, generation: number): Promise<HeartbeatAnswer> {
    this.#watchCounts();
    const answer = await this.#beat(memberId, generation);
    return answer === 'ok' && this.#countsChanged ? 'rebalance' : answer;
  }

  revokeDeadline(): number {
    return this.#cluster.clock.now() + this.#revokeBudgetMs;
  }

  /** Over another connection than the join under way blocks; that one is given up. */
  async leave(memberId: string): Promise<void> {
    this.#left = true;
    const id = memberId === '' ? this.#memberId : memberId;
    try {
      if (id !== '' && !this.#cluster.closed) {
        const connection = await this.#coordinator('control');
        await connection.requests.leaveGroup({ groupId: this.#group, memberId: id });
      }
    } catch (error) {
      if (kafkaType(error) === 'UNKNOWN_MEMBER_ID') return;
      throw this.#explain(error, 'Leaving the group');
    } finally {
      await this.#cluster.disconnect(this.#purpose);
    }
  }

  async owns(memberId: string, generation: number): Promise<OwnershipAnswer> {
    try {
      return (await this.#beat(memberId, generation)) === 'unknownMember' ? 'no' : 'yes';
    } catch (error) {
      this.#cluster.logger.debug({ err: error, group: this.#group }, 'The group did not say who owns it.');
      return 'unknown';
    }
  }

  ownerOf(partition: TopicPartition): string | undefined {
    return this.#addresses.get(keyOf(partition));
  }

  // ── joining ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #joinGroup(connection: BrokerConnection, request: JoinRequest, memberId: string): Promise<Joined> {
    const metadata = encodeSubscription({
      topics: request.topics,
      streams: request.streams ?? {},
      owned: request.owned,
      generation: request.ownedGeneration,
      address: request.advertise,
    });
    const first = request.strategy ?? 'sticky';
    // The coordinator takes the one that all members offer and most prefer.
    const strategies = first === 'sticky' ? (['sticky', 'range'] as const) : (['range', 'sticky'] as const);
    return connection.requests.joinGroup({
      groupId: this.#group,
      sessionTimeout: Math.ceil(request.sessionTimeoutMs),
      rebalanceTimeout: Math.ceil(request.rebalanceTimeoutMs),
      memberId,
      protocolType: PROTOCOL_TYPE,
      groupProtocols: strategies.map((strategy) => ({ name: PROTOCOLS[strategy], metadata })),
    });
  }

  #joinFailed(error: unknown, memberId: string): JoinAnswer {
    if (this.#left || this.#cluster.closed) return { kind: 'closed' };
    this.#learn(error);
    switch (kafkaType(error)) {
      case 'UNKNOWN_MEMBER_ID':
      case 'FENCED_INSTANCE_ID':
        this.#memberId = '';
        return memberId === '' ? { kind: 'again' } : { kind: 'unknownMember' };
      case 'ILLEGAL_GENERATION':
        return { kind: 'unknownMember' };
      case 'REBALANCE_IN_PROGRESS':
        return { kind: 'again' };
      default:
        throw this.#explain(error, 'Joining the group');
    }
  }

  async #assign(joined: Joined): Promise<{ memberId: string; memberAssignment: Buffer }[]> {
    const members = joined.members.map(({ memberId, memberMetadata }) => ({
      memberId,
      said: decodeSubscription(memberMetadata),
    }));
    const topics = [...new Set(members.flatMap(({ said }) => said.topics))].sort();
    const counts = await this.#partitionCounts(topics);
    this.#counts = counts;
    this.#countsChanged = false;
    this.#countsCheckedAt = this.#cluster.clock.monotonic();
    const assigned = assign(
      joined.groupProtocol === PROTOCOLS.range ? 'range' : 'sticky',
      members.map(({ memberId, said }) => assignorMember(memberId, said)),
      (topic) => counts.get(topic) ?? 0,
    );
    const addresses = addressesOf(members, assigned);
    return members.map(({ memberId }) => ({
      memberId,
      memberAssignment: encodeAssignment(assigned.get(memberId) ?? [], addresses),
    }));
  }

  async #partitionCounts(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const metadata = await this.#cluster.metadata(topics);
    return new Map(topics.map((topic, i) => [topic, metadata[i]?.partitions.length ?? 0]));
  }

  // ── heartbeats ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #beat(memberId: string, generation: number): Promise<HeartbeatAnswer> {
    try {
      const connection = await this.#coordinator(this.#purpose);
      await connection.requests.heartbeat({
        groupId: this.#group,
        groupGenerationId: generation,
        memberId,
      });
      return 'ok';
    } catch (error) {
      this.#learn(error);
      switch (kafkaType(error)) {
        case 'REBALANCE_IN_PROGRESS':
          return 'rebalance';
        case 'UNKNOWN_MEMBER_ID':
        case 'FENCED_INSTANCE_ID':
          if (this.#memberId === memberId) this.#memberId = '';
          return 'unknownMember';
        case 'ILLEGAL_GENERATION':
          return 'unknownMember';
        default:
          throw this.#explain(error, 'A heartbeat');
      }
    }
  }

  /** The leader looks from time to time whether topics have got more partitions, or come back, and asks for a rebalance. */
  #watchCounts(): void {
    const { clock, options, logger } = this.#cluster;
    const counts = this.#counts;
    if (counts === undefined || this.#countsChanged) return;
    if (clock.monotonic() - this.#countsCheckedAt < options.metadataMaxAgeMs) return;
    this.#countsCheckedAt = clock.monotonic();
    this.#partitionCounts([...counts.keys()]).then(
      (now) => {
        if (this.#counts !== counts) return;
        this.#countsChanged = [...now].some(([topic, count]) => counts.get(topic) !== count);
      },
      (error: unknown) => {
        logger.debug({ err: error, group: this.#group }, 'Partition counts could not be looked at.');
      },
    );
  }

  // ── the coordinator ────────────────────────────────────────────────────────────────────────────────────────────────

  #coordinator(purpose: Purpose): Promise<BrokerConnection> {
    return this.#cluster.coordinator('group', this.#group, purpose);
  }

  #learn(error: unknown): void {
    if (isCoordinatorError(error) || isConnectionError(error))
      this.#cluster.forgetCoordinator('group', this.#group);
  }

  /** What passes is retryable; the rest ends the membership. */
  #explain(error: unknown, what: string): PartitaError {
    const group = this.#group;
    if (kafkaType(error) === 'INCONSISTENT_GROUP_PROTOCOL')
      return new PartitaError(
        'GROUP_INVALID',
        `The group ${group} has members of another protocol than Partita's: use a group of its own.`,
        { cause: error, details: { group } },
      );
    if (isRetriable(error) && kafkaType(error) !== undefined)
      return new PartitaError('LOG_UNAVAILABLE', `${what} ${group} has to wait: ${kafkaType(error)}.`, {
        cause: error,
        details: { group },
      });
    return toPartitaError(error, `${what} ${group}`, { group });
  }
}

function addressesOf(
  members: readonly { readonly memberId: string; readonly said: MemberSubscription }[],
  assigned: ReadonlyMap<string, readonly TopicPartition[]>,
): Record<string, readonly TopicPartition[]> {
  const addresses: Record<string, TopicPartition[]> = {};
  for (const { memberId, said } of members)
    if (said.address !== undefined) (addresses[said.address] ??= []).push(...(assigned.get(memberId) ?? []));
  return addresses;
}
