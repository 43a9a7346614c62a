/**
 * What a broker has written down about a group of members: the generation of each rebalance, from the topic in which
 * coordinators keep it, read by confluent-kafka. No admin client is told the generation. It never joins the group.
 */
import { otherRead } from './other-client.js';

const OFFSETS_TOPIC = '__consumer_offsets';
/** Of a record's key: the group itself, not one of its offsets. */
const GROUP_KEY_VERSION = 2;

/** The group's latest generation; each rebalance is a new one. */
export async function kafkaGeneration(brokers: readonly string[], group: string): Promise<number> {
  let generation: number | undefined;
  // An open transaction of offsets must not hide what stands behind it.
  const config = { 'isolation.level': 'read_uncommitted' };
  for (const { key, value } of await otherRead(brokers, OFFSETS_TOPIC, config)) {
    if (key === null || value === null || key.readInt16BE(0) !== GROUP_KEY_VERSION) continue;
    if (shortString(key, 2) !== group) continue;
    const protocolType = shortString(value, 2);
    generation = value.readInt32BE(2 + 2 + Buffer.byteLength(protocolType));
  }
  if (generation === undefined) throw new Error(`The brokers know of no group ${group}.`);
  return generation;
}

/** A string behind its length in two bytes. */
function shortString(bytes: Buffer, at: number): string {
  const length = bytes.readInt16BE(at);
  return bytes.toString('utf8', at + 2, at + 2 + length);
}
