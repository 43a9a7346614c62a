/**
 * Which rows of an actor's keyspace are a store's: those of the family with its name, and of its internal families (windows,
 * index rows, expiries), whose names go on with a `$` that no store's name may hold. So a store can be given up whole by
 * whoever knows only its name, such as replay (`actor/changelog-replay.ts`). It reads and writes nothing.
 */
import { compareBytes, familyPrefix, prefixEnd } from '../codec/keys.js';

/** A family's name has so many bytes at most; the first byte of a key says how many. */
const FAMILY_BYTES_MAX = 255;
const INTERNAL = '$';

/** Whether a key is of the family of this store, or of an internal one. */
export function isOfStore(key: Uint8Array, store: string): boolean {
  const own = familyPrefix(store);
  if (beginsWith(key, own)) return true;
  const name = familyPrefix(`${store}${INTERNAL}`).subarray(1);
  return key.byteLength > 0 && key[0]! >= name.byteLength && beginsWith(key.subarray(1), name);
}

/** Ranges of keys that together hold every row of this store, and no other's: one for each length of a family's name. */
export function storeRanges(store: string): readonly { readonly gte: Uint8Array; readonly lt: Uint8Array }[] {
  const prefixes = [familyPrefix(store)];
  const name = familyPrefix(`${store}${INTERNAL}`).subarray(1);
  for (let length = name.byteLength; length <= FAMILY_BYTES_MAX; length++)
    prefixes.push(Uint8Array.of(length, ...name));
  return prefixes.map((gte) => ({ gte, lt: prefixEnd(gte)! }));
}

function beginsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return (
    bytes.byteLength >= prefix.byteLength && compareBytes(bytes.subarray(0, prefix.byteLength), prefix) === 0
  );
}
