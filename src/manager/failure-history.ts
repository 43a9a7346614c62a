/**
 * What a partition's incarnations have ended by, and what that means for the next one: whether there is one, after which delay, and
 * with which record it must be careful. Owns the row of failures and what ends it; a single decision is `supervisor.ts`, who died
 * of what `suspects.ts` and `thread-deaths.ts`. It starts and ends nothing itself.
 */
import { Backoff } from '../core/backoff.js';
import { isPartitaError, type ErrorCode } from '../core/errors.js';
import type { OffsetCommit } from '../core/log-types.js';
import type { SuspectRecord } from '../threads/protocol.js';
import type { ActorRun } from './actor-run.js';
import type { ResolvedOptions } from './options.js';
import { decideRestart, type Ending, type RestartDecision } from './supervisor.js';
import { callUnderWay, stuckIn, Suspicion } from './suspects.js';
import type { ThreadDeaths } from './thread-deaths.js';

export interface FailureEnvironment {
  readonly options: Pick<ResolvedOptions, 'restarts' | 'rebuildOnCorruption' | 'checkpoint'>;
  readonly random: () => number;
  readonly deaths: ThreadDeaths;
}

/** How long the others of a thread process undisturbed before one goes on that may kill it. */
const NEIGHBOURS_FIRST_MS = 1_000;
/** An incarnation that served for so long ends a row of failures, also if there was nothing to commit. */
const SERVED_LONG_MS = 60_000;

export class FailureHistory {
  readonly #holder: object;
  readonly #environment: FailureEnvironment;
  readonly #backoff: Backoff;
  #suspicion = new Suspicion();
  /** Of the last ending, since the last commit. */
  #endedBy: ErrorCode | undefined;

  /** @param holder of the partition's turns at its thread */
  constructor(holder: object, environment: FailureEnvironment) {
    this.#holder = holder;
    this.#environment = environment;
    const { restarts } = environment.options;
    this.#backoff = new Backoff({
      firstMs: restarts.firstMs,
      maxMs: restarts.maxMs,
      attemptsMax: restarts.max,
      random: environment.random,
    });
  }

  /** The record that the next incarnation must be careful with. */
  get suspect(): SuspectRecord | undefined {
    return this.#suspicion.suspect;
  }

  /** Nothing is held against the partition any more. */
  forgive(): void {
    this.#suspicion = new Suspicion();
    this.#endedBy = undefined;
    this.#backoff.reset();
  }

  /** A commit ends the row; one that is beyond the suspect lets the others of the thread go on. */
  committed(offsets: readonly OffsetCommit[], place: number): void {
    this.#backoff.reset();
    this.#endedBy = undefined;
    if (this.#suspicion.committed(offsets)) this.#environment.deaths.endTurn(place, this.#holder);
  }

  /** An incarnation has ended that had served for so long. */
  served(ms: number): void {
    if (ms >= SERVED_LONG_MS) this.#backoff.reset();
  }

  /**
   * With a record before it that may kill its thread: the others there get somewhere first; and of several suspects one goes
   * on after the other, so that the next death tells which it was.
   */
  async turn(run: ActorRun, stopping: AbortSignal): Promise<void> {
    const { suspect } = this.#suspicion;
    if (suspect === undefined || suspect.isPoison) return;
    const { deaths, options } = this.#environment;
    const signal = AbortSignal.any([stopping, run.closing]);
    await deaths.turn(run.place, this.#holder, signal);
    const whileMs = Math.min(NEIGHBOURS_FIRST_MS, options.checkpoint.intervalMs);
    await deaths.neighboursFirst(run.place, run.spec, whileMs, signal);
  }

  /** What is to be held against the partition, now that the incarnation is gone. */
  judge(run: ActorRun, ending: Ending): Ending {
    const stuck = stuckIn(ending.error);
    if (stuck !== undefined) this.#suspicion.died(stuck, ending.error);
    const { death } = run;
    if (death === undefined || !isPartitaError(ending.error, 'THREAD_DIED')) return ending;
    if (!this.#environment.deaths.isAccused(run.place, run.spec, death))
      return { error: death, mended: true, innocent: true };
    this.#suspicion.died(callUnderWay(run.spec), death);
    return { ...ending, error: death };
  }

  /** Whether there is another incarnation after this ending. */
  decide(ending: Ending): RestartDecision {
    const code = isPartitaError(ending.error) ? ending.error.code : undefined;
    const repeated = code !== undefined && code === this.#endedBy;
    this.#endedBy = code;
    return decideRestart(ending, repeated, this.#backoff, this.#environment.options);
  }
}
