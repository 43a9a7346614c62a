/** Keys go to the partitions that Kafka's Java client would choose: its own vectors, and kafkajs' partitioner. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import fc from 'fast-check';
import { murmur2, partitionForKey } from '../../src/codec/murmur2.js';

const require = createRequire(import.meta.url);
const partitioner = (
  require('kafkajs/src/producer/partitioners/default') as () => (arguments_: object) => number
)();

test('murmur2 gives the values of Kafka’s own UtilsTest', () => {
  const vectors: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ];
  for (const [text, hash] of vectors) assert.equal(murmur2(Buffer.from(text)), hash, text);
});

test('any key of any length goes where kafkajs’ Java-compatible partitioner sends it', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), fc.integer({ min: 1, max: 1000 }), (key, partitions) => {
      const expected = partitioner({
        topic: 't',
        partitionMetadata: Array.from({ length: partitions }, (_, partitionId) => ({
          partitionId,
          leader: 0,
        })),
        message: { key: Buffer.from(key) },
      });
      assert.equal(partitionForKey(key, partitions), expected);
    }),
    { numRuns: 500 },
  );
});
