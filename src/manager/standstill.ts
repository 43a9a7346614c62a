/**
 * What a partition waits for while it has no incarnation: the time of its next one, somebody who reopens it after it has failed, or
 * the group's word that it is ours after all. Every wait ends when the keeper stops; what comes then is decided by
 * `partition-keeper.ts`.
 */
import type { Clock } from '../core/clock.js';
import type { TopicPartition } from '../core/log-types.js';
import type { GroupSession } from '../log/log-client.js';

/** How often a group is asked whether a partition that was given up is ours all the same. */
const LOST_ASK_MS = 1_000;

export class Standstill {
  readonly #clock: Clock;
  readonly #stopping: AbortSignal;
  #reopen: () => void = () => undefined;

  constructor(clock: Clock, stopping: AbortSignal) {
    this.#clock = clock;
    this.#stopping = stopping;
  }

  /** Resolves after that time, or when the keeper stops. */
  async sleep(ms: number): Promise<void> {
    try {
      await this.#clock.sleep(ms, this.#stopping);
    } catch (error) {
      // Stopped: who waits looks next.
      if (!this.#stopping.aborted) throw error;
    }
  }

  /** Resolves at the next `reopen`, or when the keeper stops. */
  untilReopened(): Promise<void> {
    return new Promise((resolve) => {
      this.#reopen = resolve;
      if (this.#stopping.aborted) resolve();
      else
        this.#stopping.addEventListener(
          'abort',
          () => {
            resolve();
          },
          { once: true },
        );
    });
  }

  reopen(): void {
    this.#reopen();
  }

  /**
   * A group that was only silent for a session may still count the partition as ours, and would assign it to nobody: so it is
   * asked for as long as that takes. `false` if the keeper stops before.
   */
  async untilOwned(group: GroupSession, input: TopicPartition): Promise<boolean> {
    const over = this.untilReopened();
    for (;;) {
      await this.sleep(LOST_ASK_MS);
      // An answer that doesn't come holds up no stop.
      const answer = await Promise.race([group.owns(input), over]);
      if (this.#stopping.aborted) return false;
      if (answer === 'yes') return true;
    }
  }
}
