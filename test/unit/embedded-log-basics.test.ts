/** The embedded log as its users hold it: topics, records in and out, offsets. Groups and transactions: the contract suite. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { embeddedLog } from '../../src/log/embedded/embedded-log.js';

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

test('what is produced is read back in order, with keys, values, headers and timestamps', async () => {
  await using log = await embeddedLog();
  await log.createTopic({ topic: 't', partitions: 1 });
  const at = await log.produce('t', [
    { key: 'a', value: '1', timestamp: 5, headers: [['h', 'x']] },
    { key: null, value: null, timestamp: 3 },
    { key: '', value: '', timestamp: 4 },
  ]);
  assert.deepEqual(
    at,
    [0, 1, 2].map((offset) => ({ partition: 0, offset })),
  );
  const records = await collect(log.read('t'));
  const text = (bytes: Uint8Array | null) => bytes && Buffer.from(bytes).toString();
  assert.deepEqual(
    records.map((r) => [r.offset, r.timestamp, text(r.key), text(r.value)]),
    [
      [0, 5, 'a', '1'],
      [1, 3, null, null],
      [2, 4, '', ''],
    ],
  );
  assert.equal(records[0]!.headers[0]![0], 'h');
});

test("keys go to the partitions where Kafka's Java client puts them", async () => {
  await using log = await embeddedLog();
  await log.createTopic({ topic: 't', partitions: 1000 });
  // murmur2 of "21", "foobar" and "abc", as Kafka's own unit tests state them, made positive, modulo 1000.
  const hashes = { '21': -973932308, foobar: -790332482, abc: 479470107 };
  for (const [key, hash] of Object.entries(hashes)) {
    const [at] = await log.produce('t', [{ key, value: null }]);
    assert.equal(at!.partition, (hash & 0x7fffffff) % 1000, key);
  }
});
