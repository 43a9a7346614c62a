/**
 * Runs the user's handler on one record after the other, each under its own savepoint, so that a handler that throws leaves no
 * trace and the error policy decides. It never touches the log or the database; what was changed and emitted waits in the state
 * and in the output batches for `checkpoint.ts`. Commands and queries are `call-runner.ts`, what comes due `due-runner.ts`.
 */
import type { Clock } from '../core/clock.js';
import { describeError, isPartitaError, PartitaError } from '../core/errors.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import type { TableWriter } from '../state/declared-store.js';
import type { EventClock } from '../state/event-clock.js';
import type { RecordScope } from '../state/record-scope.js';
import type { StateStore } from '../state/state-store.js';
import type { WindowEvents } from '../state/window-events.js';
import type { ActorSpec, ActorStats, ActorUplink } from '../threads/protocol.js';
import type { CallMark } from './call-mark.js';
import { CallRunner } from './call-runner.js';
import { DueRunner } from './due-runner.js';
import { ErrorHandling, isFatal, throwIfFailed } from './error-policy.js';
import { HandlerContexts, isPromise } from './handler-contexts.js';
import { decodeKey, decodersOf, decodeValue, keep, type InputDecoders } from './input-decoders.js';
import type { InputLane } from './input-lane.js';
import { LateEvents } from './late-events.js';
import { OutputBatches } from './output-batches.js';
import { RecordView } from './record-view.js';

export interface RecordProcessorOptions {
  readonly spec: ActorSpec;
  readonly definition: AnyDefinition;
  readonly config: unknown;
  readonly state: StateStore | undefined;
  readonly uplink: ActorUplink;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The one that the stores read. */
  readonly eventClock: EventClock;
  readonly mark: CallMark;
}

export type ProcessedCounts = Pick<ActorStats, 'records' | 'skipped' | 'timers' | 'late'>;

export const NOTHING_PROCESSED: ProcessedCounts = { records: 0, skipped: 0, timers: 0, late: 0 };

export class RecordProcessor {
  /** Emits of records. */
  readonly outputs: OutputBatches;
  /** Emits of commands, which are not replayed: inside the transaction under both guarantees. */
  readonly commandOutputs: OutputBatches;
  records = 0;
  skipped = 0;
  /** Timers and closings by event time, and by wall-clock; absent without state. */
  readonly due: DueRunner | undefined;
  readonly dueByWallClock: DueRunner | undefined;
  readonly calls: CallRunner;
  #asyncHandlers = false;
  readonly #options: RecordProcessorOptions;
  readonly #process: AnyDefinition['process'];
  readonly #decoders = new Map<string, InputDecoders>();
  /** Of the lane that went last: nearly always the same. */
  #lastDecoders: InputDecoders | undefined;
  readonly #clock: EventClock;
  /** What has been warned of already. */
  readonly #warned = new Set<string>();
  readonly #events: WindowEvents | undefined;
  readonly #contexts: HandlerContexts;
  readonly #errors: ErrorHandling;
  readonly #lates: LateEvents | undefined;

  constructor(options: RecordProcessorOptions) {
    this.#options = options;
    this.#clock = options.eventClock;
    this.#events = options.state?.events;
    const errors = (this.#errors = new ErrorHandling(options));
    const { definition, spec, clock, state } = options;
    this.#lates = state === undefined ? undefined : new LateEvents({ ...options, state, errors });
    this.#process = definition.process.bind(definition);
    const outputs = definition.outputs ?? {};
    const actorPartition = spec.id.partition;
    this.outputs = new OutputBatches(spec.outputs, outputs, { actorPartition, clock });
    this.commandOutputs =
      spec.options.guarantee === 'exactly-once'
        ? this.outputs
        : new OutputBatches(spec.outputs, outputs, { actorPartition, clock });
    for (const { input } of spec.inputs) {
      const declared = definition.inputs[input];
      if (declared === undefined)
        throw new PartitaError('INVALID_PROCESSOR', `The input ${input} is not declared.`);
      this.#decoders.set(input, decodersOf(input, declared, options.state?.table(input)));
    }
    this.#contexts = new HandlerContexts({ ...options, outputs: this.outputs });
    if (options.state !== undefined)
      options.state.events.handlerOf = (store) => this.#contexts.windowHandler(store);
    this.due = this.#dueRunner('event', this.#contexts, this.outputs);
    // Of commands and of what the wall clock makes due.
    const contexts =
      this.commandOutputs === this.outputs
        ? this.#contexts
        : new HandlerContexts({ ...options, outputs: this.commandOutputs });
    this.dueByWallClock = this.#dueRunner('wall', contexts, this.commandOutputs);
    this.calls = new CallRunner({
      ...options,
      contexts,
      outputs: this.commandOutputs,
      lates: this.#lates,
    });
  }

  #dueRunner(
    domain: 'event' | 'wall',
    contexts: HandlerContexts,
    outputs: OutputBatches,
  ): DueRunner | undefined {
    const { state, clock, spec, uplink } = this.#options;
    const lates = this.#lates;
    if (state === undefined || lates === undefined) return undefined;
    return new DueRunner({
      spec,
      state,
      domain,
      now: domain === 'event' ? () => this.#clock.ms : () => clock.now(),
      contexts,
      outputs,
      errors: this.#errors,
      uplink,
      tellLates: () => lates.tell(contexts, outputs, undefined),
    });
  }

  /** Whether a handler has returned a promise: then queries must not interleave with what is processed. */
  get asyncHandlers(): boolean {
    return this.#asyncHandlers || this.due?.asyncCalls === true || this.dueByWallClock?.asyncCalls === true;
  }

  /** Of this processor, since its making. */
  get counts(): ProcessedCounts {
    const runners = [this.due, this.dueByWallClock].filter((runner) => runner !== undefined);
    const skipping = [this, this.#lates, ...runners].filter((one) => one !== undefined);
    return {
      records: this.records,
      skipped: skipping.reduce((sum, { skipped }) => sum + skipped, 0),
      timers: runners.reduce((sum, { timers }) => sum + timers, 0),
      late: this.#lates?.count ?? 0,
    };
  }

  /** Processes the record at the lane's head and advances the lane. Rejects or throws only what ends the actor. */
  process(lane: InputLane): void | Promise<void> {
    const { state } = this.#options;
    const { reader } = lane;
    const clockBefore = this.#clock.ms;
    state?.savepoint();
    this.outputs.mark(reader.timestamp);
    this.#clock.advance(reader.timestamp);
    const decoders = this.#decodersOf(lane);
    if (decoders.table !== undefined) return this.#keep(lane, decoders, decoders.table, clockBefore);
    const { scope, context } = this.#contexts.current;
    try {
      const record = this.#view(lane, decoders);
      scope.timestamp = reader.timestamp;
      scope.dueAtMs = Infinity;
      scope.open = true;
      const result: unknown =
        this.#process(record, context) ??
        (this.#events?.any === true ? this.#contexts.tellUpdates(context) : undefined);
      if (isPromise(result)) return this.#finishAsync(lane, result, clockBefore);
    } catch (error) {
      this.#endContext(scope);
      return this.#onError(lane, error, clockBefore);
    }
    this.#endContext(scope);
    return this.#finish(lane);
  }

  /** The record at the lane's head has killed too often: the error policy decides about it as if it had thrown `error`. */
  refuse(lane: InputLane, error: PartitaError): void | Promise<void> {
    const { reader } = lane;
    const clockBefore = this.#clock.ms;
    this.#options.state?.savepoint();
    this.outputs.mark(reader.timestamp);
    return this.#onError(lane, error, clockBefore);
  }

  /** A table's record: the latest value of its key. Its errors are those of a record. */
  #keep(
    lane: InputLane,
    decoders: InputDecoders,
    table: TableWriter,
    clockBefore: number,
  ): void | Promise<void> {
    try {
      if (!keep(decoders, table, lane)) this.#skipNullKey(lane);
    } catch (error) {
      return this.#onError(lane, error, clockBefore);
    }
    return this.#finish(lane);
  }

  /** One warning for each input of the partition. */
  #skipNullKey(lane: InputLane): void {
    const { input, topic } = lane.spec;
    const { reader } = lane;
    this.skipped++;
    const { partition } = this.#options.spec.id;
    this.#warnOnce(
      `table ${input}`,
      lane,
      () =>
        `Records of ${topic}-${String(partition)} have no key, the first at offset ${String(reader.offset)}; the table ${input} skips them.`,
    );
  }

  #warnOnce(of: string, { spec: { topic }, reader }: InputLane, message: () => string): void {
    if (this.#warned.has(of)) return;
    this.#warned.add(of);
    const { partition, stream } = this.#options.spec.id;
    this.#options.uplink.event({
      type: 'warning',
      message: message(),
      details: { stream, topic, partition, offset: reader.offset },
    });
  }

  async #finishAsync(lane: InputLane, result: Promise<unknown>, clockBefore: number): Promise<void> {
    this.#asyncHandlers = true;
    try {
      await result;
      if (this.#events?.any === true) await this.#contexts.tellUpdates(this.#contexts.current.context);
    } catch (error) {
      this.#contexts.renew();
      await this.#onError(lane, error, clockBefore);
      return;
    }
    this.#contexts.renew();
    await this.#finish(lane);
  }

  /** The record's own handler has ended well. */
  #finish(lane: InputLane): void | Promise<void> {
    const { state } = this.#options;
    if (state !== undefined) throwIfFailed(state);
    this.records++;
    if (this.#events !== undefined && this.#events.nullKeys > 0) this.#warnOfNullKeys(lane);
    if (this.#events?.any === true)
      return this.#lates!.tell(this.#contexts, this.outputs, lane).then(() => {
        lane.advance();
      });
    lane.advance();
  }

  #warnOfNullKeys(lane: InputLane): void {
    const { stream, partition } = this.#options.spec.id;
    this.#warnOnce(
      'windows',
      lane,
      () =>
        `A value of ${stream}-${String(partition)} was added to a window under a null key, and is skipped, as all of them will be.`,
    );
  }

  /** Once a handler has been asynchronous, what one left behind could run during a later record. */
  #endContext(scope: RecordScope): void {
    if (this.#asyncHandlers) this.#contexts.renew();
    else scope.open = false;
  }

  #decodersOf({ spec }: InputLane): InputDecoders {
    let decoders = this.#lastDecoders;
    if (decoders?.input !== spec.input) this.#lastDecoders = decoders = this.#decoders.get(spec.input)!;
    return decoders;
  }

  #view(lane: InputLane, decoder: InputDecoders): RecordView {
    const { reader, spec } = lane;
    const key = decodeKey(decoder, lane);
    const value = decodeValue(decoder, lane);
    return new RecordView(spec.input, spec.topic, this.#options.spec.id.partition, reader, key, value);
  }

  /** Rolls the record back and does what the policy says. */
  #onError(lane: InputLane, error: unknown, clockBefore: number): void | Promise<void> {
    const { state, spec } = this.#options;
    if (state !== undefined) throwIfFailed(state);
    if (isFatal(error)) throw error;
    state?.rollback();
    this.outputs.rollback();
    this.#clock.ms = clockBefore;
    const { topic, input } = lane.spec;
    const { partition } = spec.id;
    const { offset, timestamp } = lane.reader;
    const decision = this.#errors.decide(error, {
      origin: 'record',
      name: input,
      topic,
      partition,
      offset,
      timestamp,
    });
    if (decision === 'skip') {
      this.#skip(lane, error);
      return;
    }
    if (decision === 'fail' && isPartitaError(error, 'POISON_RECORD')) throw error;
    if (decision === 'fail')
      throw new PartitaError(
        'HANDLER_FAILED',
        `The processor of ${spec.id.stream} failed at ${topic}-${String(partition)} offset ${String(offset)}: ${describeError(error)}`,
        { cause: error, details: { topic, partition, offset } },
      );
    return this.#deadLetter(lane, decision.deadLetter, error);
  }

  async #deadLetter(lane: InputLane, topic: string, error: unknown): Promise<void> {
    const { reader } = lane;
    const record = {
      timestamp: reader.timestamp,
      key: reader.key(),
      value: reader.value(),
      headers: reader.headers(),
    };
    const origin = {
      'partita.topic': lane.spec.topic,
      'partita.partition': String(this.#options.spec.id.partition),
      'partita.offset': String(reader.offset),
      'partita.timestamp': String(reader.timestamp),
    };
    await this.#errors.deadLetter(this.outputs, topic, record, origin, error);
    this.#skip(lane, error);
  }

  /** Leaves the failed record behind. */
  #skip(lane: InputLane, error: unknown): void {
    this.skipped++;
    const { offset } = lane.reader;
    this.#options.uplink.event({ type: 'skipped', topic: lane.spec.topic, offset, error });
    lane.advance();
  }
}
