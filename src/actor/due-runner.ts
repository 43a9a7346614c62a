/**
 * Runs what has come due with time, before the next record: timers and closings of all stores by (time, kind, store, key),
 * each call under its own savepoint and under the processor's error policy. It takes only what its sources have loaded in
 * bounded pages, and stops between two calls when asked, so that queries and checkpoints come in between.
 */
import { describeError, PartitaError } from '../core/errors.js';
import type { FailedRecord } from '../processor/define-processor.js';
import type { DueCall, DueHead, DueSource } from '../state/due-source.js';
import type { StateStore } from '../state/state-store.js';
import type { ActorSpec, ActorUplink } from '../threads/protocol.js';
import { isFatal, throwIfFailed, type ErrorHandling } from './error-policy.js';
import { isPromise, type HandlerContexts } from './handler-contexts.js';
import type { OutputBatches } from './output-batches.js';

/** Calls between two looks at the time. */
const CALLS_PER_LOOK = 32;
/** Calls after which the event loop gets its turn, also on a clock that stands still: timers may schedule timers for ever. */
const CALLS_PER_RUN_MAX = 10_000;

export interface DueRunnerOptions {
  readonly spec: ActorSpec;
  readonly state: StateStore;
  readonly domain: 'event' | 'wall';
  /** The present time of the domain, in ms. */
  readonly now: () => number;
  readonly contexts: HandlerContexts;
  readonly outputs: OutputBatches;
  readonly errors: ErrorHandling;
  readonly uplink: ActorUplink;
  /** Hands over what a call had to say of missed windows. */
  readonly tellLates: () => void | Promise<void>;
}

export class DueRunner {
  /** Timers that were called. */
  timers = 0;
  /** Calls that failed and were skipped. */
  skipped = 0;
  /** Whether a call has returned a promise: then queries must not interleave. */
  asyncCalls = false;
  readonly #options: DueRunnerOptions;
  readonly #sources: readonly DueSource[];

  constructor(options: DueRunnerOptions) {
    this.#options = options;
    this.#sources = options.state.sources
      .filter((source) => source.domain === options.domain)
      .sort((a, b) => order(a.kind, b.kind) || order(a.name, b.name));
  }

  /** A lower bound of when something is next due, in ms of the domain; Infinity: nothing is. */
  get nextMs(): number {
    let next = Infinity;
    for (const { nextMs } of this.#sources) if (nextMs < next) next = nextMs;
    return next;
  }

  /** Whether something may be due; looked at after every record. */
  get pending(): boolean {
    return this.nextMs <= this.#options.now();
  }

  /** Whether closings of windows may be due. */
  get pendingWindows(): boolean {
    const now = this.#options.now();
    return this.#sources.some(({ kind, nextMs }) => kind === 'window' && nextMs <= now);
  }

  /**
   * Runs what is due until nothing is, or until `stop` says so between two calls, or for so many calls that others must come
   * in between.
   * @returns whether everything due is done; a promise only if a page had to be read or a handler is asynchronous
   */
  run(stop: () => boolean): boolean | Promise<boolean> {
    return this.#run(stop, 0);
  }

  /** @param done calls of this run */
  #run(stop: () => boolean, done: number): boolean | Promise<boolean> {
    const now = this.#options.now();
    for (let calls = done + 1; calls <= CALLS_PER_RUN_MAX; calls++) {
      const loading = this.#load(now);
      if (loading !== undefined) return loading.then(() => this.#run(stop, calls));
      const source = this.#earliest(now);
      if (source === undefined) return true;
      const running = this.#runHead(source, now);
      if (running !== undefined) return running.then(() => (stop() ? false : this.#run(stop, calls)));
      if (calls % CALLS_PER_LOOK === 0 && stop()) return false;
    }
    return false;
  }

  #load(now: number): Promise<void> | undefined {
    let loading: Promise<void>[] | undefined;
    for (const source of this.#sources) {
      if (source.nextMs > now) continue;
      const one = source.load(now);
      if (one !== undefined) (loading ??= []).push(one);
    }
    return loading === undefined ? undefined : Promise.all(loading).then(() => undefined);
  }

  /** Sources are sorted by kind and name, which decide among equal times before the key does. */
  #earliest(now: number): DueSource | undefined {
    let best: DueSource | undefined;
    let bestHead: DueHead | undefined;
    for (const source of this.#sources) {
      if (source.nextMs > now) continue;
      const head = source.head(now);
      if (head === undefined || (bestHead !== undefined && head.atMs >= bestHead.atMs)) continue;
      best = source;
      bestHead = head;
    }
    return best;
  }

  /** One call under its savepoint. */
  #runHead(source: DueSource, now: number): Promise<void> | undefined {
    const { state, outputs, contexts, domain } = this.#options;
    const { atMs } = source.head(now)!;
    state.savepoint();
    const call = source.apply(now);
    if (call?.call === undefined) {
      source.pop();
      return undefined;
    }
    outputs.mark(call.timestamp);
    const { scope, context } = contexts.current;
    scope.timestamp = call.timestamp;
    scope.dueAtMs = domain === 'event' ? atMs : Infinity;
    scope.open = true;
    try {
      const result = call.call(context) ?? (state.events.any ? contexts.tellUpdates(context) : undefined);
      if (isPromise(result)) return this.#finishAsync(source, call, result, now);
    } catch (error) {
      scope.open = false;
      return this.#failed(source, call, error, now);
    }
    scope.open = false;
    return this.#done(source);
  }

  async #finishAsync(source: DueSource, call: DueCall, result: Promise<unknown>, now: number): Promise<void> {
    const { state, contexts } = this.#options;
    this.asyncCalls = true;
    try {
      await result;
      if (state.events.any) await contexts.tellUpdates(contexts.current.context);
    } catch (error) {
      contexts.renew();
      await this.#failed(source, call, error, now);
      return;
    }
    contexts.renew();
    await this.#done(source);
  }

  #done(source: DueSource): Promise<void> | undefined {
    const { state, tellLates } = this.#options;
    throwIfFailed(state);
    source.pop();
    if (source.kind === 'timer') this.timers++;
    const telling = state.events.lates.length > 0 ? tellLates() : undefined;
    return telling ?? undefined;
  }

  /** Rolls the call back and does what the policy says; what was due is done with all the same, without its call. */
  async #failed(source: DueSource, call: DueCall, error: unknown, now: number): Promise<void> {
    const { state, outputs, errors, spec } = this.#options;
    throwIfFailed(state);
    if (isFatal(error)) throw error;
    state.rollback();
    outputs.rollback();
    const { partition } = spec.id;
    const what: FailedRecord = {
      origin: source.kind,
      name: source.name,
      topic: undefined,
      partition,
      offset: undefined,
      timestamp: call.timestamp,
    };
    const decision = errors.decide(error, what);
    if (decision === 'fail') throw handlerFailed(spec, source, call, error);
    state.savepoint();
    source.apply(now);
    outputs.mark(call.timestamp);
    if (typeof decision === 'object') await this.#deadLetter(source, call, decision.deadLetter, error);
    source.pop();
    this.skipped++;
    this.#options.uplink.event({
      type: 'skipped',
      topic: `${source.kind} ${source.name}`,
      offset: -1,
      error,
    });
  }

  async #deadLetter(source: DueSource, call: DueCall, topic: string, error: unknown): Promise<void> {
    const { key, value } = call.describe();
    const record = { timestamp: call.timestamp, key, value: Buffer.from(JSON.stringify(value)), headers: [] };
    const origin = {
      [`partita.${source.kind}`]: source.name,
      'partita.partition': String(this.#options.spec.id.partition),
      'partita.timestamp': String(call.timestamp),
    };
    await this.#options.errors.deadLetter(this.#options.outputs, topic, record, origin, error);
  }
}

function handlerFailed(spec: ActorSpec, source: DueSource, call: DueCall, error: unknown): PartitaError {
  const { partition, stream } = spec.id;
  return new PartitaError(
    'HANDLER_FAILED',
    `The ${source.kind} ${source.name} of ${stream}-${String(partition)} failed at its time ${String(call.timestamp)}: ${describeError(error)}`,
    { cause: error, details: { [source.kind]: source.name, partition, timestamp: call.timestamp } },
  );
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
