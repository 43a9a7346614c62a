/** The manager's events: for information only, none is needed for correctness. Each has one object. */
import type { PartitaError } from '../core/errors.js';
import type { TopicPartition } from '../core/log-types.js';
import type { CheckpointReason, ResumedActor } from '../threads/protocol.js';
import type { HowMoved } from './relocation.js';

/** Where an event happened. */
export interface AtPartition {
  readonly stream: string;
  readonly partition: number;
}

/** `asked`: by `manager.move`; `scale`: by `manager.scale`; `balance`: by `rebalance: 'auto'`. */
export type MoveReason = 'asked' | 'scale' | 'balance';

export interface ManagerEvents {
  /** The group has assigned partitions to this manager: all it owns now. */
  readonly assigned: { readonly partitions: readonly TopicPartition[] };
  /** Revoked in order: `committed` tells whether everything processed was committed. */
  readonly revoked: { readonly partitions: readonly TopicPartition[]; readonly committed: boolean };
  /** Revoked, and everything is committed: the database stays open and the cache warm, in case the partition comes back. */
  readonly parked: AtPartition;
  /**
   * A parked partition came back and serves. `how`: `unchanged`, nobody was in between; `verified`, the log says that
   * nobody wrote; `recovered`, from the database on. `parkedMs`: from the beginning of the revocation until it served again.
   */
  readonly resumed: AtPartition & { readonly how: ResumedActor['how']; readonly parkedMs: number };
  /** Taken away without a barrier; what was not committed is dropped. */
  readonly lost: { readonly partitions: readonly TopicPartition[] };
  /** Progress of a recovery, at least every second: records so far, records per second, records to come. */
  readonly recovering: AtPartition & {
    readonly records: number;
    readonly rate: number;
    readonly remaining: number;
  };
  /** The partition serves. */
  readonly recovered: AtPartition & {
    readonly restoredRecords: number;
    readonly restoredBytes: number;
    /** Why the database was rebuilt from the log, if it was. */
    readonly rebuilt: string | undefined;
    readonly durationMs: number;
    readonly place: number;
  };
  readonly checkpoint: AtPartition & {
    readonly number: number;
    readonly records: number;
    readonly bytes: number;
    readonly durationMs: number;
    readonly reason: CheckpointReason;
  };
  /** A record was left out by its error policy. */
  readonly skipped: AtPartition & {
    readonly topic: string;
    readonly offset: number;
    readonly error: unknown;
  };
  /** An actor is at another thread: how and with what pause, see `manager.move`; `from` is `undefined` if it had been nowhere. */
  readonly moved: AtPartition & {
    readonly from: number | undefined;
    readonly to: number;
    readonly how: HowMoved;
    readonly pauseMs: number;
    readonly why: MoveReason;
  };
  readonly warning: { readonly message: string; readonly details: Readonly<Record<string, unknown>> };
  /** An actor ended and is opened again after `delayMs`. */
  readonly restarting: AtPartition & { readonly error: unknown; readonly delayMs: number };
  /**
   * The partition can't go on; by `onPartitionFailed` the manager fails with it, leaves it down until `reopen` or a rebalance,
   * or leaves the group.
   */
  readonly partitionFailed: AtPartition & { readonly error: PartitaError };
  /**
   * Because a partition failed, the manager has given back all of them and left the group; it takes no part any more. `committed`
   * is `false` if others process something again: a commit was not done within `revokeBudgetMs`, or an actor had just died with
   * what it had not committed.
   */
  readonly left: { readonly committed: boolean; readonly error: PartitaError };
  /** The manager can't go on; `ready` and every call reject, and it stops by itself. */
  readonly failed: { readonly error: unknown };
  /** `committed` tells whether everything processed by the partitions that it still had was committed. */
  readonly stopped: { readonly committed: boolean };
}
