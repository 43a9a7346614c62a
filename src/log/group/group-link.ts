/**
 * What a member asks of its group's coordinator, as the calls of Kafka's group protocol (join and sync in one). The
 * embedded log's `group-coordinator.ts` and Kafka's link answer them; `log-faults.ts` wraps them to answer late or never.
 * It never decides when to ask: that is `membership.ts`.
 */
import type { JoinOptions, OwnershipAnswer } from '../log-client.js';
import type { TopicPartition } from '../../core/log-types.js';

export interface JoinRequest extends JoinOptions {
  readonly memberId: string;
  /** Whether an earlier join of this id was answered; the group answers `unknownMember` if it has forgotten it. */
  readonly known: boolean;
  readonly clientId: string;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  /** What the member had in its last assignment, also after its barrier; empty once it was lost. */
  readonly owned: readonly TopicPartition[];
  /** The generation of that assignment; −1 if there was none, or it was lost. */
  readonly ownedGeneration: number;
  /** Hint that a heartbeat would bring news. */
  readonly nudge: () => void;
}

export type JoinAnswer =
  | {
      readonly kind: 'joined';
      /** The id by which the group knows the member: the one that it asked with, or one that the coordinator gave it. */
      readonly memberId: string;
      readonly generation: number;
      readonly assignment: readonly TopicPartition[];
    }
  /** Nothing has changed for the member, which joins once more at once; pauses between such answers are the link's. */
  | { readonly kind: 'again' }
  /** The group has forgotten the member: what it owned is lost, and it joins as a new one. */
  | { readonly kind: 'unknownMember' }
  /** There is no group any more. */
  | { readonly kind: 'closed' };

export type HeartbeatAnswer = 'ok' | 'rebalance' | 'unknownMember';

export interface GroupLink {
  /** The id of a member that has not joined yet; empty where the coordinator gives ids. */
  newMemberId(clientId: string): string;
  /**
   * Answers when the rebalance that it starts or takes part in is complete, and soon after a `leave` meanwhile. Rejects
   * with a retryable PartitaError if the group could not be asked: it is asked again. Any other error is fatal.
   */
  join(request: JoinRequest): Promise<JoinAnswer>;
  /**
   * Never called while a join is under way. The next one waits until it has settled, so that the link bounds its time;
   * a rejection with a PartitaError is no answer.
   */
  heartbeat(memberId: string, generation: number): HeartbeatAnswer | Promise<HeartbeatAnswer>;
  /** When the barrier of the rebalance under way ends, on the log's clock. */
  revokeDeadline(): number;
  /** May be called while a join is under way, then with the id that it was asked with, and again later. */
  leave(memberId: string): void | Promise<void>;
  /** Never called while a join is under way; an answer that comes after one has begun is dropped. */
  owns(
    memberId: string,
    generation: number,
    partition: TopicPartition,
  ): OwnershipAnswer | Promise<OwnershipAnswer>;
  ownerOf(partition: TopicPartition): string | undefined;
}
