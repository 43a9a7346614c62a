/**
 * Makes the runs for the second oracle of windows: seeded records in disorder, with ties, gaps and several keys, and the flights of
 * a month. It leaves out the few records that Kafka Streams and we treat differently; `streams-differences.test.ts` has those.
 */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import type { StreamsRecord, StreamsWindowing } from './kafka-streams-oracle.js';
import { seededRandom, type SeededRandom } from './seeded-random.js';
import type { WindowRun } from './streams-comparison.js';

/** So long that Kafka Streams does not lose closed windows over a gap. */
const RETENTION_MS = 400 * 86_400_000;
const KEYS = ['x', 'xx', 'y', 'é'] as const;
const FLIGHTS = new URL('../../../examples/data/flights-2013.csv.gz', import.meta.url);

export type WindowTopology = StreamsWindowing['topology'];
export const TOPOLOGIES: readonly WindowTopology[] = ['tumbling', 'hopping', 'sliding', 'session'];

/** A run of about so many records. Its last record is of another key, and closes all windows of the others. */
export function randomRun(topology: WindowTopology, seed: number, records: number): WindowRun {
  const random = seededRandom(seed);
  const header = randomHeader(topology, random);
  let now = random.pick([0, 0, 5, 100]);
  const made: StreamsRecord[] = [];
  for (let n = random.between(1, records); n > 0; n--) {
    now += random.chance(0.06) ? random.between(20, 100) : random.below(4);
    const timestamp = Math.max(0, now - (random.chance(0.35) ? random.below(30) : 0));
    made.push({ input: 'a', key: random.pick(KEYS), value: random.between(-5, 20), timestamp });
  }
  return closedRun(header, made);
}

function randomHeader(topology: WindowTopology, random: SeededRandom): StreamsWindowing {
  const sizeMs = random.between(2, 12);
  const graceMs = random.pick([0, 0, 1, 3, 10, 30]);
  const emission = random.pick(['final', 'updates'] as const);
  const base = { graceMs, emission, retentionMs: RETENTION_MS };
  if (topology === 'hopping') return { ...base, topology, sizeMs, stepMs: random.between(1, sizeMs - 1) };
  if (topology !== 'session') return { ...base, topology, sizeMs };
  // With its updates the store forgets a session exactly when it closes, so that a closed one is not joined.
  const retentionMs = emission === 'updates' ? sizeMs + graceMs + 1 : RETENTION_MS;
  return { ...base, topology, gapMs: sizeMs, retentionMs };
}

/** The run of what is comparable of these records, and of one that closes what is open. */
export function closedRun(header: StreamsWindowing, records: readonly StreamsRecord[]): WindowRun {
  const kept = comparable(header, records);
  const latest = Math.max(0, ...records.map(({ timestamp }) => timestamp));
  const length = header.topology === 'session' ? header.gapMs : header.sizeMs;
  const timestamp = latest + 10 * (length + header.graceMs);
  return { header, records: [...kept, { input: 'a', key: '~', value: 0, timestamp }] };
}

function comparable(header: StreamsWindowing, records: readonly StreamsRecord[]): StreamsRecord[] {
  const kept: StreamsRecord[] = [];
  const timesOf = new Map<string | null, number[]>();
  let clock = 0;
  for (const record of records) {
    const { key, timestamp } = record;
    const times = timesOf.get(key) ?? [];
    clock = Math.max(clock, timestamp);
    if (isDifferent(header, timestamp, times, clock)) continue;
    times.push(timestamp);
    timesOf.set(key, times);
    kept.push(record);
  }
  return kept;
}

function isDifferent(
  header: StreamsWindowing,
  timestamp: number,
  earlier: readonly number[],
  clock: number,
): boolean {
  const { topology, graceMs } = header;
  // Late for the window that it ends, and not, or just, for the last one that holds it.
  if (topology === 'sliding')
    return timestamp + graceMs < clock && timestamp + header.sizeMs + graceMs + 1 >= clock;
  // Near a session that is closed, and may still be in the store.
  if (topology === 'session' && header.emission === 'final')
    return earlier.some(
      (time) => Math.abs(time - timestamp) <= header.gapMs && time + header.gapMs + graceMs < clock,
    );
  return false;
}

/** The flights of January that have flown, in the order of the file, at the time of their departure; the value is the delay. */
export async function januaryFlights(keyed: 'origin' | 'tailnum'): Promise<StreamsRecord[]> {
  const records: StreamsRecord[] = [];
  let header = true;
  for await (const line of createInterface({ input: createReadStream(FLIGHTS).pipe(createGunzip()) })) {
    const [scheduledMs = '', , , tailnum = '', origin = '', , delay = ''] = line.split(',');
    if (!header && Number(scheduledMs) >= Date.UTC(2013, 1)) break;
    if (!header && delay !== '' && tailnum !== '')
      records.push({
        input: 'a',
        key: keyed === 'origin' ? origin : tailnum,
        value: Number(delay),
        timestamp: Number(scheduledMs) + 60_000 * Number(delay),
      });
    header = false;
  }
  return records;
}
