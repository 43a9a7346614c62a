/** Reads the flights of 2013 and fills the topic `flights` with them, once: a topic that is complete is left alone. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import type { EmbeddedLog } from 'partita';
import type { Flight } from './processor.js';

export const TOPIC = 'flights';
export const PARTITIONS = 8;
const FLIGHTS = 336_776;
const BATCH = 20_000;
const DATA = new URL('../../../examples/data/flights-2013.csv.gz', import.meta.url);

interface InputRecord {
  readonly key: string | null;
  readonly value: string;
  readonly timestamp: number;
}

/** Resolves to the number of records in the topic and to how many of them were produced now. */
export async function fillTopic(log: EmbeddedLog): Promise<{ records: number; produced: number }> {
  // The records are older than any usual retention.
  const spec = { topic: TOPIC, partitions: PARTITIONS, configs: { 'retention.ms': '-1' } };
  if ((await log.describeTopic(TOPIC)) === undefined) await log.createTopic(spec);
  const size = async () => (await log.bounds(TOPIC)).reduce((sum, { start, end }) => sum + end - start, 0);
  let produced = 0;
  if ((await size()) !== FLIGHTS) {
    // Nothing has been processed before the topic was complete: what an interrupted run left can go.
    await log.deleteTopic(TOPIC);
    await log.createTopic(spec);
    let batch: InputRecord[] = [];
    for await (const { tailnum, flight, timestamp } of flights()) {
      batch.push({ key: tailnum, value: JSON.stringify(flight), timestamp });
      if (batch.length < BATCH) continue;
      produced += (await log.produce(TOPIC, batch)).length;
      batch = [];
    }
    produced += (await log.produce(TOPIC, batch)).length;
  }
  return { records: await size(), produced };
}

/** A line of the data. */
export interface FlightLine {
  /** The aircraft, if it is known. */
  readonly tailnum: string | null;
  readonly flight: Flight;
  /** When it departed, or should have, in ms since 1970. */
  readonly timestamp: number;
}

/** The flights in the order of their schedule, up to the first that departs at `untilMs` or later. */
export async function* flights(untilMs = Infinity): AsyncGenerator<FlightLine> {
  const lines = createInterface({ input: createReadStream(DATA).pipe(createGunzip()) });
  let header = true;
  for await (const line of lines) {
    const flight = header ? undefined : parse(line);
    header = false;
    if (flight === undefined) continue;
    if (flight.timestamp >= untilMs) return;
    yield flight;
  }
}

function parse(line: string): FlightLine {
  const [scheduledMs = '', carrier = '', number, tailnum, origin = '', dest = '', delay, , miles] =
    line.split(',');
  const depDelayMin = delay === '' ? null : Number(delay);
  const distanceMi = Number(miles);
  return {
    tailnum: tailnum === undefined || tailnum === '' ? null : tailnum,
    flight: { carrier, flight: Number(number), origin, dest, depDelayMin, distanceMi },
    timestamp: Number(scheduledMs) + 60_000 * (depDelayMin ?? 0),
  };
}
