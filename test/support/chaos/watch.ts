/**
 * Owns what is known from outside about progress: every half a second the group's committed offsets and the ends of the
 * inputs. Says how far the group is behind, how long it stood still, and how long each fault held it up. It never acts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel, type Admin } from 'kafkajs';

const EVERY_MS = 500;
const REQUEST_BUDGET_MS = 2_000;

interface Sample {
  readonly atMs: number;
  /** By partition of all inputs. */
  readonly committed: readonly number[];
  readonly ends: readonly number[];
}

export class LagWatch {
  /** Why the last look that failed did. */
  blind: unknown;
  readonly #samples: Sample[] = [];
  readonly #kafka: Kafka;
  readonly #group: string;
  readonly #topics: readonly string[];
  readonly #abort = new AbortController();
  readonly #now: () => number;
  #admin: Admin | undefined;
  #running: Promise<void> | undefined;

  constructor(options: {
    readonly brokers: readonly string[];
    readonly group: string;
    readonly topics: readonly string[];
    readonly now: () => number;
  }) {
    this.#kafka = new Kafka({
      clientId: 'chaos-watch',
      brokers: [...options.brokers],
      logLevel: logLevel.NOTHING,
      connectionTimeout: REQUEST_BUDGET_MS,
      requestTimeout: REQUEST_BUDGET_MS,
      retry: { retries: 3, initialRetryTime: 50, maxRetryTime: 200 },
    });
    this.#group = options.group;
    this.#topics = options.topics;
    this.#now = options.now;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  /** Records that the group has not committed, as of a look now; `undefined` if the broker does not say. */
  async lag(): Promise<number | undefined> {
    const sample = await this.#look();
    return sample?.ends.reduce((sum, end, i) => sum + end - sample.committed[i]!, 0);
  }

  /** The longest time in which nothing was committed although there was something to commit. */
  get longestPauseMs(): number {
    let longest = 0;
    let since: Sample | undefined;
    for (const sample of this.#samples) {
      const behind = sample.ends.some((end, i) => end > sample.committed[i]!);
      if (since === undefined || !behind || sum(sample.committed) > sum(since.committed)) since = sample;
      longest = Math.max(longest, sample.atMs - since.atMs);
    }
    return longest;
  }

  /** From `atMs` until everything that was in the inputs at that time was committed; `undefined`: not yet. */
  caughtUpAfterMs(atMs: number): number | undefined {
    const at = this.#samples.findIndex((sample) => sample.atMs >= atMs);
    if (at === -1) return undefined;
    const { ends } = this.#samples[at]!;
    const done = this.#samples
      .slice(at)
      .find(({ committed }) => committed.every((one, i) => one >= ends[i]!));
    return done === undefined ? undefined : done.atMs - atMs;
  }

  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      await this.#look();
      await sleep(EVERY_MS, undefined, { signal: this.#abort.signal }).catch(() => undefined);
    }
    await this.#admin?.disconnect().catch(() => undefined);
  }

  async #look(): Promise<Sample | undefined> {
    try {
      const admin = await this.#connected();
      const offsets = await admin.fetchOffsets({ groupId: this.#group, topics: [...this.#topics] });
      const ends: number[] = [];
      const committed: number[] = [];
      for (const topic of this.#topics) {
        const own = offsets.find((one) => one.topic === topic)?.partitions ?? [];
        for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
          const offset = Number(own.find((one) => one.partition === partition)?.offset ?? -1);
          ends.push(Number(high));
          committed.push(offset < 0 ? Number(low) : offset);
        }
      }
      const sample = { atMs: this.#now(), committed, ends };
      this.#samples.push(sample);
      return sample;
    } catch (error) {
      // The broker is away, or on its way back: there is nothing to be seen.
      this.blind = error;
      await this.#admin?.disconnect().catch(() => undefined);
      this.#admin = undefined;
      return undefined;
    }
  }

  async #connected(): Promise<Admin> {
    if (this.#admin !== undefined) return this.#admin;
    const admin = this.#kafka.admin();
    await admin.connect();
    this.#admin = admin;
    return admin;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
