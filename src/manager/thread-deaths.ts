/**
 * What the partitions of one thread have to do with each other: they die together, so that it must be found out whose death
 * it was; and while several of them are suspected, they are let near their suspect records one after the other, so that the
 * next death tells. Owns who is at which place. The decisions are `suspects.ts`.
 */
import type { Clock, Timer } from '../core/clock.js';
import type { ActorSpec } from '../threads/protocol.js';
import { accused, callUnderWay } from './suspects.js';

/** Another partition at the same place. */
export interface Neighbour {
  /** Commits what it has processed; nothing while it does not serve. */
  checkpoint(): Promise<void>;
}

interface Turn {
  readonly holder: object;
  readonly waiting: (() => void)[];
  readonly timer: Timer;
}

export class ThreadDeaths {
  readonly #clock: Clock;
  readonly #turnMaxMs: number;
  readonly #at = new Map<number, Map<ActorSpec, Neighbour>>();
  /** By the error that all actors of a dead thread are told. */
  readonly #accused = new WeakMap<object, ReadonlySet<ActorSpec>>();
  readonly #turns = new Map<number, Turn>();

  /** @param turnMaxMs a turn ends by itself after so long: the suspect record may not come at all */
  constructor(clock: Clock, turnMaxMs: number) {
    this.#clock = clock;
    this.#turnMaxMs = turnMaxMs;
  }

  enter(place: number, spec: ActorSpec, neighbour: Neighbour): void {
    const there = this.#at.get(place);
    if (there === undefined) this.#at.set(place, new Map([[spec, neighbour]]));
    else there.set(spec, neighbour);
  }

  leave(place: number, spec: ActorSpec): void {
    this.#at.get(place)?.delete(spec);
  }

  /** Whether the death counts against this actor. Asked by each of them before it leaves; the first one's look counts for all. */
  isAccused(place: number, spec: ActorSpec, death: object): boolean {
    let found = this.#accused.get(death);
    if (found === undefined) {
      const there = [...(this.#at.get(place)?.keys() ?? [])];
      found = accused(new Map(there.map((each) => [each, callUnderWay(each)])));
      this.#accused.set(death, found);
    }
    return found.has(spec);
  }

  /** Resolves when no other suspect of the place has its turn; `signal` ends the waiting. */
  async turn(place: number, holder: object, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const turn = this.#turns.get(place);
      if (turn === undefined || turn.holder === holder) break;
      await new Promise<void>((resolve) => {
        turn.waiting.push(resolve);
        signal.addEventListener(
          'abort',
          () => {
            resolve();
          },
          { once: true },
        );
      });
    }
    if (signal.aborted || this.#turns.has(place)) return;
    const timer = this.#clock.setTimer(
      this.#turnMaxMs,
      () => {
        this.endTurn(place, holder);
      },
      { ref: false },
    );
    this.#turns.set(place, { holder, waiting: [], timer });
  }

  /**
   * Lets the others of the place process for a while and commit, before one goes on that may kill the thread under them:
   * so they get on between its deaths, however often it dies. Resolves at once if it is alone.
   */
  async neighboursFirst(place: number, spec: ActorSpec, whileMs: number, signal: AbortSignal): Promise<void> {
    const others = [...(this.#at.get(place) ?? [])].filter(([other]) => other !== spec);
    if (others.length === 0) return;
    await this.#clock.sleep(whileMs, signal);
    const commits = Promise.allSettled(others.map(([, neighbour]) => neighbour.checkpoint()));
    const late = new AbortController();
    const enough = this.#clock.sleep(this.#turnMaxMs, AbortSignal.any([signal, late.signal]));
    // It is either of no interest any more or the end of the waiting.
    enough.catch(() => undefined);
    await Promise.race([commits, enough]);
    late.abort();
  }

  /** Idempotent. */
  endTurn(place: number, holder: object): void {
    const turn = this.#turns.get(place);
    if (turn?.holder !== holder) return;
    this.#turns.delete(place);
    turn.timer.cancel();
    for (const wake of turn.waiting) wake();
  }
}
