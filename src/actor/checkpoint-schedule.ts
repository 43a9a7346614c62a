/**
 * When an actor's next checkpoint is due, and whether there is anything for it: what was processed since the last freeze,
 * who asked, how far the last commit was. It takes no checkpoint; the actor asks it and then freezes.
 */
import type { CheckpointRecord } from '../changelog/checkpoint-record.js';
import type { Clock } from '../core/clock.js';
import type { ActorSpec, CheckpointReason } from '../threads/protocol.js';
import type { InputLane } from './input-lane.js';

type Positions = CheckpointRecord['positions'];

export class CheckpointSchedule {
  /** Records processed since the last freeze. */
  records = 0;
  /** When the next one is due, on the monotonic clock; Infinity: nothing was processed since the last freeze. */
  at = Infinity;
  /** Somebody asked for one. */
  asked: CheckpointReason | undefined;
  /** Checkpoints that are done. */
  done = 0;
  readonly #spec: ActorSpec;
  readonly #clock: Clock;
  #committed: Positions = {};
  #lastCommitAt: number;

  constructor(spec: ActorSpec, clock: Clock) {
    this.#spec = spec;
    this.#clock = clock;
    this.#lastCommitAt = clock.monotonic();
  }

  /** Everything up to these positions is, or is being, committed. */
  frozen(positions: Positions): void {
    this.records = 0;
    this.at = Infinity;
    this.#committed = positions;
    this.#lastCommitAt = this.#clock.monotonic();
  }

  becomeDirty(): void {
    // Staggered over the actors, so that they do not all commit in the same moment.
    const stagger = this.done === 0 ? 0.5 + ((this.#spec.id.partition * 7) % 16) / 32 : 1;
    this.dueWithin(this.#spec.options.checkpointIntervalMs * stagger);
  }

  dueWithin(ms: number): void {
    this.at = Math.min(this.at, this.#clock.monotonic() + ms);
  }

  /** When positions that moved alone are to be committed, on the monotonic clock. */
  get idleAt(): number {
    return this.#lastCommitAt + this.#spec.options.idleCommitMs;
  }

  /** Why a checkpoint should be taken now. */
  due(now: {
    readonly full: boolean;
    readonly commands: boolean;
    readonly moved: boolean;
  }): CheckpointReason | undefined {
    if (this.asked !== undefined) return this.asked;
    if (this.records >= this.#spec.options.checkpointRecordsMax) return 'records';
    if (now.full) return 'bytes';
    const at = this.#clock.monotonic();
    if (at >= this.at) return now.commands ? 'command' : 'interval';
    if (now.moved && at >= this.idleAt) return 'idle';
    return undefined;
  }

  /** Whether the lanes stand elsewhere than at the last freeze. */
  moved(lanes: readonly InputLane[]): boolean {
    for (const { spec, position } of lanes) if (position !== this.#committed[spec.topic]?.offset) return true;
    return false;
  }
}

/** Where the lanes stand. */
export function positionsOf(lanes: readonly InputLane[]): Positions {
  return Object.fromEntries(
    lanes.map(({ spec: { topic, topicId }, position }) => [topic, { topicId, offset: position }]),
  );
}
