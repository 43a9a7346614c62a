/**
 * One parking: where in the life of the group it began, how long it has lasted, and the two things that end it from
 * outside of the manager, time and a note beside the directory. It closes nothing; `partition-keeper.ts` does.
 */
import { rm, stat } from 'node:fs/promises';
import type { Clock, Timer } from '../core/clock.js';
import { wantedNote } from '../core/names.js';

/** A member of the group, in one generation of it. */
export interface Membership {
  readonly memberId: string;
  readonly generation: number;
}

/**
 * Whether `now` follows upon `before` with no generation in between: then nobody else can have been assigned what the
 * member had in both.
 */
export function isNext(before: Membership, now: Membership): boolean {
  return now.memberId === before.memberId && now.generation === before.generation + 1;
}

/** How often the note of another process is looked for. */
const LOOK_EVERY_MS = 250;

export class Parking {
  /** In which the partition was last ours. */
  readonly membership: Membership;
  readonly #clock: Clock;
  readonly #since: number;
  readonly #timers = new Set<Timer>();
  #ended = false;

  /** Begins with the barrier that takes the partition away. */
  constructor(clock: Clock, membership: Membership) {
    this.#clock = clock;
    this.membership = membership;
    this.#since = clock.monotonic();
  }

  get durationMs(): number {
    return this.#clock.monotonic() - this.#since;
  }

  /** Calls `onOver` at most once, unless it is ended before. `directory`: whose note is looked for, if it has files. */
  watch(options: {
    readonly parkMs: number;
    readonly directory: string | undefined;
    readonly onOver: (why: string) => void;
  }): void {
    const { parkMs, directory } = options;
    const over = (why: string): void => {
      if (this.#ended) return;
      this.end();
      options.onOver(why);
    };
    this.#after(parkMs, () => {
      over('its time is over');
    });
    if (directory === undefined) return;
    const look = (): void => {
      this.#after(LOOK_EVERY_MS, () => {
        takeNote(directory).then((wanted) => {
          if (wanted) over('another process waits for its directory');
          else look();
        }, look);
      });
    };
    look();
  }

  /** Idempotent. */
  end(): void {
    this.#ended = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  #after(ms: number, fn: () => void): void {
    if (this.#ended) return;
    const timer = this.#clock.setTimer(
      ms,
      () => {
        this.#timers.delete(timer);
        fn();
      },
      { ref: false },
    );
    this.#timers.add(timer);
  }
}

/**
 * Whether a note was there. It is taken away: one that a killed process left behind costs one parking, not all of them,
 * and who still waits writes it anew.
 */
async function takeNote(directory: string): Promise<boolean> {
  const note = wantedNote(directory);
  try {
    await stat(note);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  await rm(note, { force: true });
  return true;
}
