/**
 * Owns a second opinion: Python's confluent-kafka, in an environment of its own in the user's cache folder, reads what
 * Partita has written. It never writes to a topic or group. kafka-client.py is the other half.
 */
import { execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import { installPython, pythonMissing, pythonWith } from './python-environment.js';

const PACKAGE = 'confluent-kafka==2.16.1';
const RUN_BUDGET_MS = 60_000;
const STREAM_BUDGET_MS = 300_000;
const ERROR_CHARACTERS_MAX = 4_000;
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024;
const script = fileURLToPath(new URL('../../../test/support/kafka-client.py', import.meta.url));

/** Settings of librdkafka, as `security.protocol`, over `bootstrap.servers`. */
export type OtherClientConfig = Readonly<Record<string, string | number | boolean>>;

export interface OtherRecord {
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly (readonly [name: string, value: Buffer | null])[];
}

export interface OtherCommit {
  readonly partition: number;
  /** `null` if the group has committed nothing. */
  readonly offset: number | null;
  /** The last stable offset. */
  readonly end: number;
  readonly lag: number;
}

/** Why the other client cannot run on this machine, or `undefined` if it can. */
export function otherClientMissing(): string | undefined {
  return pythonMissing(PACKAGE);
}

/** Installs the client if nobody has; the functions below do so too, at the cost of their first call. */
export async function installOtherClient(): Promise<void> {
  await installPython(PACKAGE);
}

/** All committed records of `topic`, those of one partition in order. */
export async function otherRead(
  brokers: readonly string[],
  topic: string,
  config: OtherClientConfig = {},
): Promise<OtherRecord[]> {
  const lines = await runClient(brokers, config, 'read', topic);
  return (lines as RawRecord[]).map(decoded);
}

/** The same records one by one, for topics that are too large to be held; resolves after the last. */
export async function otherEach(
  brokers: readonly string[],
  topic: string,
  onRecord: (record: OtherRecord) => void,
  config: OtherClientConfig = {},
): Promise<void> {
  await installOtherClient();
  const settings = clientSettings(brokers, config);
  const child = spawn(otherPython(), [script, 'read', topic, settings], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: STREAM_BUDGET_MS,
    killSignal: 'SIGKILL',
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  });
  let errors = '';
  child.stderr.on(
    'data',
    (text: Buffer) => (errors = (errors + text.toString()).slice(-ERROR_CHARACTERS_MAX)),
  );
  try {
    for await (const line of createInterface({ input: child.stdout }))
      if (line !== '') onRecord(decoded(JSON.parse(line) as RawRecord));
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  const code = await ended;
  if (code !== 0) throw new Error(`The other client could not read ${topic} (${code}): ${errors}`);
}

/** What `group` has committed for each partition of `topic`, by number. */
export async function otherCommitted(
  brokers: readonly string[],
  topic: string,
  group: string,
  config: OtherClientConfig = {},
): Promise<OtherCommit[]> {
  return (await runClient(brokers, config, 'committed', topic, group)) as OtherCommit[];
}

interface RawRecord extends Omit<OtherRecord, 'key' | 'value' | 'headers'> {
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: readonly (readonly [string, string | null])[];
}

function decoded({ key, value, headers, ...rest }: RawRecord): OtherRecord {
  return {
    ...rest,
    key: bytes(key),
    value: bytes(value),
    headers: headers.map(([name, content]) => [name, bytes(content)]),
  };
}

function bytes(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text, 'base64');
}

async function runClient(
  brokers: readonly string[],
  config: OtherClientConfig,
  ...command: readonly string[]
): Promise<unknown[]> {
  await installOtherClient();
  const settings = clientSettings(brokers, config);
  const { stdout } = await promisify(execFile)(otherPython(), [script, ...command, settings], {
    timeout: RUN_BUDGET_MS,
    maxBuffer: OUTPUT_BYTES_MAX,
  });
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);
}

function clientSettings(brokers: readonly string[], config: OtherClientConfig): string {
  return JSON.stringify({ 'bootstrap.servers': brokers.join(','), ...config });
}

/** The interpreter that has the client. */
export function otherPython(): string {
  return pythonWith(PACKAGE);
}
