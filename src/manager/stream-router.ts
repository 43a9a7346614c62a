/* eslint-disable @typescript-eslint/no-explicit-any -- inference over the parts of any processor */
/**
 * How a program talks to a stream: queries and commands by key or partition, and records sent to its inputs. Typed from
 * the processor. Owns the mapping of keys to partitions (murmur2 of the first input's key serde, as Kafka's Java client);
 * the waiting and answering is `partition-calls.ts`.
 */
import { partitionForKey } from '../codec/murmur2.js';
import { RecordBatchWriter } from '../codec/record-batch-writer.js';
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { describeError, PartitaError } from '../core/errors.js';
import { unlessAborted } from '../core/unless-aborted.js';
import type { LogBatch } from '../core/log-types.js';
import type { OutputProducer } from '../log/log-client.js';
import type { Topic } from '../processor/declarations.js';
import type { KeyOf, Parts } from '../processor/define-processor.js';
import type { Serde } from '../processor/serde.js';
import { traitsOf } from '../processor/serde.js';
import { isTable, type InputValue } from '../processor/tables.js';
import { CallPlaces } from './call-places.js';
import type { CallBounds, PartitionCalls } from './partition-calls.js';
import type { StreamPlan } from './stream-plan.js';

/** The arguments after the key, if the handler takes any. */
export type CallArgs<F> = F extends (context: never, key: never, ...args: infer A) => unknown
  ? [] extends A
    ? { readonly args?: A }
    : { readonly args: A }
  : never;
export type CallResult<F> = F extends (...args: never) => infer R ? Awaited<R> : never;
/** Whom a call is for. */
export type CallTarget<X> = { readonly key: KeyOf<Parts<X, 'i'>> } | { readonly partition: number };

export interface CallOptions {
  /** @default `callTimeoutMs` of the manager, 30,000 */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface QueryOptions extends CallOptions {
  /** `latest` includes changes not yet committed. @default 'latest' */
  readonly read?: 'latest' | 'committed';
}

export interface CommandOptions extends CallOptions {
  /** When the command is answered: at its commit, or as soon as it has run. @default 'committed' */
  readonly ack?: 'processed' | 'committed';
}

/** What `manager.streams.<name>` offers. Arguments and results are structured-cloned. */
export interface Router<X, I = Parts<X, 'i'>, Q = Parts<X, 'q'>, M = Parts<X, 'm'>> {
  /**
   * Runs a query between two records of the partition. Rejects UNKNOWN_QUERY, PARTITION_NOT_OWNED (with the owner's
   * address in its details, where known), ACTOR_RECOVERING or CALL_TIMEOUT, CALL_ABORTED, MAILBOX_FULL, STOPPED, or with
   * what the handler threw.
   */
  query<N extends keyof Q & string>(
    name: N,
    options: CallTarget<X> & CallArgs<Q[N]> & QueryOptions,
  ): Promise<CallResult<Q[N]>>;
  /** Runs a query in every partition that this manager owns: results by partition number. */
  queryAll<N extends keyof Q & string>(
    name: N,
    options: CallArgs<Q[N]> & QueryOptions,
  ): Promise<ReadonlyMap<number, CallResult<Q[N]>>>;
  /**
   * Runs a command in order with the partition's records, atomically. Besides what `query` rejects with: ACTOR_RESTARTED
   * with `details.outcome` `notApplied` or `unknown`. After CALL_TIMEOUT it may still run.
   */
  command<N extends keyof M & string>(
    name: N,
    options: CallTarget<X> & CallArgs<M[N]> & CommandOptions,
  ): Promise<CallResult<M[N]>>;
  /** Appends a record to an input's topic, in the partition of its key; acknowledged by the log. */
  send<N extends keyof I & string>(
    input: N,
    record: I[N] extends Topic<infer K, infer V>
      ? { readonly key: K; readonly value: InputValue<I[N], V>; readonly timestamp?: number }
      : never,
    options?: CallOptions,
  ): Promise<{ readonly partition: number; readonly offset: number }>;
}

export interface StreamRouterEnvironment {
  readonly clock: Clock;
  readonly callTimeoutMs: number;
  /** Of sends of the stream that the log has not answered. */
  readonly callsMax: number;
  readonly waitMs: number;
  outputs(): OutputProducer;
  calls(plan: StreamPlan, partition: number): PartitionCalls;
  /** Partitions of the stream that this manager owns now. */
  ownPartitions(plan: StreamPlan): readonly number[];
  /** @throws PartitaError STOPPED, or the manager's failure */
  expectUsable(): void;
}

type AnyCall = CallOptions & {
  readonly key?: unknown;
  readonly partition?: number;
  readonly args?: readonly unknown[];
};

/** The router without its types. */
export class StreamRouter {
  readonly #plan: StreamPlan;
  readonly #environment: StreamRouterEnvironment;
  readonly #sends: CallPlaces;
  #nextUnkeyed = 0;

  constructor(plan: StreamPlan, environment: StreamRouterEnvironment) {
    this.#plan = plan;
    this.#environment = environment;
    const { clock, callsMax, waitMs } = environment;
    const full = (): PartitaError =>
      new PartitaError(
        'MAILBOX_FULL',
        `${callsMax} sends to ${plan.stream} are under way, and the log answered none within ${waitMs} ms.`,
        { details: { stream: plan.stream } },
      );
    this.#sends = new CallPlaces({ clock, callsMax, waitMs, full });
  }

  async query(name: string, options: AnyCall & QueryOptions): Promise<unknown> {
    this.#environment.expectUsable();
    this.#expectHandler('query', name);
    const partition = this.#target(options);
    return this.#query(name, partition, options);
  }

  async queryAll(name: string, options: AnyCall & QueryOptions): Promise<ReadonlyMap<number, unknown>> {
    this.#environment.expectUsable();
    this.#expectHandler('query', name);
    const partitions = this.#environment.ownPartitions(this.#plan);
    const results = await Promise.all(
      partitions.map(async (partition) => {
        const result = await this.#query(name, partition, options);
        return [partition, result] as const;
      }),
    );
    return new Map(results);
  }

  async command(name: string, options: AnyCall & CommandOptions): Promise<unknown> {
    this.#environment.expectUsable();
    this.#expectHandler('command', name);
    const partition = this.#target(options);
    return this.#environment
      .calls(this.#plan, partition)
      .command(
        { name, key: options.key, args: options.args ?? [], ack: options.ack ?? 'committed' },
        this.#bounds(options),
      );
  }

  async send(
    input: string,
    record: { readonly key: unknown; readonly value: unknown; readonly timestamp?: number },
    options: CallOptions = {},
  ): Promise<{ readonly partition: number; readonly offset: number }> {
    this.#environment.expectUsable();
    const declared = this.#plan.definition.inputs[input];
    if (declared === undefined)
      throw new PartitaError('INVALID_ARGUMENT', `${this.#plan.stream} has no input ${input}.`);
    const topic = declared.name ?? input;
    const key = encode(declared.key, record.key, `the key of a record for ${topic}`);
    const value =
      record.value === null && isTable(declared)
        ? null
        : encode(declared.value, record.value, `the value of a record for ${topic}`);
    const partition =
      key === null
        ? this.#nextUnkeyed++ % this.#plan.partitions
        : partitionForKey(key, this.#plan.partitions);
    const writer = new RecordBatchWriter({ initialBytes: 256 });
    writer.append(record.timestamp ?? this.#environment.clock.now(), key, value);
    const bounds = this.#bounds(options);
    await this.#sends.enter(bounds.timeoutMs, bounds.signal, () => sendAborted(bounds.signal));
    // Its place is taken until the log has answered, also after the caller was told that it takes too long.
    const sent = this.#produce({ topic, partition, bytes: writer.seal()! });
    const [appended] = await Deadline.after(this.#environment.clock, bounds.timeoutMs).race(
      unlessAborted(sent, bounds.signal, sendAborted),
      `A send to ${topic}-${partition}`,
    );
    return { partition, offset: appended!.baseOffset };
  }

  async #produce(batch: LogBatch): Promise<readonly { readonly baseOffset: number }[]> {
    try {
      // It may have had to wait for its place.
      this.#environment.expectUsable();
      return await this.#environment.outputs().produce([batch]);
    } finally {
      this.#sends.leave();
    }
  }

  /** The partition that a key belongs to. @throws PartitaError SERDE_FAILED, INVALID_ARGUMENT */
  partitionOf(key: unknown): number {
    const { definition, partitions, stream } = this.#plan;
    const first = Object.values(definition.inputs)[0]!;
    const bytes = encode(first.key, key, `a key of ${stream}`);
    if (bytes === null)
      throw new PartitaError(
        'INVALID_ARGUMENT',
        `A null key belongs to no partition of ${stream}; name the partition.`,
      );
    return partitionForKey(bytes, partitions);
  }

  #query(name: string, partition: number, options: AnyCall & QueryOptions): Promise<unknown> {
    return this.#environment
      .calls(this.#plan, partition)
      .query(
        { name, key: options.key, args: options.args ?? [], read: options.read ?? 'latest' },
        this.#bounds(options),
      );
  }

  #target(options: AnyCall): number {
    const { partitions, stream } = this.#plan;
    if (options.partition === undefined) return this.partitionOf(options.key);
    if (Number.isInteger(options.partition) && options.partition >= 0 && options.partition < partitions)
      return options.partition;
    throw new PartitaError(
      'INVALID_ARGUMENT',
      `${stream} has no partition ${options.partition}; it has 0 to ${partitions - 1}.`,
    );
  }

  #expectHandler(kind: 'query' | 'command', name: string): void {
    const { definition, stream } = this.#plan;
    const handlers = kind === 'query' ? definition.queries : definition.commands;
    if (handlers === undefined || !Object.hasOwn(handlers, name))
      throw new PartitaError(
        kind === 'query' ? 'UNKNOWN_QUERY' : 'UNKNOWN_COMMAND',
        `${stream} has no ${kind} ${name}.`,
        { details: { stream, name } },
      );
  }

  #bounds(options: CallOptions): CallBounds {
    return { timeoutMs: options.timeoutMs ?? this.#environment.callTimeoutMs, signal: options.signal };
  }
}

function encode(serde: Serde<any>, value: unknown, what: string): Uint8Array | null {
  if (value === null && traitsOf(serde).nullable) return null;
  let bytes: unknown;
  try {
    bytes = serde.encode(value);
  } catch (error) {
    throw new PartitaError('SERDE_FAILED', `The serde of ${what} failed: ${describeError(error)}.`, {
      cause: error,
    });
  }
  if (bytes instanceof Uint8Array) return bytes;
  throw new PartitaError('SERDE_FAILED', `The serde of ${what} gave no bytes.`);
}

function sendAborted(signal: AbortSignal | undefined): PartitaError {
  return new PartitaError('CALL_ABORTED', 'A send was aborted.', { cause: signal?.reason });
}
