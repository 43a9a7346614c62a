/**
 * The checkpoints of one actor, one after the other: whether one is to be taken now, the freeze of everything that goes into
 * it, and who hears of its end. It never retries: a checkpoint that fails ends the actor. How one is carried out is
 * `checkpoint.ts`; when one is due, `checkpoint-schedule.ts`.
 */
import { isPartitaError, type PartitaError } from '../core/errors.js';
import type { Lifecycle } from '../core/lifecycle.js';
import type { ActorState } from '../core/lifecycles.js';
import type { ActorSpec, ActorUplink, CheckpointReason } from '../threads/protocol.js';
import type { CallQueue, CommandOutcome } from './call-queue.js';
import { positionsOf, type CheckpointSchedule } from './checkpoint-schedule.js';
import { EarlyOutputs } from './early-outputs.js';
import type { Equipment } from './equipment.js';
import type { WakeUp } from './wake-up.js';

export interface CoordinatorOptions {
  readonly spec: ActorSpec;
  readonly uplink: ActorUplink;
  /** Of the actor. */
  readonly lifecycle: Lifecycle<ActorState>;
  readonly equipment: Equipment;
  readonly schedule: CheckpointSchedule;
  readonly calls: CallQueue;
  readonly wakeUp: WakeUp;
  /** Ends the actor; resolves when it has given everything back. */
  readonly onFailed: (error: unknown) => Promise<void>;
  /** What the caller gets whose call ends with the actor. */
  readonly restarted: (outcome: CommandOutcome) => PartitaError;
}

export class CheckpointCoordinator {
  readonly early: EarlyOutputs;
  readonly #options: CoordinatorOptions;
  #flushed: Promise<void> | undefined;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.early = new EarlyOutputs(options.uplink, (error) => void options.onFailed(error));
  }

  /** Settles with the flush of the checkpoint under way, if there is one; never rejects. */
  get flushed(): Promise<void> | undefined {
    return this.#flushed;
  }

  /** Whether a layer is frozen and not yet flushed. */
  get underWay(): boolean {
    return this.#options.equipment.checkpoint.underWay;
  }

  /** Nothing was processed since the last checkpoint, and that one is flushed. */
  get isClean(): boolean {
    const { schedule } = this.#options;
    return schedule.records === 0 && schedule.at === Infinity && !this.underWay && !this.positionsMoved;
  }

  /** Whether the inputs stand elsewhere than at the last freeze. */
  get positionsMoved(): boolean {
    const { schedule, equipment } = this.#options;
    return schedule.moved(equipment.lanes);
  }

  /** A layer or the waiting outputs have reached their bound: nothing more is taken until the next freeze. */
  get isFull(): boolean {
    const { spec, equipment } = this.#options;
    const max = spec.options.checkpointBytesMax;
    const { outputs, commandOutputs } = equipment.processor;
    return (equipment.state?.dirtyBytes ?? 0) >= max || outputs.bytes >= max || commandOutputs.bytes >= max;
  }

  /** Between two records; waits where the next freeze must wait. */
  async startIfDue(): Promise<void> {
    const { schedule, calls, lifecycle, equipment } = this.#options;
    const reason = schedule.due({
      full: this.isFull,
      commands: calls.uncommitted > 0,
      moved: this.positionsMoved,
    });
    if (reason === undefined) return;
    if (this.underWay) {
      if (!this.isFull) return;
      await this.#flushed;
      if (!lifecycle.is('running')) return;
    }
    schedule.asked = undefined;
    if (this.isClean && reason !== 'idle') {
      calls.committed();
      return;
    }
    const settling = equipment.state?.settle();
    if (settling !== undefined) {
      await settling;
      // Who ends it meanwhile takes its last checkpoint himself.
      if (!lifecycle.is('running')) return;
    }
    void this.start(reason);
  }

  /** Commits and flushes everything up to here. Whether the actor goes on. */
  async commitAll(reason: CheckpointReason): Promise<boolean> {
    const { lifecycle, equipment } = this.#options;
    await this.#flushed;
    await equipment.state?.settle();
    if (lifecycle.is('running') && !this.isClean) await this.start(reason);
    return lifecycle.is('running');
  }

  /**
   * Freezes now; the promise settles with the flush and never rejects: a failure ends the actor.
   * @param reset whether everything that stands in the changelog before it is given up
   */
  start(reason: CheckpointReason, reset = false): Promise<void> {
    const { schedule, calls, equipment } = this.#options;
    const { eventClock, processor, checkpoint, lanes } = equipment;
    this.sendOutputs();
    const positions = positionsOf(lanes);
    const commands = calls.takeUncommitted();
    const contents = {
      reason,
      positions,
      eventClock: eventClock.ms,
      outputs: processor.commandOutputs.take(),
      commands: commands.map(({ call, result }) => ({ seq: call.seq, result })),
      records: schedule.records,
      outputsSent: this.early.sent,
      reset,
    };
    schedule.frozen(positions);
    const run = checkpoint.run(contents, () => {
      for (const command of commands) command.resolve(command.result);
    });
    // Who asked before this freeze has what was asked for with its flush, also while newer records come in.
    const waiters = calls.takeCommitWaiters();
    const done = run.then(
      () => {
        for (const waiter of waiters) waiter.resolve(undefined);
        this.#ended();
      },
      (error: unknown) => {
        const { onFailed, restarted } = this.#options;
        const outcome = isPartitaError(error, 'COMMIT_IN_DOUBT') ? 'unknown' : 'notApplied';
        for (const waiting of [...commands, ...waiters]) waiting.reject(restarted(outcome));
        return onFailed(error);
      },
    );
    this.#flushed = done;
    return done;
  }

  /** At-least-once: what records emitted leaves now; the next checkpoint awaits the answer. */
  sendOutputs(): void {
    const { outputs, commandOutputs } = this.#options.equipment.processor;
    if (outputs !== commandOutputs) this.early.send(outputs);
  }

  #ended(): void {
    const { schedule, calls, wakeUp } = this.#options;
    schedule.done++;
    this.#flushed = undefined;
    if (this.isClean) calls.committed();
    else if (calls.someoneWaitsForCommit) schedule.asked = 'asked';
    wakeUp.ring();
  }
}
