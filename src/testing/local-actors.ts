/**
 * Makes the actors of a processor under test: in the calling thread, over one memory engine whose databases outlive
 * their actors as files would. It adds one query to the processor, by which tests read its stores.
 */
import { PartitionActor } from '../actor/partition-actor.js';
import { NO_RESETS } from '../changelog/resets.js';
import type { Clock } from '../core/clock.js';
import type { Logger } from '../core/logger.js';
import type { ReadonlyKeyValue } from '../processor/declarations.js';
import type { ReadonlyTimestamped } from '../processor/timestamped.js';
import type { ReadonlyWindowed } from '../processor/windowed.js';
import type { AnyDefinition, QueryContext } from '../processor/define-processor.js';

import { KeptEngines } from './kept-engines.js';
import {
  PROGRESS,
  type ActorApi,
  type ActorOptions,
  type ActorSpec,
  type ActorUplink,
  type QueryCall,
} from '../threads/protocol.js';
import { GROUP, STREAM, type TopicSpecs } from './driven-topics.js';
import type { DriverOptions } from './test-driver.js';

const READ_STORE = '$readStore';
const CACHE_BYTES = 16 * 1024 * 1024;
const MEBIBYTE = 1024 * 1024;

export class LocalActors {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #definition: AnyDefinition;
  readonly #engines = new KeptEngines();

  constructor(parts: { readonly clock: Clock; readonly logger: Logger; readonly definition: AnyDefinition }) {
    this.#clock = parts.clock;
    this.#logger = parts.logger;
    this.#definition = withStoreReader(parts.definition);
  }

  spec(of: {
    readonly partition: number;
    readonly topics: TopicSpecs;
    readonly options: DriverOptions;
  }): Omit<ActorSpec, 'epoch'> {
    return {
      id: { stream: STREAM, partition: of.partition },
      group: GROUP,
      processorUrl: 'test:processor',
      config: of.options.config,
      ...of.topics,
      directory: `test/${of.partition}`,
      cacheBytes: of.options.cacheBytes ?? CACHE_BYTES,
      options: actorOptions(of.options),
      progress: new SharedArrayBuffer(PROGRESS.bytes),
    };
  }

  make(spec: ActorSpec, uplink: ActorUplink): ActorApi {
    return new PartitionActor(spec, uplink, {
      clock: this.#clock,
      logger: this.#logger,
      engines: () => this.#engines,
      importProcessor: async () => this.#definition,
    });
  }

  /** All databases are gone. */
  wipe(): void {
    this.#engines.wipe();
  }
}

/** What can be asked of a store: of one with keys and values, of windows, or of timestamps. */
export type StoreQuestion = 'get' | 'entries' | 'current' | 'all' | 'getAsOf' | 'between';

/** The call of the query that `withStoreReader` added. */
export function readStore(
  store: string,
  key: unknown,
  what: StoreQuestion,
  read: 'latest' | 'committed',
  ...times: readonly number[]
): QueryCall {
  return { name: READ_STORE, key: undefined, args: [store, key, what, ...times], read };
}

type AnyStore = ReadonlyKeyValue<unknown, unknown> &
  ReadonlyWindowed<unknown, unknown> &
  ReadonlyTimestamped<unknown, unknown>;

function withStoreReader(definition: AnyDefinition): AnyDefinition {
  type Context = QueryContext<Readonly<Record<string, never>>, unknown>;
  const read = async (
    context: Context,
    _key: unknown,
    name: string,
    key: unknown,
    what: StoreQuestion,
    from: number,
    to: number,
  ) => {
    const store = (context.stores as Readonly<Record<string, AnyStore>>)[name];
    if (store === undefined) throw new Error(`The processor declares no store ${name}.`);
    if (typeof store[what] !== 'function') throw new Error(`The store ${name} has no ${what}.`);
    if (what === 'get' || what === 'current') return store[what](key);
    if (what === 'getAsOf') return store.getAsOf(key, from);
    if (what === 'between') return store.between(key, from, to);
    const found: unknown[] = [];
    for await (const entry of what === 'all' ? store.all(-Infinity, Infinity) : store.entries())
      found.push(entry);
    return found;
  };
  return { ...definition, queries: { ...definition.queries, [READ_STORE]: read } };
}

function actorOptions(options: DriverOptions): ActorOptions {
  return {
    guarantee: options.guarantee ?? 'exactly-once',
    engine: 'memory',
    sync: false,
    startFrom: 'earliest',
    checkpointIntervalMs: options.checkpoint?.intervalMs ?? 1_000,
    checkpointRecordsMax: options.checkpoint?.recordsMax ?? Number.MAX_SAFE_INTEGER,
    checkpointBytesMax: options.checkpoint?.bytesMax ?? 32 * MEBIBYTE,
    commandLingerMs: 5,
    idleCommitMs: 60_000,
    maxTopicWaitMs: undefined,
    maxClockAdvanceMs: options.maxClockAdvanceMs,
    yieldMs: 5,
    recoveryPageBytes: MEBIBYTE,
    openBudgetMs: 10_000,
    changelogBlockedMs: 10_000,
    onStateMissing: 'error',
    onOffsetsMoved: 'error',
    resets: NO_RESETS,
    onOutOfRange: 'error',
    rebuildOnCorruption: true,
    checkCrc: true,
    watchdogMs: 0,
  };
}
