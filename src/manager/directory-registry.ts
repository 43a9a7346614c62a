/**
 * Which database directories this process holds open, over all managers and all copies of this package: a directory is
 * one actor's. An engine's own lock file can't tell two threads of one process apart, so it is asked here first; the
 * holder is told that somebody waits, so that a parked actor can give way.
 */
import { resolve } from 'node:path';
import type { Clock } from '../core/clock.js';
import { PartitaError } from '../core/errors.js';

interface Holding {
  readonly holder: string;
  readonly waiters: Set<() => void>;
  /** Tells the holder that somebody waits. Absent in the holdings of older copies of this package. */
  readonly onWanted?: () => void;
}

const REGISTRY: unique symbol = Symbol.for('partita.directories') as never;

function directories(): Map<string, Holding> {
  const scope = globalThis as { [REGISTRY]?: Map<string, Holding> };
  const map = scope[REGISTRY] ?? new Map<string, Holding>();
  scope[REGISTRY] = map;
  return map;
}

/** A directory that is held. */
export interface HeldDirectory {
  /** Whether somebody in this process waits for it. */
  readonly wanted: boolean;
  /** Gives it back; idempotent. */
  release(): void;
}

/**
 * Takes the directory, waiting for its holder within the budget. Rejects LOCKED when the budget is used up, CALL_ABORTED
 * when the signal is aborted.
 */
export async function acquireDirectory(
  directory: string,
  options: {
    readonly holder: string;
    readonly budgetMs: number;
    readonly clock: Clock;
    readonly signal: AbortSignal;
    /** Somebody else begins to wait for the directory; a holder that does nothing with it may give way. */
    readonly onWanted?: () => void;
  },
): Promise<HeldDirectory> {
  const path = resolve(directory);
  const until = options.clock.monotonic() + options.budgetMs;
  for (;;) {
    const held = directories().get(path);
    if (held === undefined) return take(path, options);
    const remainingMs = until - options.clock.monotonic();
    if (remainingMs <= 0)
      throw new PartitaError('LOCKED', `The directory ${path} is held by ${held.holder} in this process.`, {
        details: { directory: path, holder: held.holder },
      });
    const giveWay = held.onWanted;
    const given = released(held, remainingMs, options);
    giveWay?.();
    await given;
  }
}

/** Directories held at present, for tests and stats. */
export function heldDirectories(): readonly string[] {
  return [...directories().keys()];
}

function take(path: string, by: { readonly holder: string; readonly onWanted?: () => void }): HeldDirectory {
  const { holder, onWanted } = by;
  const holding: Holding = { holder, waiters: new Set(), ...(onWanted === undefined ? {} : { onWanted }) };
  directories().set(path, holding);
  return {
    get wanted() {
      return holding.waiters.size > 0;
    },
    release() {
      if (directories().get(path) !== holding) return;
      directories().delete(path);
      for (const wake of holding.waiters) wake();
    },
  };
}

/** Resolves when the holder lets go or the time is over; the caller looks again. */
async function released(
  held: Holding,
  remainingMs: number,
  options: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  let wake: () => void = () => undefined;
  const woken = new Promise<void>((resolvePromise) => (wake = resolvePromise));
  held.waiters.add(wake);
  const over = new AbortController();
  try {
    const sleep = options.clock.sleep(remainingMs, AbortSignal.any([options.signal, over.signal]));
    await Promise.race([woken, sleep]);
    sleep.catch(() => undefined);
  } finally {
    held.waiters.delete(wake);
    over.abort();
  }
}
