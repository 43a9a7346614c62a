/**
 * What a reader of the log may rely on, case by case: filtering of transactions, positions over gaps, timestamps of every
 * kind, and typed errors for damaged bytes. Random records against kafkajs are in `test/property`.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  BATCH_HEADER_BYTES,
  checkBatch,
  controlBatch,
  readBatchHeader,
  stampLogAppendTime,
  stampOffset,
  stampProducer,
} from '../../src/codec/record-batch-header.js';
import { type LoadOptions, RecordReader } from '../../src/codec/record-batch-reader.js';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { isPartitaError } from '../../src/core/errors.js';
import { kafkajsDecode, kafkajsEncode, plainRecords } from '../support/kafkajs-codec.js';

interface Seen {
  offset: number;
  timestamp: number;
  key: string | null;
  value: string | null;
}

function readAll(bytes: Uint8Array | ArrayBuffer, options: Partial<LoadOptions> = {}): Seen[] {
  const reader = new RecordReader();
  reader.load(bytes, { from: 0, ...options });
  const seen: Seen[] = [];
  while (reader.next()) {
    seen.push({
      offset: reader.offset,
      timestamp: reader.timestamp,
      key: reader.keyText(),
      value: reader.valueText(),
    });
  }
  return seen;
}

const offsetsOf = (seen: readonly Seen[]): number[] => seen.map((record) => record.offset);

/** A batch of values as one producer would have sent it and the log stored it. */
function batch(
  baseOffset: number,
  values: readonly string[],
  producer?: { id: number; epoch?: number; sequence?: number },
): Buffer {
  const writer = new RecordBatchWriter();
  for (const value of values) writer.append(1000, null, value);
  const bytes = Buffer.from(writer.seal()!);
  stampOffset(bytes, 0, baseOffset, 0);
  if (producer !== undefined) {
    stampProducer(bytes, 0, {
      producerId: producer.id,
      epoch: producer.epoch ?? 0,
      baseSequence: producer.sequence ?? 0,
      transactional: true,
    });
  }
  return bytes;
}

const marker = (type: 'commit' | 'abort', producerId: number, baseOffset: number): Buffer =>
  controlBatch({ type, producerId, epoch: 0, baseOffset, timestamp: 2000 });

describe('record batches', () => {
  test('null and empty keys and values stay what they are', () => {
    const writer = new RecordBatchWriter();
    writer.append(1, null, null);
    writer.append(2, '', '');
    writer.append(3, new Uint8Array(0), Uint8Array.of(0));
    assert.deepEqual(readAll(writer.seal()!), [
      { offset: 0, timestamp: 1, key: null, value: null },
      { offset: 1, timestamp: 2, key: '', value: '' },
      { offset: 2, timestamp: 3, key: '', value: '\0' },
    ]);
  });

  test('timestamps may go back and forth by more than 32 bits', () => {
    const writer = new RecordBatchWriter();
    const timestamps = [
      1_700_000_000_000,
      0,
      Number.MAX_SAFE_INTEGER,
      -1,
      1_700_000_000_000 - 2 ** 31,
      1_700_000_000_000 + 2 ** 31,
      1_700_000_000_063,
      1_700_000_000_064,
      1_699_999_999_936,
      1_699_999_999_935,
    ];
    for (const timestamp of timestamps) writer.append(timestamp, 'k', 'v');
    const bytes = Buffer.from(writer.seal()!);
    assert.deepEqual(
      readAll(bytes).map((record) => record.timestamp),
      timestamps,
    );
    assert.equal(readBatchHeader(bytes, 0)?.maxTimestamp, Number.MAX_SAFE_INTEGER);
  });

  test('a timestamp that no log can hold is refused and leaves the writer as it was', () => {
    const writer = new RecordBatchWriter();
    writer.append(1, 'a', 'b');
    const before = writer.byteLength;
    for (const timestamp of [NaN, Infinity, 0.5, -2, 2 ** 53]) {
      assert.throws(
        () => writer.append(timestamp, 'a', 'b'),
        (error) => isPartitaError(error, 'TIMESTAMP_OUT_OF_RANGE'),
      );
    }
    assert.equal(writer.byteLength, before);
    assert.equal(writer.count, 1);
  });

  test('append returns the encoded size, and byteLength is that of the sealed batch', () => {
    const writer = new RecordBatchWriter({ initialBytes: 1 });
    assert.equal(writer.byteLength, 0);
    let size = BATCH_HEADER_BYTES;
    for (let i = 0; i < 300; i++) {
      size += writer.append(i * 1e9, 'é'.repeat(i), '𝄞x'.repeat(i % 7), [
        ['h', 'ü'],
        ['n', null],
      ]);
      assert.equal(writer.byteLength, size);
    }
    assert.equal(writer.seal()!.byteLength, size);
    assert.equal(writer.byteLength, 0);
    assert.equal(writer.seal(), undefined);
  });

  test('rollback forgets everything since mark, also the first record and its timestamp', () => {
    const writer = new RecordBatchWriter();
    writer.mark();
    writer.append(9_999, 'x', 'x');
    writer.rollback();
    assert.equal(writer.count, 0);
    writer.append(5, 'a', '1');
    writer.mark();
    writer.append(8_888, 'x', 'x'.repeat(100_000));
    writer.append(7_777, 'x', 'x');
    writer.rollback();
    writer.append(3, 'b', '2');
    const bytes = Buffer.from(writer.seal()!);
    assert.deepEqual(readAll(bytes), [
      { offset: 0, timestamp: 5, key: 'a', value: '1' },
      { offset: 1, timestamp: 3, key: 'b', value: '2' },
    ]);
    assert.equal(checkBatch(bytes, 0).maxTimestamp, 5);
    // A mark from before the seal doesn't bring sealed records back.
    writer.append(1, 'c', '3');
    writer.rollback();
    assert.equal(writer.count, 0);
  });

  test('a sealed batch is its own buffer: the writer goes on without touching it, and it can be transferred', () => {
    const writer = new RecordBatchWriter();
    writer.append(1, 'first', 'batch');
    const first = writer.seal()!;
    writer.append(2, 'other', 'words');
    const second = writer.seal({ transactional: true })!;
    const moved = structuredClone(first, { transfer: [first] });
    assert.equal(first.byteLength, 0);
    assert.equal(readAll(moved)[0]?.key, 'first');
    assert.equal(readAll(second)[0]?.key, 'other');
    assert.equal(readBatchHeader(Buffer.from(second), 0)?.isTransactional, true);
    assert.equal(readBatchHeader(Buffer.from(moved), 0)?.isTransactional, false);
  });

  test('all of Unicode is written as TextEncoder writes it, whatever the length', () => {
    const samples = [
      'é',
      'éé',
      'ééé',
      '€',
      '𝄞',
      'a𝄞',
      '\ud800',
      '\udc00\ud800',
      'x\ud800y',
      '\u0000',
      '\u007f',
      '\u0080',
      '\ufeffbom',
      '日本語',
    ];
    const writer = new RecordBatchWriter({ initialBytes: 61 });
    const expected: string[] = [];
    for (const sample of samples) {
      for (const pad of [0, 1, 2, 3, 20, 22, 23, 24, 25, 61, 62, 63, 64, 65, 500, 8_190, 8_192]) {
        for (const text of ['a'.repeat(pad) + sample, sample + 'a'.repeat(pad), sample.repeat(pad)]) {
          writer.append(1, text, text);
          expected.push(new TextDecoder('utf-8', { ignoreBOM: true }).decode(new TextEncoder().encode(text)));
        }
      }
    }
    const seen = readAll(writer.seal()!);
    assert.deepEqual(
      seen.map((record) => record.key),
      expected,
    );
    assert.deepEqual(
      seen.map((record) => record.value),
      expected,
    );
  });

  test('headers are read when asked for, with repeated names and empty values', () => {
    const writer = new RecordBatchWriter();
    writer.append(1, 'k', 'v', [
      ['a', 'text'],
      ['a', Uint8Array.of(1, 2)],
      ['', ''],
      ['null', null],
    ]);
    writer.append(1, 'k', 'v', []);
    const reader = new RecordReader();
    reader.load(writer.seal()!, { from: 0 });
    assert.equal(reader.next(), true);
    assert.equal(reader.headerCount, 4);
    const headers = reader.headers();
    assert.deepEqual(
      headers.map(([name, value]) => [name, [...value]]),
      [
        ['a', [...Buffer.from('text')]],
        ['a', [1, 2]],
        ['', []],
        ['null', []],
      ],
    );
    assert.deepEqual(reader.headers(), headers);
    assert.equal(reader.next(), true);
    assert.deepEqual(reader.headers(), []);
    assert.equal(reader.next(), false);
    assert.equal(headers[1]![1][1], 2);
  });

  test('records below the asked offset are skipped, and a batch cut off ends the walk', () => {
    const bytes = Buffer.concat([batch(10, ['a', 'b', 'c']), batch(13, ['d', 'e']), batch(15, ['f'])]);
    assert.deepEqual(offsetsOf(readAll(bytes, { from: 12 })), [12, 13, 14, 15]);
    for (let cut = 0; cut < bytes.length; cut++) {
      const offsets = offsetsOf(readAll(bytes.subarray(0, cut)));
      const whole =
        cut < batch(10, ['a', 'b', 'c']).length
          ? []
          : cut < bytes.length - batch(15, ['f']).length
            ? [10, 11, 12]
            : [10, 11, 12, 13, 14];
      assert.deepEqual(offsets, whole, `cut at ${cut}`);
    }
  });

  test('the position follows batch headers over compaction gaps, empty batches and markers', async () => {
    // Offsets 100..109, of which compaction left 103 and 107.
    const compacted = await kafkajsEncode({
      baseOffset: 100,
      baseTimestamp: 5,
      maxTimestamp: 9,
      lastOffsetDelta: 9,
      records: [
        { offsetDelta: 3, timestampDelta: 0, key: Buffer.from('k'), value: Buffer.from('v') },
        { offsetDelta: 7, timestampDelta: 4, key: Buffer.from('l'), value: null },
      ],
    });
    const empty = await kafkajsEncode({
      baseOffset: 110,
      baseTimestamp: 0,
      maxTimestamp: 0,
      lastOffsetDelta: 4,
      records: [],
    });
    const reader = new RecordReader();
    reader.load(Buffer.concat([compacted, empty, marker('commit', 7, 115)]), { from: 95 });
    assert.equal(reader.position, 95);
    assert.equal(reader.next(), true);
    assert.deepEqual([reader.offset, reader.timestamp, reader.position], [103, 5, 110]);
    assert.equal(reader.next(), true);
    assert.deepEqual([reader.offset, reader.timestamp, reader.value()], [107, 9, null]);
    assert.equal(reader.next(), false);
    assert.equal(reader.position, 116);
    assert.equal(reader.next(), false);
  });

  test('a chunk of nothing but empty batches moves the position', async () => {
    const empty = await kafkajsEncode({
      baseOffset: 40,
      baseTimestamp: 0,
      maxTimestamp: 0,
      lastOffsetDelta: 9,
      records: [],
    });
    const reader = new RecordReader();
    reader.load(empty, { from: 42 });
    assert.equal(reader.next(), false);
    assert.equal(reader.position, 50);
    reader.load(empty, { from: 60 });
    assert.equal(reader.next(), false);
    assert.equal(reader.position, 60);
  });

  test('with log-append time every record has the time of its batch', () => {
    const writer = new RecordBatchWriter();
    writer.append(5, 'a', null);
    writer.append(6, 'b', null);
    const bytes = Buffer.from(writer.seal()!);
    stampLogAppendTime(bytes, 0, 1_800_000_000_000);
    checkBatch(bytes, 0);
    const reader = new RecordReader();
    reader.load(bytes, { from: 0 });
    while (reader.next()) {
      assert.equal(reader.timestamp, 1_800_000_000_000);
      assert.equal(reader.logAppendTime, true);
      assert.equal(reader.batchTimestamp, 1_800_000_000_000);
    }
  });

  test('a delete horizon in place of the base timestamp leaves timestamps right', async () => {
    // As the log cleaner rewrites it: attribute 0x40, base timestamp = horizon, deltas against it, here negative.
    const horizon = 1_700_000_500_000;
    const bytes = await kafkajsEncode({
      baseOffset: 3,
      baseTimestamp: horizon,
      maxTimestamp: 1_700_000_000_001,
      lastOffsetDelta: 1,
      records: [
        { offsetDelta: 0, timestampDelta: -500_000, key: Buffer.from('k'), value: null },
        { offsetDelta: 1, timestampDelta: -499_999, key: Buffer.from('l'), value: Buffer.from('v') },
      ],
    });
    bytes.writeInt16BE(bytes.readInt16BE(21) | 0x40, 21);
    stampProducer(bytes, 0, { producerId: -1, epoch: -1, baseSequence: -1, transactional: false });
    assert.equal(checkBatch(bytes, 0).hasDeleteHorizon, true);
    assert.deepEqual(
      readAll(bytes).map((record) => record.timestamp),
      [1_700_000_000_000, 1_700_000_000_001],
    );
  });
});

describe('transactions in a walk', () => {
  test('records of aborted transactions and all markers are hidden, committed ones are seen', () => {
    const bytes = Buffer.concat([
      batch(0, ['a0', 'a1'], { id: 1 }),
      batch(2, ['plain']),
      marker('abort', 1, 3),
      batch(4, ['b'], { id: 1 }),
      marker('commit', 1, 5),
      batch(6, ['c'], { id: 2 }),
      marker('abort', 2, 7),
    ]);
    const aborted = [
      { producerId: 1, firstOffset: 0 },
      { producerId: 2, firstOffset: 6 },
    ];
    const reader = new RecordReader();
    reader.load(bytes, { from: 0, aborted });
    const values: (string | null)[] = [];
    while (reader.next()) values.push(reader.valueText());
    assert.deepEqual(values, ['plain', 'b']);
    assert.equal(reader.position, 8);
  });

  test('the abort list may come in the order of completion, as brokers send it', () => {
    // Producer 1 begins first and ends last; the broker lists producer 2 first.
    const bytes = Buffer.concat([
      batch(0, ['one'], { id: 1 }),
      batch(1, ['two'], { id: 2 }),
      marker('abort', 2, 2),
      batch(3, ['more'], { id: 1 }),
      marker('abort', 1, 4),
      batch(5, ['kept'], { id: 2 }),
      marker('commit', 2, 6),
    ]);
    const aborted = [
      { producerId: 2, firstOffset: 1 },
      { producerId: 1, firstOffset: 0 },
    ];
    assert.deepEqual(
      readAll(bytes, { aborted }).map((record) => record.value),
      ['kept'],
    );
    assert.equal(aborted[0]?.producerId, 2, 'the caller’s list is not reordered');
  });

  test('a walk that begins within a producer’s second transaction is not confused by its first', () => {
    const bytes = Buffer.concat([
      batch(0, ['gone'], { id: 1 }),
      marker('abort', 1, 1),
      batch(2, ['x', 'kept'], { id: 1 }),
      marker('commit', 1, 4),
    ]);
    assert.deepEqual(
      readAll(bytes, { from: 3, aborted: [{ producerId: 1, firstOffset: 0 }] }).map((record) => record.value),
      ['kept'],
    );
  });

  test('a user key that looks like an abort marker is only a key', () => {
    const writer = new RecordBatchWriter();
    writer.append(1, Buffer.alloc(4), 'mine');
    const lookalike = Buffer.from(writer.seal()!);
    stampOffset(lookalike, 0, 1, 0);
    stampProducer(lookalike, 0, { producerId: 1, epoch: 0, baseSequence: 1, transactional: true });
    const aborted = Buffer.concat([
      batch(0, ['a'], { id: 1 }),
      lookalike,
      batch(2, ['b'], { id: 1 }),
      marker('abort', 1, 3),
    ]);
    assert.deepEqual(readAll(aborted, { aborted: [{ producerId: 1, firstOffset: 0 }] }), []);
    assert.deepEqual(offsetsOf(readAll(aborted)), [0, 1, 2]);
  });

  test('kafkajs understands our markers', async () => {
    for (const type of ['commit', 'abort'] as const) {
      const [decoded] = await kafkajsDecode(
        controlBatch({ type, producerId: 2 ** 40, epoch: 3, baseOffset: 77, timestamp: 5 }),
      );
      assert.equal(decoded!.isControlBatch, true);
      assert.equal(decoded!.inTransaction, true);
      assert.equal(decoded!.producerId, String(2 ** 40));
      assert.equal(decoded!.producerEpoch, 3);
      assert.deepEqual(plainRecords(decoded!), [
        {
          offset: 77,
          timestamp: 5,
          key: type === 'commit' ? '00000001' : '00000000',
          value: '000000000000',
          headers: {},
        },
      ]);
    }
  });

  test('what a log and a producer stamp is what kafkajs reads', async () => {
    const bytes = batch(0, ['a', 'b']);
    stampProducer(bytes, 0, { producerId: 4_000_000_000, epoch: 7, baseSequence: 12, transactional: true });
    stampOffset(bytes, 0, 2 ** 40, 9);
    const header = checkBatch(bytes, 0);
    assert.deepEqual(
      [header.baseOffset, header.lastOffset, header.nextOffset],
      [2 ** 40, 2 ** 40 + 1, 2 ** 40 + 2],
    );
    const [decoded] = await kafkajsDecode(bytes);
    assert.equal(decoded!.firstOffset, String(2 ** 40));
    assert.equal(decoded!.producerId, '4000000000');
    assert.equal(decoded!.producerEpoch, 7);
    assert.equal(decoded!.firstSequence, 12);
    assert.equal(decoded!.inTransaction, true);
    stampProducer(bytes, 0, { producerId: -1, epoch: -1, baseSequence: -1, transactional: false });
    assert.equal(checkBatch(bytes, 0).isTransactional, false);
  });
});

describe('damaged batches', () => {
  const corrupt = (position: number, offset: number) => (error: unknown) => {
    assert.ok(isPartitaError(error, 'RECORD_BATCH_CORRUPT'), String(error));
    assert.deepEqual(error.details, { position, offset, topic: 't', partition: 4 });
    assert.match(error.message, /t-4/);
    return true;
  };
  const from = { from: 0, topic: 't', partition: 4 };

  test('a flipped bit is found by the CRC, after the sound batches before it, and stays found', () => {
    const first = batch(0, ['a', 'b']);
    const bytes = Buffer.concat([first, batch(2, ['c'])]);
    bytes[bytes.length - 2]! ^= 1;
    const reader = new RecordReader();
    reader.load(bytes, from);
    assert.equal(reader.next(), true);
    assert.equal(reader.next(), true);
    assert.throws(() => reader.next(), corrupt(first.length, 2));
    assert.throws(() => reader.next(), corrupt(first.length, 2));
    assert.throws(
      () => checkBatch(bytes, first.length),
      (error) => isPartitaError(error, 'RECORD_BATCH_CORRUPT') && error.details['position'] === first.length,
    );
    const trusting = new RecordReader({ checkCrc: false });
    trusting.load(bytes, from);
    let count = 0;
    while (trusting.next()) count++;
    assert.equal(count, 3);
  });

  test('another magic, impossible lengths and counts are named errors', () => {
    const damage: [string, (bytes: Buffer) => void][] = [
      ['magic', (bytes) => bytes.writeUInt8(1, 16)],
      ['length 0', (bytes) => bytes.writeInt32BE(0, 8)],
      ['negative length', (bytes) => bytes.writeInt32BE(-5, 8)],
      ['negative count', (bytes) => bytes.writeInt32BE(-1, 57)],
      ['huge count', (bytes) => bytes.writeInt32BE(0x7fff_ffff, 57)],
      ['negative last offset delta', (bytes) => bytes.writeInt32BE(-1, 23)],
      ['more records than offsets', (bytes) => bytes.writeInt32BE(3, 57)],
      ['fewer records than bytes', (bytes) => bytes.writeInt32BE(1, 57)],
      ['unknown compression', (bytes) => bytes.writeInt16BE(6, 21)],
      ['compressed garbage', (bytes) => bytes.writeInt16BE(1, 21)],
      ['snappy garbage', (bytes) => bytes.writeInt16BE(2, 21)],
      ['lz4 garbage', (bytes) => bytes.writeInt16BE(3, 21)],
      ['zstd garbage', (bytes) => bytes.writeInt16BE(4, 21)],
    ];
    for (const [name, apply] of damage) {
      const bytes = batch(0, ['abcdef', 'b']);
      apply(bytes);
      const reader = new RecordReader({ checkCrc: false });
      reader.load(bytes, from);
      assert.throws(
        () => {
          while (reader.next());
        },
        corrupt(0, 0),
        name,
      );
    }
  });

  test('offsets that do not grow within a batch are refused', async () => {
    const record = { timestampDelta: 0, key: null, value: null };
    const bytes = await kafkajsEncode({
      baseTimestamp: 0,
      maxTimestamp: 0,
      lastOffsetDelta: 5,
      records: [
        { ...record, offsetDelta: 3 },
        { ...record, offsetDelta: 3 },
      ],
    });
    assert.throws(
      () => readAll(bytes),
      (error) => isPartitaError(error, 'RECORD_BATCH_CORRUPT'),
    );
  });

  test('the header alone refuses numbers that contradict each other or don’t fit', () => {
    const damage: ((bytes: Buffer) => void)[] = [
      (bytes) => bytes.writeInt32BE(3, 57),
      (bytes) => bytes.writeBigInt64BE(2n ** 60n, 27),
      (bytes) => bytes.writeBigInt64BE(2n ** 60n, 35),
      (bytes) => bytes.writeBigInt64BE(2n ** 60n, 0),
      (bytes) => bytes.writeBigInt64BE(-1n, 0),
      (bytes) => bytes.writeBigInt64BE(2n ** 53n - 2n, 0),
      (bytes) => bytes.writeBigInt64BE(2n ** 60n, 43),
    ];
    for (const apply of damage) {
      const bytes = batch(0, ['a', 'b']);
      apply(bytes);
      assert.throws(
        () => readBatchHeader(bytes, 0),
        (error) => isPartitaError(error, 'RECORD_BATCH_CORRUPT'),
        String(apply),
      );
    }
  });

  /** A batch of these record bytes, with a sound CRC. */
  const crafted = (count: number, ...records: number[]): Buffer => {
    const bytes = Buffer.concat([batch(0, ['a', 'b']).subarray(0, BATCH_HEADER_BYTES), Buffer.from(records)]);
    bytes.writeInt32BE(bytes.length - 12, 8);
    bytes.writeInt32BE(count, 57);
    stampProducer(bytes, 0, { producerId: -1, epoch: -1, baseSequence: -1, transactional: false });
    return bytes;
  };
  const refuse = (bytes: Buffer): void => {
    const reader = new RecordReader();
    reader.load(bytes, { from: 0 });
    assert.throws(
      () => reader.next(),
      (error) => isPartitaError(error, 'RECORD_BATCH_CORRUPT'),
    );
  };

  test('a record that reaches into the next batch is never shown', () => {
    // Null key, value of 10 bytes, of which the batch has 3.
    const reaching = crafted(2, 34, 0, 0, 0, 1, 20, 1, 2, 3);
    refuse(reaching);
    refuse(Buffer.concat([reaching, batch(2, ['abcdefgh'])]));
  });

  test('numbers longer than their type are refused', () => {
    assert.deepEqual(readAll(crafted(1, 12, 0, 0, 0, 1, 1, 0)).length, 1);
    // The header count, 0, in five bytes, then in six; the timestamp delta in ten, then in eleven.
    assert.deepEqual(readAll(crafted(1, 20, 0, 0, 0, 1, 1, 128, 128, 128, 128, 0)).length, 1);
    refuse(crafted(1, 22, 0, 0, 0, 1, 1, 128, 128, 128, 128, 128, 0));
    const ten = [128, 128, 128, 128, 128, 128, 128, 128, 128];
    assert.deepEqual(readAll(crafted(1, 30, 0, ...ten, 0, 0, 1, 1, 0)).length, 1);
    refuse(crafted(1, 32, 0, ...ten, 128, 0, 0, 1, 1, 0));
  });
});
