/**
 * Runs a processor in the test's own thread: the real actor over the embedded log and the memory engine, on a clock that
 * stands still until it is advanced. There is no manager, no thread and no group; whatever the actor does is the same.
 * `driven-partition.ts` holds one actor and its crashes.
 */
import { partitionForKey } from '../codec/murmur2.js';
import { decodeNullable, encodeNullable } from '../codec/serdes.js';
import { ManualClock } from '../core/clock.js';
import { PartitaError } from '../core/errors.js';
import { silentLogger, type Logger } from '../core/logger.js';
import { EmbeddedLog } from '../log/embedded/embedded-log.js';
import type { LogFaults } from '../log/embedded/log-faults.js';
import type { LogClient } from '../log/log-client.js';
import type { AnyTopic } from '../processor/declarations.js';
import type { AnyDefinition, KeyOf, Parts, Processor } from '../processor/define-processor.js';
import { isTable, type InputValue } from '../processor/tables.js';
import type { TimestampedEntry } from '../processor/timestamped.js';
import type { WindowResult } from '../processor/windowed.js';
import type { ActorEvent, ActorStats } from '../threads/protocol.js';
import { DrivenPartition } from './driven-partition.js';
import { prepareTopics } from './driven-topics.js';
import { LocalActors, readStore } from './local-actors.js';

/** A moment to begin with: 2026-01-01T00:00:00Z. */
const START_MS = 1_767_225_600_000;
const CLOSE_BUDGET_MS = 10_000;
/** Turns of the event loop after which everything that needs no timer has settled. */
const TURNS = 20;

export interface DriverOptions {
  /** What `processorAt` would be given. */
  readonly config?: unknown;
  /** Partitions of inputs and outputs. @default 1 */
  readonly partitions?: number;
  /** @default 'exactly-once' */
  readonly guarantee?: 'exactly-once' | 'at-least-once';
  /** Wall-clock ms since 1970 at which the test begins. @default 2026-01-01 */
  readonly startMs?: number;
  /** @default every second of the driver's clock, without a bound on records */
  readonly checkpoint?: {
    readonly intervalMs?: number;
    readonly recordsMax?: number;
    readonly bytesMax?: number;
  };
  /** Topics that an error policy given as a function may name. One given as `{ deadLetter }` is known. */
  readonly deadLetters?: readonly string[];
  /** Bytes of the cache of decoded values, per partition. @default 16 MiB */
  readonly cacheBytes?: number;
  /** What one record may add to the event-time clock of its partition. @default unbounded */
  readonly maxClockAdvanceMs?: number;
  readonly logger?: Logger;
  /** Faults of the log: late, lost and failed answers. */
  readonly faults?: LogFaults;
}

/** A record as a test gives it. */
export interface PipedRecord<K, V> {
  readonly key: K;
  readonly value: V;
  /** @default the driver's clock */
  readonly timestamp?: number;
  /** @default by the key, as a producer does */
  readonly partition?: number;
  readonly headers?: Readonly<Record<string, string | Uint8Array>>;
}

/** A record as it stands in an output topic. */
export interface OutputRecord<K = unknown, V = unknown> {
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
  readonly key: K;
  readonly value: V;
  readonly headers: Readonly<Record<string, string>>;
}

/** Reads one partition of a store, between records. */
export interface StoreReader<K, V> {
  get(key: K): Promise<V | undefined>;
  entries(): Promise<readonly (readonly [K, V])[]>;
}

/** Reads one partition of a windowed store, between records. */
export interface WindowReader<K, R> {
  /** The open windows of a key. */
  current(key: K): Promise<readonly WindowResult<K, R>[]>;
  /** All open windows, by key and start. */
  all(): Promise<readonly WindowResult<K, R>[]>;
}

/** Reads one partition of a timestamped store, between records. */
export interface TimestampedReader<K, V> {
  getAsOf(key: K, timestampMs: number): Promise<TimestampedEntry<V> | undefined>;
  /** Entries with from ≤ timestamp < to. */
  between(key: K, fromMs: number, toMs: number): Promise<readonly TimestampedEntry<V>[]>;
}

/* eslint-disable @typescript-eslint/no-explicit-any -- a processor of any declarations, whose types are inferred */
type AnyProcessor = Processor<any, any, any, any>;
/* eslint-enable @typescript-eslint/no-explicit-any */
type AnyFunction = (...args: never) => unknown;
type Names<X> = Extract<keyof X, string>;
type ArgsOf<F> = F extends (context: never, key: never, ...args: infer A) => unknown ? A : never;
type ResultOf<F> = F extends AnyFunction ? Awaited<ReturnType<F>> : never;
type PipedOf<I> = I extends { readonly key: { decode(bytes: Uint8Array): infer K } } & {
  readonly value: { decode(bytes: Uint8Array): infer V };
}
  ? PipedRecord<K, InputValue<I, V>>
  : never;
/** To whom: the partition of a key, or a partition by number. */
export type CallTo<X> = ({ readonly key: KeyOf<Parts<X, 'i'>> } | { readonly partition: number }) & {
  readonly read?: 'latest' | 'committed';
};

export class TestDriver<X extends AnyProcessor> {
  /** The driver's clock, which is the actors' and the log's. */
  readonly clock: ManualClock;
  /** The log under it, for what the driver has no method for. */
  readonly log: EmbeddedLog;
  /** What the actors have reported, in order. */
  readonly events: readonly (ActorEvent & { readonly partition: number })[];
  readonly #definition: AnyDefinition;
  readonly #client: LogClient;
  readonly #actors: LocalActors;
  readonly #partitions: readonly DrivenPartition[];
  #commandSeq = 0;

  private constructor(parts: {
    readonly clock: ManualClock;
    readonly log: EmbeddedLog;
    readonly events: readonly (ActorEvent & { readonly partition: number })[];
    readonly definition: AnyDefinition;
    readonly client: LogClient;
    readonly actors: LocalActors;
    readonly partitions: readonly DrivenPartition[];
  }) {
    this.clock = parts.clock;
    this.log = parts.log;
    this.events = parts.events;
    this.#definition = parts.definition;
    this.#client = parts.client;
    this.#actors = parts.actors;
    this.#partitions = parts.partitions;
  }

  /** Creates the topics, opens an actor per partition, and resolves when all of them have recovered. */
  static async start<P extends AnyProcessor>(
    processor: P,
    options: DriverOptions = {},
  ): Promise<TestDriver<P>> {
    const { definition } = processor;
    const clock = new ManualClock(options.startMs ?? START_MS);
    const log = await EmbeddedLog.open({
      clock,
      backgroundMs: 0,
      ...(options.faults === undefined ? {} : { faults: options.faults }),
    });
    const client = await log.connect({ clientId: 'test-driver' });
    const topics = await prepareTopics(
      client,
      definition,
      options.partitions ?? 1,
      options.deadLetters ?? [],
    );
    const actors = new LocalActors({ clock, logger: options.logger ?? silentLogger, definition });
    const events: (ActorEvent & { readonly partition: number })[] = [];
    const partitions = Array.from({ length: options.partitions ?? 1 }, (_, partition) => {
      const spec = actors.spec({ partition, topics, options });
      return new DrivenPartition({
        client,
        spec,
        make: (withEpoch, uplink) => actors.make(withEpoch, uplink),
        onEvent: (of, event) => events.push({ ...event, partition: of }),
      });
    });
    const driver = new TestDriver<P>({ clock, log, events, definition, client, actors, partitions });
    await driver.restart();
    return driver;
  }

  /** Appends a record to an input and resolves when it has been processed; rejects with what made its actor fail. */
  async pipe<N extends Names<Parts<X, 'i'>>>(input: N, record: PipedOf<Parts<X, 'i'>[N]>): Promise<void> {
    await this.append(input, [record]);
    await this.drain();
  }

  /** Appends records to an input without processing them, as a producer would while the processor is away. */
  async append<N extends Names<Parts<X, 'i'>>>(
    input: N,
    records: readonly PipedOf<Parts<X, 'i'>[N]>[],
  ): Promise<void> {
    const declared = this.#declared('inputs', input);
    const topic = declared.name ?? input;
    await this.log.produce(
      topic,
      (records as readonly PipedRecord<unknown, unknown>[]).map(({ headers, ...record }) => ({
        ...record,
        headers: Object.entries(headers ?? {}),
        key: encodeOrNull(declared, 'key', record.key, topic),
        value: encodeOrNull(declared, 'value', record.value, topic),
        timestamp: record.timestamp ?? this.clock.now(),
      })),
    );
  }

  /** Processes everything that has been appended. */
  async drain(): Promise<void> {
    await Promise.all(this.#partitions.map((partition) => partition.drain()));
  }

  /** The committed records of an output, or of a dead-letter topic (as bytes), by partition and offset. */
  async outputs<K = unknown, V = unknown>(name: string): Promise<readonly OutputRecord<K, V>[]> {
    const declared = this.#definition.outputs?.[name];
    const topic = declared?.name ?? name;
    const found: OutputRecord<K, V>[] = [];
    for await (const { key, value, headers, ...place } of this.log.read(topic)) {
      const decode = (what: 'key' | 'value', bytes: Uint8Array | null): unknown =>
        declared === undefined ? bytes : decodeNullable<unknown>(declared[what], bytes, { what, topic });
      found.push({
        ...place,
        key: decode('key', key) as K,
        value: decode('value', value) as V,
        headers: Object.fromEntries([...headers].map(([header, bytes]) => [header, text(bytes)])),
      });
    }
    return found.sort((a, b) => a.partition - b.partition || a.offset - b.offset);
  }

  /** A partition of a store, with what is not yet committed unless `read` says otherwise. */
  store<K = unknown, V = unknown>(
    name: string,
    options: { readonly partition?: number; readonly read?: 'latest' | 'committed' } = {},
  ): StoreReader<K, V> {
    const call = (key: unknown, what: 'get' | 'entries') =>
      this.#actor(options.partition ?? 0).query(readStore(name, key, what, options.read ?? 'latest'));
    return {
      get: async (key) => (await call(key, 'get')) as V | undefined,
      entries: async () => (await call(undefined, 'entries')) as readonly (readonly [K, V])[],
    };
  }

  /** A partition of a windowed store, as `store`. */
  windows<K = unknown, R = unknown>(
    name: string,
    options: { readonly partition?: number; readonly read?: 'latest' | 'committed' } = {},
  ): WindowReader<K, R> {
    const call = (key: unknown, what: 'current' | 'all') =>
      this.#actor(options.partition ?? 0).query(readStore(name, key, what, options.read ?? 'latest'));
    return {
      current: async (key) => (await call(key, 'current')) as readonly WindowResult<K, R>[],
      all: async () => (await call(undefined, 'all')) as readonly WindowResult<K, R>[],
    };
  }

  /** A partition of a timestamped store, as `store`. */
  timestamped<K = unknown, V = unknown>(
    name: string,
    options: { readonly partition?: number; readonly read?: 'latest' | 'committed' } = {},
  ): TimestampedReader<K, V> {
    const { partition = 0, read = 'latest' } = options;
    const call = (key: unknown, what: 'getAsOf' | 'between', ...times: readonly number[]) =>
      this.#actor(partition).query(readStore(name, key, what, read, ...times));
    return {
      getAsOf: async (key, at) => (await call(key, 'getAsOf', at)) as TimestampedEntry<V> | undefined,
      between: async (key, from, to) =>
        (await call(key, 'between', from, to)) as readonly TimestampedEntry<V>[],
    };
  }

  async query<N extends Names<Parts<X, 'q'>>>(
    name: N,
    to: CallTo<X>,
    ...args: ArgsOf<Parts<X, 'q'>[N]>
  ): Promise<ResultOf<Parts<X, 'q'>[N]>> {
    const { partition, key } = this.#target(to);
    const call = { name, key, args: args as readonly unknown[], read: to.read ?? 'latest' };
    return (await this.#actor(partition).query(call)) as ResultOf<Parts<X, 'q'>[N]>;
  }

  /** The partition that a key of the first input belongs to. */
  partitionOf(key: KeyOf<Parts<X, 'i'>>): number {
    return this.#target({ key }).partition;
  }

  /** Runs a command; resolves when it has been processed. `checkpoint` commits it. */
  async command<N extends Names<Parts<X, 'm'>>>(
    name: N,
    to: CallTo<X>,
    ...args: ArgsOf<Parts<X, 'm'>[N]>
  ): Promise<ResultOf<Parts<X, 'm'>[N]>> {
    const { partition, key } = this.#target(to);
    const seq = ++this.#commandSeq;
    const call = { seq, name, key, args: args as readonly unknown[], ack: 'processed' } as const;
    return (await this.#actor(partition).command(call)) as ResultOf<Parts<X, 'm'>[N]>;
  }

  /** Moves the clock, which may make checkpoints due, and lets what has become due end. */
  async advance(ms: number): Promise<void> {
    await this.clock.advanceAsync(ms);
    await turns();
  }

  /** Commits everything that has been processed. */
  async checkpoint(): Promise<void> {
    await Promise.all(this.#partitions.map(async ({ actor }) => actor?.checkpoint('asked')));
  }

  /** Ends all actors without a word: what was not committed is gone. `restart` opens them again. */
  async crash(): Promise<void> {
    await this.#settle(Promise.all(this.#partitions.map((partition) => partition.crash())));
  }

  /**
   * Opens the actors over what is committed (after a crash, if they are still open) and resolves when they have
   * recovered. `wipe`: their databases are gone and come back from the changelog.
   */
  async restart(options: { readonly wipe?: boolean } = {}): Promise<void> {
    if (this.#partitions.some(({ actor }) => actor !== undefined)) await this.crash();
    if (options.wipe === true) this.#actors.wipe();
    await this.#settle(Promise.all(this.#partitions.map((partition) => partition.open())));
  }

  /** Counters of each partition's actor. */
  async stats(): Promise<readonly ActorStats[]> {
    return Promise.all(this.#partitions.map(({ partition }) => this.#actor(partition).stats()));
  }

  /** Commits, closes the actors and the log. Idempotent. */
  async close(): Promise<void> {
    await this.#settle(Promise.all(this.#partitions.map((partition) => partition.close(CLOSE_BUDGET_MS))));
    await this.#client.close();
    await this.log.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #declared(side: 'inputs' | 'outputs', name: string): AnyTopic {
    const declared = this.#definition[side]?.[name];
    if (declared === undefined)
      throw new PartitaError('INVALID_ARGUMENT', `The processor has no ${name} among its ${side}.`);
    return declared;
  }

  #actor(partition: number) {
    const actor = this.#partitions[partition]?.actor;
    if (actor === undefined)
      throw new PartitaError('ILLEGAL_STATE', `No actor is open for the partition ${partition}.`);
    return actor;
  }

  #target(to: CallTo<X>): { readonly partition: number; readonly key: unknown } {
    if (!('key' in to)) return { partition: to.partition, key: undefined };
    const [name, declared] = Object.entries(this.#definition.inputs)[0]!;
    const key = encodeOrNull(declared, 'key', to.key, declared.name ?? name);
    return { partition: key === null ? 0 : partitionForKey(key, this.#partitions.length), key: to.key };
  }

  /** Awaits what may wait on the clock: as soon as nothing else moves, the clock is moved to its next timer. */
  async #settle<T>(promise: Promise<T>): Promise<T> {
    const state = { settled: false };
    const done = promise.finally(() => {
      state.settled = true;
    });
    // Heard below; until then it is not an unhandled one.
    done.catch(() => undefined);
    await turns();
    while (!state.settled) {
      const at = this.clock.nextTimerAt;
      if (at !== undefined) await this.clock.advanceAsync(Math.max(0, at - this.clock.now()));
      await turns();
    }
    return done;
  }
}

function encodeOrNull(declared: AnyTopic, what: 'key' | 'value', value: unknown, topic: string) {
  if (value === null && what === 'value' && isTable(declared)) return null;
  return encodeNullable(declared[what], value, { what, topic });
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
}
