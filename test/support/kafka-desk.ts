/**
 * Owns what the tests of failures do beside Partita: topics, records and groups by stock kafkajs, managers of the
 * kafka-*.ts processors with short time-outs, and the results to compare. It never starts a broker (describe-kafka.ts).
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Kafka, logLevel, type Admin, type KafkaConfig } from 'kafkajs';
import {
  isPartitaError,
  kafka,
  type PartitaError,
  processorAt,
  StateManager,
  type ErrorCode,
  type KafkaLogOptions,
  type Logger,
  type LogMethod,
  type ManagerOptions,
  type Streams,
} from '../../src/index.js';
import type copies from '../fixtures/kafka-copies.js';
import type pairs from '../fixtures/kafka-pairs.js';
import type totals from '../fixtures/kafka-totals.js';
import { atEnd } from './at-end.js';
import { otherRead, type OtherRecord } from './other-client.js';

const WAIT_MS_MAX = 30_000;
const LOOK_EVERY_MS = 30;

export interface Amount {
  readonly key: string;
  readonly value: number;
  readonly partition?: number;
}

type Settings = Partial<Omit<ManagerOptions, 'streams' | 'log'>> & {
  /** @default the desk's brokers, with short time-outs */
  readonly log?: KafkaLogOptions;
};

/** One stream of the fixtures at one broker, by the name of its topics, which is its group's too. */
export class KafkaDesk {
  readonly of: string;
  readonly brokers: readonly string[];
  readonly stateDir: string;
  readonly kafka: Kafka;
  readonly #managers: Pick<StateManager, 'stop'>[] = [];
  readonly #forget: () => void;
  #admin: Promise<Admin> | undefined;

  constructor(of: string, brokers: readonly string[], config: Partial<KafkaConfig> = {}) {
    this.of = of;
    this.brokers = brokers;
    this.stateDir = mkdtempSync(join(tmpdir(), `partita-${of.slice(0, 40)}-`));
    this.#forget = atEnd(() => {
      rmSync(this.stateDir, { recursive: true, force: true });
    });
    this.kafka = new Kafka({
      brokers: [...brokers],
      logLevel: logLevel.NOTHING,
      retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 40 },
      ...config,
    });
  }

  get amounts(): string {
    return `${this.of}-amounts`;
  }

  get totals(): string {
    return `${this.of}-totals`;
  }

  get changelog(): string {
    return `changelog__${this.of}--sums`;
  }

  admin(): Promise<Admin> {
    return (this.#admin ??= (async () => {
      const admin = this.kafka.admin();
      await admin.connect();
      return admin;
    })());
  }

  async createTopic(
    topic: string,
    partitions = 1,
    configs: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
    const admin = await this.admin();
    // A topic of that name may be about to go.
    const end = Date.now() + WAIT_MS_MAX;
    for (;;)
      try {
        await admin.createTopics({
          waitForLeaders: true,
          topics: [{ topic, numPartitions: partitions, configEntries }],
        });
        return;
      } catch (error) {
        if (Date.now() > end) throw error;
        await sleep(LOOK_EVERY_MS);
      }
  }

  async createTopics(partitions = 1): Promise<void> {
    await this.createTopic(this.amounts, partitions);
    await this.createTopic(this.totals, partitions);
  }

  async deleteTopic(topic: string): Promise<void> {
    await (await this.admin()).deleteTopics({ topics: [topic] });
  }

  async produce(amounts: readonly Amount[], topic = this.amounts): Promise<void> {
    const producer = this.kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    const messages = amounts.map(({ key, value, ...rest }) => ({
      key,
      value: JSON.stringify(value),
      ...rest,
    }));
    await producer.send({ topic, messages });
    await producer.disconnect();
  }

  /** The options of a manager of the group, in the desk's state directory. */
  options({ log, ...settings }: Settings = {}): Omit<ManagerOptions, 'streams'> {
    return {
      group: this.of,
      stateDir: this.stateDir,
      workers: 1,
      engine: 'level',
      checkpoint: { intervalMs: 100 },
      sessionTimeoutMs: 3_000,
      rebalanceTimeoutMs: 4_000,
      transactionTimeoutMs: 5_000,
      restarts: { max: 4, firstMs: 50, maxMs: 500 },
      stopDeadlineMs: 10_000,
      log: kafka({ brokers: this.brokers, connectTimeoutMs: 3_000, retryTimeoutMs: 5_000, ...log }),
      ...settings,
    };
  }

  async startTotals(settings: Settings = {}) {
    const url = fixture('kafka-totals.js', this.of);
    return this.#kept(
      await StateManager.start({
        ...this.options(settings),
        streams: { sums: processorAt<typeof totals>(url) },
      }),
    );
  }

  async startCopies(settings: Settings = {}) {
    const url = fixture('kafka-copies.js', this.of);
    return this.#kept(
      await StateManager.start({
        ...this.options(settings),
        streams: { sums: processorAt<typeof copies>(url) },
      }),
    );
  }

  async startPairs(settings: Settings = {}) {
    const url = fixture('kafka-pairs.js', this.of);
    return this.#kept(
      await StateManager.start({
        ...this.options(settings),
        streams: { sums: processorAt<typeof pairs>(url) },
      }),
    );
  }

  /** What the topic of totals holds, by key, in order, once there are so many records; for runs without aborts. */
  async totalsByKey(count: number): Promise<ReadonlyMap<string, readonly number[]>> {
    const byKey = new Map<string, number[]>();
    const consumer = this.kafka.consumer({
      groupId: `${this.of}-reader-${Math.random()}`,
      maxWaitTimeInMs: 50,
    });
    await consumer.connect();
    await consumer.subscribe({ topic: this.totals, fromBeginning: true });
    let read = 0;
    try {
      await consumer.run({
        autoCommit: false,
        eachMessage: async ({ message }) => {
          const key = String(message.key);
          const values = byKey.get(key) ?? [];
          values.push(JSON.parse(String(message.value)) as number);
          byKey.set(key, values);
          read++;
        },
      });
      await until(`${count} records of ${this.totals}`, () => read >= count);
      // Whatever is there twice comes at once behind the others.
      await sleep(150);
    } finally {
      await consumer.disconnect();
    }
    return byKey;
  }

  /** The same by the other client, which is right about aborted records where stock kafkajs is not. */
  async committedTotals(count: number): Promise<ReadonlyMap<string, readonly number[]>> {
    let read: readonly OtherRecord[] = [];
    await until(`${count} committed records of ${this.totals}`, async () => {
      read = await otherRead(this.brokers, this.totals);
      return read.length >= count;
    });
    const byKey = new Map<string, number[]>();
    for (const { key, value } of read) {
      const values = byKey.get(String(key)) ?? [];
      values.push(JSON.parse(String(value)) as number);
      byKey.set(String(key), values);
    }
    return byKey;
  }

  async stopManagers(): Promise<void> {
    for (const manager of this.#managers.splice(0))
      await manager.stop({ deadlineMs: 5_000 }).catch((error: unknown) => {
        if (!isPartitaError(error, 'STOP_DEADLINE')) throw error;
      });
  }

  async close(): Promise<void> {
    await this.stopManagers();
    await (await this.#admin)?.disconnect();
    rmSync(this.stateDir, { recursive: true, force: true });
    this.#forget();
  }

  #kept<R extends Streams>(manager: StateManager<R>): StateManager<R> {
    this.#managers.push(manager);
    return manager;
  }
}

/** Runs the test with a desk that is closed afterwards, whatever happens. */
export async function atDesk(
  of: string,
  brokers: readonly string[],
  run: (desk: KafkaDesk) => Promise<void>,
): Promise<void> {
  const desk = new KafkaDesk(of, brokers);
  try {
    await run(desk);
  } finally {
    await desk.close();
  }
}

/** The running sums that `amounts`, in their order, give by the plain loop. */
export function plainLoop(amounts: readonly Amount[]): ReadonlyMap<string, readonly number[]> {
  const byKey = new Map<string, number[]>();
  for (const { key, value } of amounts) {
    const sums = byKey.get(key) ?? [];
    sums.push((sums.at(-1) ?? 0) + value);
    byKey.set(key, sums);
  }
  return byKey;
}

/** The partition's own error where the manager gives one, and how long it took. */
export async function refusal(
  start: Promise<unknown>,
  code: ErrorCode,
  ...mentions: readonly (string | RegExp)[]
): Promise<{ readonly error: PartitaError; readonly tookMs: number }> {
  const began = performance.now();
  let thrown: unknown;
  try {
    await start;
  } catch (error) {
    thrown = error;
  }
  const error = reason(thrown);
  assert.ok(isPartitaError(error), `Expected ${code}, got ${inspect(thrown)}`);
  assert.equal(error.code, code, inspect(error));
  for (const mention of mentions)
    assert.ok(
      typeof mention === 'string' ? error.message.includes(mention) : mention.test(error.message),
      `${error.message} does not say ${mention}`,
    );
  return { error, tookMs: performance.now() - began };
}

/** Resolves with the reason for which the manager fails, looked for from now on. */
export async function failureOf(manager: Pick<StateManager, 'once'>): Promise<PartitaError> {
  const failed = new Promise<unknown>((resolve) => {
    manager.once('failed', ({ error }) => {
      resolve(error);
    });
  });
  const error = await Promise.race([failed, sleep(WAIT_MS_MAX, undefined, { ref: false })]);
  const why = reason(error);
  assert.ok(isPartitaError(why), `The manager did not fail: ${inspect(error)}`);
  return why;
}

function reason(error: unknown): unknown {
  return isPartitaError(error, 'ACTOR_FAILED') ? error.cause : error;
}

export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  budgetMs = WAIT_MS_MAX,
): Promise<void> {
  const end = Date.now() + budgetMs;
  while (!(await condition())) {
    if (Date.now() > end) assert.fail(`Waited ${budgetMs} ms for ${what}.`);
    await sleep(LOOK_EVERY_MS);
  }
}

/** Keeps everything that is logged, at every level, as text with all fields and causes. */
export class RecordingLogger implements Logger {
  readonly lines: string[];
  readonly trace: LogMethod;
  readonly debug: LogMethod;
  readonly info: LogMethod;
  readonly warn: LogMethod;
  readonly error: LogMethod;

  constructor(lines: string[] = []) {
    this.lines = lines;
    const keep: LogMethod = (...said: readonly unknown[]) => {
      lines.push(everything(said));
    };
    this.trace = this.debug = this.info = this.warn = this.error = keep;
  }

  child(fields: Readonly<Record<string, unknown>>): Logger {
    this.lines.push(everything(fields));
    return new RecordingLogger(this.lines);
  }
}

/** The thing with its causes and hidden properties, as text. */
export function everything(thing: unknown): string {
  return inspect(thing, { depth: null, showHidden: true, maxArrayLength: null, maxStringLength: null });
}

function fixture(file: string, of: string): URL {
  const url = new URL(`../fixtures/${file}`, import.meta.url);
  url.searchParams.set('of', of);
  return url;
}
