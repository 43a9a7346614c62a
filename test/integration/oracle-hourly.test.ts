/**
 * The hourly delays of examples/08 against a plain loop over the flights, which uses nothing of Partita: the whole year by
 * the program as users run it, and two months on every engine, window by window, with threads that die, a stop, and a
 * state directory that is lost.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test, { before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import type hourly from '../../examples/08-hourly-delays/processor.js';
import {
  embeddedLog,
  processorAt,
  StateManager,
  type EmbeddedLog,
  type EngineKind,
} from '../../src/index.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { PATIENCE_MS } from '../support/waiting.js';

const ROOT = new URL('../../../', import.meta.url);
const MAIN = fileURLToPath(new URL('../../examples/08-hourly-delays/main.js', import.meta.url));
const PROCESSOR = new URL('../../examples/08-hourly-delays/processor.js', import.meta.url);
const ENGINES: readonly EngineKind[] = ['memory', 'level', 'rocksdb'];
const HOUR_MS = 3_600_000;
const GRACE_MS = 6 * HOUR_MS;
const PARTITIONS = 4;
/** Of the runs on every engine. */
const SUBSET = 50_000;
const PROGRAM_BUDGET_MS = 200_000;

interface Flight {
  readonly airport: string;
  readonly timestamp: number;
  readonly delayMin: number;
}
interface Hour {
  readonly start: number;
  n: number;
  delayMin: number;
}
interface Progress {
  readonly flown: number;
  readonly late: number;
  readonly open: number;
}
interface Expected {
  readonly progress: Progress;
  /** By airport, the closed hours in the order of their closing. */
  readonly closed: ReadonlyMap<string, readonly Hour[]>;
}

let flown: readonly Flight[];
let year: Expected;
let dir: string;

before(async () => {
  flown = parse(gunzipSync(await readFile(new URL('examples/data/flights-2013.csv.gz', ROOT))).toString());
  year = plainLoop(flown);
  dir = temporaryDirectory('hourly-oracle');
});

test('the committed expectation of the hourly example is what a plain loop finds', async () => {
  const file = new URL('examples/08-hourly-delays/expected.json', ROOT);
  assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), summary(year));
});

test('a year that is stopped, and resumed by threads of which one dies, has each closed hour once', async () => {
  const state = ['--state', join(dir, 'year')];
  const stopped = JSON.parse(await program(...state, '--json', '--stop-after', '60000')) as Progress;
  assert.ok(stopped.flown >= 60_000 && stopped.flown < flown.length, `stopped after ${stopped.flown}`);
  assert.match(await program(...state, '--workers', '2', '--crash'), /A worker thread died/);
  assert.deepEqual(JSON.parse(await program(...state, '--json')), summary(year));
  const log = await embeddedLog({ dir: join(dir, 'year', 'log') });
  assert.deepEqual(await closedIn(log), year.closed);
  await log.close();
});

for (const engine of ENGINES)
  test(`two months on ${engine} are those of a plain loop, through dying threads, a stop and a lost state`, async () => {
    const flights = flown.slice(0, SUBSET);
    const expected = plainLoop(flights);
    // Otherwise there is nothing to find.
    assert.ok(expected.progress.late > 100 && expected.progress.open > 0);
    const home = join(dir, engine);
    const percent = (share: number) => (SUBSET / 100) * share;
    const portion = (from: number, to: number) => flights.slice(percent(from), percent(to));

    // One thread, stopped in order with what it has got to.
    await life({ home, engine, workers: 1 }, async (manager, log) => {
      await produce(log, portion(0, 40));
      await reached(manager, percent(10));
    });
    // Two, of which one dies, and its successors too, with what is not committed of the latest portion.
    await life({ home, engine, workers: 2 }, async (manager, log) => {
      for (const [from, key] of [
        [40, 'JFK'],
        [50, 'EWR'],
        [60, 'LGA'],
      ] as const) {
        await produce(log, portion(from, from + 10));
        await reached(manager, percent(from + 5));
        await assert.rejects(manager.streams.hourly.command('crash', { key }), { code: 'ACTOR_RESTARTED' });
      }
      await produce(log, portion(70, 100));
      await reached(manager, percent(80));
    });
    // The directory is gone (in memory there was none): its state comes back from the changelog.
    await rm(join(home, 'state'), { recursive: true, force: true });
    const found = await life({ home, engine, workers: 2 }, (manager) => reached(manager, SUBSET));
    assert.deepEqual(found, expected.progress);
    const log = await embeddedLog({ dir: join(home, 'log') });
    assert.deepEqual(await closedIn(log), expected.closed);
    await log.close();
  });

test('a query that has counted every flight knows the hours that are open then, however early it came', async () => {
  const job = { home: join(dir, 'moments'), engine: 'memory', workers: 1 } as const;
  await life(job, async (manager, log) => {
    for (let to = 2_500; to <= SUBSET; to += 2_500) {
      await produce(log, flown.slice(to - 2_500, to));
      // Without a pause, so that a query is likely to be under way when the last record is processed.
      assert.deepEqual(await reached(manager, to, 0), plainLoop(flown.slice(0, to)).progress);
    }
  });
});

// ── the job ──────────────────────────────────────────────────────────────────────────────────────────────────────────

type Job = StateManager<{ readonly hourly: ReturnType<typeof processorAt<typeof hourly>> }>;

interface Life {
  readonly home: string;
  readonly engine: EngineKind;
  readonly workers: number;
}

/** A log and a manager of their own, from opening to a stop in order. */
async function life<T>(
  { home, engine, workers }: Life,
  whileRunning: (manager: Job, log: EmbeddedLog) => Promise<T>,
): Promise<T> {
  const log = await embeddedLog({ dir: join(home, 'log') });
  const spec = { topic: 'departures', partitions: PARTITIONS, configs: { 'retention.ms': '-1' } };
  if ((await log.describeTopic('departures')) === undefined) await log.createTopic(spec);
  const manager = await StateManager.start({
    group: 'delays',
    log,
    stateDir: join(home, 'state'),
    workers,
    engine,
    createTopics: { partitions: PARTITIONS },
    checkpoint: { intervalMs: 50 },
    streams: { hourly: processorAt<typeof hourly>(PROCESSOR) },
  });
  try {
    await manager.ready();
    return await whileRunning(manager, log);
  } finally {
    await manager.stop();
    await log.close();
  }
}

async function reached(manager: Job, records: number, pauseMs = 5): Promise<Progress> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const parts = [...(await manager.streams.hourly.queryAll('progress', {})).values()];
    const sum = (of: keyof Progress) => parts.reduce((total, part) => total + part[of], 0);
    const now = { flown: sum('flown'), late: sum('late'), open: sum('open') };
    if (now.flown >= records) return now;
    assert.ok(performance.now() < until, `${now.flown} of ${records} flights after ${PATIENCE_MS} ms`);
    await sleep(pauseMs);
  }
}

async function produce(log: EmbeddedLog, flights: readonly Flight[]): Promise<void> {
  await log.produce(
    'departures',
    flights.map(({ airport, timestamp, delayMin }) => {
      return { key: airport, value: JSON.stringify({ flight: 'any', delayMin }), timestamp };
    }),
  );
}

async function program(...options: string[]): Promise<string> {
  const limits = { timeout: PROGRAM_BUDGET_MS };
  return (await promisify(execFile)(process.execPath, [MAIN, ...options], limits)).stdout;
}

/** What has been committed to the output, by airport, in the order in which it stands there. */
async function closedIn(log: EmbeddedLog): Promise<ReadonlyMap<string, readonly Hour[]>> {
  const closed = new Map<string, Hour[]>();
  for await (const { key, value, headers } of log.read('hourly')) {
    const airport = Buffer.from(key!).toString();
    const start = Number(Buffer.from(new Map(headers).get('partita.window.start')!).toString());
    const { n, delayMin } = JSON.parse(Buffer.from(value!).toString()) as Hour;
    const hours = closed.get(airport) ?? [];
    hours.push({ start, n, delayMin });
    closed.set(airport, hours);
  }
  return new Map([...closed].sort(byAirport));
}

// ── the plain loop ───────────────────────────────────────────────────────────────────────────────────────────────────

function parse(csv: string): readonly Flight[] {
  const flights: Flight[] = [];
  for (const line of csv.trimEnd().split('\n').slice(1)) {
    const [scheduledMs, , , , airport = '', , delay = ''] = line.split(',');
    if (delay === '') continue;
    const delayMin = Number(delay);
    flights.push({ airport, timestamp: Number(scheduledMs) + 60_000 * delayMin, delayMin });
  }
  return flights;
}

/** Each airport by itself: an hour takes what comes before the airport has seen a departure six hours after its end. */
function plainLoop(flights: readonly Flight[]): Expected {
  const closed = new Map<string, readonly Hour[]>();
  let late = 0;
  let open = 0;
  for (const airport of new Set(flights.map((flight) => flight.airport))) {
    const hours = new Map<number, Hour>();
    let clock = 0;
    for (const flight of flights) {
      if (flight.airport !== airport) continue;
      const { timestamp, delayMin } = flight;
      clock = Math.max(clock, timestamp);
      const start = Math.floor(timestamp / HOUR_MS) * HOUR_MS;
      if (clock >= start + HOUR_MS + GRACE_MS) {
        late++;
        continue;
      }
      const hour = hours.get(start) ?? { start, n: 0, delayMin: 0 };
      hour.n++;
      hour.delayMin += delayMin;
      hours.set(start, hour);
    }
    const all = [...hours.values()].sort((a, b) => a.start - b.start);
    const done = all.filter(({ start }) => clock >= start + HOUR_MS + GRACE_MS);
    open += all.length - done.length;
    closed.set(airport, done);
  }
  const progress = { flown: flights.length, late, open };
  return { progress, closed: new Map([...closed].sort(byAirport)) };
}

function summary({ progress, closed }: Expected): unknown {
  const hours = [...closed.values()].flat();
  return {
    ...progress,
    windows: hours.length,
    flights: hours.reduce((sum, { n }) => sum + n, 0),
    jfk: closed.get('JFK')!.slice(0, 5),
  };
}

function byAirport([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}
