/**
 * What an actor wants written to its outputs: emits are encoded straight into one growing batch per output partition,
 * under the savepoint of the record that made them. Batches are sealed only between records. It never sends anything:
 * `take` hands the sealed bytes to the checkpoint (exactly-once) or to the end of the chunk (at-least-once).
 */
import { RecordBatchWriter } from '../codec/record-batch-writer.js';
import { partitionForKey, partitionForText } from '../codec/murmur2.js';
import { encodeNullable, serdeFailed } from '../codec/serdes.js';
import { BATCH_HEADER_BYTES } from '../codec/record-batch-header.js';
import type { Clock } from '../core/clock.js';
import { PartitaError } from '../core/errors.js';
import type { LogBatch } from '../core/log-types.js';
import type { AnyTopic } from '../processor/declarations.js';
import type { EmitOptions } from '../processor/define-processor.js';
import { traitsOf, type Serde, type SerdeTraits } from '../processor/serde.js';
import type { RecordScope } from '../state/record-scope.js';
import type { OutputSpec } from '../threads/protocol.js';

/** A batch is sealed between records once it is this large; the log's own limit may be lower. */
const BATCH_BYTES_TARGET = 512 * 1024;
/** Length, attributes, deltas and counts of one record at most, beside key, value and headers. */
const RECORD_OVERHEAD_MAX = 64;
/** Margin to the log's timestamp bounds, since its clock is not ours. */
const TIMESTAMP_MARGIN_MS = 60_000;

type Wire = Uint8Array | string | null;
type WireHeaders = readonly (readonly [string, Uint8Array | string])[];

/** The growing batches of one partition of an output topic. */
class PartitionBuilder {
  readonly topic: string;
  readonly partition: number;
  /** Writers started within the current record because the batch would have passed the limit. */
  readonly overflow: RecordBatchWriter[] = [];
  writer = new RecordBatchWriter({ initialBytes: 16 * 1024 });
  touched = false;

  constructor(topic: string, partition: number) {
    this.topic = topic;
    this.partition = partition;
  }

  get current(): RecordBatchWriter {
    return this.overflow.at(-1) ?? this.writer;
  }
}

/** One output topic with its serdes. */
interface OutputTopic {
  readonly spec: OutputSpec;
  readonly declared: AnyTopic;
  readonly keyText: SerdeTraits<unknown>['text'] | undefined;
  readonly valueText: SerdeTraits<unknown>['text'] | undefined;
  readonly builders: (PartitionBuilder | undefined)[];
}

export type EmitFunction = (key: unknown, value: unknown, options?: EmitOptions) => void;

/** A record as bytes, for a dead letter. */
export interface RawRecord {
  readonly timestamp: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: WireHeaders;
}

export class OutputBatches {
  /** Event time of what is being processed: the default timestamp of emits. */
  timestamp = -1;
  /** Bytes waiting to be taken: sealed ones and those still growing. */
  bytes = 0;
  /** Records waiting to be taken. */
  records = 0;
  readonly #actorPartition: number;
  readonly #clock: Clock;
  readonly #topics = new Map<string, OutputTopic>();
  readonly #touched: PartitionBuilder[] = [];
  #sealed: LogBatch[] = [];
  #pastUntil = -1;
  #markBytes = 0;
  #markRecords = 0;

  constructor(
    outputs: readonly OutputSpec[],
    declared: Readonly<Record<string, AnyTopic>>,
    options: { readonly actorPartition: number; readonly clock: Clock },
  ) {
    this.#actorPartition = options.actorPartition;
    this.#clock = options.clock;
    for (const spec of outputs) {
      const declaration = declared[spec.output];
      if (declaration === undefined)
        throw new PartitaError('INVALID_PROCESSOR', `The output ${spec.output} is not declared.`);
      this.#addTopic(spec, declaration);
    }
  }

  /** The functions behind `emit.NAME` of one context: closed with its scope. */
  emits(scope: RecordScope): Readonly<Record<string, EmitFunction>> {
    const emit: Record<string, EmitFunction> = {};
    for (const output of this.#topics.values())
      emit[output.spec.output] = (key, value, options) => {
        if (!scope.open)
          throw new PartitaError(
            'RECORD_CLOSED',
            `An emit to ${output.spec.topic} was called after its record ended.`,
          );
        this.#emit(output, key, value, options);
      };
    return Object.freeze(emit);
  }

  /** Begins a record: what was emitted so far can't be rolled back any more. */
  mark(timestamp: number): void {
    this.timestamp = timestamp;
    this.#markBytes = this.bytes;
    this.#markRecords = this.records;
    if (this.#touched.length > 0) this.#settle();
  }

  /** Takes back what the current record emitted. */
  rollback(): void {
    for (const builder of this.#touched) {
      builder.writer.rollback();
      builder.overflow.length = 0;
      builder.touched = false;
    }
    this.#touched.length = 0;
    this.bytes = this.#markBytes;
    this.records = this.#markRecords;
  }

  /** Seals everything and hands it over; each buffer is its own and may be transferred. Only between records. */
  take(): LogBatch[] {
    this.#settle();
    for (const output of this.#topics.values())
      for (const builder of output.builders)
        if (builder !== undefined && builder.writer.count > 0) this.#seal(builder, builder.writer);
    const taken = this.#sealed;
    this.#sealed = [];
    this.bytes = this.records = this.#markBytes = this.#markRecords = 0;
    return taken;
  }

  /** Drops everything that was not taken. */
  clear(): void {
    this.take();
  }

  /**
   * Writes raw bytes to a topic that need not be declared: dead letters. A timestamp that the topic would refuse becomes
   * the present time, since nobody is left to take that error.
   */
  emitRaw(spec: OutputSpec, record: RawRecord): void {
    const output = this.#topics.get(spec.topic) ?? this.#addTopic(spec, undefined);
    this.#append(
      output,
      this.#partitionOf(spec, record.key),
      this.#isAccepted(spec, record.timestamp) ? record.timestamp : this.#clock.now(),
      record.key,
      record.value,
      record.headers,
    );
  }

  #addTopic(spec: OutputSpec, declared: AnyTopic | undefined): OutputTopic {
    const output: OutputTopic = {
      spec,
      declared: declared ?? RAW_TOPIC,
      keyText: declared === undefined ? undefined : traitsOf(declared.key as Serde<unknown>).text,
      valueText: declared === undefined ? undefined : traitsOf(declared.value as Serde<unknown>).text,
      builders: [],
    };
    this.#topics.set(spec.topic, output);
    return output;
  }

  #emit(output: OutputTopic, key: unknown, value: unknown, options: EmitOptions | undefined): void {
    const { spec } = output;
    const keyWire = toWire(output, 'key', key);
    const valueWire = toWire(output, 'value', value);
    const timestamp = options?.timestamp ?? this.timestamp;
    this.#checkTimestamp(spec, timestamp);
    const partition = options?.partition ?? this.#partitionOf(spec, keyWire);
    if (!Number.isInteger(partition) || partition < 0 || partition >= spec.partitions)
      throw new PartitaError(
        'INVALID_ARGUMENT',
        `The output ${spec.topic} has ${String(spec.partitions)} partitions; ${String(partition)} is none of them.`,
      );
    const headers = options?.headers === undefined ? undefined : Object.entries(options.headers);
    this.#append(output, partition, timestamp, keyWire, valueWire, headers);
  }

  #partitionOf(spec: OutputSpec, key: Wire): number {
    if (key === null) return this.#actorPartition % spec.partitions;
    return typeof key === 'string'
      ? partitionForText(key, spec.partitions)
      : partitionForKey(key, spec.partitions);
  }

  #append(
    output: OutputTopic,
    partition: number,
    timestamp: number,
    key: Wire,
    value: Wire,
    headers: WireHeaders | undefined,
  ): void {
    const { spec } = output;
    const bound = sizeBound(key, value, headers);
    const limit = spec.limits.maxBatchBytes;
    if (bound > limit && exactSize(key, value, headers) > limit)
      throw new PartitaError(
        'RECORD_TOO_LARGE',
        `A record for ${spec.topic} is larger than the topic's limit of ${String(limit)} bytes.`,
        { details: { topic: spec.topic, limit } },
      );
    const builder = (output.builders[partition] ??= new PartitionBuilder(spec.topic, partition));
    if (!builder.touched) {
      builder.touched = true;
      builder.writer.mark();
      this.#touched.push(builder);
    }
    let writer = builder.current;
    if (writer.count > 0 && writer.byteLength + bound > limit) {
      writer = new RecordBatchWriter({ initialBytes: 16 * 1024 });
      builder.overflow.push(writer);
    }
    this.bytes += writer.append(timestamp, key, value, headers);
    this.records++;
  }

  #checkTimestamp(spec: OutputSpec, timestamp: number): void {
    if (!Number.isSafeInteger(timestamp) || timestamp < 0)
      throw new PartitaError(
        'TIMESTAMP_OUT_OF_RANGE',
        `The timestamp ${String(timestamp)} for ${spec.topic} is not a count of ms since 1970.`,
      );
    if (!this.#isAccepted(spec, timestamp))
      throw new PartitaError(
        'TIMESTAMP_OUT_OF_RANGE',
        `The timestamp ${String(timestamp)} is outside of what ${spec.topic} accepts.`,
        { details: { topic: spec.topic, timestamp } },
      );
  }

  #isAccepted(spec: OutputSpec, timestamp: number): boolean {
    if (timestamp < 0) return false;
    const { timestampAfterMaxMs, timestampBeforeMaxMs } = spec.limits;
    // The clock is not read for what was in the past when it was last read: it is asked for every record.
    if (timestamp <= this.#pastUntil && timestampBeforeMaxMs >= Number.MAX_SAFE_INTEGER) return true;
    const now = (this.#pastUntil = this.#clock.now());
    return (
      timestamp - now <= timestampAfterMaxMs - TIMESTAMP_MARGIN_MS &&
      now - timestamp <= timestampBeforeMaxMs - TIMESTAMP_MARGIN_MS
    );
  }

  /** The record is over: its overflow becomes batches of its own, and what is large enough is sealed. */
  #settle(): void {
    // Popped one by one: setting an array's length costs a call into the runtime, for every record.
    for (let builder = this.#touched.pop(); builder !== undefined; builder = this.#touched.pop()) {
      builder.touched = false;
      if (builder.overflow.length > 0) {
        this.#seal(builder, builder.writer);
        for (const writer of builder.overflow.splice(0)) this.#seal(builder, writer);
      } else if (builder.writer.byteLength >= BATCH_BYTES_TARGET) this.#seal(builder, builder.writer);
    }
  }

  #seal(builder: PartitionBuilder, writer: RecordBatchWriter): void {
    const bytes = writer.seal();
    if (bytes !== undefined) this.#sealed.push({ topic: builder.topic, partition: builder.partition, bytes });
  }
}

const RAW_TOPIC: AnyTopic = {
  key: { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Uint8Array) => bytes },
  value: { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Uint8Array) => bytes },
};

/** Text where the serde's form is text, so that the writer encodes it in place. */
function toWire(output: OutputTopic, what: 'key' | 'value', value: unknown): Wire {
  const text = what === 'key' ? output.keyText : output.valueText;
  const serde = (what === 'key' ? output.declared.key : output.declared.value) as Serde<unknown>;
  const where = { what, topic: output.spec.topic };
  if (text === undefined || value === null) return encodeNullable(serde, value, where);
  let wire: unknown;
  try {
    wire = text.toText(value);
  } catch (cause) {
    throw serdeFailed('encode', serde, where, cause);
  }
  if (typeof wire !== 'string')
    throw serdeFailed('encode', serde, where, new TypeError(`${typeof value} has no text form`));
  return wire;
}

function sizeBound(key: Wire, value: Wire, headers: WireHeaders | undefined): number {
  let bound = BATCH_HEADER_BYTES + RECORD_OVERHEAD_MAX + wireBound(key) + wireBound(value);
  if (headers !== undefined)
    for (const [name, bytes] of headers) bound += 16 + name.length * 3 + wireBound(bytes);
  return bound;
}

function wireBound(wire: Wire): number {
  return wire === null ? 0 : typeof wire === 'string' ? wire.length * 3 : wire.byteLength;
}

function exactSize(key: Wire, value: Wire, headers: WireHeaders | undefined): number {
  const exact = (wire: Wire): Uint8Array | null =>
    typeof wire === 'string' ? Buffer.from(wire, 'utf8') : wire;
  return sizeBound(exact(key), exact(value), headers);
}
