/**
 * How fast records are written and walked, in memory and on one thread: JSON lines `{ bench, metric, value, unit }` and a
 * table with the spread over rounds. Run it built: `node dist/test/benchmark/codec.js`.
 */
import { COMPRESSION_NAMES } from '../../src/codec/compression.js';
import { admitJson } from '../../src/codec/freeze.js';
import { stampProducer } from '../../src/codec/record-batch-header.js';
import { RecordReader } from '../../src/codec/record-batch-reader.js';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { json } from '../../src/codec/serdes.js';

const RECORDS = 20_000;
const ROUNDS = 15;
const WARM_UP_ROUNDS = 5;
/** With key and overhead a record of 110 bytes. */
const VALUE = JSON.stringify({
  id: 123456,
  name: 'abcdefghijklmnopqrstuvwxyz',
  amount: 1234.5,
  tags: ['a', 'bcd'],
  x: 'yyyyy',
});

interface Result {
  readonly metric: string;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Runs `round`, which handles `count` things, and tells how many millions a second. */
function measure(metric: string, count: number, round: () => number): Result {
  const rates: number[] = [];
  let sink = 0;
  for (let i = 0; i < WARM_UP_ROUNDS + ROUNDS; i++) {
    const start = process.hrtime.bigint();
    sink += round();
    const nanos = Number(process.hrtime.bigint() - start);
    if (i >= WARM_UP_ROUNDS) rates.push((count / nanos) * 1000);
  }
  if (Number.isNaN(sink)) throw new Error('the rounds computed nothing');
  rates.sort((a, b) => a - b);
  return { metric, unit: 'M/s', median: rates[ROUNDS >> 1]!, min: rates[0]!, max: rates[ROUNDS - 1]! };
}

function fill(
  writer: RecordBatchWriter,
  key: (i: number) => string | Uint8Array,
  value: string | Uint8Array,
): void {
  for (let i = 0; i < RECORDS; i++) writer.append(1_700_000_000_000 + i, key(i), value);
}

const textKeys = Array.from({ length: 1000 }, (_, i) => `key-${i}`);
const byteKeys = textKeys.map((key) => Buffer.from(key));
const writer = new RecordBatchWriter();
const results: Result[] = [];

results.push(
  measure('write, text', RECORDS, () => {
    fill(writer, (i) => textKeys[i % 1000]!, VALUE);
    return writer.seal()!.byteLength;
  }),
);
const valueBytes = Buffer.from(VALUE);
results.push(
  measure('write, bytes', RECORDS, () => {
    fill(writer, (i) => byteKeys[i % 1000]!, valueBytes);
    return writer.seal()!.byteLength;
  }),
);
const accented = VALUE.replace('yyyyy', 'äyyy');
results.push(
  measure('write, text with one ä', RECORDS, () => {
    fill(writer, (i) => textKeys[i % 1000]!, accented);
    return writer.seal()!.byteLength;
  }),
);

fill(writer, (i) => textKeys[i % 1000]!, VALUE);
const sealed = writer.seal()!;
const recordBytes = Math.round(sealed.byteLength / RECORDS);

function walk(reader: RecordReader, bytes: ArrayBuffer, visit: (reader: RecordReader) => number): number {
  let sum = 0;
  reader.load(bytes, { from: 0 });
  while (reader.next()) sum += visit(reader);
  return sum;
}
const checking = new RecordReader();
const trusting = new RecordReader({ checkCrc: false });
results.push(
  measure('walk, CRC checked', RECORDS, () => walk(checking, sealed, (reader) => reader.valueStart)),
);
results.push(measure('walk, no CRC', RECORDS, () => walk(trusting, sealed, (reader) => reader.valueStart)));
results.push(
  measure('walk and decode key and value as text', RECORDS, () =>
    walk(checking, sealed, (reader) => reader.keyText()!.length + reader.valueText()!.length),
  ),
);
results.push(
  measure('walk and parse JSON', RECORDS, () =>
    walk(checking, sealed, (reader) => json<{ id: number }>().decode(reader.value()!).id),
  ),
);
for (const compression of COMPRESSION_NAMES.filter((kind) => kind !== 'none')) {
  results.push(
    measure(`write, ${compression}`, RECORDS, () => {
      fill(writer, (i) => textKeys[i % 1000]!, VALUE);
      return writer.seal({ compression })!.byteLength;
    }),
  );
  fill(writer, (i) => textKeys[i % 1000]!, VALUE);
  const compressed = writer.seal({ compression })!;
  results.push(
    measure(`walk, ${compression}`, RECORDS, () => walk(checking, compressed, (reader) => reader.valueStart)),
  );
}
const stamped = Buffer.from(sealed);
results.push(
  measure('stamp a producer (records of the batch)', RECORDS, () => {
    stampProducer(stamped, 0, { producerId: 1, epoch: 0, baseSequence: 0, transactional: true });
    return stamped[17]!;
  }),
);
results.push(
  measure('admit { three numbers }', RECORDS, () => {
    let sum = 0;
    for (let i = 0; i < RECORDS; i++) sum += admitJson({ count: i, sum: i * 1.5, last: 3 });
    return sum;
  }),
);

for (const { metric, unit, median } of results) {
  console.log(JSON.stringify({ bench: 'codec', metric, value: Number(median.toFixed(3)), unit }));
}
console.log(`\n${RECORDS} records of ${recordBytes} B a batch, ${ROUNDS} rounds\n`);
console.log(`${'metric'.padEnd(44)} ${'median'.padStart(8)} ${'min'.padStart(8)} ${'max'.padStart(8)}  unit`);
for (const { metric, unit, median, min, max } of results) {
  console.log(
    `${metric.padEnd(44)} ${median.toFixed(2).padStart(8)} ${min.toFixed(2).padStart(8)} ${max.toFixed(2).padStart(8)}  ${unit}`,
  );
}
