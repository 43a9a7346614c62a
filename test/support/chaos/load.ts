/**
 * Owns the input: records by a seed, produced by kafkajs' own idempotent producer at a steady rate while everything else
 * breaks, and a count of what was acknowledged. It never reads; verifier.ts finds out what is really in the log.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel, type Message, type Producer } from 'kafkajs';
import { seededRandom, type SeededRandom } from '../seeded-random.js';
import type { ChaosEvent, Profile } from './fold.js';

export interface LoadOptions {
  readonly brokers: readonly string[];
  readonly seed: number;
  readonly recordsPerSecond: number;
  readonly keys: number;
}

const BATCH_EVERY_MS = 50;
const CATCH_UP_MS_MAX = 1_000;
/** One record of the compacted input for so many of the other one. */
const EVENTS_PER_PROFILE = 8;
const PROFILE_KEYS = 40;
const SEND_RETRIES_MAX = 150;
const STOP_BUDGET_MS = 60_000;

export class ChaosLoad {
  /** Acknowledged records, by key. */
  readonly events = new Map<string, number>();
  readonly profiles = new Map<string, number>();
  acknowledged = 0;
  /** Longest wait for one acknowledgement. */
  slowestMs = 0;
  readonly #options: LoadOptions;
  readonly #random: SeededRandom;
  readonly #producer: Producer;
  readonly #abort = new AbortController();
  #running: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed ^ 0x5eed);
    const kafka = new Kafka({
      clientId: 'chaos-load',
      brokers: [...options.brokers],
      logLevel: logLevel.NOTHING,
      requestTimeout: 10_000,
      // Longer than any outage that is planned, and an end if the broker never comes back.
      retry: { retries: SEND_RETRIES_MAX, initialRetryTime: 50, maxRetryTime: 500 },
    });
    this.#producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  }

  async start(onFailure: (error: unknown) => void): Promise<void> {
    await this.#producer.connect();
    this.#running = this.#run();
    this.#running.catch(onFailure);
  }

  /** Ends after the batch in hand. Idempotent. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#abort.abort();
    const bound = new AbortController();
    const late = sleep(STOP_BUDGET_MS, 'late', { signal: bound.signal }).catch(() => 'in time');
    try {
      if ((await Promise.race([this.#running, late])) === 'late')
        throw new Error(`The producer of the input got no acknowledgement within ${STOP_BUDGET_MS} ms.`);
    } finally {
      bound.abort();
      await this.#producer.disconnect();
    }
  }

  async #run(): Promise<void> {
    const perMs = this.#options.recordsPerSecond / 1_000;
    let last = performance.now() - BATCH_EVERY_MS;
    while (!this.#abort.signal.aborted) {
      const from = performance.now();
      // Slow acknowledgements make larger batches, an outage no flood.
      await this.#send(Math.max(1, Math.round(perMs * Math.min(from - last, CATCH_UP_MS_MAX))));
      last = from;
      const tookMs = performance.now() - from;
      this.slowestMs = Math.max(this.slowestMs, tookMs);
      await sleep(Math.max(1, BATCH_EVERY_MS - tookMs));
    }
  }

  async #send(records: number): Promise<void> {
    const events: Message[] = [];
    const profiles: Message[] = [];
    const counted: (() => void)[] = [];
    const next = (map: Map<string, number>, pending: Map<string, number>, key: string): number => {
      const seq = (pending.get(key) ?? map.get(key) ?? 0) + 1;
      pending.set(key, seq);
      counted.push(() => map.set(key, seq));
      return seq;
    };
    const [newEvents, newProfiles] = [new Map<string, number>(), new Map<string, number>()];
    for (let i = 0; i < records; i++) {
      if (this.#random.below(EVENTS_PER_PROFILE + 1) === 0) {
        const key = `profile-${this.#random.below(PROFILE_KEYS)}`;
        profiles.push({
          key,
          value: json({ version: next(this.profiles, newProfiles, key) } satisfies Profile),
        });
        continue;
      }
      const key = `key-${this.#random.below(this.#options.keys)}`;
      const seq = next(this.events, newEvents, key);
      const last = this.#random.chance(0.02);
      const n = this.#random.between(-1_000, 1_000);
      events.push({ key, value: json({ seq, n, ...(last ? { last } : {}) } satisfies ChaosEvent) });
    }
    const topicMessages = [
      { topic: 'events', messages: events },
      { topic: 'profiles', messages: profiles },
    ].filter(({ messages }) => messages.length > 0);
    await this.#producer.sendBatch({ acks: -1, topicMessages });
    for (const count of counted) count();
    this.acknowledged += records;
  }
}

function json(value: ChaosEvent | Profile): string {
  return JSON.stringify(value);
}
