/**
 * One actor on an embedded log, without threads, groups or a manager: the test feeds it page by page and opens the next
 * incarnation itself. What the actor asks of the log goes through the manager's own uplink.
 */
import { systemClock, type Clock } from '../../src/core/clock.js';
import type { TopicDescription } from '../../src/core/log-types.js';
import { silentLogger } from '../../src/core/logger.js';
import { NO_RESETS } from '../../src/changelog/resets.js';
import { PartitionActor } from '../../src/actor/partition-actor.js';
import { EmbeddedLog, type EmbeddedLogOptions } from '../../src/log/embedded/embedded-log.js';
import type { GroupSession, LogClient, OwnershipAnswer } from '../../src/log/log-client.js';
import { PartitionUplink } from '../../src/manager/actor-uplink.js';
import type { AnyDefinition } from '../../src/processor/define-processor.js';
import { hasState } from '../../src/processor/has-state.js';
import {
  PROGRESS,
  type ActorEvent,
  type ActorOptions,
  type ActorSpec,
  type CommandCall,
  type OutputSpec,
  type QueryCall,
} from '../../src/threads/protocol.js';

export const GROUP = 'group';
export const STREAM = 'stream';
export const CHANGELOG = 'changelog__group--stream';

export interface HarnessOptions {
  readonly definition: AnyDefinition;
  readonly options?: Partial<ActorOptions>;
  readonly directory?: string;
  readonly outputPartitions?: number;
  readonly log?: EmbeddedLogOptions;
  readonly clock?: Clock;
  readonly inputConfigs?: Readonly<Record<string, string>>;
  /** Configs of every output. */
  readonly outputConfigs?: Readonly<Record<string, string>>;
  readonly changelogConfigs?: Readonly<Record<string, string>>;
}

const DEFAULTS: ActorOptions = {
  guarantee: 'exactly-once',
  engine: 'memory',
  sync: false,
  startFrom: 'earliest',
  checkpointIntervalMs: 60_000,
  checkpointRecordsMax: 1_000_000,
  checkpointBytesMax: 64 << 20,
  commandLingerMs: 1,
  idleCommitMs: 60_000,
  maxTopicWaitMs: undefined,
  maxClockAdvanceMs: undefined,
  yieldMs: 5,
  recoveryPageBytes: 1 << 20,
  openBudgetMs: 2_000,
  changelogBlockedMs: 1_000,
  onStateMissing: 'error',
  onOffsetsMoved: 'error',
  resets: NO_RESETS,
  onOutOfRange: 'error',
  rebuildOnCorruption: true,
  checkCrc: true,
  watchdogMs: 0,
};

export class ActorHarness {
  readonly log: EmbeddedLog;
  readonly client: LogClient;
  readonly events: ActorEvent[] = [];
  actor!: PartitionActor;
  owns: OwnershipAnswer = 'yes';
  options: Partial<ActorOptions>;
  definition: AnyDefinition;
  directory: string;
  readonly #given: HarnessOptions;
  readonly #topics = new Map<string, TopicDescription>();
  #uplink: PartitionUplink | undefined;
  #failed: (error: unknown) => void = () => undefined;
  /** Resolves with the error that ended the present incarnation. */
  failure: Promise<unknown> = Promise.resolve();
  #epoch = 0;
  #fetch = 0;
  #seq = 0;
  /** Next offset to feed, by topic. */
  readonly #next = new Map<string, number>();

  private constructor(log: EmbeddedLog, client: LogClient, given: HarnessOptions) {
    this.log = log;
    this.client = client;
    this.#given = given;
    this.options = given.options ?? {};
    this.definition = given.definition;
    this.directory = given.directory ?? '/nowhere';
  }

  static async make(given: HarnessOptions): Promise<ActorHarness> {
    const log = await EmbeddedLog.open(given.log);
    const client = await log.connect({ clientId: 'harness' });
    const harness = new ActorHarness(log, client, given);
    const { inputs, outputs = {} } = given.definition;
    for (const [name, input] of Object.entries(inputs))
      await harness.#create(input.name ?? name, 1, given.inputConfigs);
    for (const [name, output] of Object.entries(outputs))
      await harness.#create(output.name ?? name, given.outputPartitions ?? 2, given.outputConfigs);
    if (hasState(given.definition))
      await harness.#create(CHANGELOG, 1, {
        'cleanup.policy': 'compact',
        'message.timestamp.type': 'LogAppendTime',
        ...given.changelogConfigs,
      });
    return harness;
  }

  /** Opens and recovers the next incarnation. */
  async boot(): ReturnType<PartitionActor['recover']> {
    const spec = this.#spec();
    const session: Partial<GroupSession> = { owns: () => Promise.resolve(this.owns) };
    const inherited = this.#uplink?.inDoubt;
    await this.#uplink?.retire(new AbortController().signal);
    this.failure = new Promise((resolve) => (this.#failed = resolve));
    this.#uplink = new PartitionUplink(spec, {
      log: this.client,
      session: session as GroupSession,
      outputs: () => this.client.outputs(),
      clock: systemClock,
      transactionTimeoutMs: 10_000,
      sessionTimeoutMs: 300,
      inherited,
      listener: {
        onCommitted: () => undefined,
        onEvent: (event) => {
          this.events.push(event);
          if (event.type === 'failed') this.#failed(event.error);
        },
        onDecided: () => undefined,
        onNotOwned: () => undefined,
      },
    });
    this.actor = new PartitionActor(spec, this.#uplink, {
      clock: this.#given.clock ?? systemClock,
      logger: silentLogger,
      importProcessor: () => Promise.resolve(this.definition),
    });
    await this.actor.open();
    const recovered = await this.actor.recover();
    for (const { topic, offset } of recovered.positions) this.#next.set(topic, offset);
    return recovered;
  }

  /** The parked actor serves again, in the next epoch. */
  async resume(verify: boolean): ReturnType<PartitionActor['resume']> {
    const resumed = await this.actor.resume({ epoch: ++this.#epoch, verify });
    for (const { topic, offset } of resumed.positions) this.#next.set(topic, offset);
    return resumed;
  }

  /** Leaves the present, parked actor alone, so that `boot` makes another one beside it. */
  setAside(): { takeUp(): void } {
    const { actor } = this;
    const uplink = this.#uplink;
    this.#uplink = undefined;
    return {
      takeUp: () => {
        this.actor = actor;
        this.#uplink = uplink;
      },
    };
  }

  /** Feeds one topic to its end, then reports it empty. Resolves when all of it is processed. */
  async feed(topic: string, maxBytes = 1 << 20): Promise<void> {
    await Promise.all(await this.deliver(topic, maxBytes));
  }

  /** Delivers what the topic holds; the promises settle when the actor is done with it. */
  async deliver(topic: string, maxBytes = 1 << 20): Promise<Promise<unknown>[]> {
    const done: Promise<unknown>[] = [];
    for (;;) {
      const from = this.#next.get(topic)!;
      const page = await this.client.read({
        topic,
        partition: 0,
        from,
        maxBytes,
        isolation: 'read_committed',
      });
      done.push(
        this.actor.process({
          topic,
          epoch: this.#epoch,
          bytes: page.bytes,
          from,
          next: page.next,
          aborted: page.aborted,
          lastStable: page.bounds.lastStable,
          highWatermark: page.bounds.end,
          fetch: this.#fetch++,
        }),
      );
      this.#next.set(topic, page.next);
      if (page.next === from) return done;
    }
  }

  command(name: string, key: unknown, ...args: unknown[]): Promise<unknown> {
    const call: CommandCall = { seq: ++this.#seq, name, key, args, ack: 'committed' };
    return this.actor.command(call);
  }

  query(name: string, key: unknown, read: QueryCall['read'] = 'latest'): Promise<unknown> {
    return this.actor.query({ name, key, args: [], read });
  }

  /** Loses everything that is not committed. */
  async crash(): Promise<void> {
    await this.actor.close({ commit: false, budgetMs: 1_000 });
  }

  /** The records of a topic as text, by partition and offset. */
  async read(
    topic: string,
  ): Promise<{ key: string | null; value: string | null; headers: [string, string][] }[]> {
    const records = [];
    const text = (bytes: Uint8Array | null): string | null =>
      bytes === null ? null : Buffer.from(bytes).toString();
    for await (const { key, value, headers } of this.log.read(topic))
      records.push({
        key: text(key),
        value: text(value),
        headers: [...headers].map(([name, bytes]): [string, string] => [name, text(bytes)!]),
      });
    return records;
  }

  async end(): Promise<void> {
    await this.actor.close({ commit: false, budgetMs: 1_000 });
    await this.log.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  async #create(
    topic: string,
    partitions: number,
    configs: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    this.#topics.set(topic, await this.log.createTopic({ topic, partitions, configs }));
  }

  #spec(): ActorSpec {
    const { inputs, outputs = {} } = this.definition;
    const changelog = this.#topics.get(CHANGELOG);
    this.#epoch++;
    return {
      id: { stream: STREAM, partition: 0 },
      group: GROUP,
      epoch: this.#epoch,
      processorUrl: 'test:',
      config: undefined,
      inputs: Object.entries(inputs).map(([input, { name }]) => {
        const topic = name ?? input;
        return { input, topic, topicId: this.#topics.get(topic)!.topicId };
      }),
      outputs: Object.entries(outputs).map(([output, { name }]): OutputSpec => {
        const topic = this.#topics.get(name ?? output)!;
        return { output, topic: topic.topic, partitions: topic.partitions, limits: topic.limits };
      }),
      deadLetters: [],
      changelog:
        changelog === undefined
          ? undefined
          : {
              topic: CHANGELOG,
              topicId: changelog.topicId,
              limits: changelog.limits,
              deleteRetentionMs: 7 * 86_400_000,
            },
      directory: this.directory,
      cacheBytes: 16 << 20,
      options: { ...DEFAULTS, ...this.options },
      progress: new SharedArrayBuffer(PROGRESS.bytes),
    };
  }
}
