/**
 * Owns the input: records by a seed, produced by another client at a steady rate while everything else breaks, and a count
 * of what was acknowledged. It never reads; model.ts finds out what is really in the log.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { OtherProducer, type ProducedRecord } from '../other-producer.js';
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

export class ChaosLoad {
  /** Acknowledged records, by key. */
  events: ReadonlyMap<string, number> = new Map();
  profiles: ReadonlyMap<string, number> = new Map();
  acknowledged = 0;
  /** Longest wait for one acknowledgement. */
  slowestMs = 0;
  readonly #options: LoadOptions;
  readonly #random: SeededRandom;
  readonly #abort = new AbortController();
  #producer: OtherProducer | undefined;
  #running: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed ^ 0x5eed);
  }

  async start(onFailure: (error: unknown) => void): Promise<void> {
    const producer = await OtherProducer.start(this.#options.brokers);
    this.#producer = producer;
    this.#running = this.#run(producer);
    this.#running.catch(onFailure);
  }

  /** Ends after the batch in hand, which the producer bounds. Idempotent. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#abort.abort();
    try {
      await this.#running;
    } finally {
      await this.#producer?.close();
    }
  }

  async #run(producer: OtherProducer): Promise<void> {
    const perMs = this.#options.recordsPerSecond / 1_000;
    let last = performance.now() - BATCH_EVERY_MS;
    while (!this.#abort.signal.aborted) {
      const from = performance.now();
      // Slow acknowledgements make larger batches, an outage no flood.
      await this.#send(producer, Math.max(1, Math.round(perMs * Math.min(from - last, CATCH_UP_MS_MAX))));
      last = from;
      const tookMs = performance.now() - from;
      this.slowestMs = Math.max(this.slowestMs, tookMs);
      await sleep(Math.max(1, BATCH_EVERY_MS - tookMs));
    }
  }

  async #send(producer: OtherProducer, count: number): Promise<void> {
    // Counted as acknowledged only when they are; within the batch each key goes on from here.
    const next = { events: new Map(this.events), profiles: new Map(this.profiles) };
    await producer.send(Array.from({ length: count }, () => this.#record(next)));
    this.events = next.events;
    this.profiles = next.profiles;
    this.acknowledged += count;
  }

  #record(next: {
    readonly events: Map<string, number>;
    readonly profiles: Map<string, number>;
  }): ProducedRecord {
    if (this.#random.below(EVENTS_PER_PROFILE + 1) === 0) {
      const key = `profile-${this.#random.below(PROFILE_KEYS)}`;
      return ['profiles', key, json({ version: increased(next.profiles, key) })];
    }
    const key = `key-${this.#random.below(this.#options.keys)}`;
    const event = { seq: increased(next.events, key), n: this.#random.between(-1_000, 1_000) };
    return ['events', key, json(this.#random.chance(0.02) ? { ...event, last: true } : event)];
  }
}

function increased(counts: Map<string, number>, key: string): number {
  const count = (counts.get(key) ?? 0) + 1;
  counts.set(key, count);
  return count;
}

function json(value: ChaosEvent | Profile): string {
  return JSON.stringify(value);
}
