/**
 * Runs every example as a user would and compares what it prints with the `expected` file beside its README; the flights
 * also with a crash, with more workers, and twice on the same state. Exits with 1 if anything differs.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

const scratch = await mkdtemp(join(tmpdir(), 'partita-examples-'));
let failures = 0;

await check('01-flights', flights('--json'));
await check('01-flights', flights('--json', '--crash', '--workers', '2'));
await check('01-flights', flights('--json', '--state', join(scratch, 'flights'), '--engine', 'level'));
await check('01-flights', flights('--json', '--state', join(scratch, 'flights'), '--engine', 'level'));
await check('08-hourly-delays', hourly());
await check('08-hourly-delays', hourly('--workers', '2', '--crash'));
await check('08-hourly-delays', hourly('--engine', 'memory'));
const resumed = ['--state', join(scratch, 'hourly'), '--engine', 'rocksdb'];
await check('08-hourly-delays', stops('08-hourly-delays', [...resumed, '--stop-after', '150000']));
await check('08-hourly-delays', hourly(...resumed));
for (const name of [
  '02-word-count',
  '03-commands-and-queries',
  '04-crash-and-recover',
  '06-dead-letters',
  '09-aircraft-sessions',
  '10-joins',
  '11-timers',
])
  await check(name, prints(name));
await check('05-http-server', serves());
for (const signal of ['SIGTERM', 'SIGINT'] as const) await check('12-signals', ends(signal));
await onKafka();
await rm(scratch, { recursive: true, force: true });
process.exitCode = failures === 0 ? 0 : 1;

/** Runs one and reports it; `run` resolves to what differs, or to undefined. */
async function check(name: string, run: Promise<string | undefined>): Promise<void> {
  const startedAt = performance.now();
  const problem = await run.catch((error: unknown) => String(error));
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(`${problem === undefined ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)`);
  if (problem === undefined) return;
  failures++;
  console.log(problem);
}

async function flights(...options: string[]): Promise<string | undefined> {
  const printed = JSON.parse(await finish(start('01-flights', options))) as { recordsPerSecond?: number };
  const { recordsPerSecond, ...state } = printed;
  const expected: unknown = JSON.parse(await expectedOf('01-flights', 'expected.json'));
  if (typeof recordsPerSecond !== 'number') return 'no recordsPerSecond';
  return isDeepStrictEqual(state, expected) ? undefined : JSON.stringify(state);
}

async function hourly(...options: string[]): Promise<string | undefined> {
  const printed: unknown = JSON.parse(await finish(start('08-hourly-delays', ['--json', ...options])));
  const expected: unknown = JSON.parse(await expectedOf('08-hourly-delays', 'expected.json'));
  return isDeepStrictEqual(printed, expected) ? undefined : JSON.stringify(printed);
}

/** Runs it to an end before its end. */
async function stops(name: string, options: string[]): Promise<string | undefined> {
  const { flown } = JSON.parse(await finish(start(name, ['--json', ...options]))) as { flown: number };
  return flown >= 150_000 && flown < 328_521 ? undefined : `it stopped after ${flown}`;
}

async function prints(name: string): Promise<string | undefined> {
  const printed = await finish(start(name));
  return printed === (await expectedOf(name, 'expected.txt')) ? undefined : printed;
}

/** With the brokers of KAFKA_BROKERS, or one of `broker.sh`; without either it is left out, which CI does not allow. */
async function onKafka(): Promise<void> {
  const given = process.env['KAFKA_BROKERS'];
  const lacking = ['java', 'mvn'].filter((tool) => spawnSync(tool, ['-version']).status !== 0);
  if (given === undefined && lacking.length > 0) {
    if (process.env['CI'] === 'true') failures++;
    console.log(`SKIPPED 07-kafka: it needs KAFKA_BROKERS, or ${lacking.join(' and ')} to start a broker`);
    return;
  }
  const port = 20_000 + (process.pid % 10_000);
  const broker = given === undefined ? startBroker(port) : undefined;
  const env = { ...process.env, KAFKA_BROKERS: given ?? `127.0.0.1:${port}` };
  try {
    await check('07-kafka', shop(env, broker));
  } finally {
    broker?.kill('SIGTERM');
    if (broker?.exitCode === null) await once(broker, 'exit');
  }
}

function startBroker(port: number): ChildProcess {
  const script = new URL('../../examples/07-kafka/broker.sh', import.meta.url).pathname;
  // `exec` makes java of it, so that a signal reaches the broker.
  return spawn('sh', [script, join(scratch, 'kafka'), String(port)], { stdio: 'ignore' });
}

/** Until the broker serves, the program finds none, and says so. */
async function shop(env: NodeJS.ProcessEnv, broker: ChildProcess | undefined): Promise<string | undefined> {
  const expected = await expectedOf('07-kafka', 'expected.txt');
  const options = ['--orders', '1000', '--group', `shop-${process.pid}`, '--state', join(scratch, 'shop')];
  for (let tries = 0; ; tries++)
    try {
      const printed = await finish(start('07-kafka', options, env));
      return printed === expected ? undefined : printed;
    } catch (error) {
      if (tries >= 20 || broker === undefined || broker.exitCode !== null) throw error;
    }
}

/** Starts the server, uses it, ends it with SIGTERM, and finds its state again in a second life with other threads. */
async function serves(): Promise<string | undefined> {
  const found: unknown[] = [];
  for (const workers of ['1', '2']) {
    const env = { ...process.env, STATE_DIR: join(scratch, 'http'), WORKERS: workers };
    const server = start('05-http-server', [], env);
    const output = finish(server);
    const [line] = (await once(server.stdout!, 'data')) as [Buffer];
    const url = /http:\S+/.exec(line.toString())![0];
    for (const page of ['/a', '/a', '/b']) await fetch(url + page, { method: 'POST' });
    let count = 0;
    const visits = workers === '1' ? 2 : 4;
    for (let tries = 0; count !== visits && tries < 200; tries++) {
      const answer = (await (await fetch(`${url}/a`)).json()) as { count?: number };
      count = answer.count ?? 0;
    }
    found.push(count, (await fetch(`${url}/never`)).status, await (await fetch(url)).json());
    server.kill('SIGTERM');
    found.push((await output).endsWith('stopped\n'));
  }
  const expected = [2, 404, { pages: 2 }, true, 4, 404, { pages: 2 }, true];
  return isDeepStrictEqual(found, expected) ? undefined : JSON.stringify(found);
}

/** Sends it the signal when it runs; it must say that everything is committed, and exit with 0 by itself. */
async function ends(signal: NodeJS.Signals): Promise<string | undefined> {
  const child = start('12-signals', [], { ...process.env, STATE_DIR: join(scratch, 'signals') });
  const output = finish(child);
  child.stdout?.once('data', () => child.kill(signal));
  const expected = `running\nstopping after ${signal}\neverything is committed\n`;
  const printed = await output;
  return printed === expected ? undefined : printed;
}

function start(name: string, options: readonly string[] = [], env = process.env): ChildProcess {
  const main = new URL(`./${name}/main.js`, import.meta.url).pathname;
  return spawn(process.execPath, [main, ...options], { env, stdio: ['ignore', 'pipe', 'inherit'] });
}

/** What it printed; rejects if it exits with anything but 0 or takes longer than two minutes. */
async function finish(child: ChildProcess): Promise<string> {
  const timer = setTimeout(() => child.kill('SIGKILL'), 120_000);
  const chunks: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  clearTimeout(timer);
  if (code !== 0) throw new Error(`exit ${code ?? signal ?? '?'} after ${Buffer.concat(chunks).toString()}`);
  return Buffer.concat(chunks).toString();
}

/** From the sources: the build copies no text files. */
function expectedOf(name: string, file: string): Promise<string> {
  return readFile(new URL(`../../examples/${name}/${file}`, import.meta.url), 'utf8');
}
