/**
 * Runs the ledger of `fixtures/ledger-processor.ts` from one start to the next stop, on this machine or as on another one
 * that has the log alone: what tests of recovery do again and again.
 */
import assert from 'node:assert/strict';
import {
  isPartitaError,
  processorAt,
  type EmbeddedLog,
  type EmbeddedLogOptions,
  type ErrorCode,
  type ManagerOptions,
  type StateManager,
} from '../../src/index.js';
import { silentLogger, type Logger } from '../../src/core/logger.js';
import type ledger from '../fixtures/ledger-processor.js';
import { ManagerDesk } from './manager-desk.js';
import { until } from './waiting.js';

export const ledgerStream = {
  ledger: processorAt<typeof ledger>(new URL('../fixtures/ledger-processor.js', import.meta.url)),
};
/** The same, with other sums. */
export const changedStream = {
  ledger: processorAt<typeof ledger>(new URL('../fixtures/ledger-changed-processor.js', import.meta.url)),
};
export const LEDGER_CHANGELOG = 'changelog__g--ledger';

export type LedgerOptions = Partial<ManagerOptions<typeof ledgerStream>>;
/** By key. */
export type Ledger = Record<string, [sum: number, count: number]>;

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

export class LedgerDesk {
  readonly managers: ManagerDesk;
  #others = 0;

  private constructor(managers: ManagerDesk) {
    this.managers = managers;
  }

  static async open(logOptions: EmbeddedLogOptions = {}, partitions = 1): Promise<LedgerDesk> {
    const restarts = { max: 3, firstMs: 5, maxMs: 20 };
    const managers = await ManagerDesk.open({ restarts }, logOptions);
    if ((await managers.log.describeTopic('amounts')) === undefined)
      await managers.log.createTopic({ topic: 'amounts', partitions });
    return new LedgerDesk(managers);
  }

  get log(): EmbeddedLog {
    return this.managers.log;
  }

  async committed() {
    return (await this.log.committed('g')).find((row) => row.topic === 'amounts');
  }

  start(options: LedgerOptions = {}, streams = ledgerStream): Promise<StateManager<typeof ledgerStream>> {
    return this.managers.start(streams, options);
  }

  /** Starts, reads to the end of the input, and stops in order. */
  async run(options: LedgerOptions = {}, streams = ledgerStream): Promise<LedgerRun> {
    const warnings: string[] = [];
    const restored: number[] = [];
    // By the logger: an event may come before anybody could listen.
    const warn = (_: unknown, message?: string) => {
      if (message !== undefined) warnings.push(message);
    };
    const logger: Logger = { ...silentLogger, warn, child: () => logger };
    const manager = await this.start({ logger, ...options }, streams);
    manager.on('recovered', ({ partition, restoredRecords }) => (restored[partition] = restoredRecords));
    await manager.ready();
    const end = (await this.log.bounds('amounts'))[0]!.end;
    await until(async () => (await this.committed())?.offset === end);
    const state = (await manager.streams.ledger.query('all', { partition: 0 })) as Ledger;
    await manager.stop();
    return { state, warnings, restored };
  }

  /** The state that another machine makes of the log alone, with these options. */
  async elsewhere(options: LedgerOptions = {}, streams = ledgerStream): Promise<Ledger> {
    const instanceId = `other-${String(++this.#others)}`;
    return (await this.run({ ...options, instanceId }, streams)).state;
  }

  close(): Promise<void> {
    return this.managers.close();
  }
}
