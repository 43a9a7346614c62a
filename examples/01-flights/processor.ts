/**
 * The logbook of every aircraft, kept in state and emitted at each change. This module is imported by each worker
 * thread, which runs it, and by the main thread, for its declarations; so it has no side effects.
 */
import { defineProcessor, int64, json, keyValue, nullable, string, topic } from 'partita';

/** A line of the data; `depDelayMin` is null for a cancelled flight. */
export interface Flight {
  readonly carrier: string;
  readonly flight: number;
  readonly origin: string;
  readonly dest: string;
  readonly depDelayMin: number | null;
  readonly distanceMi: number;
}

export interface Logbook {
  readonly flights: number;
  readonly miles: number;
  readonly delayMin: number;
  /** Where it last flew to. */
  readonly last: string;
}

export type Tally = Readonly<Record<'flown' | 'cancelled' | 'unidentified', number>>;
export type Aircraft = Logbook & { readonly tailnum: string };

export default defineProcessor({
  inputs: { flights: topic({ key: nullable(string()), value: json<Flight>() }) },
  outputs: { logbooks: topic({ key: string(), value: json<Logbook>() }) },
  stores: {
    logbooks: keyValue({ key: string(), value: json<Logbook>() }),
    tally: keyValue({ key: string(), value: int64() }),
  },
  process({ key: tailnum, value: flight }, { stores, emit }) {
    const count = (kind: keyof Tally) => {
      stores.tally.update(kind, (n) => (n ?? 0) + 1);
    };
    if (tailnum === null) {
      count('unidentified');
      return;
    }
    if (flight.depDelayMin === null) {
      count('cancelled');
      return;
    }
    count('flown');
    const old = stores.logbooks.get(tailnum);
    const logbook = {
      flights: (old?.flights ?? 0) + 1,
      miles: (old?.miles ?? 0) + flight.distanceMi,
      delayMin: (old?.delayMin ?? 0) + flight.depDelayMin,
      last: flight.dest,
    };
    stores.logbooks.set(tailnum, logbook);
    emit.logbooks(tailnum, logbook);
  },
  queries: {
    /** What this partition has counted so far; it is state, so neither a crash nor a restart counts anything twice. */
    tally: ({ stores }): Tally => ({
      flown: stores.tally.get('flown') ?? 0,
      cancelled: stores.tally.get('cancelled') ?? 0,
      unidentified: stores.tally.get('unidentified') ?? 0,
    }),
    /** The number of aircraft of this partition, and those with most miles. */
    top: async ({ stores }, _key, limit: number) => {
      const all: Aircraft[] = [];
      for await (const [tailnum, logbook] of stores.logbooks.entries()) all.push({ tailnum, ...logbook });
      return { aircraft: all.length, top: all.sort(byMiles).slice(0, limit) };
    },
  },
  commands: {
    /** Ends the worker thread it runs in, as a bug in native code would: for `--crash`. */
    crash: () => {
      process.exit(1);
    },
  },
});

/** Most miles first, then by tail number. */
export function byMiles(a: Aircraft, b: Aircraft): number {
  return b.miles - a.miles || (a.tailnum < b.tailnum ? -1 : 1);
}
