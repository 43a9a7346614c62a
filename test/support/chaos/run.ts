/**
 * Owns one run of chaos from an empty broker to the verdict: topics, load, processes and faults, then the bounded wait
 * until everything is consumed, the stop in order, the state from every directory and from the changelog alone, and the
 * outputs. It owns no single step; what it resolves with is the summary.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import type { ChaosDump } from '../../fixtures/chaos-processor.js';
import type { KafkaBroker } from '../kafka-broker.js';
import { otherCommitted, otherEach } from '../other-client.js';
import { ChaosDirector } from './director.js';
import { ChaosLoad } from './load.js';
import { ChaosMember, type ChaosJobConfig, type ChaosReport } from './member.js';
import { readModel, type ChaosModel } from './model.js';
import { planFaults } from './plan.js';
import {
  assertOutputsAtLeastOnce,
  assertOutputsExactlyOnce,
  assertState,
  readOutputs,
  type OutputsFound,
} from './verifier.js';
import { LagWatch } from './watch.js';

export interface ChaosOptions {
  /**
   * Three nodes. With a single one the broker itself breaks transactions at its restarts (4.4.0): a coordinator that has
   * markers to write takes partitions without a leader for deleted ones and leaves them out, for ever.
   */
  readonly broker: KafkaBroker;
  readonly seed: number;
  readonly faults: number;
  readonly processes: number;
  readonly guarantee: 'exactly-once' | 'at-least-once';
  /** Mean time between two faults, outages of the broker not counted. */
  readonly everyMs: number;
  readonly recordsPerSecond: number;
  readonly log: (line: string) => void;
}

export interface ChaosSummary {
  readonly seed: number;
  readonly guarantee: string;
  readonly seconds: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly records: number;
  readonly outputs: number;
  /** At-least-once: outputs that came again. */
  readonly repeated: number;
  readonly reports: Readonly<Record<string, number>>;
  readonly longestWithoutProgressMs: number;
  /** From a fault until everything that was in the inputs at that time was committed. */
  readonly recoveryMs: { readonly median: number; readonly p90: number; readonly max: number };
  readonly slowestAcknowledgementOfInputMs: number;
  readonly compaction: Readonly<Record<string, string>>;
}

export const PARTITIONS = 8;
const INPUTS = ['events', 'profiles'];
const GROUP = 'chaos';
const CHANGELOG = `changelog__${GROUP}--chaos`;
const SESSION_TIMEOUT_MS = 2_500;
const STOP_DEADLINE_MS = 15_000;
/** The load goes on for so long after the last fault: what a zombie wrote late is followed by what is right. */
const AFTERMATH_MS = 1_500;
const CONSUMED_BUDGET_MS = 60_000;
const IN_SYNC_BUDGET_MS = 45_000;
const DUMP_BUDGET_MS = 60_000;

/** Compacted as soon and as often as a broker can. */
const COMPACTING = [
  ['cleanup.policy', 'compact'],
  ['segment.ms', '100'],
  ['min.cleanable.dirty.ratio', '0.01'],
  ['segment.index.bytes', '65536'],
  // Short, so that tombstones go away while some process with an old state is away too.
  ['delete.retention.ms', '20000'],
] as const;
const CHANGELOG_CONFIGS = [
  ...COMPACTING,
  ['message.timestamp.type', 'LogAppendTime'],
  ['max.message.bytes', String(8 * 1024 * 1024)],
] as const;

/** Rejects with what is wrong; the directory with the logs of the processes is kept then, and named. */
export async function runChaos(options: ChaosOptions): Promise<ChaosSummary> {
  const directory = await mkdtemp(join(tmpdir(), 'partita-chaos-'));
  try {
    const summary = await new ChaosRun(options, directory).run();
    await rm(directory, { recursive: true, force: true });
    return summary;
  } catch (error) {
    throw new Error(
      `Chaos with seed ${options.seed}, ${options.guarantee}: ${error instanceof Error ? error.message : String(error)}\nThe logs of the processes are in ${directory}.`,
      { cause: error },
    );
  }
}

class ChaosRun {
  readonly #options: ChaosOptions;
  readonly #directory: string;
  readonly #from = performance.now();
  readonly #job: Omit<ChaosJobConfig, 'stateDir' | 'dump'>;
  readonly #load: ChaosLoad;
  readonly #watch: LagWatch;
  readonly #director: ChaosDirector;

  constructor(options: ChaosOptions, directory: string) {
    const { broker, seed, guarantee, processes, recordsPerSecond } = options;
    const { brokers } = broker;
    this.#options = options;
    this.#directory = directory;
    this.#job = {
      brokers,
      group: GROUP,
      guarantee,
      sessionTimeoutMs: SESSION_TIMEOUT_MS,
      stopDeadlineMs: STOP_DEADLINE_MS,
    };
    const now = (): number => Math.round(performance.now() - this.#from);
    this.#load = new ChaosLoad({ brokers, seed, recordsPerSecond, keys: 300 });
    this.#watch = new LagWatch({ brokers, group: GROUP, topics: INPUTS, now });
    this.#director = new ChaosDirector({
      broker,
      job: this.#job,
      directory,
      processes,
      now,
      inSync: () => this.#inSync(),
      log: (line) => {
        this.#log(line);
      },
    });
  }

  async run(): Promise<ChaosSummary> {
    const { seed, faults, processes, everyMs, broker, guarantee } = this.#options;
    const nodes = broker.nodes.length;
    const plan = planFaults({
      ...{ seed, faults, processes, nodes, everyMs },
      sessionTimeoutMs: SESSION_TIMEOUT_MS,
    });
    await this.#createTopics();
    try {
      await this.#load.start((error) => {
        this.#director.fail(`the producer of the input gave up: ${String(error)}`);
      });
      this.#watch.start();
      this.#director.startFirst();
      await this.#director.play(plan);
      await sleep(AFTERMATH_MS);
      await this.#load.stop();
      this.#log(`all faults are over, ${this.#load.acknowledged} records are in the inputs`);
      await this.#consumed();
      await this.#watch.stop();
      await this.#director.stopAll();
      this.#log('everything is consumed and every process has stopped in order');
      const model = await readModel(broker.brokers, this.#load);
      await this.#assertNoLag();
      const dumps = await this.#dumps();
      const outputs = await readOutputs(broker.brokers);
      const repeated =
        guarantee === 'exactly-once'
          ? (assertOutputsExactlyOnce(model, outputs), 0)
          : assertOutputsAtLeastOnce(model, outputs);
      for (const [where, dump] of dumps)
        assertState(where, model, dump, guarantee === 'exactly-once' ? outputs.seen : undefined);
      return await this.#summary(model, outputs, repeated);
    } finally {
      await this.#director.close();
      // By now the broker is back, so that nothing goes on trying.
      await this.#load.stop().catch((error: unknown) => {
        this.#log(String(error));
      });
      await this.#watch.stop();
    }
  }

  async #createTopics(): Promise<void> {
    const admin = this.#kafka().admin();
    await admin.connect();
    const topic = (name: string, configs: readonly (readonly [string, string])[] = []) => ({
      topic: name,
      numPartitions: PARTITIONS,
      configEntries: configs.map(([config, value]) => ({ name: config, value })),
    });
    try {
      await admin.createTopics({
        waitForLeaders: true,
        topics: [
          topic('events'),
          topic('profiles', COMPACTING),
          topic('totals'),
          topic('seen'),
          topic(CHANGELOG, CHANGELOG_CONFIGS),
        ],
      });
    } finally {
      await admin.disconnect();
    }
  }

  async #inSync(): Promise<void> {
    const deadline = performance.now() + IN_SYNC_BUDGET_MS;
    for (;;) {
      const left = await this.#outOfSync().catch((error: unknown) => [String(error)]);
      if (left.length === 0) return;
      if (performance.now() > deadline)
        throw new Error(`After ${IN_SYNC_BUDGET_MS} ms replicas are not in sync: ${left.join(', ')}.`);
      await sleep(250);
    }
  }

  async #outOfSync(): Promise<string[]> {
    const admin = this.#kafka().admin();
    await admin.connect();
    try {
      const { topics } = await admin.fetchTopicMetadata();
      return topics.flatMap(({ name, partitions }) =>
        partitions
          .filter(({ isr, replicas }) => isr.length < replicas.length)
          .map(({ partitionId }) => `${name}-${partitionId}`),
      );
    } finally {
      await admin.disconnect();
    }
  }

  async #consumed(): Promise<void> {
    const deadline = performance.now() + CONSUMED_BUDGET_MS;
    for (;;) {
      if (this.#director.failure !== undefined) throw this.#director.failure;
      const lag = await this.#watch.lag();
      if (lag === 0) return;
      if (performance.now() > deadline)
        throw new Error(
          `${lag ?? `(${String(this.#watch.blind)})`} records are left unconsumed ${CONSUMED_BUDGET_MS} ms after the last fault: ${await this.#unconsumed()}`,
        );
      await sleep(200);
    }
  }

  async #unconsumed(): Promise<string> {
    const left: string[] = [];
    for (const topic of INPUTS)
      for (const { partition, offset, end, lag } of await otherCommitted(
        this.#options.broker.brokers,
        topic,
        GROUP,
      ))
        if (lag !== 0) left.push(`${topic}/${partition} at ${offset ?? 'nothing'} of ${end}`);
    return left.join(', ');
  }

  /** The same by the other client, which reads stable offsets and ends under read_committed. */
  async #assertNoLag(): Promise<void> {
    const left = await this.#unconsumed();
    if (left !== '') throw new Error(`Partitions are left unconsumed: ${left}.`);
  }

  /** The state that each directory opens to, and the one that a process without any rebuilds from the changelog. */
  async #dumps(): Promise<readonly (readonly [where: string, dump: Dump])[]> {
    const dumps: (readonly [string, Dump])[] = [];
    for (const member of this.#director.members)
      dumps.push([`the directory of ${member.name}`, await this.#dump(member.stateDir)]);
    const empty = join(this.#directory, 'state-rebuilt');
    await mkdir(empty);
    dumps.push(['the state rebuilt from the changelog alone', await this.#dump(empty)]);
    return dumps;
  }

  async #dump(stateDir: string): Promise<Dump> {
    let dump: Dump | undefined;
    let restored = 0;
    const job = new ChaosMember(
      'dump',
      { ...this.#job, stateDir, dump: true },
      join(this.#directory, 'dump.log'),
      {
        report: (report: ChaosReport) => {
          if (report.event === 'dump') dump = report.partitions;
          if (report.event === 'recovered') restored += report.restoredRecords;
        },
        exit: () => undefined,
      },
    );
    const from = performance.now();
    job.start();
    try {
      const exit = await job.ended(DUMP_BUDGET_MS);
      if (exit?.code !== 0 || dump?.length !== PARTITIONS)
        throw new Error(
          `${stateDir} could not be opened and read within ${DUMP_BUDGET_MS} ms (${exit?.code ?? 'still there'}, ${dump?.length ?? 'no'} partitions):\n${job.lastLines}`,
        );
      this.#log(
        `${stateDir} opens: ${restored} records restored, ${Math.round(performance.now() - from)} ms`,
      );
      return dump;
    } finally {
      await job.kill();
    }
  }

  async #summary(model: ChaosModel, outputs: OutputsFound, repeated: number): Promise<ChaosSummary> {
    const { seed, guarantee } = this.#options;
    const { done, counts } = this.#director;
    const faults: Record<string, number> = {};
    for (const { fault } of done) faults[fault.kind] = (faults[fault.kind] ?? 0) + 1;
    const recovery = done
      .map(({ toMs, fromMs }) => (this.#watch.caughtUpAfterMs(toMs) ?? 0) + toMs - fromMs)
      .sort((a, b) => a - b);
    const at = (share: number): number => recovery[Math.floor((recovery.length - 1) * share)] ?? 0;
    return {
      seed,
      guarantee,
      seconds: Math.round((performance.now() - this.#from) / 1_000),
      faults,
      records: this.#load.acknowledged,
      outputs: outputs.count,
      repeated,
      reports: Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1))),
      longestWithoutProgressMs: this.#watch.longestPauseMs,
      recoveryMs: { median: at(0.5), p90: at(0.9), max: at(1) },
      slowestAcknowledgementOfInputMs: Math.round(this.#load.slowestMs),
      compaction: {
        changelog: await this.#compaction(CHANGELOG),
        profiles: `${model.profilesLeft} of ${[...model.versions.values()].reduce((sum, one) => sum + one, 0)} records left`,
      },
    };
  }

  /** Rejects if nothing was compacted: then the run has not shown what it is there for. */
  async #compaction(topic: string): Promise<string> {
    let left = 0;
    await otherEach(this.#options.broker.brokers, topic, () => left++);
    const admin = this.#kafka().admin();
    await admin.connect();
    try {
      const ends = await admin.fetchTopicOffsets(topic);
      const written = ends.reduce((sum, { high }) => sum + Number(high), 0);
      if (left >= written)
        throw new Error(`${topic} was never compacted: ${left} of ${written} records left.`);
      return `${left} of ${written} records left`;
    } finally {
      await admin.disconnect();
    }
  }

  #kafka(): Kafka {
    return new Kafka({
      clientId: 'chaos',
      brokers: [...this.#options.broker.brokers],
      logLevel: logLevel.NOTHING,
    });
  }

  #log(line: string): void {
    this.#options.log(`${((performance.now() - this.#from) / 1_000).toFixed(1).padStart(6)} ${line}`);
  }
}

type Dump = readonly (readonly [partition: number, ChaosDump])[];
