/**
 * What a manager knows of itself at a moment: its partitions, each with the figures of its actor, its threads, and what is under
 * way to actors. It asks and counts; it keeps nothing. How things developed is told by `events.ts`.
 */
import type { ManagerState } from '../core/lifecycles.js';
import type { ActorPlaces } from '../threads/actor-places.js';
import type { ActorStats } from '../threads/protocol.js';
import type { GroupAssignment } from './assignment.js';
import type { PartitionRouter } from './partition-router.js';

export interface PartitionStats {
  readonly stream: string;
  readonly partition: number;
  readonly state: string;
  readonly place: number | undefined;
  readonly epoch: number | undefined;
  /** Why it can't go on, if it has failed. */
  readonly failure: unknown;
  /** `undefined` while it does not serve. */
  readonly actor: ActorStats | undefined;
}

export interface ManagerStats {
  readonly state: ManagerState;
  readonly partitions: readonly PartitionStats[];
  readonly threads: readonly { readonly place: number; readonly state: string; readonly actors: number }[];
  /** Bytes of chunks that are with actors. */
  readonly outstandingBytes: number;
}

export async function managerStats(
  state: ManagerState,
  parts: {
    readonly assignment: GroupAssignment;
    readonly places: ActorPlaces;
    readonly router: PartitionRouter;
  },
): Promise<ManagerStats> {
  const { assignment, places, router } = parts;
  const partitions = await Promise.all(
    assignment.keepers().map(async (keeper) => ({
      stream: keeper.plan.stream,
      partition: keeper.partition,
      state: keeper.state,
      place: keeper.place,
      epoch: keeper.epoch,
      failure: keeper.failure,
      // One that ends in this very moment has no figures; that is no failure of the others.
      actor: await keeper.stats().catch(() => undefined),
    })),
  );
  return { state, partitions, threads: places.states(), outstandingBytes: router.outstandingBytes };
}
