/**
 * What members of a group tell each other, inside Kafka's own consumer protocol (version 0 of its subscription and
 * assignment), so that Kafka's tools can read who has what. Ours is in the user data: JSON with a version; what a later
 * version adds is passed over, and what cannot be read counts as not said.
 */
import type { TopicPartition } from '../../core/log-types.js';
import type { AssignorMember } from '../group/assignor.js';
import { byTopic, keyOf } from '../by-topic.js';
import { ByteReader } from './wire/byte-reader.js';
import { ByteWriter } from './wire/byte-writer.js';

const PROTOCOL_VERSION = 0;
const USER_DATA_VERSION = 1;

/** What a member says when it joins. */
export interface MemberSubscription {
  readonly topics: readonly string[];
  readonly streams: Readonly<Record<string, readonly string[]>>;
  /** What it had last, and in which generation. */
  readonly owned: readonly TopicPartition[];
  readonly generation: number;
  readonly address: string | undefined;
}

/** Addresses of owners, by `topic/partition`. */
export type Addresses = ReadonlyMap<string, string>;

export function encodeSubscription(subscription: MemberSubscription): Buffer {
  const { topics, streams, owned, generation, address } = subscription;
  const said = { v: USER_DATA_VERSION, streams, owned: compact(owned), generation, address };
  const writer = new ByteWriter();
  return writer
    .int16(PROTOCOL_VERSION)
    .array(topics, (topic) => writer.string(topic))
    .byteArray(Buffer.from(JSON.stringify(said)))
    .finish();
}

export function decodeSubscription(bytes: Buffer): MemberSubscription {
  const reader = new ByteReader(bytes);
  reader.int16();
  const topics = reader.array(() => reader.string());
  const said = userData(reader);
  return {
    topics,
    streams: streamsOf(said['streams']),
    owned: expand(said['owned']),
    generation: typeof said['generation'] === 'number' ? said['generation'] : -1,
    address: typeof said['address'] === 'string' ? said['address'] : undefined,
  };
}

export function assignorMember(memberId: string, subscription: MemberSubscription): AssignorMember {
  const { topics, streams, owned, generation } = subscription;
  return { memberId, topics, streams, owned, generation };
}

/** @param addresses partitions by the address of their owner, of all members that advertise one */
export function encodeAssignment(
  partitions: readonly TopicPartition[],
  addresses: Readonly<Record<string, readonly TopicPartition[]>>,
): Buffer {
  const said = {
    v: USER_DATA_VERSION,
    addresses: Object.fromEntries(Object.entries(addresses).map(([address, of]) => [address, compact(of)])),
  };
  const writer = new ByteWriter();
  return writer
    .int16(PROTOCOL_VERSION)
    .array([...byTopic(partitions)], ([topic, of]) =>
      writer.string(topic).array(of, ({ partition }) => writer.int32(partition)),
    )
    .byteArray(Buffer.from(JSON.stringify(said)))
    .finish();
}

export function decodeAssignment(bytes: Buffer): {
  readonly partitions: readonly TopicPartition[];
  readonly addresses: Addresses;
} {
  if (bytes.byteLength === 0) return { partitions: [], addresses: new Map() };
  const reader = new ByteReader(bytes);
  reader.int16();
  const partitions = reader
    .array(() => {
      const topic = reader.string();
      return reader.array(() => ({ topic, partition: reader.int32() }));
    })
    .flat();
  const addresses = new Map<string, string>();
  for (const [address, of] of Object.entries(objectOf(userData(reader)['addresses'])))
    for (const partition of expand(of)) addresses.set(keyOf(partition), address);
  return { partitions, addresses };
}

function userData(reader: ByteReader): Readonly<Record<string, unknown>> {
  const length = reader.int32();
  if (length <= 0) return {};
  const at = reader.skip(length);
  try {
    return objectOf(JSON.parse(reader.bytes.toString('utf8', at, at + length)));
  } catch (error) {
    // Another program's user data; a member of ours always writes JSON.
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

function compact(partitions: readonly TopicPartition[]): Record<string, number[]> {
  return Object.fromEntries(
    [...byTopic(partitions)].map(([topic, of]) => [topic, of.map(({ partition }) => partition)]),
  );
}

function expand(said: unknown): TopicPartition[] {
  return Object.entries(objectOf(said)).flatMap(([topic, of]) =>
    (Array.isArray(of) ? (of as unknown[]) : [])
      .filter((partition) => typeof partition === 'number')
      .map((partition) => ({ topic, partition })),
  );
}

function streamsOf(said: unknown): Record<string, readonly string[]> {
  return Object.fromEntries(
    Object.entries(objectOf(said)).map(([stream, topics]) => [
      stream,
      (Array.isArray(topics) ? (topics as unknown[]) : []).filter((topic) => typeof topic === 'string'),
    ]),
  );
}

function objectOf(said: unknown): Readonly<Record<string, unknown>> {
  return typeof said === 'object' && said !== null && !Array.isArray(said)
    ? (said as Record<string, unknown>)
    : {};
}
