/**
 * Departures and delays by airport and hour of the actual departure. Flights come in the order of their schedule, so that
 * event time runs to and fro by hours; what comes too late for its hour is counted apart.
 */
import { defineProcessor, int64, json, keyValue, string, topic, tumbling, windowed } from 'partita';

export interface Departure {
  readonly flight: string;
  readonly delayMin: number;
}

/** One airport's hour. */
export interface Hour {
  readonly n: number;
  readonly delayMin: number;
}

const HOUR_MS = 3_600_000;

export default defineProcessor({
  inputs: { departures: topic({ key: string(), value: json<Departure>() }) },
  outputs: { hourly: topic({ key: string(), value: json<Hour>() }) },
  stores: {
    hours: windowed({
      key: string(),
      value: json<Departure>(),
      window: tumbling(HOUR_MS),
      graceMs: 6 * HOUR_MS,
      closing: 'key',
      aggregate: (of) => ({ n: of.count(), delayMin: of.sum(({ delayMin }) => delayMin) }),
    }),
    tally: keyValue({ key: string(), value: int64() }),
  },
  process({ key: airport, value }, { stores }) {
    stores.hours.add(airport, value);
    stores.tally.update('flown', (n) => (n ?? 0) + 1);
  },
  // Closed hours go to the topic as they are, their start and end in the headers.
  windows: { hours: 'hourly' },
  onLate: {
    hours(_late, { stores }) {
      stores.tally.update('late', (n) => (n ?? 0) + 1);
    },
  },
  queries: {
    async progress({ stores }) {
      // The scan sees the store as it is now, while records go on beside it: so what else is of this moment is read before.
      const [flown, late] = ['flown', 'late'].map((name) => stores.tally.get(name) ?? 0);
      const open: number[] = [];
      for await (const { startMs } of stores.hours.all(0, Infinity)) open.push(startMs);
      return { flown: flown!, late: late!, open: open.length };
    },
  },
  commands: {
    /** Ends the thread, as a bug in native code would. */
    crash(): void {
      process.exit(1);
    },
  },
});
