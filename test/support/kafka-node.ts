/**
 * Owns one Kafka process: formats its folder, starts it, knows when it serves, and ends it, at the latest with this
 * process. It never decides what a cluster looks like; kafka-broker.ts, which comes next, does.
 */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { atEnd } from './at-end.js';
import { aliveNodes } from './kafka-wire.js';

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
  /** Options of the JVM, for its heap and the like. */
  readonly jvm: readonly string[];
  readonly properties: Readonly<Record<string, string>>;
  /** Further arguments of the storage tool, as `--add-scram`. */
  readonly formatArguments: readonly string[];
}

export class KafkaNode {
  readonly id: number;
  /** `host:port` of its plain listener. */
  readonly address: string;
  readonly #settings: KafkaNodeSettings;
  #child: ChildProcess | undefined;

  constructor(settings: KafkaNodeSettings) {
    this.id = settings.id;
    this.address = `127.0.0.1:${settings.port}`;
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
    const [command, ...rest] = this.#java(...tool, ...formatArguments);
    await promisify(execFile)(command, rest, { cwd: directory, timeout: START_BUDGET_MS });
  }

  /** Starts the process on the data it has, and resolves when this node answers and counts itself as alive. */
  async start(): Promise<void> {
    if (this.#child !== undefined) throw new Error(`Kafka node ${this.id} runs already.`);
    const [command, ...rest] = this.#java('kafka.Kafka', this.#file('server.properties'));
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

  /** The ids of the nodes that this one counts as alive; none if it does not answer. */
  async sees(): Promise<readonly number[]> {
    return aliveNodes(this.address, PROBE_BUDGET_MS).catch(() => []);
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
      if ((await this.sees()).includes(this.id)) return;
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

  #java(...main: readonly string[]): [string, ...string[]] {
    const { jvm, jars } = this.#settings;
    const fixed = [
      '-XX:+UseSerialGC',
      '-XX:+ExitOnOutOfMemoryError',
      '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
    ];
    const java = ['java', '-Xms64m', ...fixed, ...jvm, '-cp', join(jars, '*'), ...main];
    return [...deathWithParent(), ...java] as [string, ...string[]];
  }

  #file(name: string): string {
    return join(this.#settings.directory, name);
  }
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
