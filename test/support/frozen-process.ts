/**
 * A member of a life of freezes in a process of its own (`fixtures/frozen-job.ts`), stopped with SIGSTOP and woken with
 * SIGCONT: its threads, timers and sockets stand still too. The broker as a world of such members stands below.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { atEnd } from './at-end.js';
import type { FreezeMember, MemberSettings, SumRow } from './freeze-member.js';
import { KafkaFreezeBase } from './kafka-freeze.js';

const job = fileURLToPath(new URL('../fixtures/frozen-job.js', import.meta.url));

export interface JobConfig {
  readonly brokers: readonly string[];
  readonly settings: MemberSettings;
}

export interface Ask {
  readonly id: number;
  readonly move: 'ready' | 'add' | 'all' | 'describe' | 'stop';
  readonly key: string;
}

export interface Tell {
  /** That of the question; 0: the manager has started. */
  readonly id: number;
  readonly evictions: number;
  readonly value?: unknown;
  readonly error?: string;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

class FrozenProcess implements FreezeMember {
  evictions = 0;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #asked = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    const forget = atEnd(() => child.kill('SIGKILL'));
    child.on('message', (tell: Tell) => {
      this.#told(tell);
    });
    child.once('exit', (code, signal) => {
      forget();
      const ended = new Error(`The process has ended with ${code ?? signal}.`);
      for (const { reject } of this.#waiting.values()) reject(ended);
      this.#waiting.clear();
    });
  }

  static async start(config: JobConfig): Promise<FrozenProcess> {
    const started = new FrozenProcess(fork(job, [JSON.stringify(config)]));
    await started.#answer(0);
    return started;
  }

  ready(): Promise<void> {
    return this.#ask('ready');
  }

  add(key: string): Promise<'applied' | 'notApplied' | 'unknown'> {
    return this.#ask('add', key);
  }

  all(): Promise<readonly (readonly [number, readonly SumRow[]])[]> {
    return this.#ask('all');
  }

  describe(): Promise<string> {
    return this.#ask('describe');
  }

  /** Resolves when the process has gone. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    await this.#ask('stop');
    this.#child.disconnect();
    await gone;
  }

  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }

  async #ask<T>(move: Ask['move'], key = ''): Promise<T> {
    const ask: Ask = { id: ++this.#asked, move, key };
    const answer = this.#answer(ask.id);
    this.#child.send(ask, (error) => {
      if (error !== null) this.#told({ id: ask.id, evictions: this.evictions, error: String(error) });
    });
    return (await answer) as T;
  }

  #answer(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  #told({ id, evictions, value, error }: Tell): void {
    this.evictions = evictions;
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new Error(error));
  }
}

/** Freezes are those of whole processes: where they are, and everything of them. */
export class ProcessFreezeWorld extends KafkaFreezeBase {
  readonly moments = [undefined];
  readonly held: ReadonlyMap<string, number> = new Map();
  readonly #members = new Map<string, FrozenProcess>();

  async start(clientId: string, settings: MemberSettings): Promise<FreezeMember> {
    const member = await FrozenProcess.start({ brokers: this.brokers, settings });
    this.#members.set(clientId, member);
    return member;
  }

  protected hold(clientId: string): void {
    this.#members.get(clientId)!.freeze();
  }

  protected release(clientId: string): void {
    this.#members.get(clientId)?.thaw();
  }

  override async close(): Promise<void> {
    for (const member of this.#members.values()) await member.kill();
    await super.close();
  }
}
