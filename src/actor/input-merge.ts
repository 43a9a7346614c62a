/**
 * Which of several co-partitioned inputs goes next (semantics.md 8.6): the head with the smallest timestamp, ties by
 * topic name; a topic with nothing buffered holds the others back until it is known to be at its end, or until
 * `maxTopicWaitMs` are over, which is told. It takes nothing from the lanes; `processing-loop.ts` does.
 */
import type { Clock } from '../core/clock.js';
import type { ActorSpec, ActorUplink } from '../threads/protocol.js';
import type { InputLane } from './input-lane.js';
import type { WakeUp } from './wake-up.js';

/** `held`: a head is there, but `by` may still bring an earlier record. */
export type MergeChoice =
  | { readonly kind: 'take'; readonly lane: InputLane }
  | { readonly kind: 'held'; readonly by: InputLane }
  | { readonly kind: 'none' };

const NONE: MergeChoice = { kind: 'none' };

/** Lanes must be sorted by topic name. */
export function chooseLane(lanes: readonly InputLane[], waitedEnough: boolean): MergeChoice {
  let best: InputLane | undefined;
  for (const lane of lanes)
    if (lane.hasHead && (best === undefined || lane.reader.timestamp < best.reader.timestamp)) best = lane;
  if (best === undefined) return NONE;
  if (!waitedEnough)
    for (const lane of lanes)
      if (!lane.hasHead && lane.endAsOf < best.headFetch) return { kind: 'held', by: lane };
  return { kind: 'take', lane: best };
}

export interface InputMergeOptions {
  readonly spec: ActorSpec;
  readonly clock: Clock;
  readonly uplink: ActorUplink;
  /** Rings when the wait is over. */
  readonly wakeUp: WakeUp;
}

/** The choice over time. */
export class InputMerge {
  readonly #lanes: readonly InputLane[];
  readonly #options: InputMergeOptions;
  /** Since when a head has been held back, on the monotonic clock. */
  #heldSince: number | undefined;

  /** @param lanes sorted by topic name */
  constructor(lanes: readonly InputLane[], options: InputMergeOptions) {
    this.#lanes = lanes;
    this.#options = options;
  }

  /** Nothing has been held back yet. */
  restart(): void {
    this.#heldSince = undefined;
  }

  /** The lane to take from; `undefined` while one must be waited for. */
  next(): InputLane | undefined {
    const { clock, spec, wakeUp } = this.#options;
    const { maxTopicWaitMs } = spec.options;
    const waited =
      maxTopicWaitMs !== undefined &&
      this.#heldSince !== undefined &&
      clock.monotonic() - this.#heldSince >= maxTopicWaitMs;
    const choice = chooseLane(this.#lanes, waited);
    if (choice.kind === 'take') {
      if (waited) this.#tellWaited(maxTopicWaitMs);
      this.#heldSince = undefined;
      return choice.lane;
    }
    if (choice.kind === 'held' && maxTopicWaitMs !== undefined) {
      this.#heldSince ??= clock.monotonic();
      wakeUp.ringAt(this.#heldSince + maxTopicWaitMs);
    }
    return undefined;
  }

  #tellWaited(maxTopicWaitMs: number): void {
    const { stream, partition } = this.#options.spec.id;
    this.#options.uplink.event({
      type: 'warning',
      message: `${stream}-${String(partition)} went on after waiting ${String(maxTopicWaitMs)} ms for another input; its result may depend on timing.`,
      details: { stream, partition },
    });
  }
}
