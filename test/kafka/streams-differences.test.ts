/**
 * What Kafka Streams does otherwise than we do, each with the smallest case that shows it, so that the list in docs/stores.md is
 * true of its version and of ours. A record is written `key@timestamp=value`, a result of Kafka Streams with its timestamp.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { registerMissing } from '../support/describe-kafka.js';
import {
  streamsMissing,
  streamsOf,
  type StreamsJoin,
  type StreamsRecord,
  type StreamsResult,
  type StreamsWindowing,
} from '../support/kafka-streams-oracle.js';
import { outcomeOfStore } from '../support/store-windows.js';
import { linesOf } from '../support/streams-comparison.js';

const TEST_BUDGET_MS = 280_000;
const LONG_MS = 1_000_000;

interface Difference {
  readonly header: StreamsWindowing;
  readonly records: string;
  readonly theirs: readonly string[];
  readonly ours: readonly string[];
}

const final = { graceMs: 0, emission: 'final', retentionMs: LONG_MS } as const;
const updates = { graceMs: 0, emission: 'updates', retentionMs: LONG_MS } as const;
const byDefault = { graceMs: 0, emission: 'final' } as const;

const differences: Readonly<Record<string, Difference>> = {
  'loses closed windows over a gap that is longer than its retention': {
    header: { ...byDefault, topology: 'tumbling', sizeMs: 10 },
    records: 'x@1=1 x@20=2 x@40=3',
    theirs: [],
    ours: ['1: x 0-10 n=1 sum=1', '2: x 20-30 n=1 sum=2'],
  },
  'loses them in RocksDB too': {
    header: { ...byDefault, topology: 'tumbling', sizeMs: 10, store: 'rocksDB' },
    records: 'x@1=1 x@20=2 x@40=3',
    theirs: [],
    ours: ['1: x 0-10 n=1 sum=1', '2: x 20-30 n=1 sum=2'],
  },
  'forgets a record in later sliding windows if the one it ends is closed': {
    header: { ...final, topology: 'sliding', sizeMs: 10 },
    records: 'x@20=1 y@32=0 x@25=2 x@33=4 z@90=0',
    theirs: ['1: x 10-20 n=1 sum=1 @20', '3: y 22-32 n=1 sum=0 @32', '4: x 23-33 n=1 sum=4 @33', '2: late'],
    ours: [
      '1: x 10-20 n=1 sum=1',
      '3: y 22-32 n=1 sum=0',
      '4: x 23-33 n=2 sum=6',
      '4: x 26-36 n=1 sum=4',
      '2: late',
    ],
  },
  'begins no sliding window right after a record that is late for all that hold it': {
    header: { ...updates, topology: 'sliding', sizeMs: 10 },
    records: 'x@21=1 y@25=0 x@14=2',
    theirs: ['0: x 11-21 n=1 sum=1 @21', '1: y 15-25 n=1 sum=0 @25', '2: late'],
    ours: ['0: x 11-21 n=1 sum=1', '1: y 15-25 n=1 sum=0', '2: x 15-25 n=1 sum=1', '2: late'],
  },
  'puts and sends a sliding window twice that begins right after one record and ends with another': {
    header: { ...updates, topology: 'sliding', sizeMs: 10 },
    records: 'x@24=1 x@25=2 x@36=4',
    theirs: [
      '0: x 14-24 n=1 sum=1 @24',
      '1: x 25-35 n=1 sum=2 @25',
      '1: x 15-25 n=2 sum=3 @25',
      '2: x 26-36 n=1 sum=4 @36',
      '2: x 26-36 n=1 sum=4 @36',
    ],
    ours: ['0: x 14-24 n=1 sum=1', '1: x 15-25 n=2 sum=3', '1: x 25-35 n=1 sum=2', '2: x 26-36 n=1 sum=4'],
  },
  'joins a closed session while its store has it, and sends its records twice': {
    header: { ...final, topology: 'session', gapMs: 10 },
    records: 'x@0=1 y@15=0 x@8=2 z@90=0',
    theirs: ['1: x 0-0 n=1 sum=1 @0', '3: x 0-8 n=2 sum=3 @8', '3: y 15-15 n=1 sum=0 @15'],
    ours: ['1: x 0-0 n=1 sum=1', '3: x 8-8 n=1 sum=2', '3: y 15-15 n=1 sum=0'],
  },
  'forgets a session 1 ms before it closes, with the default retention': {
    header: { graceMs: 0, emission: 'updates', topology: 'session', gapMs: 10 },
    records: 'x@0=1 y@10=0 x@8=2',
    theirs: ['0: x 0-0 n=1 sum=1 @0', '1: y 10-10 n=1 sum=0 @10', '2: x 8-8 n=1 sum=2 @8'],
    ours: ['0: x 0-0 n=1 sum=1', '1: y 10-10 n=1 sum=0', '2: x 0-8 n=2 sum=3'],
  },
  'sends a removal of each session that another one swallows': {
    header: { ...updates, graceMs: 20, topology: 'session', gapMs: 10 },
    records: 'x@0=1 x@15=2 x@8=4',
    theirs: [
      '0: x 0-0 n=1 sum=1 @0',
      '1: x 15-15 n=1 sum=2 @15',
      '2: x 0-0 removed @0',
      '2: x 15-15 removed @15',
      '2: x 0-15 n=3 sum=7 @15',
    ],
    ours: ['0: x 0-0 n=1 sum=1', '1: x 15-15 n=1 sum=2', '2: x 0-15 n=3 sum=7'],
  },
  'closes sessions that end together by start, in RocksDB': {
    header: { ...final, topology: 'session', gapMs: 10, store: 'rocksDB' },
    records: 'y@10=2 y@15=4 x@15=1 z@90=0',
    theirs: ['3: y 10-15 n=2 sum=6 @15', '3: x 15-15 n=1 sum=1 @15'],
    ours: ['3: x 15-15 n=1 sum=1', '3: y 10-15 n=2 sum=6'],
  },
  'lets no time pass by a record without a key': {
    header: { ...final, topology: 'tumbling', sizeMs: 10 },
    records: 'x@1=1 null@50=0 x@2=2 x@60=4',
    theirs: ['3: x 0-10 n=2 sum=3 @2', '1: late'],
    ours: ['1: x 0-10 n=1 sum=1', '2: late'],
  },
  'skips null values in sliding windows only': {
    header: { ...updates, topology: 'sliding', sizeMs: 10 },
    records: 'x@20=1 x@20=null',
    theirs: ['0: x 10-20 n=1 sum=1 @20', '1: late'],
    ours: ['0: x 10-20 n=1 sum=1', '1: x 10-20 n=2 sum=1'],
  },
};

interface Fact {
  readonly header: StreamsJoin;
  readonly records: string;
  readonly theirs: readonly string[];
}

const outer = { topology: 'streamJoin', kind: 'outer', beforeMs: 10, afterMs: 5, graceMs: 0 } as const;

/** Of its joins, which ours are to be compared with. */
const joins: Readonly<Record<string, Fact>> = {
  'sends a record without a partner once the time of both inputs has passed its window by more than the grace':
    {
      header: outer,
      records: 'b:y@16=5 x@26=1 x@27=2 y@32=9',
      theirs: ['2: y null 5 @16', '3: x 1 null @26'],
    },
  'sends a pair when its second record comes, with the later of their timestamps': {
    header: { ...outer, kind: 'inner' },
    records: 'x@10=1 b:x@5=2 b:x@15=3 b:x@16=4 x@3=5',
    theirs: ['1: x 1 2 @10', '2: x 1 3 @15', '4: x 5 2 @5'],
  },
  'sends a record at once that comes when its window is over, and one without a key': {
    header: outer,
    records: 'y@100=1 b:x@20=3 null@100=5',
    theirs: ['1: x null 3 @20', '2: null 5 null @100'],
  },
  'joins a stream with the value that a table has when the record comes, whatever their timestamps': {
    header: { topology: 'tableJoin', kind: 'left' },
    records: 'x@0=1 b:x@9=2 x@3=4 b:x@4=7 x@3=3 b:x@9=null x@5=2',
    theirs: ['0: x 1 null @0', '2: x 4 2 @3', '4: x 3 7 @3', '6: x 2 null @5'],
  },
};

function recordsOf(text: string): StreamsRecord[] {
  return text.split(' ').map((record) => {
    const [, input, key, timestamp, value] = /^(b:)?(\w+)@(\d+)=(\w+)$/.exec(record)!;
    return {
      input: input === undefined ? 'a' : 'b',
      key: key === 'null' ? null : key!,
      value: value === 'null' ? null : Number(value),
      timestamp: Number(timestamp),
    };
  });
}

function factsOf({ windows, pairs, dropped }: StreamsResult): string[] {
  return [
    ...windows.map(({ at, key, startMs, endMs, count, sum, timestamp }) => {
      const content = count === null ? 'removed' : `n=${count} sum=${sum}`;
      return `${at}: ${key} ${startMs}-${endMs} ${content} @${timestamp}`;
    }),
    ...pairs.map(({ at, key, left, right, timestamp }) => `${at}: ${key} ${left} ${right} @${timestamp}`),
    ...dropped.map(({ at }) => `${at}: late`),
  ];
}

const title = 'Kafka Streams';
const missing = streamsMissing();
if (missing !== undefined) registerMissing(title, missing);
else
  describe(title, { timeout: TEST_BUDGET_MS }, () => {
    const names = Object.keys({ ...differences, ...joins });
    let results: StreamsResult[] = [];
    before(
      async () => {
        const all = Object.values<Difference | Fact>({ ...differences, ...joins });
        results = await streamsOf(
          all.map(({ header, records }) => ({ header, records: recordsOf(records) })),
        );
      },
      { timeout: TEST_BUDGET_MS },
    );

    for (const [name, { header, records, theirs, ours }] of Object.entries(differences))
      test(`${name}; we do not`, async () => {
        assert.deepEqual(factsOf(results[names.indexOf(name)]!), theirs);
        assert.deepEqual(linesOf(await outcomeOfStore({ header, records: recordsOf(records) })), ours);
      });

    for (const [name, { theirs }] of Object.entries(joins))
      test(name, () => {
        assert.deepEqual(factsOf(results[names.indexOf(name)]!), theirs);
      });
  });
