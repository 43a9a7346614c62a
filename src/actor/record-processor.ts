/**
 * Runs the user's functions on one actor: a record, a command or a query at a time, each record and command under its own
 * savepoint, so that a handler that throws leaves no trace and the error policy decides. It never touches the log or the
 * database; what was changed and emitted waits in the state and in the output batches for `checkpoint.ts`.
 */
import { freezeDeep } from '../codec/freeze.js';
import { decodeNullable, serdeFailed } from '../codec/serdes.js';
import { sliceText } from '../codec/text.js';
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { describeError, isPartitaError, PartitaError, type ErrorCode } from '../core/errors.js';
import type {
  AnyDefinition,
  ErrorDecision,
  ErrorPolicy,
  FailedRecord,
} from '../processor/define-processor.js';
import { traitsOf, type Serde, type SerdeTraits } from '../processor/serde.js';
import { RecordScope } from '../state/record-scope.js';
import type { StateStore } from '../state/state-store.js';
import type { ActorSpec, ActorUplink, CommandCall, QueryCall } from '../threads/protocol.js';
import type { InputLane } from './input-lane.js';
import { OutputBatches } from './output-batches.js';
import { RecordView } from './record-view.js';

/** Errors of the house, not of the handler: they end the actor whatever the handler did with them. */
const FATAL_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ENGINE_FAILED',
  'ENGINE_CLOSED',
  'CORRUPT',
  'DISK_FULL',
  'FENCED',
  'ILLEGAL_STATE',
  'TRANSACTION_CLOSED',
  'RECORD_BATCH_CORRUPT',
]);

export interface RecordProcessorOptions {
  readonly spec: ActorSpec;
  readonly definition: AnyDefinition;
  readonly config: unknown;
  readonly state: StateStore | undefined;
  readonly uplink: ActorUplink;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Largest event time processed before, in ms; -1: none. */
  readonly eventClock: number;
}

/** What a handler is handed, and the scope that ends it. */
interface HandlerContext {
  readonly scope: RecordScope;
  readonly context: object;
}

interface Decoder {
  readonly serde: Serde<unknown>;
  readonly text: SerdeTraits<unknown>['text'];
  /** Plain values are frozen; a user's own serde may return what can't be. */
  readonly freeze: boolean;
}

interface InputDecoders {
  readonly input: string;
  readonly key: Decoder;
  readonly value: Decoder;
}

export class RecordProcessor {
  /** Emits of records. */
  readonly outputs: OutputBatches;
  /** Emits of commands, which are not replayed: inside the transaction under both guarantees. */
  readonly commandOutputs: OutputBatches;
  /** Largest event time processed in ms; -1: none. */
  eventClock: number;
  records = 0;
  skipped = 0;
  /** Whether a handler has returned a promise: then queries must not interleave with records. */
  asyncHandlers = false;
  readonly #options: RecordProcessorOptions;
  readonly #process: AnyDefinition['process'];
  readonly #decoders = new Map<string, InputDecoders>();
  /** Of the lane that went last: nearly always the same. */
  #lastDecoders: InputDecoders | undefined;
  #recordContext: HandlerContext;

  constructor(options: RecordProcessorOptions) {
    this.#options = options;
    this.eventClock = options.eventClock;
    const { definition, spec, clock } = options;
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
      this.#decoders.set(input, {
        input,
        key: decoderOf(declared.key as Serde<unknown>),
        value: decoderOf(declared.value as Serde<unknown>),
      });
    }
    this.#recordContext = this.#newContext(this.outputs);
  }

  /** Processes the record at the lane's head and advances the lane. Rejects or throws only what ends the actor. */
  process(lane: InputLane): void | Promise<void> {
    const { state } = this.#options;
    const { reader } = lane;
    const clockBefore = this.eventClock;
    state?.savepoint();
    this.outputs.mark(reader.timestamp);
    if (reader.timestamp > clockBefore) this.eventClock = reader.timestamp;
    const { scope, context } = this.#recordContext;
    try {
      const record = this.#view(lane);
      scope.open = true;
      const result = this.#process(record, context);
      if (result !== undefined && typeof result.then === 'function')
        return this.#finishAsync(lane, result, clockBefore);
    } catch (error) {
      this.#endContext(scope);
      return this.#onError(lane, error, clockBefore);
    }
    this.#endContext(scope);
    if (state !== undefined) this.#checkState(state);
    this.records++;
    lane.advance();
  }

  /** Runs a command. Rejects with its error after rolling it back; throws synchronously only what ends the actor. */
  async command(call: CommandCall): Promise<unknown> {
    const { state, definition, spec, clock } = this.#options;
    const handler = handlerNamed(definition.commands, call.name);
    if (handler === undefined)
      throw new PartitaError('UNKNOWN_COMMAND', `The stream ${spec.id.stream} has no command ${call.name}.`);
    state?.savepoint();
    this.commandOutputs.mark(clock.now());
    const { scope, context } = this.#newContext(this.commandOutputs);
    scope.open = true;
    try {
      const result: unknown = await handler(context, call.key, ...call.args);
      expectCloneable(result);
      return result;
    } catch (error) {
      state?.rollback();
      this.commandOutputs.rollback();
      if (isFatal(error)) throw error;
      throw callFailed('command', call.name, spec, error);
    } finally {
      scope.open = false;
      if (state !== undefined) this.#checkState(state);
    }
  }

  async query(call: QueryCall): Promise<unknown> {
    const { state, definition, spec, config, clock } = this.#options;
    const handler = handlerNamed(definition.queries, call.name);
    if (handler === undefined)
      throw new PartitaError('UNKNOWN_QUERY', `The stream ${spec.id.stream} has no query ${call.name}.`);
    const scope = new RecordScope();
    scope.open = true;
    const stores = state?.queryViews(call.read, scope) ?? {};
    try {
      const answer: unknown = handler(
        { stores, config, partition: spec.id.partition },
        call.key,
        ...call.args,
      );
      if (call.timeoutMs === undefined || !(answer instanceof Promise)) return await answer;
      // Records of a processor with asynchronous handlers wait for it.
      const what = `The query ${call.name} of ${spec.id.stream}-${String(spec.id.partition)}`;
      return await Deadline.after(clock, call.timeoutMs).race(answer, what);
    } catch (error) {
      throw callFailed('query', call.name, spec, error);
    } finally {
      scope.open = false;
    }
  }

  async #finishAsync(lane: InputLane, result: Promise<void>, clockBefore: number): Promise<void> {
    this.asyncHandlers = true;
    const { scope } = this.#recordContext;
    try {
      await result;
    } catch (error) {
      this.#renewContext(scope);
      await this.#onError(lane, error, clockBefore);
      return;
    }
    this.#renewContext(scope);
    const { state } = this.#options;
    if (state !== undefined) this.#checkState(state);
    this.records++;
    lane.advance();
  }

  /** Once a handler has been asynchronous, what one left behind could run during a later record. */
  #endContext(scope: RecordScope): void {
    if (this.asyncHandlers) this.#renewContext(scope);
    else scope.open = false;
  }

  /** A promise that a handler left behind may still hold the context: it stays closed, the next record gets another. */
  #renewContext(scope: RecordScope): void {
    scope.open = false;
    this.#recordContext = this.#newContext(this.outputs);
  }

  #newContext(outputs: OutputBatches): HandlerContext {
    const { state, config, spec, signal } = this.#options;
    const scope = new RecordScope();
    const stores = state?.views(scope) ?? {};
    const emit = outputs.emits(scope);
    return { scope, context: Object.freeze({ stores, emit, config, partition: spec.id.partition, signal }) };
  }

  #view(lane: InputLane): RecordView {
    const { reader, spec } = lane;
    let decoder = this.#lastDecoders;
    if (decoder?.input !== spec.input) this.#lastDecoders = decoder = this.#decoders.get(spec.input)!;
    const key = decode(decoder.key, 'key', lane, reader.keyStart, reader.keyEnd);
    const value = decode(decoder.value, 'value', lane, reader.valueStart, reader.valueEnd);
    return new RecordView(spec.input, spec.topic, this.#options.spec.id.partition, reader, key, value);
  }

  #checkState(state: StateStore): void {
    const { failure } = state;
    if (failure !== undefined) throw failure;
  }

  /** Rolls the record back and does what the policy says. */
  #onError(lane: InputLane, error: unknown, clockBefore: number): void | Promise<void> {
    const { state, definition, spec } = this.#options;
    if (state !== undefined) this.#checkState(state);
    if (isFatal(error)) throw error;
    state?.rollback();
    this.outputs.rollback();
    this.eventClock = clockBefore;
    const { topic } = lane.spec;
    const { partition } = spec.id;
    const { offset, timestamp } = lane.reader;
    const decision = this.#decide(definition.onError ?? 'fail', error, {
      topic,
      partition,
      offset,
      timestamp,
    });
    if (decision === 'skip') {
      this.#skip(lane, error);
      return;
    }
    if (decision === 'fail')
      throw new PartitaError(
        'HANDLER_FAILED',
        `The processor of ${spec.id.stream} failed at ${topic}-${String(partition)} offset ${String(offset)}: ${describeError(error)}`,
        { cause: error, details: { topic, partition, offset } },
      );
    return this.#deadLetter(lane, decision.deadLetter, error);
  }

  /** What the policy says; one that throws or says nothing fails the partition, with the record's error. */
  #decide(policy: ErrorPolicy, error: unknown, record: FailedRecord): ErrorDecision {
    if (typeof policy !== 'function') return policy;
    let why: string;
    try {
      const decision: unknown = policy(error, record);
      if (isDecision(decision)) return decision;
      why = 'did not return a decision';
    } catch (thrown) {
      why = `threw: ${describeError(thrown)}`;
    }
    const { spec, uplink } = this.#options;
    uplink.event({
      type: 'warning',
      message: `The error policy of ${spec.id.stream} ${why}; the partition fails.`,
      details: { ...spec.id, ...record },
    });
    return 'fail';
  }

  async #deadLetter(lane: InputLane, topic: string, error: unknown): Promise<void> {
    const { spec, uplink } = this.#options;
    const output =
      spec.deadLetters.find((known) => known.topic === topic) ?? (await uplink.describeTopic(topic));
    if (output === undefined)
      throw new PartitaError('TOPIC_MISSING', `The dead letter topic ${topic} does not exist.`, {
        cause: error,
        details: { topic },
      });
    const { reader } = lane;
    this.outputs.emitRaw(output, {
      timestamp: reader.timestamp,
      key: reader.key(),
      value: reader.value(),
      headers: [
        ...reader.headers(),
        ['partita.stream', spec.id.stream],
        ['partita.topic', lane.spec.topic],
        ['partita.partition', String(spec.id.partition)],
        ['partita.offset', String(reader.offset)],
        ['partita.timestamp', String(reader.timestamp)],
        ['partita.error.code', isPartitaError(error) ? error.code : 'HANDLER_FAILED'],
        ['partita.error.message', describeError(error).slice(0, 1000)],
      ],
    });
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

/** The handler that the processor itself declares under this name. */
function handlerNamed(
  handlers: AnyDefinition['commands'],
  name: string,
): NonNullable<AnyDefinition['commands']>[string] | undefined {
  return handlers !== undefined && Object.hasOwn(handlers, name) ? handlers[name] : undefined;
}

/** What the caller of a command or query gets for what its handler threw. */
function callFailed(
  kind: 'command' | 'query',
  name: string,
  { id }: ActorSpec,
  error: unknown,
): PartitaError {
  if (isPartitaError(error)) return error;
  return new PartitaError('HANDLER_FAILED', `The ${kind} ${name} failed: ${describeError(error)}`, {
    cause: error,
    details: { [kind]: name, ...id },
  });
}

function decoderOf(serde: Serde<unknown>): Decoder {
  const traits = traitsOf(serde);
  return { serde, text: traits.text, freeze: traits.shape === 'plain' };
}

function decode(
  decoder: Decoder,
  what: 'key' | 'value',
  lane: InputLane,
  start: number,
  end: number,
): unknown {
  const { serde, text } = decoder;
  const where = { what, topic: lane.spec.topic };
  if (end < 0) return decodeNullable(serde, null, where);
  const { data } = lane.reader;
  // A copy: the handler may keep what it decodes to, and must not keep the chunk alive with it.
  if (text === undefined)
    return decodeNullable(serde, Uint8Array.prototype.slice.call(data, start, end), where);
  try {
    const value = text.fromText(sliceText(data, start, end));
    return decoder.freeze ? freezeDeep(value) : value;
  } catch (cause) {
    throw serdeFailed('decode', serde, where, cause);
  }
}

/** @throws DataCloneError for what can't cross to the caller: found here, it is the command's error alone. */
function expectCloneable(result: unknown): void {
  if (
    typeof result === 'object' ? result !== null : typeof result === 'function' || typeof result === 'symbol'
  )
    structuredClone(result);
}

function isDecision(decision: unknown): decision is ErrorDecision {
  if (decision === 'fail' || decision === 'skip') return true;
  return typeof (decision as { readonly deadLetter?: unknown } | undefined | null)?.deadLetter === 'string';
}

function isFatal(error: unknown): boolean {
  return isPartitaError(error) && FATAL_CODES.has(error.code);
}
