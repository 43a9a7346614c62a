/**
 * Runs the ledger of `fixtures/ledger-processor.ts` from one start to the next stop, on this machine or as on another one
 * that has the log alone: what tests of recovery do again and again, on the embedded log or on a broker.
 */
import assert from 'node:assert/strict';
import type { CommittedOffset, LogBatch, PartitionBounds, TopicPartition } from '../../src/core/log-types.js';
import { silentLogger, type Logger } from '../../src/core/logger.js';
import {
  embeddedLog,
  isPartitaError,
  processorAt,
  type EmbeddedLog,
  type EmbeddedLogOptions,
  type ErrorCode,
  type LogFactory,
  type ManagerOptions,
  type StateManager,
} from '../../src/index.js';
import { topicOf } from '../fixtures/oracle.js';
import type ledger from '../fixtures/ledger-processor.js';
import { ManagerDesk } from './manager-desk.js';
import { until } from './waiting.js';

/** The ledger; `of` stands before the names of its topics, and is its group's name. */
export function ledgerStreams(of = '') {
  return { ledger: processorAt<typeof ledger>(fixture('ledger-processor.js', of)) };
}

/** The same, with other sums. */
export function changedStreams(of = '') {
  return { ledger: processorAt<typeof ledger>(fixture('ledger-changed-processor.js', of)) };
}

export function fixture(file: string, of: string): URL {
  const url = new URL(`../fixtures/${file}`, import.meta.url);
  if (of !== '') url.searchParams.set('of', of);
  return url;
}

/** Of a ledger with a log of its own. */
export const LEDGER_CHANGELOG = 'changelog__g--ledger';

type LedgerStreams = ReturnType<typeof ledgerStreams>;
export type LedgerOptions = Partial<ManagerOptions<LedgerStreams>>;

/** A log as an operator has it in hand: what the embedded log offers itself, and `kafka-ledger-log.ts` for a broker. */
export interface LedgerLog extends LogFactory {
  createTopic(spec: { readonly topic: string; readonly partitions: number }): Promise<unknown>;
  describeTopic(topic: string): Promise<unknown>;
  /** Changes these configs of the topic, and leaves the others. */
  alterTopic(topic: string, configs: Readonly<Record<string, string>>): Promise<unknown>;
  deleteTopic(topic: string): Promise<unknown>;
  deleteRecords(topic: string, partition: number, before: number): Promise<unknown>;
  produce(topic: string, records: readonly LedgerRecord[]): Promise<unknown>;
  bounds(topic: string): Promise<readonly PartitionBounds[]>;
  committed(group: string): Promise<readonly (TopicPartition & CommittedOffset)[]>;
  setOffset(group: string, partition: TopicPartition, offset: number): Promise<unknown>;
  /** Forgets all offsets of a group without members. */
  resetGroup(group: string): Promise<unknown>;
  leaveTransactionOpen(transaction: {
    readonly transactionalId: string;
    readonly transactionTimeoutMs: number;
    readonly batches: readonly LogBatch[];
  }): Promise<unknown>;
  close(): Promise<void>;
}

export interface LedgerRecord {
  readonly key: string;
  readonly value: string | Buffer;
  readonly timestamp: number;
}

/** By key. */
export type Ledger = Record<string, [sum: number, count: number]>;

/** `partitions`: of the input; the others hold for every manager. */
type DeskOptions = Partial<Omit<ManagerOptions, 'streams'>> & { readonly partitions?: number };

/** What came of a run. */
export interface LedgerRun {
  readonly state: Ledger;
  readonly warnings: readonly string[];
  /** By partition. */
  readonly restored: readonly number[];
}

export const amount = (key: string, value: number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt(value));
  return { key, value: bytes, timestamp: 1_000 };
};

/** The manager fails, and the first cause of that has this code, and this in its message. */
export async function refused(started: Promise<unknown>, code: ErrorCode, says = /./): Promise<void> {
  const error = await started.then(
    () => assert.fail(`${code} was expected`),
    (reason: unknown) => reason,
  );
  let first = error as Error;
  while (first.cause instanceof Error) first = first.cause;
  assert.ok(isPartitaError(first, code), String(first));
  assert.match(first.message, says);
}

export class LedgerDesk<L extends LedgerLog = EmbeddedLog> {
  readonly managers: ManagerDesk<L>;
  /** Of its topics and its group; empty on a log of its own. */
  readonly of: string;
  readonly group: string;
  readonly input: string;
  readonly changelog: string;
  readonly streams: LedgerStreams;
  readonly changed: LedgerStreams;
  #others = 0;

  private constructor(managers: ManagerDesk<L>, of: string) {
    this.managers = managers;
    this.of = of;
    this.group = of === '' ? 'g' : of;
    this.input = topicOf(of, 'amounts');
    this.changelog = `changelog__${this.group}--ledger`;
    this.streams = ledgerStreams(of);
    this.changed = changedStreams(of);
  }

  static async open(logOptions: EmbeddedLogOptions = {}, partitions = 1): Promise<LedgerDesk> {
    return LedgerDesk.on(await embeddedLog(logOptions), '', { partitions });
  }

  /** @param log ends with the desk */
  static async on<L extends LedgerLog>(
    log: L,
    of: string,
    { partitions = 1, ...defaults }: DeskOptions = {},
  ): Promise<LedgerDesk<L>> {
    const restarts = { max: 3, firstMs: 5, maxMs: 20 };
    const group = of === '' ? 'g' : of;
    const desk = new LedgerDesk(await ManagerDesk.on(log, { restarts, group, ...defaults }), of);
    if ((await log.describeTopic(desk.input)) === undefined)
      await log.createTopic({ topic: desk.input, partitions });
    return desk;
  }

  get log(): L {
    return this.managers.log;
  }

  async committed(): Promise<CommittedOffset | undefined> {
    return (await this.log.committed(this.group)).find((row) => row.topic === this.input);
  }

  /** Where the input ends. */
  async end(): Promise<number> {
    return (await this.log.bounds(this.input))[0]!.end;
  }

  start(options: LedgerOptions = {}, streams = this.streams): Promise<StateManager<LedgerStreams>> {
    return this.managers.start(streams, options);
  }

  /** Starts, reads to the end of the input, and stops in order. */
  async run(options: LedgerOptions = {}, streams = this.streams): Promise<LedgerRun> {
    const warnings: string[] = [];
    const restored: number[] = [];
    // By the logger: an event may come before anybody could listen.
    const warn = (_: unknown, message?: string) => {
      if (message !== undefined) warnings.push(message);
    };
    const logger: Logger = { ...silentLogger, warn, child: () => logger };
    const manager = await this.start({ logger, ...options }, streams);
    try {
      manager.on('recovered', ({ partition, restoredRecords }) => (restored[partition] = restoredRecords));
      await manager.ready();
      const end = await this.end();
      await until(async () => (await this.committed())?.offset === end);
      const state = (await manager.streams.ledger.query('all', { partition: 0 })) as Ledger;
      return { state, warnings, restored };
    } finally {
      await manager.stop();
    }
  }

  /** The state that another machine makes of the log alone, with these options. */
  async elsewhere(options: LedgerOptions = {}, streams = this.streams): Promise<Ledger> {
    const instanceId = `other-${String(++this.#others)}`;
    return (await this.run({ ...options, instanceId }, streams)).state;
  }

  close(): Promise<void> {
    return this.managers.close();
  }
}
