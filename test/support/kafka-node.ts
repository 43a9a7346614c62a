/**
 * Owns one Kafka process: formats its folder, starts it, knows when it serves, and ends it, at the latest with this
 * process. It never decides what a cluster looks like; kafka-broker.ts, which comes next, does.
 */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { atEnd } from './at-end.js';

const START_BUDGET_MS = 60_000;
const TERMINATE_BUDGET_MS = 20_000;
const PROBE_BUDGET_MS = 1_000;
const PROBE_EVERY_MS = 50;
const LINES_SHOWN_MAX = 40;

export interface KafkaNodeSettings {
  readonly id: number;
  readonly port: number;
  /** The folder of this node alone. */
  readonly directory: string;
  readonly jars: string;
  readonly clusterId: string;
  readonly heapMb: number;
  /** False: the first compiler only, which starts faster and is slower under load. */
  readonly fullJit: boolean;
  readonly properties: Readonly<Record<string, string>>;
  /** Further arguments of the storage tool, as `--add-scram`. */
  readonly formatArguments: readonly string[];
}

export class KafkaNode {
  readonly id: number;
  readonly port: number;
  readonly #settings: KafkaNodeSettings;
  #child: ChildProcess | undefined;

  constructor(settings: KafkaNodeSettings) {
    this.id = settings.id;
    this.port = settings.port;
    this.#settings = settings;
  }

  async format(): Promise<void> {
    const { directory, properties, clusterId, formatArguments } = this.#settings;
    await mkdir(directory, { recursive: true });
    await writeFile(this.#file('server.properties'), propertiesText(properties));
    const tool = [
      'kafka.tools.StorageTool',
      'format',
      '-t',
      clusterId,
      '-c',
      this.#file('server.properties'),
    ];
    const [command, ...rest] = this.#java([...tool, ...formatArguments], false);
    await promisify(execFile)(command, rest, { cwd: directory, timeout: START_BUDGET_MS });
  }

  /** Starts the process on the data it has, and resolves when this node answers and counts itself as alive. */
  async start(): Promise<void> {
    if (this.#child !== undefined) throw new Error(`Kafka node ${this.id} runs already.`);
    const [command, ...rest] = this.#java(
      ['kafka.Kafka', this.#file('server.properties')],
      this.#settings.fullJit,
    );
    const log = openSync(this.#file('log.txt'), 'a');
    const child = spawn(command, rest, { cwd: this.#settings.directory, stdio: ['ignore', log, log] });
    closeSync(log);
    this.#child = child;
    const forget = atEnd(() => child.kill('SIGKILL'));
    child.once('exit', () => {
      forget();
      this.#child = undefined;
    });
    // A test that forgets to stop its broker must still be able to end.
    child.unref();
    try {
      await this.#ready(child);
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL', START_BUDGET_MS);
  }

  /** SIGTERM, and SIGKILL if the node does not leave in time; resolves when the process is gone. */
  async terminate(): Promise<void> {
    this.#child?.kill('SIGCONT');
    if (!(await this.#end('SIGTERM', TERMINATE_BUDGET_MS))) await this.kill();
  }

  pause(): void {
    this.#running().kill('SIGSTOP');
  }

  resume(): void {
    this.#running().kill('SIGCONT');
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** The end of what the process has printed. */
  lastLines(): string {
    const file = this.#file('log.txt');
    if (!existsSync(file)) return '';
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-LINES_SHOWN_MAX).join('\n');
  }

  async #ready(child: ChildProcess): Promise<void> {
    const deadline = Date.now() + START_BUDGET_MS;
    let failure: unknown;
    child.once('error', (error) => (failure = error));
    while (Date.now() < deadline) {
      if (child.exitCode !== null || child.signalCode !== null || failure !== undefined)
        throw this.#startFailure('ended while it started', failure);
      if ((await aliveNodes(this.port))?.includes(this.id) === true) return;
      await sleep(PROBE_EVERY_MS);
    }
    throw this.#startFailure(`does not answer after ${START_BUDGET_MS} ms`, failure);
  }

  #startFailure(what: string, cause: unknown): Error {
    return new Error(`Kafka node ${this.id} ${what}. Its last lines:\n${this.lastLines()}`, { cause });
  }

  async #end(signal: 'SIGKILL' | 'SIGTERM', budgetMs: number): Promise<boolean> {
    const child = this.#child;
    if (child?.pid === undefined) return true;
    child.ref();
    const gone = once(child, 'exit', { signal: AbortSignal.timeout(budgetMs) }).then(
      () => true,
      () => false,
    );
    child.kill(signal);
    return gone;
  }

  #running(): ChildProcess {
    if (this.#child === undefined) throw new Error(`Kafka node ${this.id} does not run.`);
    return this.#child;
  }

  #java(main: readonly string[], fullJit: boolean): [string, ...string[]] {
    const jit = fullJit ? [] : ['-XX:TieredStopAtLevel=1'];
    const heap = [
      '-Xms64m',
      `-Xmx${this.#settings.heapMb}m`,
      '-XX:+UseSerialGC',
      '-XX:+ExitOnOutOfMemoryError',
    ];
    const logging = '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn';
    const java = ['java', ...heap, ...jit, logging, '-cp', join(this.#settings.jars, '*'), ...main];
    return [...deathWithParent(), ...java] as [string, ...string[]];
  }

  #file(name: string): string {
    return join(this.#settings.directory, name);
  }
}

/**
 * The ids of the nodes that the node at `port` counts as alive, by one raw metadata request (version 1, no topics) to
 * exactly that node; `undefined` if it does not answer in time. kafkajs would retry, log, and ask another node.
 */
export async function aliveNodes(port: number): Promise<number[] | undefined> {
  const socket = connect({ host: '127.0.0.1', port });
  const request = Buffer.alloc(22);
  request.writeInt32BE(18, 0);
  request.writeInt16BE(3, 4);
  request.writeInt16BE(1, 6);
  request.writeInt16BE(4, 12);
  request.write('test', 14);
  const timeout = AbortSignal.timeout(PROBE_BUDGET_MS);
  const stop = (): void => {
    socket.destroy(new Error('The node does not answer.'));
  };
  timeout.addEventListener('abort', stop);
  try {
    socket.write(request);
    let bytes = Buffer.alloc(0);
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      bytes = Buffer.concat([bytes, chunk]);
      if (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) return nodesOf(bytes);
    }
    return undefined;
  } catch {
    // Refused, reset or timed out: the one answer that a node which does not serve gives.
    return undefined;
  } finally {
    timeout.removeEventListener('abort', stop);
    socket.destroy();
  }
}

/** Size, correlation id, then an array of: id int32, host string, port int32, rack nullable string. */
function nodesOf(response: Buffer): number[] {
  const count = response.readInt32BE(8);
  const ids: number[] = [];
  let at = 12;
  for (let index = 0; index < count; index++) {
    ids.push(response.readInt32BE(at));
    at += 6 + response.readInt16BE(at + 4) + 4;
    at += 2 + Math.max(0, response.readInt16BE(at));
  }
  return ids;
}

function propertiesText(properties: Readonly<Record<string, string>>): string {
  return Object.entries(properties)
    .map(([key, value]) => `${key}=${value.replaceAll('\\', '\\\\')}\n`)
    .join('');
}

let prefix: readonly string[] | undefined;

/** On Linux the kernel ends a broker whose test process was killed itself; setpriv becomes java, so the pid is java's. */
function deathWithParent(): readonly string[] {
  const setpriv = ['setpriv', '--pdeathsig', 'KILL'];
  prefix ??= spawnSync('setpriv', [...setpriv.slice(1), 'true']).status === 0 ? setpriv : [];
  return prefix;
}
