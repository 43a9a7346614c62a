/**
 * The duties of every aircraft: flights whose departures are at most six hours apart belong to one session. A session is
 * handed on when it is over, to a function that keeps the longest ones.
 */
import { defineProcessor, json, keyValue, session, string, topic, windowed } from 'partita';

export interface Leg {
  readonly dest: string;
  readonly delayMin: number;
  readonly miles: number;
}

export interface Duty {
  readonly tailnum: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly legs: number;
  readonly miles: number;
  readonly worstDelayMin: number;
  readonly route: string;
}

const HOUR_MS = 3_600_000;

export default defineProcessor({
  inputs: { legs: topic({ key: string(), value: json<Leg>() }) },
  stores: {
    duties: windowed({
      key: string(),
      value: json<Leg>(),
      window: session(6 * HOUR_MS),
      graceMs: 24 * HOUR_MS,
      aggregate: (of) => ({
        legs: of.count(),
        miles: of.sum(({ miles }) => miles),
        worstDelayMin: of.max(({ delayMin }) => delayMin),
        route: of.collect(({ dest }) => dest),
      }),
    }),
    longest: keyValue({ key: string(), value: json<Duty>() }),
  },
  process({ key: tailnum, value }, { stores }) {
    stores.duties.add(tailnum, value);
  },
  windows: {
    duties({ key: tailnum, startMs, endMs, result }, { stores }) {
      const { legs, miles, worstDelayMin = 0, route } = result;
      if ((stores.longest.get(tailnum)?.legs ?? 0) >= legs) return;
      const duty = { tailnum, fromMs: startMs, toMs: endMs, legs, miles, worstDelayMin };
      stores.longest.set(tailnum, { ...duty, route: route.join(' ') });
    },
  },
  queries: {
    /** How many of the partition's aircraft have ended a duty, and its longest duties. */
    async longest({ stores }, _key: string, limit: number) {
      const all: Duty[] = [];
      for await (const [, duty] of stores.longest.entries()) all.push(duty);
      return { aircraft: all.length, duties: all.sort(byLegs).slice(0, limit) };
    },
  },
});

/** Most legs first, then the earlier one. */
export function byLegs(a: Duty, b: Duty): number {
  return b.legs - a.legs || a.fromMs - b.fromMs || (a.tailnum < b.tailnum ? -1 : 1);
}
