/**
 * One simulated run: managers of one group, their actors, the log and the databases, all of it the product's own code in
 * one thread, driven by a scheduler that the seed leads. Faults and operations happen at random steps; what must hold is
 * looked at after each. The run is a function of its seed and of the faults that are left out of it.
 */
import {
  EmbeddedLog,
  isPartitaError,
  processorAt,
  StateManager,
  type ErrorCode,
  type LogFactory,
} from '../../src/index.js';
import type { FaultInfo, LogFaults, LogOperation } from '../../src/log/embedded/log-faults.js';
import { importProcessor } from '../../src/processor/import-processor.js';
import type simulated from '../fixtures/simulated.js';
import type { SimulatedDump } from '../fixtures/simulated.js';
import { seededRandom, type SeededRandom } from '../support/seeded-random.js';
import { GROUP, Invariants, PARTITIONS } from './invariants.js';
import { Scheduler } from './scheduler.js';
import { SimulatedDisk } from './simulated-disk.js';
import { SimulatedPlaces } from './simulated-places.js';

const STEPS = 700;
const KEYS = 6;
const MANAGERS_MAX = 3;
const SESSION_MS = 150;
/** Steps that the end may take once nothing is held back any more. */
const END_STEPS_MAX = 6_000;

export const FAULTS = [
  'thread death',
  'lost answer to a commit',
  'commit torn',
  'request refused',
  'manager frozen',
  'chunk given twice',
  'stale chunk',
  'cache emptied',
  'failed write',
  'slow disk',
  'compaction',
  'manager joins',
  'manager stops',
  'manager crashes',
] as const;
export type Fault = (typeof FAULTS)[number];

export interface SimulationReport {
  readonly seed: number;
  readonly steps: number;
  readonly faults: Readonly<Partial<Record<Fault, number>>>;
  readonly checks: number;
  readonly records: number;
  readonly commands: number;
  readonly story: readonly string[];
  readonly error: unknown;
  /** How many faults there were, for whoever leaves some out. */
  readonly occasions: number;
}

type Streams = { readonly simulated: ReturnType<typeof processorAt<typeof simulated>> };

interface Member {
  readonly name: string;
  readonly manager: StateManager<Streams>;
  readonly places: SimulatedPlaces;
  readonly disk: SimulatedDisk;
}

/** Runs a seed, without the faults whose numbers are left out. Never rejects: what failed is in the report. */
export async function simulate(seed: number, leftOut: ReadonlySet<number> = new Set()): Promise<SimulationReport> {
  const simulation = new Simulation(seed, leftOut);
  // The jitter of waits deep inside comes from here.
  const { random } = Math;
  const seeded = seededRandom(seed + 2_000_003);
  Math.random = () => seeded.next();
  let error: unknown;
  try {
    await simulation.run();
  } catch (thrown) {
    error = thrown;
  } finally {
    await simulation.abandon();
    Math.random = random;
  }
  return simulation.report(error);
}

class Simulation implements LogFaults {
  readonly #seed: number;
  readonly #leftOut: ReadonlySet<number>;
  /** Of order and time. */
  readonly #scheduler: Scheduler;
  /** Of faults and work, so that leaving one out changes as little as possible. */
  readonly #random: SeededRandom;
  readonly #members: Member[] = [];
  readonly #faults: Partial<Record<Fault, number>> = {};
  readonly #frozen = new Map<string, number>();
  readonly #dead = new Set<string>();
  readonly #background = new Set<Promise<void>>();
  #log!: EmbeddedLog;
  #invariants!: Invariants;
  #next: Partial<Record<'lost' | 'torn' | 'refused', true>> = {};
  #occasions = 0;
  #started = 0;
  #commands = 0;
  #joining = 0;
  #time = 1_000;
  /** What went wrong beside the steps. */
  #trouble: { readonly error: unknown } | undefined;

  constructor(seed: number, leftOut: ReadonlySet<number>) {
    this.#seed = seed;
    this.#leftOut = leftOut;
    this.#scheduler = new Scheduler(seededRandom(seed));
    this.#random = seededRandom(seed + 1_000_003);
  }

  async run(): Promise<void> {
    const { clock } = this.#scheduler;
    this.#log = await EmbeddedLog.open({ clock, backgroundMs: 0, faults: this });
    for (const topic of ['events', 'totals', 'closed', 'adjusted'])
      await this.#log.createTopic({ topic, partitions: PARTITIONS });
    this.#invariants = new Invariants(this.#log);
    this.#join();
    while (this.#scheduler.steps < STEPS) {
      await this.#act();
      await this.#scheduler.step();
      await this.#look();
    }
    await this.#end();
  }

  report(error: unknown): SimulationReport {
    return {
      seed: this.#seed,
      steps: this.#scheduler.steps,
      faults: this.#faults,
      checks: this.#invariants.checks,
      records: this.#invariants.records,
      commands: this.#commands,
      story: this.#scheduler.story,
      error,
      occasions: this.#occasions,
    };
  }

  /** After the run: nothing of it may go on. */
  async abandon(): Promise<void> {
    this.#scheduler.release();
    const stopped = Promise.allSettled(this.#members.map(({ manager }) => manager.stop({ deadlineMs: 100 })));
    let isStopped = false;
    void stopped.then(() => (isStopped = true));
    for (let step = 0; !isStopped && step < END_STEPS_MAX; step++) await this.#scheduler.step();
    // Whoever crashed in the simulation never answers; nothing of it moves without the clock.
    this.#do(this.#log.close());
    for (let step = 0; step < 5; step++) await this.#scheduler.step();
  }

  // ── the log's answers ──────────────────────────────────────────────────────────────────────────────────────────────

  async before(operation: LogOperation, info: FaultInfo): Promise<unknown> {
    if (info.clientId === 'observer') return undefined;
    if (this.#dead.has(info.clientId)) await new Promise(() => undefined);
    await this.#scheduler.once(`${info.clientId} → log`, info.clientId, textOf(operation, info));
    if (operation === 'commit' && this.#take('torn')) return 'torn';
    if (operation !== 'commit' && operation !== 'leave' && this.#take('refused'))
      throw new Error('the simulation refuses it');
    return undefined;
  }

  async after(operation: LogOperation, info: FaultInfo): Promise<unknown> {
    if (info.clientId === 'observer') return undefined;
    await this.#scheduler.once(
      `log → ${info.clientId}`,
      info.clientId,
      `${textOf(operation, info)} answered`,
    );
    if (this.#dead.has(info.clientId)) await new Promise(() => undefined);
    return operation === 'commit' && this.#take('lost') ? 'lost' : undefined;
  }

  #take(fault: 'lost' | 'torn' | 'refused'): boolean {
    const is = this.#next[fault] === true;
    this.#next[fault] = undefined as never;
    return is;
  }

  // ── what happens ───────────────────────────────────────────────────────────────────────────────────────────────────

  async #act(): Promise<void> {
    const random = this.#random;
    for (const [name, until] of this.#frozen)
      if (this.#scheduler.steps >= until) {
        this.#frozen.delete(name);
        this.#scheduler.freeze(name, false);
        this.#scheduler.tell(`${name} wakes`);
      }
    if (random.chance(0.12)) await this.#produce();
    if (random.chance(0.06)) this.#command();
    if (random.chance(0.03)) this.#query();
    if (!random.chance(0.05)) return;
    const fault = random.pick(FAULTS);
    // Drawn in any case, so that leaving it out changes nothing else here.
    const member = this.#members.length === 0 ? undefined : random.pick(this.#members);
    const number = random.next();
    if (this.#leftOut.has(this.#occasions++) || member === undefined) return;
    if (!(await this.#happen(fault, member, number))) return;
    this.#faults[fault] = (this.#faults[fault] ?? 0) + 1;
  }

  /** Whether it could. */
  async #happen(fault: Fault, member: Member, number: number): Promise<boolean> {
    const scheduler = this.#scheduler;
    const residents = [...member.places.residents];
    const resident = residents[Math.floor(number * residents.length)];
    switch (fault) {
      case 'thread death': {
        const place = Math.floor(number * member.places.places.size);
        scheduler.tell(`FAULT: thread ${place} of ${member.name} dies`);
        this.#do(member.places.places.end(place, 'the simulation ended it'));
        return true;
      }
      case 'lost answer to a commit':
        this.#next.lost = true;
        break;
      case 'commit torn':
        this.#next.torn = true;
        break;
      case 'request refused':
        this.#next.refused = true;
        break;
      case 'manager frozen':
        if (this.#frozen.has(member.name)) return false;
        this.#frozen.set(member.name, scheduler.steps + 10 + Math.floor(number * 150));
        scheduler.freeze(member.name, true);
        break;
      case 'chunk given twice': {
        const chunk = resident?.lastChunk;
        if (resident === undefined || chunk === undefined) return false;
        scheduler.tell(`FAULT: the chunk from ${chunk.from} again, to partition ${resident.spec.id.partition}`);
        this.#givenAgain(resident.actor.process({ ...chunk, bytes: chunk.bytes.slice(0) }));
        return true;
      }
      case 'stale chunk': {
        const chunk = resident?.lastChunk;
        if (resident === undefined || chunk === undefined) return false;
        const stats = await resident.actor.stats();
        const from = stats.positions['events'] ?? chunk.from;
        scheduler.tell(`FAULT: a chunk of an older epoch, to partition ${resident.spec.id.partition}`);
        // It would fit: only its epoch tells that it belongs to another.
        this.#givenAgain(
          resident.actor.process({
            ...chunk,
            from,
            next: from + (chunk.next - chunk.from),
            epoch: chunk.epoch - 1,
            bytes: moved(chunk.bytes, from),
          }),
        );
        return true;
      }
      case 'cache emptied':
        if (resident === undefined) return false;
        await resident.actor.setCacheBytes(number < 0.7 ? 1 : 1 << 20);
        break;
      case 'failed write':
        member.disk.failNext = true;
        break;
      case 'slow disk':
        member.disk.slow = !member.disk.slow;
        break;
      case 'compaction':
        await this.#compact();
        break;
      case 'manager joins':
        if (this.#members.length + this.#joining >= MANAGERS_MAX) return false;
        this.#join();
        return true;
      case 'manager stops':
        if (this.#members.length < 2) return false;
        scheduler.tell(`OPERATION: ${member.name} stops`);
        this.#remove(member);
        this.#do(member.manager.stop({ deadlineMs: 400 }), ['STOP_DEADLINE', 'STOPPED']);
        return true;
      case 'manager crashes':
        if (this.#members.length < 2) return false;
        scheduler.tell(`FAULT: ${member.name} crashes, and its disk with it`);
        this.#remove(member);
        // For the others it is just not heard of any more.
        this.#dead.add(member.name);
        for (let place = 0; place < member.places.places.size; place++)
          this.#do(member.places.places.end(place, 'the process crashed'));
        return true;
    }
    scheduler.tell(`FAULT: ${fault}, ${member.name}`);
    return true;
  }

  async #produce(): Promise<void> {
    const random = this.#random;
    const records = Array.from({ length: random.between(1, 8) }, () => {
      this.#time += random.chance(0.05) ? random.between(30, 90) : random.below(6);
      const timestamp = this.#time - (random.chance(0.2) ? random.below(60) : 0);
      const value = { n: random.between(-9, 99), ...(random.chance(0.06) ? { poison: true } : {}) };
      return { key: `k${random.below(KEYS)}`, value: JSON.stringify(value), timestamp };
    });
    this.#invariants.records += records.length;
    await this.#log.produce('events', records);
  }

  #command(): void {
    const member = this.#members[0];
    if (member === undefined) return;
    const key = `command-${this.#commands++}`;
    const { answers } = this.#invariants;
    const { manager } = this.#random.pick(this.#members);
    this.#do(
      manager.streams.simulated.command('adjust', { key, timeoutMs: 2_000 }).then(
        () => {
          answers.set(key, 'applied');
        },
        (error: unknown) => {
          if (!isPartitaError(error)) throw error;
          const isUnknown = error.code === 'CALL_TIMEOUT' || error.details['outcome'] === 'unknown';
          answers.set(key, isUnknown ? 'unknown' : 'notApplied');
        },
      ),
    );
  }

  #query(): void {
    if (this.#members.length === 0) return;
    const { manager } = this.#random.pick(this.#members);
    const partition = this.#random.below(PARTITIONS);
    this.#do(
      manager.streams.simulated
        .query('dump', { partition, timeoutMs: 1_000 })
        .then((dump) => {
          this.#invariants.dump(partition, dump);
        }),
      ['PARTITION_NOT_OWNED', 'ACTOR_RECOVERING', 'ACTOR_RESTARTED', 'CALL_TIMEOUT', 'STOPPED', 'ACTOR_FAILED'],
    );
  }

  #givenAgain(process: Promise<{ readonly accepted: boolean }>): void {
    this.#do(
      process.then(({ accepted }) => {
        if (accepted) throw new Error('a chunk was accepted that is not the next one of this epoch');
      }),
      ['ACTOR_RESTARTED'],
    );
  }

  async #compact(): Promise<void> {
    const changelog = `changelog__${GROUP}--simulated`;
    if ((await this.#log.describeTopic(changelog)) !== undefined) await this.#log.compact(changelog);
  }

  #join(): void {
    this.#joining++;
    const name = `m${this.#started++}`;
    const scheduler = this.#scheduler;
    scheduler.tell(`OPERATION: ${name} joins`);
    const disk = new SimulatedDisk(name, scheduler);
    const random = seededRandom(this.#seed * 100 + this.#started);
    const places = new SimulatedPlaces(name, 2, scheduler, () => disk);
    const log: LogFactory = {
      kind: this.#log.kind,
      connect: (options) => this.#log.connect({ ...options, clientId: name }),
    };
    const started = StateManager.startIn<Streams>(
      {
        group: GROUP,
        log,
        stateDir: `simulated-${this.#seed}`,
        instanceId: name,
        workers: 2,
        engine: 'memory',
        checkpoint: { intervalMs: 25 },
        sessionTimeoutMs: SESSION_MS,
        rebalanceTimeoutMs: 600,
        transactionTimeoutMs: 400,
        openBudgetMs: 300,
        revokeBudgetMs: 120,
        parkMs: 200,
        memory: { cacheMb: 1 },
        restarts: { max: 200, firstMs: 1, maxMs: 40 },
        watchdogMs: 0,
        streams: {
          simulated: processorAt<typeof simulated>(new URL('../fixtures/simulated.js', import.meta.url)),
        },
      },
      {
        clock: scheduler.clock,
        random: () => random.next(),
        importProcessor,
        places: async () => places.places,
      },
    );
    this.#do(
      started.then(
        (manager) => {
          this.#joining--;
          this.#members.push({ name, manager, places, disk });
        },
        (error: unknown) => {
          this.#joining--;
          scheduler.tell(`${name} could not start: ${String(error)}`);
        },
      ),
    );
  }

  #remove(member: Member): void {
    this.#members.splice(this.#members.indexOf(member), 1);
  }

  /** Goes on beside the steps; what is not among the expected errors ends the run. */
  #do(work: Promise<unknown>, expected: readonly ErrorCode[] = []): void {
    const done = work.then(
      () => undefined,
      (error: unknown) => {
        if (isPartitaError(error) && expected.includes(error.code)) return;
        this.#trouble ??= { error };
      },
    );
    this.#background.add(done);
    void done.finally(() => this.#background.delete(done));
  }

  async #look(): Promise<void> {
    if (this.#trouble !== undefined) throw this.#trouble.error as Error;
    await this.#invariants.look();
  }

  // ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #end(): Promise<void> {
    const scheduler = this.#scheduler;
    scheduler.tell('Everything is well again.');
    this.#next = {};
    for (const { disk } of this.#members) disk.failNext = disk.slow = false;
    scheduler.release();
    await this.#until(() => this.#joining === 0 && this.#members.length > 0);
    await this.#until(() => this.#invariants.isDone && this.#background.size === 0);
    this.#invariants.final(await this.#dumps(this.#members));
    for (const { manager } of this.#members.splice(0)) await this.#drive(manager.stop({ deadlineMs: 2_000 }));
    // From the changelog alone.
    this.#join();
    await this.#until(() => this.#members.length === 1);
    this.#invariants.final(await this.#dumps(this.#members));
    for (const { manager } of this.#members.splice(0)) await this.#drive(manager.stop({ deadlineMs: 2_000 }));
  }

  /** Asked again while partitions still move. */
  async #dumps(members: readonly Member[]): Promise<ReadonlyMap<number, SimulatedDump>> {
    const dumps = new Map<number, SimulatedDump>();
    for (let attempt = 0; attempt < 50 && dumps.size < PARTITIONS; attempt++)
      for (const { manager } of members) {
        const found = manager.streams.simulated.queryAll('dump', { read: 'committed', timeoutMs: 500 });
        const answer = await this.#drive(found.catch(() => new Map<number, SimulatedDump>()));
        for (const [partition, dump] of answer) dumps.set(partition, dump);
      }
    return dumps;
  }

  async #until(condition: () => boolean): Promise<void> {
    for (let step = 0; !condition(); step++) {
      if (step === END_STEPS_MAX) throw new Error('nothing came of it: a partition is unserved, or an answer missing');
      await this.#scheduler.step();
      await this.#look();
    }
  }

  async #drive<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const done = promise.finally(() => (isSettled = true));
    done.catch(() => undefined);
    await this.#until(() => isSettled);
    return done;
  }
}

function textOf(operation: LogOperation, { topic, partition, transactionalId, memberId }: FaultInfo): string {
  const where = transactionalId ?? (topic === undefined ? (memberId ?? '') : `${topic}-${partition ?? ''}`);
  return where === '' ? operation : `${operation} ${where}`;
}

/** The same batches at another offset, of which the checksum knows nothing. */
function moved(bytes: ArrayBuffer, from: number): ArrayBuffer {
  const copy = bytes.slice(0);
  const view = new DataView(copy);
  let next = BigInt(from);
  for (let at = 0; at + 12 <= copy.byteLength; at += 12 + view.getInt32(at + 8)) {
    view.setBigInt64(at, next);
    next += BigInt(view.getInt32(at + 23)) + 1n;
  }
  return copy;
}
