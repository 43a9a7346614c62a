/**
 * Owns an independent producer: Python's confluent-kafka in a process of its own, idempotent and acknowledged by all
 * replicas, so that an input is neither lost nor doubled while brokers die. kafka-producer.py is the other half.
 */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { atEnd } from './at-end.js';
import { installOtherClient, otherPython } from './other-client.js';

const script = fileURLToPath(new URL('../../../test/support/kafka-producer.py', import.meta.url));
const ERROR_CHARACTERS_MAX = 2_000;

export type ProducedRecord = readonly [topic: string, key: string, value: string];

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class OtherProducer {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting: Waiting[] = [];
  readonly #ended: Promise<void>;
  #errors = '';
  #over: Error | undefined;

  static async start(brokers: readonly string[]): Promise<OtherProducer> {
    await installOtherClient();
    return new OtherProducer(JSON.stringify({ 'bootstrap.servers': brokers.join(',') }));
  }

  private constructor(config: string) {
    const child = spawn(otherPython(), [script, config], { stdio: 'pipe' });
    this.#child = child;
    const forget = atEnd(() => child.kill('SIGKILL'));
    child.stdin.on('error', () => undefined);
    child.stderr.on('data', (text: Buffer) => {
      this.#errors = (this.#errors + text.toString()).slice(-ERROR_CHARACTERS_MAX);
    });
    createInterface({ input: child.stdout }).on('line', () => this.#waiting.shift()?.resolve());
    this.#ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        forget();
        this.#over = new Error(`The other producer has ended with ${code ?? signal}: ${this.#errors}`);
        for (const { reject } of this.#waiting.splice(0)) reject(this.#over);
        resolve();
      });
    });
  }

  /** Resolves when every record is acknowledged by all replicas; rejects, after a minute at most, if one is not. */
  send(records: readonly ProducedRecord[]): Promise<void> {
    if (this.#over !== undefined) return Promise.reject(this.#over);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#child.stdin.write(`${JSON.stringify(records)}\n`);
    });
  }

  /** Ends the process at once. Idempotent. */
  async close(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}
