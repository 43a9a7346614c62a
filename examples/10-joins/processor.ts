/**
 * Three joins by carrier: a table of the carriers' names, each flight with the aircraft's previous one (as of its departure),
 * and each cancelled flight with departures to the same place within three hours (a windowed left join).
 */
import {
  defineProcessor,
  int64,
  json,
  keyValue,
  streamJoin,
  string,
  table,
  timestamped,
  topic,
} from 'partita';

export interface Departure {
  readonly tailnum: string;
  readonly dest: string;
  readonly delayMin: number;
}
export interface Cancelled {
  readonly flight: number;
  readonly dest: string;
}
export type Tally = Readonly<Record<'flights' | 'late' | 'knockOn' | 'alternatives' | 'stranded', number>>;

const HOUR_MS = 3_600_000;
const LATE_MIN = 60;

interface Stores {
  readonly stores: { readonly tally: { update(key: string, fn: (n?: number) => number): void } };
}
function count({ stores }: Stores, carrier: string, what: keyof Tally): void {
  stores.tally.update(`${carrier} ${what}`, (n) => (n ?? 0) + 1);
}

// The keys of a join are its own: here carrier and destination.
const alternatives = streamJoin({
  name: 'alternatives',
  key: string(),
  left: json<Cancelled>(),
  right: json<Departure>(),
  beforeMs: 0,
  afterMs: 3 * HOUR_MS,
  // Delays are up to 22 hours.
  graceMs: 24 * HOUR_MS,
  type: 'left',
  onJoined: ({ key, right }, context: Stores) => {
    count(context, key.slice(0, 2), right === undefined ? 'stranded' : 'alternatives');
  },
});

export default defineProcessor({
  inputs: {
    carriers: table({ key: string(), value: string() }),
    departures: topic({ key: string(), value: json<Departure>() }),
    cancellations: topic({ key: string(), value: json<Cancelled>() }),
  },
  stores: {
    ...alternatives.stores,
    tally: keyValue({ key: string(), value: int64() }),
    flown: timestamped({ key: string(), value: json<Departure>(), graceMs: 48 * HOUR_MS }),
  },
  timers: { ...alternatives.timers },
  process(record, context) {
    const { key: carrier, timestamp } = record;
    const { flown } = context.stores;
    if (record.input === 'cancellations') {
      alternatives.left({ ...record, key: `${carrier} ${record.value.dest}` }, context);
      return;
    }
    const { tailnum, dest, delayMin } = record.value;
    // What this aircraft did last before it left, whatever order the records came in.
    const previous = timestamp === 0 ? undefined : flown.getAsOf(tailnum, timestamp - 1);
    flown.set(tailnum, record.value, timestamp);
    count(context, carrier, 'flights');
    if (delayMin > LATE_MIN) {
      count(context, carrier, 'late');
      const isToday = previous !== undefined && timestamp - previous.timestamp < 24 * HOUR_MS;
      if (isToday && previous.value.delayMin > LATE_MIN) count(context, carrier, 'knockOn');
    }
    alternatives.right({ ...record, key: `${carrier} ${dest}` }, context);
  },
  queries: {
    /** What is counted of a carrier, and its name. */
    carrier: ({ stores }, key): Tally & { readonly name: string } => {
      const of = (what: keyof Tally) => stores.tally.get(`${key} ${what}`) ?? 0;
      return {
        name: stores.carriers.get(key) ?? key,
        flights: of('flights'),
        late: of('late'),
        knockOn: of('knockOn'),
        alternatives: of('alternatives'),
        stranded: of('stranded'),
      };
    },
  },
});
