/**
 * Which actor should leave a busy thread for an idle one: a pure decision over what each thread and each actor did in the
 * last interval. Damped: the gain must be clear, it must be so several times in a row, and who has moved stays for a
 * while. It moves nothing itself; `movement.ts` does.
 */
import { partitionKey } from './stream-plan.js';

export interface ThreadLoad {
  readonly place: number;
  /** Share of the interval in which its event loop was busy, 0 to 1. */
  readonly utilisation: number;
}

export interface ActorLoad {
  readonly stream: string;
  readonly partition: number;
  readonly place: number;
  /** Bytes of chunks that it has processed in the interval. */
  readonly doneBytes: number;
  /** Bytes of chunks that wait at it. */
  readonly waitingBytes: number;
}

export interface Loads {
  readonly threads: readonly ThreadLoad[];
  readonly actors: readonly ActorLoad[];
}

export interface BalanceMove {
  readonly stream: string;
  readonly partition: number;
  readonly from: number;
  readonly to: number;
}

/** A thread below it is not worth relieving. */
const BUSY_MIN = 0.7;
/** What the difference between two threads must exceed, and what a move must take off it. */
const GAP_MIN = 0.3;
const GAIN_MIN = 0.1;
/** Intervals in a row that must say so before an actor moves. */
const ROUNDS_MIN = 3;
/** Intervals for which an actor that has moved stays where it is. */
const COOL_DOWN_ROUNDS = 20;

/**
 * The one actor whose move makes the busiest thread and the idlest one most alike, if that is clearly better than now: an
 * actor's part of its thread's load is its part of the bytes that were processed or wait there.
 */
export function decideMove(loads: Loads, mayMove: (actor: ActorLoad) => boolean): BalanceMove | undefined {
  const sorted = [...loads.threads].sort((a, b) => a.utilisation - b.utilisation || a.place - b.place);
  const idle = sorted[0];
  const busy = sorted.at(-1);
  if (idle === undefined || busy === undefined) return undefined;
  const gap = busy.utilisation - idle.utilisation;
  if (busy.utilisation < BUSY_MIN || gap < GAP_MIN) return undefined;
  const there = loads.actors.filter(({ place }) => place === busy.place);
  const total = there.reduce((sum, actor) => sum + weight(actor), 0);
  if (total === 0) return undefined;
  let best: { readonly actor: ActorLoad; readonly gap: number } | undefined;
  for (const actor of there) {
    if (!mayMove(actor)) continue;
    const share = (weight(actor) / total) * busy.utilisation;
    const after = Math.abs(gap - 2 * share);
    if (best === undefined || after < best.gap) best = { actor, gap: after };
  }
  if (best === undefined || gap - best.gap < GAIN_MIN) return undefined;
  const { stream, partition } = best.actor;
  return { stream, partition, from: busy.place, to: idle.place };
}

function weight({ doneBytes, waitingBytes }: ActorLoad): number {
  return doneBytes + waitingBytes;
}

/** The decision over time: at most one move per `next`. */
export class Balancer {
  readonly #movedAt = new Map<string, number>();
  #round = 0;
  #busiest: number | undefined;
  #rounds = 0;

  /** What to move now, after one more interval. */
  next(loads: Loads): BalanceMove | undefined {
    this.#round++;
    for (const [actor, round] of this.#movedAt)
      if (this.#round - round >= COOL_DOWN_ROUNDS) this.#movedAt.delete(actor);
    const move = decideMove(
      loads,
      (actor) => !this.#movedAt.has(partitionKey(actor.stream, actor.partition)),
    );
    this.#rounds = move !== undefined && move.from === this.#busiest ? this.#rounds + 1 : 1;
    this.#busiest = move?.from;
    if (move === undefined || this.#rounds < ROUNDS_MIN) return undefined;
    this.#movedAt.set(partitionKey(move.stream, move.partition), this.#round);
    this.#rounds = 0;
    return move;
  }
}
