/**
 * Compression in both directions against the packages and kafkajs, and what protects a reader from compressed data that
 * is damaged or becomes much larger than it looks.
 */
import assert from 'node:assert/strict';
import { cpSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import * as zlib from 'node:zlib';
import { compress, type Compression, COMPRESSION_NAMES, decompress } from '../../src/codec/compression.js';
import { lz4FrameSize, snappyBlockSize, zstdSizeEstimate } from '../../src/codec/compressed-size.js';
import { RecordReader } from '../../src/codec/record-batch-reader.js';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import type * as serdesModule from '../../src/codec/serdes.js';
import { isPartitaError } from '../../src/core/errors.js';
import { kafkajsDecode, kafkajsEncode, plainRecords } from '../support/kafkajs-codec.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const require = createRequire(import.meta.url);
const MIB = 1024 * 1024;
const KINDS = COMPRESSION_NAMES.filter((kind) => kind !== 'none');

/** Half repetitive, half noise from a fixed generator. */
function sample(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 12345;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[i] = i % 2 === 0 ? 97 + (i % 5) : state >>> 24;
  }
  return bytes;
}

const refused = (error: unknown): true => {
  assert.ok(isPartitaError(error, 'RECORD_BATCH_CORRUPT'), String(error));
  return true;
};

for (const kind of KINDS) {
  describe(`compression ${kind}`, () => {
    test('gives back what was put in, of any size', () => {
      for (const length of [1, 100, 32_768, 32_769, 65_536, 200_000, 3 * MIB]) {
        const bytes = sample(length);
        assert.ok(decompress(kind, compress(kind, bytes), length).equals(bytes), `${length} bytes`);
      }
    });

    test('kafkajs reads what we write and we read what it writes', async () => {
      const writer = new RecordBatchWriter();
      for (let i = 0; i < 500; i++) writer.append(1000 + i, `key-${i}`, sample(i));
      const ours = Buffer.from(writer.seal({ compression: kind })!);
      const [decoded] = await kafkajsDecode(ours);
      const theirs = await kafkajsEncode({
        baseOffset: 0,
        baseTimestamp: 1000,
        maxTimestamp: 1499,
        lastOffsetDelta: 499,
        compression: kind,
        records: Array.from({ length: 500 }, (_, i) => ({
          offsetDelta: i,
          timestampDelta: i,
          key: Buffer.from(`key-${i}`),
          value: sample(i),
        })),
      });
      for (const bytes of [ours, theirs]) {
        const reader = new RecordReader();
        reader.load(bytes, { from: 0 });
        for (const record of plainRecords(decoded!)) {
          assert.equal(reader.next(), true);
          assert.equal(reader.offset, record.offset);
          assert.equal(reader.timestamp, record.timestamp);
          assert.equal(Buffer.from(reader.key()!).toString('hex'), record.key);
          assert.equal(Buffer.from(reader.value()!).toString('hex'), record.value);
        }
        assert.equal(reader.next(), false);
      }
    });

    test('a bomb is refused before it takes its memory', () => {
      const bomb = compress(kind, Buffer.alloc(64 * MIB));
      const before = process.memoryUsage().rss;
      assert.throws(() => decompress(kind, bomb, 1 * MIB), refused);
      assert.ok(process.memoryUsage().rss - before < 32 * MIB, 'memory grew by the bomb');
    });

    test('data that is cut off anywhere is refused', () => {
      const bytes = sample(5_000);
      const packed = compress(kind, bytes);
      for (let cut = 0; cut < packed.length; cut += 1 + Math.floor(packed.length / 200)) {
        let result: Buffer;
        try {
          result = decompress(kind, packed.subarray(0, cut), MIB);
        } catch (error) {
          refused(error);
          continue;
        }
        // Without a frame around its blocks, xerial's cut between two blocks can't be seen here; the record count tells.
        assert.ok(
          kind === 'snappy' && result.length < bytes.length,
          `cut at ${cut} gave ${result.length} bytes`,
        );
      }
    });
  });
}

test('what the frames say is what they become', () => {
  const snappy = require('snappy') as { compressSync(bytes: Buffer): Buffer };
  const lz4 = require('lz4-napi') as {
    compressFrameSync(bytes: Buffer, options?: object): Buffer;
    decompressFrameSync(bytes: Buffer): Buffer;
  };
  for (const length of [0, 1, 12, 13, 1000, 70_000, 300_000, 2 * MIB, 5 * MIB + 1]) {
    for (const bytes of [sample(length), Buffer.alloc(length), Buffer.alloc(length, 'abcdefgh')]) {
      if (length > 0) assert.equal(snappyBlockSize(snappy.compressSync(bytes)), length);
      assert.equal(lz4FrameSize(lz4.compressFrameSync(bytes)), length);
      assert.equal(
        lz4FrameSize(lz4.compressFrameSync(bytes, { contentChecksum: true, blockChecksums: true })),
        length,
      );
      const estimate = zstdSizeEstimate(compress('zstd', bytes));
      assert.ok(estimate * 2 + 128 * 1024 >= length, `zstd of ${length} estimated at ${estimate}`);
      assert.ok(estimate <= length, `zstd of ${length} estimated at ${estimate}`);
    }
  }
});

test('snappy is read as Java frames it and as librdkafka sends it', () => {
  const snappy = require('snappy') as { compressSync(bytes: Buffer): Buffer };
  const bytes = sample(100_000);
  assert.ok(decompress('snappy', snappy.compressSync(bytes), MIB).equals(bytes));
  const framed = compress('snappy', bytes);
  assert.equal(framed.subarray(0, 16).toString('hex'), '82534e41505059000000000100000001');
  assert.equal(snappyBlockSize(framed.subarray(20)), 32_768);
});

test('lz4 frames have independent blocks, which is all that Java reads', () => {
  assert.equal(compress('lz4', sample(1000))[4]! & 0x20, 0x20);
});

test('a batch that would become too large is refused by the reader with its place', () => {
  const writer = new RecordBatchWriter();
  writer.append(1, 'k', 'x'.repeat(100_000));
  for (const kind of KINDS) {
    const reader = new RecordReader({ maxDecompressedBytes: 10_000 });
    writer.append(1, 'k', 'x'.repeat(100_000));
    reader.load(writer.seal({ compression: kind })!, { from: 0, topic: 'big', partition: 1 });
    assert.throws(
      () => reader.next(),
      (error) =>
        isPartitaError(error, 'RECORD_BATCH_CORRUPT') &&
        error.details['topic'] === 'big' &&
        /10000 bytes/.test(error.message),
    );
  }
});

test('a snappy block that announces more than it can hold is not given to the library', () => {
  const block = Buffer.from('808080301041414141', 'hex');
  assert.equal(snappyBlockSize(block), 48 * 2 ** 21);
  assert.throws(() => decompress('snappy', block, 128 * MIB), /announces more than it can hold/);
});

test('an lz4 block that copies from before its beginning is refused', () => {
  // One literal, then a match of four bytes at distance 9, then five literals.
  const block = Buffer.from('104109005041414141' + '41', 'hex');
  const frame = Buffer.concat([
    compress('lz4', sample(10)).subarray(0, 7),
    Buffer.from([block.length, 0, 0, 0]),
    block,
    Buffer.alloc(4),
  ]);
  assert.equal(lz4FrameSize(frame), 10);
  assert.throws(() => decompress('lz4', frame, MIB), refused);
});

test('a gzip that claims nothing and holds too much is refused', () => {
  assert.throws(() => decompress('gzip', zlib.gzipSync(Buffer.alloc(1000)), 999), refused);
  assert.equal(decompress('gzip', zlib.gzipSync(Buffer.alloc(1000)), 1000).length, 1000);
});

test('every compression that Kafka numbers has its number', () => {
  assert.deepEqual([...COMPRESSION_NAMES] satisfies Compression[], ['none', 'gzip', 'snappy', 'lz4', 'zstd']);
});

test('without the optional packages everything else works, and errors name what to install', async () => {
  // The built codec in a directory from which no package can be found.
  const directory = temporaryDirectory('codec');
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
  for (const folder of ['codec', 'core', 'processor']) {
    cpSync(new URL(`../../src/${folder}`, import.meta.url), join(directory, folder), { recursive: true });
  }
  const load = (path: string): Promise<unknown> => import(pathToFileURL(join(directory, path)).href);
  const alone = (await load('codec/compression.js')) as {
    compress: typeof compress;
    decompress: typeof decompress;
  };
  const bytes = sample(100);
  assert.ok(alone.decompress('gzip', alone.compress('gzip', bytes), 100).equals(bytes));
  for (const [kind, name] of [
    ['snappy', 'snappy'],
    ['lz4', 'lz4-napi'],
    ['zstd', '@toondepauw/node-zstd'],
  ] as const) {
    if (kind === 'zstd' && 'zstdCompressSync' in zlib) continue;
    const packed = compress(kind, bytes);
    for (const attempt of [() => alone.compress(kind, bytes), () => alone.decompress(kind, packed, 1000)]) {
      assert.throws(attempt, {
        code: 'COMPRESSION_UNAVAILABLE',
        message: new RegExp(`npm install ${name}`),
      });
    }
  }
  const serdes = (await load('codec/serdes.js')) as typeof serdesModule;
  assert.equal(serdes.json<number>().decode(serdes.json<number>().encode(5)), 5);
  assert.throws(() => serdes.msgpack<number>().encode(5), {
    code: 'SERDE_FAILED',
    message: /npm install msgpackr/,
  });
});
