/**
 * Random records through both codecs, ours and kafkajs', in both directions; and random damage, which must end in
 * RECORD_BATCH_CORRUPT or in records that lie within the bytes, never in anything else.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { COMPRESSION_NAMES } from '../../src/codec/compression.js';
import { checkBatch, controlBatch, stampOffset, stampProducer } from '../../src/codec/record-batch-header.js';
import { RecordReader } from '../../src/codec/record-batch-reader.js';
import { type HeaderValue, RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { isPartitaError } from '../../src/core/errors.js';
import {
  headersByName,
  hex,
  kafkajsDecode,
  kafkajsEncode,
  type PlainRecord,
  plainRecords,
} from '../support/kafkajs-codec.js';

const text = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 200 }),
  // Lone surrogates.
  fc
    .array(fc.integer({ min: 0xd7f0, max: 0xe010 }), { maxLength: 30 })
    .map((units) => String.fromCharCode(...units)),
);
const payload = fc.oneof(fc.constant(null), text, fc.uint8Array({ maxLength: 300 }));
const timestamp = fc.oneof(
  fc.integer({ min: 1_600_000_000_000, max: 1_800_000_000_000 }),
  fc.integer({ min: -1, max: 2 ** 40 }),
  fc.constantFrom(-1, 0, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER),
);
const headerName = fc.stringMatching(/^[a-zé][a-z0-9]{0,8}$/);
const headers = fc.array(fc.tuple(headerName, payload), { maxLength: 4 });
const record = fc.record({
  timestamp,
  key: payload,
  value: payload,
  headers: fc.oneof(fc.constant(undefined), headers),
});
const compression = fc.constantFrom(...COMPRESSION_NAMES);

/** Bytes as the platform encodes them, not we. */
function bytesOf(content: HeaderValue): Buffer | null {
  if (content === null) return null;
  return typeof content === 'string' ? Buffer.from(new TextEncoder().encode(content)) : Buffer.from(content);
}

function readPlain(bytes: Uint8Array, from = 0): PlainRecord[] {
  const reader = new RecordReader();
  reader.load(bytes, { from });
  const seen: PlainRecord[] = [];
  while (reader.next()) {
    seen.push({
      offset: reader.offset,
      timestamp: reader.timestamp,
      key: hex(reader.key()),
      value: hex(reader.value()),
      headers: headersByName(reader.headers()),
    });
  }
  return seen;
}

test('kafkajs and our reader read from our batches exactly what was written', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(record, { minLength: 1, maxLength: 40 }),
      compression,
      fc.integer({ min: 0, max: 2 ** 50 }),
      fc.boolean(),
      async (records, kind, baseOffset, transactional) => {
        const writer = new RecordBatchWriter({ initialBytes: 61 });
        for (const one of records) writer.append(one.timestamp, one.key, one.value, one.headers);
        const bytes = Buffer.from(writer.seal({ compression: kind, transactional })!);
        stampOffset(bytes, 0, baseOffset, 1);
        checkBatch(bytes, 0);
        const expected: PlainRecord[] = records.map((one, i) => ({
          offset: baseOffset + i,
          timestamp: one.timestamp,
          key: hex(bytesOf(one.key)),
          value: hex(bytesOf(one.value)),
          headers: headersByName((one.headers ?? []).map(([name, value]) => [name, bytesOf(value)] as const)),
        }));
        assert.deepEqual(readPlain(bytes), expected);
        const [decoded] = await kafkajsDecode(bytes);
        assert.deepEqual(plainRecords(decoded!), expected);
        assert.equal(decoded!.inTransaction, transactional);
        assert.equal(decoded!.lastOffsetDelta, records.length - 1);
        assert.equal(Number(decoded!.maxTimestamp), Math.max(...records.map((one) => one.timestamp)));
      },
    ),
    { numRuns: 400 },
  );
});

test('our reader reads from kafkajs’ batches what kafkajs reads, gaps included', async () => {
  const theirs = fc.record({
    gap: fc.integer({ min: 1, max: 5 }),
    timestampDelta: fc.oneof(
      fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
      fc.integer({ min: -70, max: 70 }),
    ),
    key: fc.option(fc.uint8Array({ maxLength: 40 })),
    value: fc.option(fc.uint8Array({ maxLength: 400 })),
    headers: fc.dictionary(
      headerName,
      fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
      { maxKeys: 3 },
    ),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.array(theirs, { maxLength: 20 }), fc.integer({ min: 0, max: 9 }), compression), {
        maxLength: 4,
      }),
      fc.integer({ min: 0, max: 60 }),
      async (batches, from) => {
        const encoded: Buffer[] = [];
        let baseOffset = 0;
        for (const [records, tail, kind] of batches) {
          let next = -1;
          const deltas = records.map((one) => (next += one.gap));
          const lastOffsetDelta = next + 1 + tail;
          // An empty batch is never compressed.
          encoded.push(
            await kafkajsEncode({
              baseOffset,
              baseTimestamp: 1_700_000_000_000,
              maxTimestamp: 1_700_000_000_000,
              lastOffsetDelta,
              compression: records.length === 0 ? 'none' : kind,
              records: records.map((one, i) => ({
                offsetDelta: deltas[i]!,
                timestampDelta: one.timestampDelta,
                key: one.key === null ? null : Buffer.from(one.key),
                value: one.value === null ? null : Buffer.from(one.value),
                headers: one.headers,
              })),
            }),
          );
          baseOffset += lastOffsetDelta + 1;
        }
        const bytes = Buffer.concat(encoded);
        const decoded = (await kafkajsDecode(bytes)).flatMap(plainRecords);
        assert.deepEqual(
          readPlain(bytes, from),
          decoded.filter((one) => one.offset >= from),
        );
        const reader = new RecordReader();
        reader.load(bytes, { from });
        while (reader.next());
        assert.equal(reader.position, Math.max(from, baseOffset));
      },
    ),
    { numRuns: 300 },
  );
});

test('transactions at random: a walk sees exactly what was never aborted, from any offset', () => {
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('data' as const),
        producer: fc.integer({ min: 0, max: 3 }),
        count: fc.integer({ min: 1, max: 4 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constantFrom('commit' as const, 'abort' as const),
        producer: fc.integer({ min: 1, max: 3 }),
      }),
    },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.nat({ max: 60 }), (steps, from) => {
      const parts: Buffer[] = [];
      const open = new Map<number, number[]>();
      const visible: number[] = [];
      const aborted: { producerId: number; firstOffset: number }[] = [];
      let offset = 0;
      const end = (kind: 'commit' | 'abort', producer: number): void => {
        const offsets = open.get(producer);
        if (offsets === undefined) return;
        open.delete(producer);
        if (kind === 'commit') visible.push(...offsets);
        // In the order of completion, as the broker's index has it.
        else aborted.push({ producerId: producer, firstOffset: offsets[0]! });
        parts.push(
          controlBatch({ type: kind, producerId: producer, epoch: 0, baseOffset: offset++, timestamp: 1 }),
        );
      };
      for (const one of steps) {
        if (one.kind !== 'data') {
          end(one.kind, one.producer);
          continue;
        }
        const writer = new RecordBatchWriter();
        const offsets = Array.from({ length: one.count }, () => offset++);
        for (const at of offsets) writer.append(at, 'k', String(at));
        const bytes = Buffer.from(writer.seal()!);
        stampOffset(bytes, 0, offsets[0]!, 0);
        if (one.producer === 0) visible.push(...offsets);
        else {
          stampProducer(bytes, 0, {
            producerId: one.producer,
            epoch: 0,
            baseSequence: 0,
            transactional: true,
          });
          open.set(one.producer, [...(open.get(one.producer) ?? []), ...offsets]);
        }
        parts.push(bytes);
      }
      // Read-committed fetches end before what is still open; here it ends well.
      for (const producer of [...open.keys()]) end('commit', producer);
      const reader = new RecordReader();
      reader.load(Buffer.concat(parts), { from, aborted });
      const seen: number[] = [];
      while (reader.next()) {
        seen.push(reader.offset);
        assert.equal(reader.valueText(), String(reader.offset));
      }
      assert.deepEqual(
        seen,
        visible.filter((at) => at >= from).sort((a, b) => a - b),
      );
      assert.equal(reader.position, Math.max(from, offset));
    }),
    { numRuns: 500 },
  );
});

/** Walks whatever this is; anything but records within the bytes or a typed error fails. */
function walkDamaged(bytes: Buffer, aborted: boolean): void {
  const reader = new RecordReader({ checkCrc: false, maxDecompressedBytes: 1 << 20 });
  reader.load(bytes, {
    from: 0,
    topic: 't',
    partition: 0,
    aborted: aborted ? [{ producerId: 1, firstOffset: 0 }] : undefined,
  });
  let steps = 0;
  try {
    while (reader.next()) {
      // A record has at least seven bytes, and a megabyte at most is inflated per batch.
      assert.ok(++steps < 1_000_000, 'the walk does not end');
      const { data } = reader;
      assert.ok(reader.keyStart <= data.length && reader.keyEnd <= data.length);
      assert.ok(reader.valueStart <= data.length && reader.valueEnd <= data.length);
      assert.ok(reader.keyEnd === -1 || reader.keyEnd >= reader.keyStart);
      assert.ok(reader.valueEnd === -1 || reader.valueEnd >= reader.valueStart);
      assert.ok(Number.isSafeInteger(reader.offset) && Number.isSafeInteger(reader.timestamp));
      assert.ok(reader.offset < reader.position);
      reader.headers();
    }
  } catch (error) {
    if (!isPartitaError(error, 'RECORD_BATCH_CORRUPT')) throw error;
    const { position } = error.details;
    assert.ok(typeof position === 'number' && position >= 0 && position < bytes.length, String(position));
  }
}

const damagedBatches = fc
  .tuple(
    fc.array(fc.array(record, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 3 }),
    compression,
  )
  .map(([batches, kind]) => {
    let offset = 0;
    return Buffer.concat([
      ...batches.map((records) => {
        const writer = new RecordBatchWriter();
        for (const one of records) writer.append(one.timestamp, one.key, one.value, one.headers);
        const bytes = Buffer.from(writer.seal({ compression: kind })!);
        stampOffset(bytes, 0, offset, 0);
        offset += records.length;
        return bytes;
      }),
      controlBatch({ type: 'abort', producerId: 1, epoch: 0, baseOffset: offset, timestamp: 1 }),
    ]);
  });

test('bits flipped, bytes overwritten, pieces cut out: a typed error or records within the bytes', () => {
  const change = fc.oneof(
    fc.record({ kind: fc.constant('flip' as const), at: fc.nat(), bit: fc.integer({ min: 0, max: 7 }) }),
    fc.record({
      kind: fc.constant('set' as const),
      at: fc.nat(),
      byte: fc.constantFrom(0, 1, 0x7f, 0x80, 0xfe, 0xff),
    }),
    fc.record({
      kind: fc.constant('int32' as const),
      at: fc.nat(),
      value: fc.constantFrom(-1, 0, 1, 0x7fffffff, -0x80000000, 48, 49, 1000),
    }),
    fc.record({ kind: fc.constant('cut' as const), at: fc.nat(), count: fc.integer({ min: 1, max: 40 }) }),
  );
  fc.assert(
    fc.property(
      damagedBatches,
      fc.array(change, { minLength: 1, maxLength: 5 }),
      fc.boolean(),
      (sound, changes, aborted) => {
        let bytes: Buffer = Buffer.from(sound);
        for (const one of changes) {
          if (bytes.length < 8) break;
          const at = one.at % (bytes.length - 4);
          if (one.kind === 'flip') bytes[at]! ^= 1 << one.bit;
          else if (one.kind === 'set') bytes[at] = one.byte;
          else if (one.kind === 'int32') bytes.writeInt32BE(one.value, at);
          else bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + one.count)]);
        }
        walkDamaged(bytes, aborted);
      },
    ),
    { numRuns: 4000 },
  );
});

test('any bytes in place of the records: a typed error or records within the bytes', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 120 }),
      fc.integer({ min: 0, max: 30 }),
      fc.integer({ min: 0, max: 127 }),
      (body, count, attributes) => {
        const writer = new RecordBatchWriter();
        for (let i = 0; i < 31; i++) writer.append(1, null, null);
        const header = Buffer.from(writer.seal()!).subarray(0, 61);
        const bytes = Buffer.concat([header, body]);
        bytes.writeInt32BE(bytes.length - 12, 8);
        bytes.writeInt16BE(attributes, 21);
        bytes.writeInt32BE(count, 57);
        walkDamaged(bytes, count % 2 === 0);
      },
    ),
    { numRuns: 5000 },
  );
});

test('with the CRC checked, damage anywhere under it is found', () => {
  fc.assert(
    fc.property(damagedBatches, fc.nat(), fc.integer({ min: 0, max: 7 }), (sound, where, bit) => {
      const end = 12 + sound.readInt32BE(8);
      const at = 17 + (where % (end - 17));
      const bytes = Buffer.from(sound);
      bytes[at]! ^= 1 << bit;
      const reader = new RecordReader();
      reader.load(bytes, { from: 0 });
      assert.throws(
        () => {
          while (reader.next());
        },
        (error) => isPartitaError(error, 'RECORD_BATCH_CORRUPT') && error.details['position'] === 0,
      );
    }),
    { numRuns: 500 },
  );
});
