/**
 * What keepers report of their partitions, as events, log lines and what the manager has to know. It decides only one thing, by
 * `onPartitionFailed`: what a failed partition is to the others. The keepers are owned by `assignment.ts`.
 */
import { PartitaError } from '../core/errors.js';
import type { Emitter } from '../core/emitter.js';
import type { Logger } from '../core/logger.js';
import type { ActorEvent, RecoveredActor, ResumedActor } from '../threads/protocol.js';
import type { CacheBudget } from './cache-budget.js';
import type { ManagerEvents } from './events.js';
import type { KeeperListener } from './keeper-environment.js';
import type { ResolvedOptions } from './options.js';
import type { PartitionKeeper } from './partition-keeper.js';

/** What of it concerns the manager as a whole. */
export interface KeeperReportsListener {
  /** A keeper's state has changed. */
  onChange(): void;
  onFatal(error: unknown): void;
  /** Because of a partition that can't go on all are to be given back. */
  onLeave(error: PartitaError): void;
}

export interface KeeperReportsOptions extends Pick<ResolvedOptions, 'onPartitionFailed'> {
  readonly logger: Logger;
  readonly emitter: Emitter<ManagerEvents>;
  readonly cache: CacheBudget;
  readonly manager: KeeperReportsListener;
  /** The partition is somebody else's. */
  onLost(keeper: PartitionKeeper): void;
  /** The partition stays down, and the manager goes on for now. */
  onDown(keeper: PartitionKeeper): void;
}

export class KeeperReports implements KeeperListener {
  readonly #options: KeeperReportsOptions;

  constructor(options: KeeperReportsOptions) {
    this.#options = options;
  }

  onChange(keeper: PartitionKeeper): void {
    if (keeper.state === 'lost') this.#options.onLost(keeper);
    this.#options.manager.onChange();
  }

  onEvent(keeper: PartitionKeeper, event: ActorEvent): void {
    const { emitter, logger } = this.#options;
    const where = at(keeper);
    switch (event.type) {
      case 'recovery':
        emitter.emit('recovering', {
          ...where,
          records: event.records,
          rate: event.rate,
          remaining: event.remaining,
        });
        return;
      case 'checkpoint': {
        const { number, records, bytes, durationMs, reason } = event;
        emitter.emit('checkpoint', { ...where, number, records, bytes, durationMs, reason });
        return;
      }
      case 'warning':
        logger.warn({ ...where, ...event.details }, event.message);
        emitter.emit('warning', { message: event.message, details: { ...where, ...event.details } });
        return;
      case 'skipped':
        emitter.emit('skipped', {
          ...where,
          topic: event.topic,
          offset: event.offset,
          error: event.error,
        });
        return;
      case 'failed':
        // The keeper acts on it and reports what it does.
        return;
    }
  }

  onRecovered(keeper: PartitionKeeper, recovered: RecoveredActor): void {
    const { restoredRecords, restoredBytes, rebuilt, durationMs } = recovered;
    const place = keeper.place ?? -1;
    this.#options.emitter.emit('recovered', {
      ...at(keeper),
      restoredRecords,
      restoredBytes,
      rebuilt,
      durationMs,
      place,
    });
    this.#options.cache.refresh(keeper);
  }

  onParked(keeper: PartitionKeeper): void {
    this.#options.emitter.emit('parked', at(keeper));
  }

  onResumed(keeper: PartitionKeeper, resumed: ResumedActor, parkedMs: number): void {
    const { cache, emitter } = this.#options;
    if (resumed.how === 'recovered') this.onRecovered(keeper, resumed);
    else cache.refresh(keeper);
    emitter.emit('resumed', { ...at(keeper), how: resumed.how, parkedMs });
  }

  onRestart(keeper: PartitionKeeper, error: unknown, delayMs: number): void {
    const { emitter, logger } = this.#options;
    logger.warn({ err: error, ...at(keeper), delayMs }, 'An actor ended and is restarted.');
    emitter.emit('restarting', { ...at(keeper), error, delayMs });
  }

  /** A partition can't go on: what becomes of the others is the option's decision. */
  onFailed(keeper: PartitionKeeper): void {
    const { emitter, logger, manager, onPartitionFailed } = this.#options;
    const error = failedError(keeper);
    logger.error({ err: error, ...at(keeper), then: onPartitionFailed }, 'A partition has failed.');
    emitter.emit('partitionFailed', { ...at(keeper), error });
    if (onPartitionFailed === 'failManager') {
      manager.onFatal(error);
      return;
    }
    this.#options.onDown(keeper);
    if (onPartitionFailed === 'leaveGroup') manager.onLeave(error);
  }
}

/** What callers are told, each by an error of his own, and the manager. */
export function failedError(keeper: PartitionKeeper): PartitaError {
  const { stream, partition } = at(keeper);
  return new PartitaError('ACTOR_FAILED', `The partition ${stream}-${partition} can't go on.`, {
    cause: keeper.failure,
    details: { stream, partition },
  });
}

function at(keeper: PartitionKeeper): { readonly stream: string; readonly partition: number } {
  return { stream: keeper.plan.stream, partition: keeper.partition };
}
