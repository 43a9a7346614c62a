/**
 * Patience with a database that somebody else has open: tries again within one budget, ended at once by the caller's
 * signal, and leaves a note beside the directory meanwhile, which makes a parked actor of another process give way. It
 * waits for locks only: every other failure is the caller's at once. What is tried is `store-partition.ts`'s.
 */
import { rm, writeFile } from 'node:fs/promises';
import { Backoff } from '../core/backoff.js';
import type { Clock } from '../core/clock.js';
import { isPartitaError, PartitaError } from '../core/errors.js';
import { wantedNote } from '../core/names.js';

export interface LockPatience {
  readonly directory: string;
  /** How long a lock is waited for, in ms; it is tried once at least. */
  readonly openBudgetMs: number;
  readonly clock: Clock;
  /** Ends the waiting with CALL_ABORTED. */
  readonly signal?: AbortSignal;
}

const LOCK_RETRY_FIRST_MS = 10;
const LOCK_RETRY_MAX_MS = 500;

/** Tries until it is done or fails otherwise than by a lock; meanwhile `<directory>.wanted` says that somebody waits. */
export async function withLockPatience(options: LockPatience, step: () => Promise<void>): Promise<void> {
  const { clock, directory, openBudgetMs, signal } = options;
  const backoff = new Backoff({
    firstMs: LOCK_RETRY_FIRST_MS,
    maxMs: LOCK_RETRY_MAX_MS,
    // The budget ends the waiting; the jitter may halve delays.
    attemptsMax: 32 + Math.ceil((2 * openBudgetMs) / LOCK_RETRY_MAX_MS),
  });
  const deadline = clock.monotonic() + openBudgetMs;
  const note = wantedNote(directory);
  let noted = false;
  try {
    for (;;) {
      if (signal?.aborted === true) throw openAborted(directory);
      try {
        await step();
        return;
      } catch (error) {
        const delay = backoff.next();
        const remaining = deadline - clock.monotonic();
        if (!isPartitaError(error, 'LOCKED') || delay === undefined || remaining <= 0) throw error;
        // Anew each time: whoever gives way, or finds an old one, takes it away.
        noted = (await leaveNote(note)) || noted;
        await clock.sleep(Math.min(delay, remaining), signal);
      }
    }
  } finally {
    if (noted) await takeNoteAway(note);
  }
}

/** The note is a courtesy: where it can't be written, the wait goes on without it. */
async function leaveNote(path: string): Promise<boolean> {
  try {
    await writeFile(path, `${String(process.pid)}\n`);
    return true;
  } catch {
    return false;
  }
}

/** One that stays makes a parked actor give way for nothing, which must not undo an opening that went well. */
async function takeNoteAway(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
  } catch {
    return;
  }
}

function openAborted(directory: string): PartitaError {
  return new PartitaError('CALL_ABORTED', `Opening the database in ${directory} was ended by its caller.`);
}
