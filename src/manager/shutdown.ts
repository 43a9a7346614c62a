/**
 * How a manager ends: leaves the group through its barrier, and gives back keepers, threads, outputs and the log, in the reverse
 * order of its start. One deadline bounds it all; whatever fails or is late, what follows is released too. When to stop, and
 * what is told of it, is `state-manager.ts`.
 */
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { PartitaError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import type { GroupSession, LogClient } from '../log/log-client.js';
import type { ActorPlaces } from '../threads/actor-places.js';
import type { GroupAssignment } from './assignment.js';

/**
 * By which share of a stop's deadline the partitions are to have committed, the log to have answered what it was asked, and
 * the group to know. What remains is for threads and connections.
 */
const STOP_SHARES = { committed: 0.6, answered: 0.7, left: 0.8 };
/** Past its deadline a stop gives each thing that is left so long to release itself, so that nothing stays locked. */
const LATE_STEP_MS = 1_000;
/** For the end of threads by force. */
const THREADS_END_MS = 10_000;

export interface ShutdownParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly assignment: GroupAssignment;
  readonly places: ActorPlaces;
  readonly closeOutputs: () => Promise<void>;
  readonly log: LogClient;
  /** `undefined` before the group was joined. */
  readonly session: () => GroupSession | undefined;
  /** What the log has not answered is waited for no longer. */
  readonly givesUp: AbortController;
}

export class Shutdown {
  readonly #parts: ShutdownParts;

  constructor(parts: ShutdownParts) {
    this.#parts = parts;
  }

  /**
   * Everything is released afterwards. Whether that was so before the deadline. Never rejects.
   * @param unusable what calls are told from now on
   */
  async stop(deadlineMs: number, unusable: () => Error): Promise<boolean> {
    const { clock } = this.#parts;
    const deadline = Deadline.after(clock, deadlineMs);
    const givingUp = clock.setTimer(deadlineMs * STOP_SHARES.answered, () => {
      this.#giveUp();
    });
    await this.#step(deadline.within(deadlineMs * STOP_SHARES.left), () =>
      this.#leave(deadline.within(deadlineMs * STOP_SHARES.committed), unusable),
    );
    await this.#release(deadline, unusable);
    givingUp.cancel();
    return !deadline.expired;
  }

  /** Leaves the group with everything committed, and keeps the log and the threads. Whether the group was told in time. */
  async leaveGroup(budgetMs: number): Promise<boolean> {
    const { assignment, clock, session } = this.#parts;
    const deadline = Deadline.after(clock, budgetMs);
    assignment.prepareToLeave(deadline);
    const left = await this.#step(deadline, async () => session()?.leave());
    await assignment.leave(500);
    return left;
  }

  /** Through the barrier of leaving: actors commit by the deadline and close while the group waits. */
  async #leave(commits: Deadline, unusable: () => Error): Promise<void> {
    this.#parts.assignment.prepareToStop(unusable, commits);
    await this.#parts.session()?.leave();
  }

  #giveUp(): void {
    this.#parts.givesUp.abort(new PartitaError('STOPPED', 'The manager stops and waits no longer.'));
  }

  /** Everything that is still there is given back, whatever state it is in. */
  async #release(deadline: Deadline, unusable: () => Error): Promise<void> {
    const { assignment, places, closeOutputs, log, clock } = this.#parts;
    const grace = (): Deadline =>
      deadline.remainingMs > LATE_STEP_MS ? deadline : Deadline.after(clock, LATE_STEP_MS);
    const closing = assignment.close(unusable, Math.min(500, deadline.remainingMs));
    if (deadline.expired) this.#giveUp();
    await this.#step(grace(), () => closing);
    this.#giveUp();
    await this.#step(Deadline.after(clock, THREADS_END_MS), () =>
      places.close({ budgetMs: grace().remainingMs }),
    );
    // With their threads gone the last keepers are done.
    await this.#step(grace(), () => closing);
    await this.#step(grace(), closeOutputs);
    await this.#step(grace(), () => log.close());
  }

  /** Whether the step ended well in time; a failure is logged, since what follows must be released too. */
  async #step(deadline: Deadline, step: () => Promise<unknown>): Promise<boolean> {
    try {
      await deadline.race(step(), 'A step of stopping');
      return true;
    } catch (error) {
      this.#parts.logger.warn({ err: error }, 'A step of stopping did not succeed.');
      return false;
    }
  }
}
