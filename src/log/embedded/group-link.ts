/**
 * What a member asks of its group's coordinator, as the calls of Kafka's group protocol (join and sync in one).
 * `group-coordinator.ts` answers them; `log-faults.ts` wraps them to answer late or never.
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
  /** Hint that a heartbeat would bring news. */
  readonly nudge: () => void;
}

export type JoinAnswer =
  | {
      readonly kind: 'joined';
      readonly generation: number;
      readonly assignment: readonly TopicPartition[];
    }
  | { readonly kind: 'unknownMember' }
  | { readonly kind: 'closed' };

export type HeartbeatAnswer = 'ok' | 'rebalance' | 'unknownMember';

export interface GroupLink {
  newMemberId(clientId: string): string;
  /** Answers when the rebalance that it starts or takes part in is complete. */
  join(request: JoinRequest): Promise<JoinAnswer>;
  heartbeat(memberId: string, generation: number): HeartbeatAnswer | Promise<HeartbeatAnswer>;
  /** When the barrier of the rebalance under way ends, on the log's clock. */
  revokeDeadline(): number;
  leave(memberId: string): void | Promise<void>;
  owns(
    memberId: string,
    generation: number,
    partition: TopicPartition,
  ): OwnershipAnswer | Promise<OwnershipAnswer>;
  ownerOf(partition: TopicPartition): string | undefined;
}
