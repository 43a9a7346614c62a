/**
 * Owns the second oracle of windows and joins: Kafka Streams' own results by its TopologyTestDriver, many runs in one JVM, built
 * once into the user's cache folder. It knows nothing of Partita. `kafka-streams/Oracle.java` is the other half;
 * `streams-comparison.ts`, which comes next, puts both into one form.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { once, testCache } from './kafka-jars.js';

const BUILD_BUDGET_MS = 240_000;
const RUN_BUDGET_MS = 240_000;
const HEAP_MB = 256;
const ERROR_CHARACTERS_MAX = 4_000;
const sources = fileURLToPath(new URL('../../../test/support/kafka-streams/', import.meta.url));

/** `updates` is EmitStrategy.onWindowUpdate, `final` is onWindowClose without their throttle by the wall clock. */
export type StreamsEmission = 'updates' | 'final';

interface Stored {
  /** RocksDB is Kafka Streams' default; with the driver it writes files for each record. @default 'inMemory' */
  readonly store?: 'inMemory' | 'rocksDB';
}

interface Windowing extends Stored {
  readonly graceMs: number;
  readonly emission: StreamsEmission;
  /** How long the store keeps windows. @default what Kafka Streams takes: the size or gap, and the grace */
  readonly retentionMs?: number;
}

export type StreamsWindowing =
  | (Windowing & { readonly topology: 'tumbling'; readonly sizeMs: number })
  | (Windowing & { readonly topology: 'hopping'; readonly sizeMs: number; readonly stepMs: number })
  | (Windowing & { readonly topology: 'sliding'; readonly sizeMs: number })
  | (Windowing & { readonly topology: 'session'; readonly gapMs: number });

export type StreamsJoin =
  | (Stored & {
      readonly topology: 'streamJoin';
      readonly kind: 'inner' | 'left' | 'outer';
      /** How much older than its left record (input `a`) a right one (input `b`) may be. */
      readonly beforeMs: number;
      readonly afterMs: number;
      readonly graceMs: number;
    })
  /** Input `a` is the stream, `b` the table. */
  | { readonly topology: 'tableJoin'; readonly kind: 'inner' | 'left' };

export interface StreamsRecord {
  readonly input: 'a' | 'b';
  readonly key: string | null;
  readonly value: number | null;
  readonly timestamp: number;
}

export interface StreamsRun<H extends StreamsWindowing | StreamsJoin = StreamsWindowing | StreamsJoin> {
  readonly header: H;
  readonly records: readonly StreamsRecord[];
}

export interface StreamsRow {
  readonly key: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly count: number;
  readonly sum: number;
}

export interface StreamsWindow extends Omit<StreamsRow, 'count' | 'sum'> {
  /** Index of the record that was processed. */
  readonly at: number;
  /** Of the result. */
  readonly timestamp: number;
  /** `null`, as the sum: the session was removed, because another one has swallowed it. */
  readonly count: number | null;
  readonly sum: number | null;
}

export interface StreamsPair {
  readonly at: number;
  readonly timestamp: number;
  readonly key: string | null;
  readonly left: number | null;
  readonly right: number | null;
}

export interface StreamsResult {
  /** In order. */
  readonly windows: readonly StreamsWindow[];
  /** Of joins, in order. */
  readonly pairs: readonly StreamsPair[];
  /** How many windows the record with this index came too late for, or 1 if it was skipped. */
  readonly dropped: readonly { readonly at: number; readonly count: number }[];
  /** What the store holds at the end, closed windows within its retention included. */
  readonly rows: readonly StreamsRow[];
}

/** Why Kafka Streams cannot run on this machine, or `undefined` if it can. */
export function streamsMissing(): string | undefined {
  if (spawnSync('java', ['-version']).status !== 0) return 'java is not installed';
  if (existsSync(buildFolder())) return undefined;
  if (spawnSync('javac', ['-version']).status !== 0) return 'javac is not installed';
  return spawnSync('mvn', ['--version']).status === 0 ? undefined : 'mvn is not installed';
}

/** What Kafka Streams makes of each of the runs, which know nothing of each other. */
export async function streamsOf(runs: readonly StreamsRun[]): Promise<StreamsResult[]> {
  const folder = await built();
  const state = await mkdtemp(join(tmpdir(), 'partita-streams-'));
  try {
    return await results(runs, folder, state);
  } finally {
    await rm(state, { recursive: true, force: true });
  }
}

async function results(runs: readonly StreamsRun[], folder: string, state: string): Promise<StreamsResult[]> {
  const flags = [`-Xmx${HEAP_MB}m`, '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
  const path = `${join(folder, 'classes')}:${join(folder, 'jars', '*')}`;
  const child = spawn('java', [...flags, '-cp', path, 'Oracle', state], {
    timeout: RUN_BUDGET_MS,
    killSignal: 'SIGKILL',
  });
  let errors = '';
  child.stderr.on(
    'data',
    (text: Buffer) => (errors = (errors + text.toString()).slice(-ERROR_CHARACTERS_MAX)),
  );
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  });
  // A child that has died says why on stderr; the broken pipe says nothing more.
  const written = pipeline(Readable.from(linesOf(runs)), child.stdin).then(
    () => undefined,
    (error: unknown) => error,
  );
  const read = await readResults(createInterface({ input: child.stdout }));
  const [code, failure] = [await ended, await written];
  if (code !== 0 || failure !== undefined || read.length !== runs.length)
    throw new Error(`Kafka Streams ended with ${String(code)}: ${errors}`, { cause: failure });
  return read;
}

function* linesOf(runs: readonly StreamsRun[]): Generator<string> {
  for (const { header, records } of runs) {
    yield `${JSON.stringify(header)}\n`;
    for (const record of records) yield `${JSON.stringify(record)}\n`;
    yield '\n';
  }
}

type Line =
  | ({ readonly type: 'window' } & StreamsWindow)
  | ({ readonly type: 'pair' } & StreamsPair)
  | ({ readonly type: 'row' } & StreamsRow)
  | { readonly type: 'dropped'; readonly at: number; readonly count: number };

async function readResults(lines: AsyncIterable<string>): Promise<StreamsResult[]> {
  const read: StreamsResult[] = [];
  const nothing = () => ({
    windows: [] as StreamsWindow[],
    pairs: [] as StreamsPair[],
    dropped: [] as { at: number; count: number }[],
    rows: [] as StreamsRow[],
  });
  let result = nothing();
  for await (const text of lines) {
    if (text === '') {
      read.push(result);
      result = nothing();
      continue;
    }
    const line = JSON.parse(text) as Line;
    if (line.type === 'window') result.windows.push(line);
    else if (line.type === 'pair') result.pairs.push(line);
    else if (line.type === 'row') result.rows.push(line);
    else result.dropped.push(line);
  }
  return read;
}

/** The folder with `jars` and `classes`, made if nobody has. */
async function built(): Promise<string> {
  const folder = buildFolder();
  await once(folder, async (temporary) => {
    process.stderr.write(`Building the oracle of Kafka Streams (downloads about 80 MB, once) in ${folder}\n`);
    const build = join(temporary, 'build');
    const run = promisify(execFile);
    const inFolder = { cwd: build, timeout: BUILD_BUDGET_MS };
    await cp(sources, build, { recursive: true });
    const copy = [
      '-q',
      '-B',
      'dependency:copy-dependencies',
      '-DincludeScope=runtime',
      '-DoutputDirectory=jars',
    ];
    await run('mvn', copy, inFolder);
    await run('javac', ['-nowarn', '-d', 'classes', '-cp', 'jars/*', 'Oracle.java'], inFolder);
    return build;
  });
  return folder;
}

/** Another one for other sources, so that no checkout runs what another one has built. */
function buildFolder(): string {
  const hash = createHash('sha256');
  for (const file of ['pom.xml', 'Oracle.java']) hash.update(readFileSync(join(sources, file)));
  return join(testCache(), `streams-oracle-${hash.digest('hex').slice(0, 12)}`);
}
