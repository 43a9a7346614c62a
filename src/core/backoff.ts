/**
 * Exponential back-off with jitter and a bound on attempts: says how long to wait, never waits itself. Randomness is
 * injected, so that a seeded run repeats.
 */
import { PartitaError } from './errors.js';

export interface BackoffOptions {
  /** The first delay, before jitter. */
  readonly firstMs: number;
  /** No delay is longer. */
  readonly maxMs: number;
  /** After so many delays `next` returns `undefined`. */
  readonly attemptsMax: number;
  /** Growth per attempt. Default 2. */
  readonly factor?: number;
  /** The share of a delay that is random, 0 to 1. Default 0.5. */
  readonly jitter?: number;
  /** Uniform in [0, 1). Default `Math.random`. */
  readonly random?: () => number;
}

export class Backoff {
  readonly #options: Required<BackoffOptions>;
  #attempts = 0;

  /** @throws PartitaError INVALID_ARGUMENT */
  constructor(options: BackoffOptions) {
    this.#options = { factor: 2, jitter: 0.5, random: Math.random, ...options };
    const { firstMs, maxMs, attemptsMax, factor, jitter } = this.#options;
    if (!(firstMs >= 0 && maxMs >= firstMs && attemptsMax >= 0 && factor >= 1 && jitter >= 0 && jitter <= 1))
      throw new PartitaError(
        'INVALID_ARGUMENT',
        'A back-off needs 0 ≤ firstMs ≤ maxMs, attemptsMax ≥ 0, factor ≥ 1 and jitter from 0 to 1.',
        { details: { firstMs, maxMs, attemptsMax, factor, jitter } },
      );
  }

  /** Delays handed out since the last `reset`. */
  get attempts(): number {
    return this.#attempts;
  }

  /** The next delay in ms; `undefined` when the attempts are used up. */
  next(): number | undefined {
    const { firstMs, maxMs, attemptsMax, factor, jitter, random } = this.#options;
    if (this.#attempts >= attemptsMax) return undefined;
    const full = Math.min(maxMs, firstMs * factor ** this.#attempts);
    this.#attempts++;
    return full * (1 - jitter * random());
  }

  /** After a success: begins anew. */
  reset(): void {
    this.#attempts = 0;
  }
}
