/** What must be true of a partition that `fixtures/numbered-batches.ts` wrote: a prefix of whole batches, nothing else. */
import assert from 'node:assert/strict';
import type { StorePartition } from '../../src/storage/store-partition.js';
import { batchValue, ownKey, SET_KEYS, setKey } from '../fixtures/numbered-batches.js';
import { bytes, scanAll, text } from '../contract/storage-engine.js';

/** Checks it and returns the number of the last batch, -1 if there is none. */
export async function assertWholeBatches(partition: StorePartition, context: string): Promise<number> {
  const last = partition.offset;
  assert.equal(partition.appendTime, last, context);
  assert.equal(text(partition.checkpointRecord), last < 0 ? undefined : String(last), context);
  const expected = new Map<string, string>();
  for (let n = 0; n <= last; n++) expected.set(ownKey(n), batchValue(n));
  if (last >= 0) for (let i = 0; i < SET_KEYS; i++) expected.set(setKey(i), batchValue(last));
  const snapshot = partition.snapshot();
  const found = await scanAll(snapshot, { gte: bytes('\u0001'), lt: bytes('\u0002') });
  await snapshot.close();
  for (const [key, value] of found) {
    const wanted = expected.get(key);
    if (value !== wanted)
      assert.fail(`${context}: ${JSON.stringify(key)} holds ${value}, not ${String(wanted)}`);
  }
  assert.equal(found.length, expected.size, `${context}: keys are missing`);
  for (const key of [setKey(0), setKey(SET_KEYS - 1), ownKey(last)])
    assert.equal(text(partition.get(bytes(key))), expected.get(key), context);
  return last;
}
