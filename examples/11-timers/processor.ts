/**
 * Aircraft that have not left New York for a day: each departure sets a timer of event time 24 hours on and takes back the
 * one before. A timer is part of the record's transaction, and survives crashes as the state does.
 */
import { defineProcessor, int64, json, keyValue, string, topic } from 'partita';

export interface Leg {
  readonly dest: string;
}

const DAY_MS = 24 * 3_600_000;

export default defineProcessor({
  inputs: { legs: topic({ key: string(), value: json<Leg>() }) },
  outputs: { rests: topic({ key: string(), value: json<Leg & { readonly sinceMs: number }>() }) },
  stores: { last: keyValue({ key: string(), value: int64() }) },
  timers: {
    resting({ emit }, tailnum, leg: Leg & { readonly sinceMs: number }) {
      emit.rests(tailnum, leg);
    },
  },
  process({ key: tailnum, value, timestamp }, { stores, schedule }) {
    const last = stores.last.get(tailnum);
    // It came late itself: a later departure has set the timer.
    if (last !== undefined && last > timestamp) return;
    if (last !== undefined) schedule.resting.cancel(tailnum, last + DAY_MS);
    stores.last.set(tailnum, timestamp);
    schedule.resting(tailnum, timestamp + DAY_MS, { dest: value.dest, sinceMs: timestamp });
  },
});
