/**
 * Owns what one record does to the state of its key, as a pure function: the processor under chaos calls it in its
 * stores, the verifier in a plain loop. It never touches a store or a log.
 */

/** A record of the input that keeps everything. */
export interface ChaosEvent {
  /** 1, 2, 3, … per key. */
  readonly seq: number;
  readonly n: number;
  /** After this one the key is deleted from the store. */
  readonly last?: boolean;
}

/** A record of the compacted input. */
export interface Profile {
  /** 1, 2, 3, … per key; compaction may leave any of them out but the last. */
  readonly version: number;
}

export interface Total {
  readonly seq: number;
  readonly count: number;
  readonly sum: number;
  /** A chain over all events since the key was new: another order, a gap or a repetition gives another one. */
  readonly hash: number;
}

export interface ProfileState {
  readonly version: number;
  /** Versions that were seen. */
  readonly steps: number;
  /** How often a version came that was not above the one before; always 0. */
  readonly regressions: number;
}

export function foldEvent(old: Total | undefined, { seq, n }: ChaosEvent): Total {
  const { count, sum, hash } = old ?? { count: 0, sum: 0, hash: 0x811c9dc5 };
  const mixed = Math.imul(hash ^ n, 0x9e3779b1) ^ seq;
  return { seq, count: count + 1, sum: sum + n, hash: Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b) >>> 0 };
}

export function foldProfile(old: ProfileState | undefined, { version }: Profile): ProfileState {
  const { version: before, steps, regressions } = old ?? { version: 0, steps: 0, regressions: 0 };
  return { version, steps: steps + 1, regressions: regressions + (version > before ? 0 : 1) };
}
