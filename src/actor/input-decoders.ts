/**
 * How the keys and values of an input's records become what handlers and tables get. It decodes the record at the head of a
 * lane, and puts a table's record into its store; who calls it, under which savepoint, is `record-processor.ts`.
 */
import { freezeDeep } from '../codec/freeze.js';
import { decodeNullable, serdeFailed } from '../codec/serdes.js';
import { sliceText } from '../codec/text.js';
import type { AnyTopic } from '../processor/declarations.js';
import { traitsOf, type Serde, type SerdeTraits } from '../processor/serde.js';
import type { TableWriter } from '../state/declared-store.js';
import type { InputLane } from './input-lane.js';

interface Decoder {
  readonly serde: Serde<unknown>;
  readonly text: SerdeTraits<unknown>['text'];
  /** Plain values are frozen; a user's own serde may return what can't be. */
  readonly freeze: boolean;
}

export interface InputDecoders {
  readonly input: string;
  readonly key: Decoder;
  readonly value: Decoder;
  /** Of a table, whose records do not reach `process`. */
  readonly table: TableWriter | undefined;
}

export function decodersOf(
  input: string,
  { key, value }: AnyTopic,
  table: TableWriter | undefined,
): InputDecoders {
  return {
    input,
    key: decoderOf(key as Serde<unknown>),
    value: decoderOf(value as Serde<unknown>),
    table,
  };
}

/** @throws PartitaError SERDE_FAILED */
export function decodeKey({ key }: InputDecoders, lane: InputLane): unknown {
  return decode(key, 'key', lane, lane.reader.keyStart, lane.reader.keyEnd);
}

/** @throws PartitaError SERDE_FAILED */
export function decodeValue({ value }: InputDecoders, lane: InputLane): unknown {
  return decode(value, 'value', lane, lane.reader.valueStart, lane.reader.valueEnd);
}

/**
 * Puts the record into its table: the latest value of its key, or none if it is null.
 * @returns whether it has a key
 * @throws PartitaError SERDE_FAILED, RECORD_TOO_LARGE
 */
export function keep(decoders: InputDecoders, table: TableWriter, lane: InputLane): boolean {
  const { keyEnd, valueEnd } = lane.reader;
  if (keyEnd < 0) return false;
  const key = decodeKey(decoders, lane);
  if (valueEnd < 0) table.delete(key);
  else table.set(key, decodeValue(decoders, lane));
  return true;
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
