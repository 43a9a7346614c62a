/**
 * Owns one process of the group under chaos: starts it, signals it, hears its reports, and ends it in any case. It never
 * decides when; director.ts, which comes next, does.
 */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ChaosDump } from '../../fixtures/chaos-processor.js';
import { atEnd } from '../at-end.js';

export interface ChaosJobConfig {
  readonly brokers: readonly string[];
  readonly group: string;
  readonly stateDir: string;
  readonly guarantee: 'exactly-once' | 'at-least-once';
  readonly sessionTimeoutMs: number;
  readonly stopDeadlineMs: number;
  /** Prints its state once it is ready, and stops. */
  readonly dump: boolean;
}

/** What a process reports. */
export type ChaosReport =
  /** From here on it takes SIGTERM as a request. */
  | { readonly event: 'running' }
  | { readonly event: 'started' | 'ready'; readonly ms: number }
  | { readonly event: 'assigned' | 'lost'; readonly partitions: number }
  | { readonly event: 'revoked'; readonly partitions: number; readonly committed: boolean }
  | {
      readonly event: 'recovered';
      readonly partition: number;
      readonly restoredRecords: number;
      readonly rebuilt: string | undefined;
      readonly ms: number;
    }
  | {
      readonly event: 'resumed';
      readonly partition: number;
      readonly how: 'unchanged' | 'verified' | 'recovered';
      readonly ms: number;
    }
  | {
      readonly event: 'restarting';
      readonly partition: number;
      readonly delayMs: number;
      readonly code: string;
      readonly message: string;
    }
  | {
      readonly event: 'failed';
      readonly phase: 'start' | 'run';
      readonly code: string;
      readonly message: string;
    }
  | {
      readonly event: 'stopped';
      readonly inTime: boolean;
      readonly committed: boolean;
      readonly ms: number;
      readonly message?: string;
    }
  | { readonly event: 'dump'; readonly partitions: readonly (readonly [number, ChaosDump])[] };

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Nobody had asked for it. */
  readonly unexpected: boolean;
  /** What it reported last of how it failed. */
  readonly failure: Extract<ChaosReport, { readonly event: 'failed' }> | undefined;
}

const JOB = fileURLToPath(new URL('../../fixtures/chaos-job.js', import.meta.url));
const ERROR_LINES_MAX = 12;
const ERROR_LINE_CHARACTERS_MAX = 400;

export class ChaosMember {
  readonly name: string;
  readonly #config: ChaosJobConfig;
  readonly #logFile: string;
  readonly #onReport: (report: ChaosReport) => void;
  readonly #onExit: (exit: Exit) => void;
  readonly #errors: string[] = [];
  #child: ChildProcessWithoutNullStreams | undefined;
  #asked = false;
  #failure: Exit['failure'];
  #listening = false;

  constructor(
    name: string,
    config: ChaosJobConfig,
    logFile: string,
    on: { report(report: ChaosReport): void; exit(exit: Exit): void },
  ) {
    this.name = name;
    this.#config = config;
    this.#logFile = logFile;
    this.#onReport = (report) => {
      on.report(report);
    };
    this.#onExit = (exit) => {
      on.exit(exit);
    };
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Whether SIGTERM is a request to it; a program that has only just been started dies of it. */
  get listening(): boolean {
    return this.#listening;
  }

  get stateDir(): string {
    return this.#config.stateDir;
  }

  /** The end of what its processes wrote to stderr. */
  get lastLines(): string {
    return this.#errors.join('\n');
  }

  start(): void {
    if (this.#child !== undefined) throw new Error(`${this.name} runs already.`);
    this.#asked = false;
    this.#failure = undefined;
    this.#listening = false;
    const child = spawn(process.execPath, [JOB, JSON.stringify(this.#config)], { stdio: 'pipe' });
    this.#child = child;
    const forget = atEnd(() => child.kill('SIGKILL'));
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.#heard(line);
    });
    createInterface({ input: child.stderr }).on('line', (line) => {
      this.#log(line);
      this.#errors.push(line.slice(0, ERROR_LINE_CHARACTERS_MAX));
      if (this.#errors.length > ERROR_LINES_MAX) this.#errors.shift();
    });
    child.stdin.on('error', () => undefined);
    // `close`, not `exit`: by then everything it has said was heard.
    child.once('close', (code, signal) => {
      forget();
      this.#child = undefined;
      this.#log(`${this.name} ended: ${code ?? signal}`);
      this.#onExit({ code, signal, unexpected: !this.#asked, failure: this.#failure });
    });
  }

  /** SIGTERM; resolves with how it ended, at the latest after `budgetMs`, then by SIGKILL. */
  terminate(budgetMs: number): Promise<Exit | undefined> {
    return this.#end('SIGTERM', budgetMs);
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL', 10_000);
  }

  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  async wipe(): Promise<void> {
    await rm(this.#config.stateDir, { recursive: true, force: true });
  }

  /** How it ended, or `undefined` if it did not within the time, or does not run. */
  async ended(budgetMs: number): Promise<Pick<Exit, 'code' | 'signal'> | undefined> {
    const child = this.#child;
    if (child === undefined) return undefined;
    try {
      const [code, signal] = (await once(child, 'close', { signal: AbortSignal.timeout(budgetMs) })) as [
        number | null,
        NodeJS.Signals | null,
      ];
      return { code, signal };
    } catch {
      return undefined;
    }
  }

  async #end(signal: 'SIGTERM' | 'SIGKILL', budgetMs: number): Promise<Exit | undefined> {
    if (this.#child === undefined) return undefined;
    this.#asked = true;
    this.#child.kill(signal);
    if (signal === 'SIGTERM') this.#child.kill('SIGCONT');
    const ended = await this.ended(budgetMs);
    if (ended !== undefined) return { ...ended, unexpected: false, failure: this.#failure };
    if (signal === 'SIGTERM') await this.kill();
    return undefined;
  }

  #heard(line: string): void {
    this.#log(line);
    const report = JSON.parse(line) as ChaosReport;
    if (report.event === 'running') this.#listening = true;
    if (report.event === 'failed') this.#failure = report;
    this.#onReport(report);
  }

  #log(line: string): void {
    appendFileSync(this.#logFile, `${new Date().toISOString()} ${line}\n`);
  }
}
