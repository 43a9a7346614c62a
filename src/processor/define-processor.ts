/* eslint-disable @typescript-eslint/no-explicit-any, @typescript-eslint/no-empty-object-type -- inference over declarations */
/**
 * `defineProcessor`: the module that users write, as data. A worker imports it to run it, the main thread for its
 * declarations and serdes. Types infer what handlers, queries and commands see; nothing here runs anything.
 */
import { PartitaError } from '../core/errors.js';
import { checkName } from '../core/names.js';
import type { AnyTopic, StoreDeclaration, Stores, Topic, Topics } from './declarations.js';
import { isTable, type Table, type TablesOf } from './tables.js';
import { checkTimers, type Schedule, type ScheduleAny } from './timers.js';
import type { LateEvent, WindowedDeclaration, WindowResult } from './windowed.js';

/** The headers of a record, decoded when iterated. */
export type Headers = Iterable<readonly [string, Uint8Array]>;

/** A record as `process` sees it. Its value is frozen. Valid until the handler's return (or promise) settles. */
export type RecordOf<I> = {
  [N in keyof I]: I[N] extends Table<any, any>
    ? never
    : I[N] extends Topic<infer K, infer V>
      ? {
          /** Name of the input in the declaration. */
          readonly input: N;
          readonly topic: string;
          readonly partition: number;
          readonly offset: number;
          /** Event time in ms since 1970. */
          readonly timestamp: number;
          readonly key: K;
          readonly value: V;
          readonly headers: Headers;
        }
      : never;
}[keyof I];

export interface EmitOptions {
  /** Event time in ms; default: the record's. */
  readonly timestamp?: number;
  /** Explicit partition; default: murmur2 of the key (a null key: the actor's partition modulo the topic's). */
  readonly partition?: number;
  readonly headers?: Readonly<Record<string, string | Uint8Array>>;
}

export type Emit<O> = {
  readonly [N in keyof O]: O[N] extends Topic<infer K, infer V>
    ? (key: K, value: V, options?: EmitOptions) => void
    : never;
};

/** What `process` and commands may do; valid until they end, then RECORD_CLOSED. */
export interface Context<O, S, C, H = {}> {
  readonly stores: { readonly [N in keyof S]: S[N] extends StoreDeclaration<infer RW, any> ? RW : never };
  readonly emit: Emit<O>;
  /** Timers by name: `schedule.name(key, atMs, payload, { clock })`, `schedule.name.cancel(key, atMs, { clock })`. */
  readonly schedule: H;
  readonly config: C;
  readonly partition: number;
  /** The partition's clock: the largest event time processed, that of this record included, in ms; -1: none yet. */
  readonly watermark: number;
  /** Aborted when the actor stops. */
  readonly signal: AbortSignal;
}

/** What queries may do: read. */
export interface QueryContext<S, C> {
  readonly stores: { readonly [N in keyof S]: S[N] extends StoreDeclaration<any, infer RO> ? RO : never };
  readonly config: C;
  readonly partition: number;
}

export type KeyOf<I> = { [N in keyof I]: I[N] extends Topic<infer K, any> ? K : never }[keyof I];

/** What becomes of a record whose handler threw: the partition fails, the record is skipped, or it goes to a topic. */
export type ErrorDecision = 'fail' | 'skip' | { readonly deadLetter: string };

/** What an error policy is told. */
export interface FailedRecord {
  /** What was called: for a record, for an event that missed its window, for a window or for a timer. */
  readonly origin: 'record' | 'late' | 'window' | 'timer';
  /** Of the input; of the store of a window; of the timer. */
  readonly name: string;
  /** Of the record; `undefined` for windows and timers. */
  readonly topic: string | undefined;
  readonly partition: number;
  readonly offset: number | undefined;
  readonly timestamp: number;
}

export type ErrorPolicy = ErrorDecision | ((error: unknown, record: FailedRecord) => ErrorDecision);

/*
 * What stands below is written so that no function type lies within a conditional one: its context would be inferred too
 * early, before the timers that stand above it.
 */

/** What the handler of a windowed store is given. */
type WindowOf<D> = D extends WindowedDeclaration<infer K, any, infer R> ? WindowResult<K, R> : never;

type LateOf<D> = D extends WindowedDeclaration<infer K, infer V, any> ? LateEvent<K, V> : never;

/** The names of outputs that take the keys and results of a windowed store. */
type OutputsOf<O, D> =
  D extends WindowedDeclaration<infer K, any, infer R>
    ? {
        [N in keyof O]: O[N] extends Topic<infer OK, infer OV>
          ? [K, R] extends [OK, OV]
            ? N
            : never
          : never;
      }[keyof O]
    : never;

/** The declaration as users pass it. */
export interface ProcessorDefinition<I, O, S, C, Q, M, T = {}> {
  /** Parses `config` of `processorAt` in each thread; zod schemas fit. */
  readonly config?: { parse(input: unknown): C };
  readonly inputs: I;
  readonly outputs?: O;
  readonly stores?: S;
  /** Runs once per actor before its first record; may not write state. */
  init?(
    context: Pick<Context<O, S & TablesOf<I>, C>, 'config' | 'partition' | 'signal'>,
  ): void | Promise<void>;
  process(
    record: RecordOf<I>,
    context: Context<O, S & TablesOf<I>, C, Schedule<KeyOf<I>, T>>,
  ): void | Promise<void>;
  /** Default `fail`. Sees the handler's own errors and serde errors only. */
  readonly onError?: ErrorPolicy;
  /**
   * What becomes of the results of windowed stores, by store: a function, in the same transaction, or the name of an output
   * that takes the key and the result (start and end stand in its headers `partita.window.start`, `.end`, `.closed`).
   */
  readonly windows?: {
    [N in keyof S as S[N] extends WindowedDeclaration<any, any, any> ? N : never]?:
      | ((
          window: WindowOf<S[N]>,
          context: Context<O, S & TablesOf<I>, C, Schedule<KeyOf<I>, T>>,
        ) => void | Promise<void>)
      | OutputsOf<O, S[N]>;
  };
  /** Called for each closed window that an event has missed, by store. */
  readonly onLate?: {
    [N in keyof S as S[N] extends WindowedDeclaration<any, any, any> ? N : never]?: (
      late: LateOf<S[N]>,
      context: Context<O, S & TablesOf<I>, C, Schedule<KeyOf<I>, T>>,
    ) => void | Promise<void>;
  };
  /**
   * Functions that handlers schedule, by name: `name(context, key, payload)`. Declare them above the handlers that schedule
   * them: TypeScript infers the types of `schedule` from what it has read so far.
   */
  readonly timers?: T &
    Record<
      string,
      (
        context: Context<O, S & TablesOf<I>, C, ScheduleAny<KeyOf<I>>>,
        key: KeyOf<I>,
        payload: never,
      ) => void | Promise<void>
    >;
  readonly queries?: Q &
    Record<string, (context: QueryContext<S & TablesOf<I>, C>, key: KeyOf<I>, ...args: never) => unknown>;
  readonly commands?: M &
    Record<
      string,
      (
        context: Context<O, S & TablesOf<I>, C, Schedule<KeyOf<I>, T>>,
        key: KeyOf<I>,
        ...args: never
      ) => unknown
    >;
}

declare const PARTS: unique symbol;

/** A defined processor; the phantom parts type its router. */
export interface Processor<I, C, Q, M> {
  readonly definition: AnyDefinition;
  readonly [PARTS]?: { readonly i: I; readonly c: C; readonly q: Q; readonly m: M };
}

/** A handler of `windows` or `onLate` without its types. */
export type WindowHandler = (window: any, context: any) => void | Promise<void>;

/** A timer without its types. */
export type TimerHandler = (context: any, key: any, payload: any) => void | Promise<void>;

/** The definition without its types: what the runtime works with. */
export interface AnyDefinition {
  readonly config?: { parse(input: unknown): unknown };
  readonly inputs: Readonly<Record<string, AnyTopic>>;
  readonly outputs?: Readonly<Record<string, AnyTopic>>;
  readonly stores?: Stores;
  readonly init?: (context: any) => void | Promise<void>;
  readonly process: (record: any, context: any) => void | Promise<void>;
  readonly onError?: ErrorPolicy;
  readonly windows?: Readonly<Record<string, WindowHandler | string>>;
  readonly onLate?: Readonly<Record<string, WindowHandler>>;
  readonly timers?: Readonly<Record<string, TimerHandler>>;
  readonly queries?: Readonly<Record<string, (context: any, key: any, ...args: any[]) => unknown>>;
  readonly commands?: Readonly<Record<string, (context: any, key: any, ...args: any[]) => unknown>>;
}

/** Parts of a processor by letter: i inputs, c config, q queries, m commands. */
export type Parts<X, N extends 'i' | 'c' | 'q' | 'm'> =
  X extends Processor<infer I, infer C, infer Q, infer M>
    ? { readonly i: I; readonly c: C; readonly q: Q; readonly m: M }[N]
    : never;

/**
 * Defines a processor: the default export of a module without side effects.
 * @throws PartitaError INVALID_PROCESSOR or INVALID_NAME for what can't be run.
 */
export function defineProcessor<
  const I extends Topics,
  const O extends Topics = {},
  const S extends Stores = {},
  C = undefined,
  Q = {},
  M = {},
  T = {},
>(definition: ProcessorDefinition<I, O, S, C, Q, M, T>): Processor<I, C, Q, M> {
  const checked = definition as unknown as AnyDefinition;
  checkDefinition(checked);
  return { definition: checked };
}

/** What `state/state-store.ts` can make. */
const STORE_KINDS: ReadonlySet<string> = new Set(['keyValue', 'windowed', 'timestamped']);

function checkDefinition(definition: AnyDefinition): void {
  const bad = (why: string): never => {
    throw new PartitaError('INVALID_PROCESSOR', why);
  };
  if (typeof definition.process !== 'function') bad('A processor needs a `process` function.');
  if (Object.keys(definition.inputs).length === 0) bad('A processor needs at least one input.');
  for (const [side, topics] of [
    ['input', definition.inputs],
    ['output', definition.outputs ?? {}],
  ] as const) {
    const names = new Set<string>();
    for (const [name, declared] of Object.entries(topics)) {
      const topicName = declared.name ?? name;
      if (names.has(topicName)) bad(`Two ${side}s are declared for the topic ${topicName}.`);
      names.add(topicName);
      if (!isSerde(declared.key) || !isSerde(declared.value))
        bad(`The ${side} ${name} needs serdes for its key and its value.`);
      if (isTable(declared)) checkTable(side, name, definition.stores ?? {}, bad);
    }
  }
  for (const [name, store] of Object.entries(definition.stores ?? {})) {
    checkName('store', name);
    const kind = (store as unknown as { readonly kind?: unknown } | undefined)?.kind;
    if (typeof kind !== 'string') bad(`The store ${name} is not a declaration.`);
    else if (!STORE_KINDS.has(kind))
      bad(`The store ${name} is of kind ${kind}, which this version can't run.`);
  }
  checkWindowHandlers(definition, bad);
  checkTimers(definition.timers ?? {});
}

function checkTable(side: string, name: string, stores: Stores, bad: (why: string) => never): void {
  if (side === 'output') bad(`The output ${name} is declared as a table; tables are inputs.`);
  // Its store is named like it.
  checkName('store', name);
  if (Object.hasOwn(stores, name)) bad(`The table ${name} and a store are declared under the same name.`);
}

function checkWindowHandlers(definition: AnyDefinition, bad: (why: string) => never): void {
  const { windows = {}, onLate = {}, stores = {}, outputs = {} } = definition;
  for (const name of new Set([...Object.keys(windows), ...Object.keys(onLate)]))
    if (stores[name]?.kind !== 'windowed') bad(`There is no windowed store ${name} to be handled.`);
  for (const [name, handler] of Object.entries(windows))
    if (typeof handler === 'string' ? outputs[handler] === undefined : typeof handler !== 'function')
      bad(`The results of the store ${name} go to a function or to a declared output.`);
  for (const [name, handler] of Object.entries(onLate))
    if (typeof handler !== 'function') bad(`onLate of the store ${name} is not a function.`);
}

/** Callers without types may pass anything. */
function isSerde(value: unknown): boolean {
  return typeof (value as { encode?: unknown } | undefined)?.encode === 'function';
}
