/**
 * Owns the carrying out of a plan: each fault at its time, on its process or on the broker, and the order afterwards:
 * everything that was taken down comes back. It is the supervisor too: a process that could not start because the broker
 * was away is started again, and any other end that nobody ordered fails the run. It never judges the results.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KafkaBroker } from '../kafka-broker.js';
import { ChaosMember, type ChaosJobConfig, type ChaosReport, type Exit } from './member.js';
import { FIRST_PROCESSES, isBroker, type Fault } from './plan.js';

/** A fault that has to wait for the one before on the same process waits so long at most. */
const TARGET_BUDGET_MS = 60_000;
const SUPERVISOR_PAUSE_MS = 300;
/** Of each kind of surprise so many lines are printed; all are counted. */
const LINES_PER_EVENT_MAX = 2_000;
/** What is sent to a broker on its way down or up may be answered late. */
const BROKER_SETTLES_MS = 3_000;

export interface DirectorOptions {
  readonly broker: KafkaBroker;
  readonly job: Omit<ChaosJobConfig, 'stateDir' | 'dump'>;
  readonly directory: string;
  readonly processes: number;
  readonly log: (line: string) => void;
  /** Resolves when every replica of every partition is in sync; rejects if that takes too long. */
  readonly inSync: () => Promise<void>;
  /** Since the start of the run. */
  readonly now: () => number;
}

/** A fault as it was carried out. */
export interface DoneFault {
  readonly fault: Fault;
  readonly fromMs: number;
  readonly toMs: number;
}

export class ChaosDirector {
  readonly members: readonly ChaosMember[];
  readonly done: DoneFault[] = [];
  /** How often each thing was reported, by name. */
  readonly counts = new Map<string, number>();
  readonly #options: DirectorOptions;
  readonly #busy = new Map<number | undefined, Promise<void>>();
  readonly #failures: Error[] = [];
  /** When the broker was not at its work, in ms of the run. */
  readonly #outages: { readonly fromMs: number; toMs: number }[] = [];
  #closing = false;

  constructor(options: DirectorOptions) {
    this.#options = options;
    this.members = Array.from({ length: options.processes }, (_, i) => this.#member(i));
  }

  /** Why the run has failed, if it has. */
  get failure(): Error | undefined {
    return this.#failures[0];
  }

  startFirst(): void {
    for (const member of this.members.slice(0, FIRST_PROCESSES)) member.start();
  }

  /** Resolves when every fault was carried out and everything is back. Rejects at the first end that nobody ordered. */
  async play(plan: readonly Fault[]): Promise<void> {
    const startMs = this.#options.now();
    for (const fault of plan) {
      await this.#until(startMs + fault.atMs);
      await this.#free(fault.process);
      this.#throwFailure();
      this.#busy.set(
        fault.process,
        this.#carryOut(fault).catch((error: unknown) => {
          this.fail(`${describe(fault)} could not be carried out: ${String(error)}`);
        }),
      );
    }
    for (const target of this.#busy.keys()) await this.#free(target);
    for (const member of this.members) if (!member.running) member.start();
    this.#throwFailure();
  }

  /** Every process stops in order, or the run has failed. */
  async stopAll(): Promise<void> {
    await Promise.all(this.members.map((member, index) => this.#terminate(member, index)));
    this.#throwFailure();
  }

  /** Ends whatever is left, without asking. Never rejects. */
  async close(): Promise<void> {
    this.#closing = true;
    await Promise.allSettled([...this.#busy.values(), ...this.members.map((member) => member.kill())]);
    await Promise.allSettled(this.members.map((member) => member.kill()));
  }

  fail(message: string): void {
    this.#options.log(`!! ${message}`);
    this.#failures.push(new Error(message));
  }

  #throwFailure(): void {
    if (this.failure !== undefined) throw this.failure;
  }

  async #carryOut(fault: Fault): Promise<void> {
    const { log, now } = this.#options;
    const fromMs = now();
    log(describe(fault));
    if (isBroker(fault.kind)) await this.#hitBroker(fault, fromMs);
    else await this.#hitProcess(fault, this.members[fault.process!]!, fault.process!);
    this.done.push({ fault, fromMs, toMs: now() });
  }

  async #hitProcess({ kind, forMs }: Fault, member: ChaosMember, index: number): Promise<void> {
    switch (kind) {
      case 'join':
        break;
      case 'leave':
        await this.#terminate(member, index);
        await sleep(forMs);
        break;
      case 'freeze':
        member.freeze();
        await sleep(forMs);
        member.thaw();
        return;
      default:
        await member.kill();
        if (kind === 'wipe') await member.wipe();
        await sleep(forMs);
    }
    if (!member.running && !this.#closing) member.start();
  }

  async #hitBroker({ kind, forMs, node: index }: Fault, fromMs: number): Promise<void> {
    const { broker, log, now } = this.#options;
    const node = broker.nodes[index!]!;
    const outage = { fromMs, toMs: Infinity };
    this.#outages.push(outage);
    if (kind === 'brokerRestart') await broker.restart(node);
    else if (kind === 'brokerKill') {
      await broker.kill(node);
      await sleep(forMs);
      await broker.start(node);
    } else {
      broker.pause(node);
      await sleep(forMs);
      broker.resume(node);
    }
    log(`broker ${index} is back after ${Math.round(now() - fromMs)} ms`);
    // The next one may only go when this one holds everything again: no partition is ever without a leader.
    await this.#options.inSync();
    outage.toMs = now() + BROKER_SETTLES_MS;
    log(`all replicas are in sync after ${Math.round(now() - fromMs)} ms`);
  }

  /** Told to stop, a process stops in order; while the broker is away it may give up at its deadline instead. */
  async #terminate(member: ChaosMember, index: number): Promise<void> {
    if (!member.running) return;
    const { job, now } = this.#options;
    const fromMs = now();
    const budgetMs = job.stopDeadlineMs + 15_000;
    const exit = await member.terminate(budgetMs);
    if (exit === undefined) {
      this.fail(`process ${index} was told to stop and did not end within ${budgetMs} ms`);
      return;
    }
    const withoutBroker = this.#outages.some((outage) => outage.fromMs <= now() && outage.toMs >= fromMs);
    if (exit.code === 0 || (withoutBroker && (exit.code === 4 || exit.code === 2))) return;
    if (exit.signal === 'SIGTERM' && !member.listening) return;
    this.fail(
      `process ${index} was told to stop and ended with ${exit.code ?? exit.signal} (${exit.failure?.message}):\n${member.lastLines}`,
    );
  }

  #member(index: number): ChaosMember {
    const { job, directory } = this.#options;
    const stateDir = join(directory, `state-${index}`);
    const member: ChaosMember = new ChaosMember(
      `process ${index}`,
      { ...job, stateDir, dump: false },
      join(directory, `process-${index}.log`),
      {
        report: (report) => {
          this.#heard(index, report);
        },
        exit: (exit) => {
          this.#ended(index, member, exit);
        },
      },
    );
    return member;
  }

  #heard(index: number, report: ChaosReport): void {
    const name = nameOf(report);
    const count = (this.counts.get(name) ?? 0) + 1;
    this.counts.set(name, count);
    if (count <= LINES_PER_EVENT_MAX) this.#options.log(`  process ${index}: ${JSON.stringify(report)}`);
    if (report.event === 'failed' && report.phase === 'run')
      this.fail(`process ${index} failed at work: ${report.code}: ${report.message}`);
  }

  #ended(index: number, member: ChaosMember, { code, signal, unexpected, failure }: Exit): void {
    if (!unexpected || this.#closing) return;
    const withoutBroker = this.#outages.some(
      ({ toMs }) => toMs + TARGET_BUDGET_MS / 4 >= this.#options.now(),
    );
    if (failure?.phase === 'start' && failure.code === 'LOG_UNAVAILABLE' && withoutBroker) {
      this.#options.log(`  process ${index} could not start without the broker, and is started again`);
      this.#count('started again');
      setTimeout(() => {
        if (!member.running && !this.#closing) member.start();
      }, SUPERVISOR_PAUSE_MS);
      return;
    }
    this.fail(
      `process ${index} ended by itself with ${code ?? signal} (${failure?.message}):\n${member.lastLines}`,
    );
  }

  #count(name: string): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }

  async #until(atMs: number): Promise<void> {
    while (this.#options.now() < atMs && this.failure === undefined)
      await sleep(Math.min(250, Math.max(1, atMs - this.#options.now())));
  }

  async #free(target: number | undefined): Promise<void> {
    const bound = new AbortController();
    const late = sleep(TARGET_BUDGET_MS, 'late', { signal: bound.signal }).catch(() => 'in time');
    const first = await Promise.race([this.#busy.get(target), late]);
    bound.abort();
    if (first === 'late')
      throw new Error(
        `The fault before on ${target ?? 'the broker'} is not over after ${TARGET_BUDGET_MS} ms.`,
      );
  }
}

function nameOf(report: ChaosReport): string {
  if ('code' in report) return `${report.event} ${report.code}`;
  return report.event === 'resumed' ? `resumed ${report.how}` : report.event;
}

export function describe({ kind, process, node, forMs }: Fault): string {
  const target = process === undefined ? `node ${node}` : `process ${process}`;
  return `${kind} ${target}${forMs === 0 ? '' : ` for ${forMs} ms`}`;
}
