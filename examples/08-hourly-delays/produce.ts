/** Fills the topic `departures` with the flown flights of 2013, keyed by airport, once: a complete topic is left alone. */
import type { EmbeddedLog } from 'partita';
import { flights } from '../01-flights/produce.js';
import type { Departure } from './processor.js';

export const PARTITIONS = 4;
const TOPIC = 'departures';
const FLOWN = 328_521;
const BATCH = 20_000;

/** Resolves to the number of records in the topic. */
export async function fillTopic(log: EmbeddedLog): Promise<number> {
  // The records are older than any usual retention.
  const spec = { topic: TOPIC, partitions: PARTITIONS, configs: { 'retention.ms': '-1' } };
  if ((await log.describeTopic(TOPIC)) === undefined) await log.createTopic(spec);
  const size = async () => (await log.bounds(TOPIC)).reduce((sum, { start, end }) => sum + end - start, 0);
  if ((await size()) === FLOWN) return FLOWN;
  // Nothing has been processed before the topic was complete: what an interrupted run left can go.
  await log.deleteTopic(TOPIC);
  await log.createTopic(spec);
  let batch: { readonly key: string; readonly value: string; readonly timestamp: number }[] = [];
  for await (const { flight, timestamp } of flights()) {
    const { origin, carrier, flight: number, depDelayMin } = flight;
    if (depDelayMin === null) continue;
    const value: Departure = { flight: `${carrier}${number}`, delayMin: depDelayMin };
    // The time of the actual departure; the order stays that of the schedule.
    batch.push({ key: origin, value: JSON.stringify(value), timestamp });
    if (batch.length < BATCH) continue;
    await log.produce(TOPIC, batch);
    batch = [];
  }
  await log.produce(TOPIC, batch);
  return size();
}
