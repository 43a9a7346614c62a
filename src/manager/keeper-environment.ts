/**
 * What the keepers of a manager share, and whom they tell: the surroundings of `partition-keeper.ts`. Types only.
 */
import type { Clock } from '../core/clock.js';
import type { Logger } from '../core/logger.js';
import type { GroupSession, LogClient, OutputProducer } from '../log/log-client.js';
import type { ActorPlaces } from '../threads/actor-places.js';
import type { ActorEvent, RecoveredActor, ResumedActor } from '../threads/protocol.js';
import type { ResolvedOptions } from './options.js';
import type { PartitionKeeper } from './partition-keeper.js';
import type { PartitionRouter } from './partition-router.js';
import type { PlaceTable } from './placement.js';
import type { RecoveryScheduler } from './recovery-scheduler.js';
import type { ThreadDeaths } from './thread-deaths.js';

export type KeeperState =
  | 'waiting'
  | 'opening'
  | 'opened'
  | 'recovering'
  | 'running'
  | 'moving'
  | 'parked'
  | 'restarting'
  | 'lost'
  | 'failed'
  | 'closing'
  | 'closed';

/** What all keepers of a manager share. */
export interface KeeperEnvironment {
  readonly options: ResolvedOptions;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly log: LogClient;
  readonly session: Promise<GroupSession>;
  readonly outputs: () => OutputProducer;
  readonly places: ActorPlaces;
  readonly placeTable: PlaceTable;
  readonly router: PartitionRouter;
  readonly scheduler: RecoveryScheduler;
  readonly deaths: ThreadDeaths;
  /** Aborted when a stop has no time left: what the log has not answered is waited for no longer. */
  readonly givesUp: AbortSignal;
  /** A number that has not been given before. */
  nextEpoch(): number;
  cacheBytes(): number;
}

export interface KeeperListener {
  /** A state has changed. */
  onChange(keeper: PartitionKeeper): void;
  onEvent(keeper: PartitionKeeper, event: ActorEvent): void;
  onRecovered(keeper: PartitionKeeper, recovered: RecoveredActor): void;
  onParked(keeper: PartitionKeeper): void;
  /** It serves again, `parkedMs` after the beginning of the barrier that took it away. */
  onResumed(keeper: PartitionKeeper, resumed: ResumedActor, parkedMs: number): void;
  onRestart(keeper: PartitionKeeper, error: unknown, delayMs: number): void;
  /** It can't go on: no restart would help, or there were too many. */
  onFailed(keeper: PartitionKeeper): void;
}
