/**
 * The hash by which Kafka's Java client chooses a partition for a key: murmur2 with its fixed seed. Every router and
 * producer of Partita partitions through this file, so that a key has one home; it never sees decoded keys.
 */

const SEED = 0x9747b28c;
const M = 0x5bd1e995;
const R = 24;

/** murmur2 of `bytes` as a signed 32-bit number, exactly as `org.apache.kafka.common.utils.Utils.murmur2`. */
export function murmur2(bytes: Uint8Array): number {
  const length = bytes.length;
  let hash = SEED ^ length;
  const whole = length & ~3;
  for (let i = 0; i < whole; i += 4) {
    let k = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    k = Math.imul(k, M);
    k ^= k >>> R;
    k = Math.imul(k, M);
    hash = Math.imul(hash, M) ^ k;
  }
  const rest = length & 3;
  if (rest === 3) hash ^= bytes[whole + 2]! << 16;
  if (rest >= 2) hash ^= bytes[whole + 1]! << 8;
  if (rest >= 1) {
    hash ^= bytes[whole]!;
    hash = Math.imul(hash, M);
  }
  return finish(hash);
}

/** The partition (0 ≤ result < `partitions`) of a record with this key: Kafka's toPositive(murmur2(key)) % partitions. */
export function partitionForKey(keyBytes: Uint8Array, partitions: number): number {
  return (murmur2(keyBytes) & 0x7fffffff) % partitions;
}

/** `partitionForKey` of the text's UTF-8 bytes; ASCII, which nearly all keys are, is hashed without encoding it. */
export function partitionForText(key: string, partitions: number): number {
  const { length } = key;
  for (let i = 0; i < length; i++)
    if (key.charCodeAt(i) > 0x7f) return partitionForKey(Buffer.from(key, 'utf8'), partitions);
  let hash = SEED ^ length;
  const whole = length & ~3;
  for (let i = 0; i < whole; i += 4) {
    let k =
      key.charCodeAt(i) |
      (key.charCodeAt(i + 1) << 8) |
      (key.charCodeAt(i + 2) << 16) |
      (key.charCodeAt(i + 3) << 24);
    k = Math.imul(k, M);
    k ^= k >>> R;
    k = Math.imul(k, M);
    hash = Math.imul(hash, M) ^ k;
  }
  const rest = length & 3;
  if (rest === 3) hash ^= key.charCodeAt(whole + 2) << 16;
  if (rest >= 2) hash ^= key.charCodeAt(whole + 1) << 8;
  if (rest >= 1) hash = Math.imul(hash ^ key.charCodeAt(whole), M);
  return (finish(hash) & 0x7fffffff) % partitions;
}

function finish(hash: number): number {
  hash ^= hash >>> 13;
  hash = Math.imul(hash, M);
  return hash ^ (hash >>> 15);
}
