/**
 * Owns the plain loop over the inputs as another client read them back from the log: what the state and each output of
 * each key must have come to. It knows nothing of processes or faults; verifier.ts, which comes next, compares.
 */
import { otherEach } from '../other-client.js';
import { foldEvent, type ChaosEvent, type Profile, type Total } from './fold.js';

export interface ChaosModel {
  /** What each event of each key gives, in order: `outputs.get(key)[seq - 1]`. */
  readonly outputs: ReadonlyMap<string, readonly Total[]>;
  /** What the store holds at the end. */
  readonly totals: ReadonlyMap<string, Total>;
  /** The last version of each key of the compacted input. */
  readonly versions: ReadonlyMap<string, number>;
  readonly events: number;
  /** What compaction has left of the other input, and what it has removed. */
  readonly profilesLeft: number;
}

/** What the producer of the input knows, by key. */
export interface Acknowledged {
  readonly events: ReadonlyMap<string, number>;
  readonly profiles: ReadonlyMap<string, number>;
}

/** Rejects if an acknowledged input is missing in the log, or one is there twice: then the test itself is broken. */
export async function readModel(brokers: readonly string[], acknowledged: Acknowledged): Promise<ChaosModel> {
  const outputs = new Map<string, Total[]>();
  const totals = new Map<string, Total>();
  let events = 0;
  await otherEach(brokers, 'events', ({ key, value, partition, offset }) => {
    const name = key?.toString() ?? '';
    const event = JSON.parse(value?.toString() ?? '') as ChaosEvent;
    const list = outputs.get(name) ?? [];
    if (event.seq !== list.length + 1)
      throw new Error(
        `The input is broken: events/${partition} has at ${offset} event ${event.seq} of ${name} after ${list.length}.`,
      );
    const total = foldEvent(totals.get(name), event);
    list.push(total);
    outputs.set(name, list);
    if (event.last === true) totals.delete(name);
    else totals.set(name, total);
    events++;
  });
  const versions = new Map<string, number>();
  let profilesLeft = 0;
  await otherEach(brokers, 'profiles', ({ key, value }) => {
    versions.set(key?.toString() ?? '', (JSON.parse(value?.toString() ?? '') as Profile).version);
    profilesLeft++;
  });
  const counts = new Map([...outputs].map(([key, list]) => [key, list.length]));
  assertInput('events', counts, acknowledged.events);
  assertInput('profiles', versions, acknowledged.profiles);
  return { outputs, totals, versions, events, profilesLeft };
}

function assertInput(
  topic: string,
  found: ReadonlyMap<string, number>,
  acknowledged: ReadonlyMap<string, number>,
): void {
  for (const [key, seq] of acknowledged)
    if (found.get(key) !== seq)
      throw new Error(
        `The input is broken: ${topic} holds ${found.get(key) ?? 0} records of ${key}, ${seq} were acknowledged.`,
      );
}
