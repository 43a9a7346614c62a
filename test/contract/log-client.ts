/**
 * What every implementation of the `LogClient` port must do, as a function over a factory. Only what the port says is
 * assumed; what just one implementation can do is an optional capability of the factory, and its tests are left out where
 * it is missing. Batches are written and read with our codec, which has oracles of its own.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { RecordReader } from '../../src/codec/record-batch-reader.js';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { isPartitaError } from '../../src/core/errors.js';
import type {
  AbortedTransaction,
  LogBatch,
  PartitionBounds,
  TopicPartition,
} from '../../src/core/log-types.js';
import type {
  Assignment,
  FetchedChunk,
  GroupMember,
  GroupSession,
  JoinOptions,
  LogClient,
  TransactionalProducer,
} from '../../src/log/log-client.js';

/** A log under test. Every test uses topics, groups and ids of its own. */
export interface LogUnderTest {
  connect(clientId: string): Promise<LogClient>;
  /**
   * Leaves a transaction open that holds `batches`, as a producer does that dies before its end. It
   * initialises the id.
   */
  leaveOpen?(options: {
    readonly transactionalId: string;
    readonly transactionTimeoutMs: number;
    readonly batches: readonly LogBatch[];
  }): Promise<void>;
  compact?(topic: string): Promise<void>;
  deleteRecords?(topic: string, partition: number, before: number): Promise<void>;
  close(): Promise<void>;
}

export interface LogSuiteOptions {
  /** Session and rebalance timeouts that the log can do in a test. */
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  /** How long a test waits for what must happen. */
  readonly patienceMs: number;
  /** Which of the optional methods the log under test has; tests of the others are not there. */
  readonly can: readonly ('leaveOpen' | 'compact' | 'deleteRecords')[];
}

type Key = string | null;

/** One sealed batch of records with values equal to their keys unless given. */
export function batchOf(
  topic: string,
  partition: number,
  records: readonly (readonly [Key, string | null, number?])[],
): LogBatch {
  const writer = new RecordBatchWriter();
  for (const [key, value, timestamp] of records) writer.append(timestamp ?? Date.now(), key, value);
  return { topic, partition, bytes: writer.seal()! };
}

export interface SeenRecord {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: string | null;
  readonly value: string | null;
}

export function decode(
  bytes: ArrayBuffer,
  from: number,
  aborted: readonly AbortedTransaction[],
): { records: SeenRecord[]; position: number } {
  const reader = new RecordReader();
  reader.load(bytes, { from, aborted });
  const text = (part: Uint8Array | null) => (part === null ? null : Buffer.from(part).toString());
  const records: SeenRecord[] = [];
  while (reader.next())
    records.push({
      offset: reader.offset,
      timestamp: reader.timestamp,
      key: text(reader.key()),
      value: text(reader.value()),
    });
  return { records, position: reader.position };
}

/** Reads a partition to the end page by page, as recovery does. */
export async function readAll(
  client: LogClient,
  { topic, partition }: TopicPartition,
  options: { from?: number; maxBytes?: number; isolation?: 'read_committed' | 'read_uncommitted' } = {},
): Promise<SeenRecord[]> {
  const { maxBytes = 1 << 20, isolation = 'read_committed' } = options;
  const [bounds] = await client.topics.bounds([{ topic, partition }]);
  let from = options.from ?? bounds!.start;
  const all: SeenRecord[] = [];
  for (let pages = 0; pages < 10_000; pages++) {
    const page = await client.read({ topic, partition, from, maxBytes, isolation });
    if (page.next === from) return all;
    all.push(...decode(page.bytes, from, page.aborted).records);
    from = page.next;
  }
  throw new Error('endless pages');
}

/** A member that starts every partition at 0 (or where `positions` says) and records what it is told. */
export class TestMember implements GroupMember {
  session: GroupSession | undefined;
  readonly assignments: Assignment[] = [];
  readonly revoked: (readonly TopicPartition[])[] = [];
  readonly lost: (readonly TopicPartition[])[] = [];
  readonly chunks: FetchedChunk[] = [];
  readonly outOfRange: TopicPartition[] = [];
  readonly errors: Error[] = [];
  readonly calls: string[] = [];
  readonly positions = new Map<string, number>();
  readonly owned = new Map<string, TopicPartition>();
  autoResume = true;
  revoke: (partitions: readonly TopicPartition[], deadline: number) => Promise<void> = async () => undefined;
  #inside = 0;

  onAssign(assignment: Assignment): void {
    this.#enter(`assign ${assignment.generation}`);
    this.assignments.push(assignment);
    this.owned.clear();
    for (const id of [...assignment.gained, ...assignment.kept]) this.owned.set(name(id), id);
    if (this.autoResume)
      for (const id of assignment.gained) {
        this.session!.seek(id, this.positions.get(name(id)) ?? 0);
        this.session!.resume([id]);
      }
    this.#inside--;
  }

  async onRevoke(
    partitions: readonly TopicPartition[],
    options: { readonly deadline: number },
  ): Promise<void> {
    this.#enter('revoke');
    this.revoked.push(partitions);
    try {
      await this.revoke(partitions, options.deadline);
    } finally {
      this.#inside--;
    }
  }

  onLost(partitions: readonly TopicPartition[]): void {
    this.calls.push('lost');
    this.lost.push(partitions);
    this.owned.clear();
  }

  onChunk(chunk: FetchedChunk): void {
    this.#enter('chunk');
    this.chunks.push(chunk);
    this.#inside--;
  }

  onOutOfRange(partition: TopicPartition): void {
    this.outOfRange.push(partition);
  }

  onFatal(error: Error): void {
    this.errors.push(error);
  }

  /** Records of all chunks of a partition; chunks must join without gap or overlap. */
  records({ topic, partition }: TopicPartition): SeenRecord[] {
    return this.chunks
      .filter((chunk) => chunk.topic === topic && chunk.partition === partition)
      .flatMap((chunk) => decode(chunk.bytes, chunk.from, chunk.aborted).records);
  }

  #enter(call: string): void {
    this.calls.push(call);
    assert.equal(this.#inside++, 0, `${call} came during another call`);
  }
}

function name({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}

export function logClientSuite(
  title: string,
  open: () => Promise<LogUnderTest>,
  options: LogSuiteOptions,
): void {
  describe(title, () => {
    let log: LogUnderTest;
    let client: LogClient;
    const can = (method: LogSuiteOptions['can'][number]): boolean => options.can.includes(method);
    before(async () => {
      log = await open();
      client = await log.connect('suite');
    });
    after(async () => {
      await client.close();
      await log.close();
    });

    const newTopic = async (partitions = 1, configs: Record<string, string> = {}): Promise<string> => {
      const topic = `t-${randomUUID()}`;
      await client.topics.ensure({ topic, partitions, configs });
      return topic;
    };
    const newProducer = async (id = `id-${randomUUID()}`, from = client): Promise<TransactionalProducer> => {
      const producer = from.producer({ transactionalId: id, transactionTimeoutMs: 10_000 });
      await producer.init();
      return producer;
    };
    const put = async (
      topic: string,
      partition: number,
      records: readonly (readonly [Key, string | null, number?])[],
    ) => {
      const outputs = client.outputs();
      const [result] = await outputs.produce([batchOf(topic, partition, records)]);
      await outputs.close();
      return result!.baseOffset;
    };
    const until = async (what: string, holds: () => boolean): Promise<void> => {
      const end = performance.now() + options.patienceMs;
      while (!holds()) {
        if (performance.now() > end) assert.fail(`it never came to pass that ${what}`);
        await sleep(5);
      }
    };
    /** A log may answer a commit before it has written the markers that end the transaction in its partitions. */
    const settledBounds = async (partition: TopicPartition): Promise<PartitionBounds> => {
      const end = performance.now() + options.patienceMs;
      for (;;) {
        const [bounds] = await client.topics.bounds([partition]);
        if (bounds!.lastStable === bounds!.end) return bounds!;
        if (performance.now() > end) assert.fail('the transaction is never settled');
        await sleep(5);
      }
    };
    const join = async (
      member: TestMember,
      given: Pick<JoinOptions, 'group' | 'topics'> & Partial<JoinOptions>,
      from = client,
    ): Promise<GroupSession> => {
      const { sessionTimeoutMs, rebalanceTimeoutMs } = options;
      const session = await from.join({ sessionTimeoutMs, rebalanceTimeoutMs, ...given }, member);
      member.session = session;
      return session;
    };

    describe('topics', () => {
      test('a topic that does not exist is described as undefined, and has no bounds', async () => {
        const topic = await newTopic(3);
        const [none, some] = await client.topics.describe(['t-none', topic]);
        assert.equal(none, undefined);
        assert.equal(some!.partitions, 3);
        assert.ok(some!.topicId.length > 0);
        await assert.rejects(client.topics.bounds([{ topic: 't-none', partition: 0 }]), isTopicMissing);
      });

      test('ensure creates once and never changes an existing topic', async () => {
        const topic = await newTopic(2, {
          'cleanup.policy': 'compact',
          'max.message.bytes': '5000',
          'message.timestamp.after.max.ms': '3600000',
        });
        const again = await client.topics.ensure({
          topic,
          partitions: 7,
          configs: { 'cleanup.policy': 'delete' },
        });
        assert.equal(again.partitions, 2);
        assert.equal(again.configs['cleanup.policy'], 'compact');
        assert.equal(again.limits.maxBatchBytes, 5000);
        assert.equal(again.limits.timestampAfterMaxMs, 3_600_000);
      });

      test('offsets count up per partition and the bounds say so', async () => {
        const topic = await newTopic(2);
        assert.equal(
          await put(topic, 1, [
            ['a', '1'],
            ['b', '2'],
          ]),
          0,
        );
        assert.equal(await put(topic, 1, [['c', '3']]), 2);
        const bounds = await client.topics.bounds([0, 1].map((partition) => ({ topic, partition })));
        assert.deepEqual(bounds, [
          { start: 0, lastStable: 0, end: 0 },
          { start: 0, lastStable: 3, end: 3 },
        ]);
      });
    });

    describe('reading pages', () => {
      test('a page holds at least one batch, and pages of any size join to the whole', async () => {
        const topic = await newTopic();
        for (let batch = 0; batch < 10; batch++)
          await put(
            topic,
            0,
            [0, 1, 2].map((n) => [`k${batch}`, `v${n}`] as const),
          );
        const whole = await readAll(client, { topic, partition: 0 });
        assert.equal(whole.length, 30);
        assert.deepEqual(
          whole.map((record) => record.offset),
          Array.from({ length: 30 }, (_, n) => n),
        );
        assert.deepEqual(await readAll(client, { topic, partition: 0 }, { maxBytes: 1 }), whole);
        assert.deepEqual(await readAll(client, { topic, partition: 0 }, { maxBytes: 250 }), whole);
      });

      test('a page from the middle of a batch gives the records from there on', async () => {
        const topic = await newTopic();
        await put(topic, 0, [
          ['a', '0'],
          ['b', '1'],
          ['c', '2'],
        ]);
        const seen = await readAll(client, { topic, partition: 0 }, { from: 1 });
        assert.deepEqual(
          seen.map((record) => record.key),
          ['b', 'c'],
        );
      });

      test('at the end a page is empty and next equals from', async () => {
        const topic = await newTopic();
        await put(topic, 0, [['a', '0']]);
        const page = await client.read({
          topic,
          partition: 0,
          from: 1,
          maxBytes: 100,
          isolation: 'read_committed',
        });
        assert.equal(page.bytes.byteLength, 0);
        assert.equal(page.next, 1);
        assert.deepEqual(page.bounds, { start: 0, lastStable: 1, end: 1 });
      });

      test('an offset beyond the end is refused with the bounds', async () => {
        const topic = await newTopic();
        await put(topic, 0, [['a', '0']]);
        const reading = client.read({
          topic,
          partition: 0,
          from: 2,
          maxBytes: 100,
          isolation: 'read_committed',
        });
        await assert.rejects(reading, (error) => {
          assert.ok(isPartitaError(error, 'OFFSET_OUT_OF_RANGE'));
          assert.deepEqual(error.details['bounds'], { start: 0, lastStable: 1, end: 1 });
          return true;
        });
      });

      test('the caller owns a page: changing it changes nothing in the log', async () => {
        const topic = await newTopic();
        await put(topic, 0, [['a', '0']]);
        const request = { topic, partition: 0, from: 0, maxBytes: 100, isolation: 'read_committed' } as const;
        const first = await client.read(request);
        new Uint8Array(first.bytes).fill(0);
        structuredClone(first.bytes, { transfer: [first.bytes] });
        const second = await client.read(request);
        assert.equal(decode(second.bytes, 0, second.aborted).records[0]!.key, 'a');
      });
    });

    describe('appends outside transactions', () => {
      test('a batch beyond the size limit is refused and names topic and partition', async () => {
        const topic = await newTopic(1, { 'max.message.bytes': '2000' });
        await assert.rejects(put(topic, 0, [['a', 'x'.repeat(3000)]]), (error) => {
          assert.ok(isPartitaError(error, 'RECORD_TOO_LARGE'));
          assert.match(error.message, new RegExp(topic));
          return true;
        });
        assert.equal(await put(topic, 0, [['a', 'x'.repeat(1000)]]), 0);
      });

      test('a timestamp more than an hour ahead is refused, an old one is not', async () => {
        const topic = await newTopic(1, { 'message.timestamp.after.max.ms': '3600000' });
        await assert.rejects(put(topic, 0, [['a', '1', Date.now() + 7_200_000]]), (error) =>
          isPartitaError(error, 'TIMESTAMP_OUT_OF_RANGE'),
        );
        assert.equal(await put(topic, 0, [['a', '1', 1_000]]), 0);
      });

      test('a topic with log-append time replaces the timestamps', async () => {
        const topic = await newTopic(1, { 'message.timestamp.type': 'LogAppendTime' });
        const earliest = Date.now() - 60_000;
        await put(topic, 0, [['a', '1', 5]]);
        const [record] = await readAll(client, { topic, partition: 0 });
        assert.ok(record!.timestamp > earliest);
      });

      test('one call may hold many batches of many partitions, each in order', async () => {
        const topic = await newTopic(2);
        const outputs = client.outputs();
        const results = await outputs.produce([
          batchOf(topic, 0, [['a', '0']]),
          batchOf(topic, 1, [['b', '0']]),
          batchOf(topic, 0, [
            ['a', '1'],
            ['a', '2'],
          ]),
        ]);
        assert.deepEqual(
          results.map((result) => result.baseOffset),
          [0, 0, 1],
        );
        await outputs.produce([batchOf(topic, 0, [['a', '3']])]);
        await outputs.close();
        const values = (await readAll(client, { topic, partition: 0 })).map((record) => record.value);
        assert.deepEqual(values, ['0', '1', '2', '3']);
      });

      test('what is given up before it is sent is not appended', async () => {
        const topic = await newTopic();
        const outputs = client.outputs();
        const call = outputs.produce([batchOf(topic, 0, [['a', '1']])], { signal: AbortSignal.abort() });
        await assert.rejects(call, (error) => isPartitaError(error, 'CALL_ABORTED'));
        await outputs.produce([batchOf(topic, 0, [['a', '2']])], { signal: new AbortController().signal });
        await outputs.close();
        const values = (await readAll(client, { topic, partition: 0 })).map((record) => record.value);
        assert.deepEqual(values, ['2']);
      });

      test('an append to a topic that does not exist is refused', async () => {
        await assert.rejects(put('t-none', 0, [['a', '1']]), isTopicMissing);
      });
    });

    describe('transactions', () => {
      test('batches and offsets become visible together, in the order given', async () => {
        const topic = await newTopic(2);
        const input = await newTopic(1);
        await put(input, 0, [
          ['x', '1'],
          ['x', '2'],
        ]);
        const group = `g-${randomUUID()}`;
        const producer = await newProducer();
        const outcome = await producer.commitTransaction({
          batches: [
            batchOf(topic, 0, [
              ['a', '1'],
              ['b', '2'],
            ]),
            batchOf(topic, 1, [['c', '3']]),
            batchOf(topic, 0, [['d', '4']]),
          ],
          group,
          offsets: [{ topic: input, partition: 0, offset: 2, metadata: '1:7' }],
        });
        assert.deepEqual(outcome, { kind: 'committed', baseOffsets: [0, 0, 2], lastOffsets: [1, 0, 2] });
        await settledBounds({ topic, partition: 0 });
        const keys = (await readAll(client, { topic, partition: 0 })).map((record) => record.key);
        assert.deepEqual(keys, ['a', 'b', 'd']);
        assert.deepEqual(
          await client.committed(group, [
            { topic: input, partition: 0 },
            { topic, partition: 0 },
          ]),
          [{ offset: 2, metadata: '1:7' }, undefined],
        );
        assert.ok((await settledBounds({ topic, partition: 0 })).end > 2);
      });

      test('transactions of one producer follow each other, with offsets alone too', async () => {
        const topic = await newTopic();
        const group = `g-${randomUUID()}`;
        const producer = await newProducer();
        let last = -1;
        for (let n = 0; n < 5; n++) {
          const outcome = await producer.commitTransaction({
            batches: n % 2 === 0 ? [batchOf(topic, 0, [['k', String(n)]])] : [],
            group,
            offsets: [{ topic, partition: 0, offset: n, metadata: `m${n}` }],
          });
          assert.equal(outcome.kind, 'committed');
          if (n % 2 === 0) {
            assert.ok(outcome.baseOffsets[0]! > last);
            last = outcome.lastOffsets[0]!;
          }
          const committed = await client.committed(group, [{ topic, partition: 0 }]);
          assert.deepEqual(committed, [{ offset: n, metadata: `m${n}` }]);
        }
        await settledBounds({ topic, partition: 0 });
        const values = (await readAll(client, { topic, partition: 0 })).map((record) => record.value);
        assert.deepEqual(values, ['0', '2', '4']);
      });

      test('an init fences the holder before: its transaction changes nothing', async () => {
        const topic = await newTopic();
        const group = `g-${randomUUID()}`;
        const id = `id-${randomUUID()}`;
        const other = await log.connect('other');
        const old = await newProducer(id);
        const offsets = (offset: number) => [{ topic, partition: 0, offset, metadata: '' }];
        await old.commitTransaction({
          batches: [batchOf(topic, 0, [['a', '1']])],
          group,
          offsets: offsets(1),
        });
        const rightful = await newProducer(id, other);
        const zombie = await old.commitTransaction({
          batches: [batchOf(topic, 0, [['a', '2']])],
          group,
          offsets: offsets(2),
        });
        assert.equal(zombie.kind, 'fenced');
        assert.equal(
          (await old.commitTransaction({ batches: [], group, offsets: offsets(3) })).kind,
          'fenced',
        );
        assert.deepEqual(await client.committed(group, [{ topic, partition: 0 }]), [
          { offset: 1, metadata: '' },
        ]);
        const outcome = await rightful.commitTransaction({
          batches: [batchOf(topic, 0, [['a', '3']])],
          group,
          offsets: offsets(4),
        });
        assert.equal(outcome.kind, 'committed');
        await settledBounds({ topic, partition: 0 });
        const values = (await readAll(client, { topic, partition: 0 })).map((record) => record.value);
        assert.deepEqual(values, ['1', '3']);
        await other.close();
      });

      test('different transactional ids do not fence each other', async () => {
        const topic = await newTopic(2);
        const group = `g-${randomUUID()}`;
        const producers = await Promise.all([newProducer(), newProducer()]);
        const outcomes = await Promise.all(
          producers.map((producer, partition) =>
            producer.commitTransaction({
              batches: [batchOf(topic, partition, [['a', '1']]), batchOf(topic, 0, [['b', '1']])],
              group,
              offsets: [{ topic, partition, offset: 1, metadata: '' }],
            }),
          ),
        );
        assert.deepEqual(
          outcomes.map((outcome) => outcome.kind),
          ['committed', 'committed'],
        );
      });

      test('a transaction with a batch that its topic refuses is rejected as a whole', async () => {
        const topic = await newTopic(2, { 'max.message.bytes': '2000' });
        const group = `g-${randomUUID()}`;
        const producer = await newProducer();
        const outcome = await producer.commitTransaction({
          batches: [batchOf(topic, 0, [['a', '1']]), batchOf(topic, 1, [['a', 'x'.repeat(3000)]])],
          group,
          offsets: [{ topic, partition: 0, offset: 1, metadata: '' }],
        });
        assert.equal(outcome.kind, 'rejected');
        assert.deepEqual(await client.committed(group, [{ topic, partition: 0 }]), [undefined]);
        assert.deepEqual(await readAll(client, { topic, partition: 0 }), []);
        const next = await producer.commitTransaction({
          batches: [batchOf(topic, 0, [['a', '2']])],
          group,
          offsets: [],
        });
        assert.equal(next.kind, 'committed');
      });

      if (can('leaveOpen'))
        test('an open transaction hides what follows it until the next init aborts it', async () => {
          const topic = await newTopic();
          const id = `id-${randomUUID()}`;
          await put(topic, 0, [['before', '1']]);
          await log.leaveOpen!({
            transactionalId: id,
            transactionTimeoutMs: 10_000,
            batches: [batchOf(topic, 0, [['dead', '1']])],
          });
          await put(topic, 0, [['after', '1']]);
          const keys = async (isolation: 'read_committed' | 'read_uncommitted') =>
            (await readAll(client, { topic, partition: 0 }, { isolation })).map((record) => record.key);
          const [blocked] = await client.topics.bounds([{ topic, partition: 0 }]);
          assert.deepEqual(blocked, { start: 0, lastStable: 1, end: 3 });
          assert.deepEqual(await keys('read_committed'), ['before']);
          assert.deepEqual(await keys('read_uncommitted'), ['before', 'dead', 'after']);
          await newProducer(id);
          const [settled] = await client.topics.bounds([{ topic, partition: 0 }]);
          assert.deepEqual(settled, { start: 0, lastStable: 4, end: 4 });
          assert.deepEqual(await keys('read_committed'), ['before', 'after']);
        });

      if (can('leaveOpen'))
        test('an aborted transaction is filtered whatever page it falls into, also between committed ones of its producer', async () => {
          const topic = await newTopic();
          const id = `id-${randomUUID()}`;
          const commit = async (producer: TransactionalProducer, key: string) => {
            const outcome = await producer.commitTransaction({
              batches: [batchOf(topic, 0, [[key, '1']])],
              group: 'g',
              offsets: [],
            });
            assert.equal(outcome.kind, 'committed');
          };
          await commit(await newProducer(id), 'a');
          for (const dead of ['x', 'y'])
            await log.leaveOpen!({
              transactionalId: id,
              transactionTimeoutMs: 10_000,
              batches: [batchOf(topic, 0, [[dead, '1']]), batchOf(topic, 0, [[dead, '2']])],
            });
          await commit(await newProducer(id), 'b');
          for (const maxBytes of [1, 200, 1 << 20]) {
            const seen = await readAll(client, { topic, partition: 0 }, { maxBytes });
            assert.deepEqual(
              seen.map((record) => record.key),
              ['a', 'b'],
            );
          }
        });
    });

    describe('groups', () => {
      test('a single member gets everything, from where it seeks, and nothing before it has resumed', async () => {
        const topic = await newTopic(3);
        for (let partition = 0; partition < 3; partition++)
          await put(topic, partition, [
            ['a', '0'],
            ['b', '1'],
          ]);
        const member = new TestMember();
        member.autoResume = false;
        const session = await join(member, { group: `g-${randomUUID()}`, topics: [topic] });
        await until('it is assigned', () => member.assignments.length === 1);
        assert.equal(member.assignments[0]!.gained.length, 3);
        assert.equal(member.assignments[0]!.memberId, session.memberId);
        await sleep(50);
        assert.equal(member.chunks.length, 0);
        session.seek({ topic, partition: 1 }, 1);
        session.resume([{ topic, partition: 1 }]);
        await until('the record arrives', () => member.records({ topic, partition: 1 }).length === 1);
        assert.equal(member.records({ topic, partition: 1 })[0]!.key, 'b');
        assert.equal(
          member.chunks.every((chunk) => chunk.partition === 1),
          true,
        );
        assert.equal(await session.owns({ topic, partition: 0 }), 'yes');
        assert.equal(await session.owns({ topic, partition: 9 }), 'no');
        await session.leave();
        assert.deepEqual(member.errors, []);
      });

      test('records arrive once, in order, in chunks that join, and appended ones follow', async () => {
        const topic = await newTopic(2);
        const member = new TestMember();
        const session = await join(member, {
          group: `g-${randomUUID()}`,
          topics: [topic],
          maxBytesPerPartition: 300,
        });
        for (let n = 0; n < 20; n++)
          await put(topic, n % 2, [
            [`k${n}`, 'x'.repeat(50)],
            [`k${n}`, 'y'],
          ]);
        const of = (partition: number) => member.records({ topic, partition });
        await until('everything arrives', () => of(0).length === 20 && of(1).length === 20);
        for (const partition of [0, 1]) {
          assert.deepEqual(
            of(partition).map((record) => record.offset),
            Array.from({ length: 20 }, (_, n) => n),
          );
          let next = 0;
          for (const chunk of member.chunks.filter((c) => c.partition === partition)) {
            assert.equal(chunk.from, next);
            next = chunk.next;
          }
        }
        const fetches = member.chunks.map((chunk) => chunk.fetch);
        assert.deepEqual(
          fetches,
          [...new Set(fetches)].sort((a, b) => a - b),
        );
        await session.leave();
      });

      test('a partition at its end is reported by empty fetches', async () => {
        const topic = await newTopic();
        await put(topic, 0, [['a', '1']]);
        const member = new TestMember();
        const session = await join(member, { group: `g-${randomUUID()}`, topics: [topic] });
        await until(
          'two empty fetches came',
          () => member.chunks.filter((c) => c.bytes.byteLength === 0).length >= 2,
        );
        const last = member.chunks.at(-1)!;
        assert.deepEqual([last.from, last.next, last.lastStable, last.highWatermark], [1, 1, 1, 1]);
        await session.leave();
      });

      test('when one topic of a stream brings data, the end of the other is reported by a later fetch', async () => {
        const [a, b] = [await newTopic(), await newTopic()];
        const member = new TestMember();
        const session = await join(member, {
          group: `g-${randomUUID()}`,
          topics: [a, b],
          streams: { s: [a, b] },
        });
        await until('both are reported empty', () => new Set(member.chunks.map((c) => c.topic)).size === 2);
        await put(a, 0, [['k', '1']]);
        await until('the record arrives', () => member.records({ topic: a, partition: 0 }).length === 1);
        const { fetch } = member.chunks.find((chunk) => chunk.topic === a && chunk.bytes.byteLength > 0)!;
        await until('the other is at its end after that', () =>
          member.chunks.some((chunk) => chunk.topic === b && chunk.fetch > fetch),
        );
        await session.leave();
      });

      test('a paused partition brings nothing and goes on where it was when resumed', async () => {
        const topic = await newTopic();
        const id = { topic, partition: 0 };
        const member = new TestMember();
        const session = await join(member, { group: `g-${randomUUID()}`, topics: [topic] });
        await put(topic, 0, [['a', '1']]);
        await until('the first arrives', () => member.records(id).length === 1);
        session.pause([id]);
        await put(topic, 0, [['b', '2']]);
        await sleep(50);
        assert.equal(member.records(id).length, 1);
        session.resume([id]);
        await until('the second arrives', () => member.records(id).length === 2);
        await session.leave();
      });

      test('seek repeats or skips, and nextEpoch marks later chunks', async () => {
        const topic = await newTopic();
        const id = { topic, partition: 0 };
        await put(topic, 0, [
          ['a', '0'],
          ['b', '1'],
          ['c', '2'],
        ]);
        const member = new TestMember();
        const session = await join(member, { group: `g-${randomUUID()}`, topics: [topic] });
        await until('all arrive', () => member.records(id).length === 3);
        const epoch = session.nextEpoch(id);
        assert.ok(epoch > member.assignments[0]!.epoch);
        session.seek(id, 2);
        await until('the last arrives again', () => member.records(id).length === 4);
        assert.deepEqual(
          member.records(id).map((record) => record.key),
          ['a', 'b', 'c', 'c'],
        );
        const repeated = member.chunks.filter((chunk) => chunk.bytes.byteLength > 0).at(-1)!;
        assert.equal(repeated.epoch, epoch);
        await session.leave();
      });

      test('a position outside the bounds is told, and fetching goes on after a seek', async () => {
        const topic = await newTopic();
        const id = { topic, partition: 0 };
        await put(topic, 0, [['a', '0']]);
        const member = new TestMember();
        member.positions.set(name(id), 99);
        const session = await join(member, { group: `g-${randomUUID()}`, topics: [topic] });
        await until('it is told', () => member.outOfRange.length === 1);
        assert.deepEqual(member.outOfRange, [id]);
        session.seek(id, 0);
        session.resume([id]);
        await until('the record arrives', () => member.records(id).length === 1);
        assert.equal(member.outOfRange.length, 1);
        await session.leave();
      });

      if (can('leaveOpen'))
        test('chunks hold committed records only', async () => {
          const topic = await newTopic();
          const transactionalId = `id-${randomUUID()}`;
          await log.leaveOpen!({
            transactionalId,
            transactionTimeoutMs: 10_000,
            batches: [batchOf(topic, 0, [['dead', '1']])],
          });
          await put(topic, 0, [['alive', '1']]);
          const member = new TestMember();
          const session = await join(member, { group: `g-${randomUUID()}`, topics: [topic] });
          await until('it is told of the end', () => member.chunks.length > 0);
          const [first] = member.chunks;
          assert.deepEqual([first!.bytes.byteLength, first!.lastStable, first!.highWatermark], [0, 0, 2]);
          await newProducer(transactionalId);
          await until('the record arrives', () => member.records({ topic, partition: 0 }).length > 0);
          assert.deepEqual(
            member.records({ topic, partition: 0 }).map((record) => record.key),
            ['alive'],
          );
          await session.leave();
        });

      test('a second member takes its share behind the revoke barrier of the first, in which commits succeed', async () => {
        const topic = await newTopic(4);
        const group = `g-${randomUUID()}`;
        const producer = await newProducer();
        const first = new TestMember();
        const second = new TestMember();
        const commits: string[] = [];
        first.revoke = async () => {
          assert.equal(
            second.assignments.length,
            0,
            'the second member was assigned before the barrier ended',
          );
          const outcome = await producer.commitTransaction({
            batches: [],
            group,
            offsets: [{ topic, partition: 0, offset: 3, metadata: 'in the barrier' }],
          });
          assert.equal(await first.session!.owns({ topic, partition: 0 }), 'yes');
          await sleep(30);
          commits.push(outcome.kind);
          assert.equal(
            second.assignments.length,
            0,
            'the second member was assigned before the barrier ended',
          );
        };
        const one = await join(first, { group, topics: [topic] });
        await until('the first has all', () => first.owned.size === 4);
        const other = await log.connect('other');
        const two = await join(second, { group, topics: [topic], advertise: 'second:1' }, other);
        await until('both have two', () => first.owned.size === 2 && second.owned.size === 2);
        assert.deepEqual(commits, ['committed']);
        assert.equal(new Set([...first.owned.keys(), ...second.owned.keys()]).size, 4);
        const assignment = first.assignments.at(-1)!;
        assert.equal(assignment.kept.length, 2);
        assert.equal(assignment.gained.length, 0);
        assert.equal(assignment.lost.length, 2);
        assert.ok(assignment.epoch > first.assignments[0]!.epoch);
        assert.ok(assignment.generation > first.assignments[0]!.generation);
        const [theirs] = [...second.owned.values()];
        assert.equal(await one.owns(theirs!), 'no');
        assert.equal(await two.owns(theirs!), 'yes');
        first.revoke = async () => undefined;
        await one.leave();
        await until('the second has all', () => second.owned.size === 4);
        await two.leave();
        await other.close();
        assert.deepEqual([...first.errors, ...second.errors], []);
      });

      test('kept partitions go on where they were after a rebalance', async () => {
        const topic = await newTopic(2);
        const group = `g-${randomUUID()}`;
        const first = new TestMember();
        const second = new TestMember();
        const one = await join(first, { group, topics: [topic] });
        for (const partition of [0, 1]) await put(topic, partition, [['a', '0']]);
        await until('the first has read both', () =>
          [0, 1].every((partition) => first.records({ topic, partition }).length === 1),
        );
        const two = await join(second, { group, topics: [topic] });
        await until('each has one', () => first.owned.size === 1 && second.owned.size === 1);
        const [kept] = [...first.owned.values()];
        await put(topic, kept!.partition, [['b', '1']]);
        await until('the next arrives', () => first.records(kept!).length === 2);
        assert.deepEqual(
          first.records(kept!).map((record) => record.key),
          ['a', 'b'],
        );
        await Promise.all([one.leave(), two.leave()]);
      });

      test('topics of one stream are assigned together', async () => {
        const [a, b] = [await newTopic(5), await newTopic(5)];
        for (const strategy of ['sticky', 'range'] as const) {
          const group = `g-${randomUUID()}`;
          const members = [new TestMember(), new TestMember()];
          const sessions: GroupSession[] = [];
          for (const member of members)
            sessions.push(await join(member, { group, topics: [a, b], streams: { s: [a, b] }, strategy }));
          await until(
            'all is assigned',
            () => members.every((m) => m.owned.size >= 4) && sum(members) === 10,
          );
          for (const member of members)
            for (const { partition } of member.owned.values())
              for (const topic of [a, b]) assert.ok(member.owned.has(name({ topic, partition })));
          await Promise.all(sessions.map((session) => session.leave()));
        }
      });

      test('a member that exceeds the rebalance timeout in its barrier is evicted, told so, and joins anew', async () => {
        const topic = await newTopic(2);
        const group = `g-${randomUUID()}`;
        const slow = new TestMember();
        const quick = new TestMember();
        let release: () => void = () => undefined;
        slow.revoke = () => new Promise((resolve) => (release = resolve));
        const one = await join(slow, { group, topics: [topic] });
        await until('the slow one has all', () => slow.owned.size === 2);
        const before = one.memberId;
        const two = await join(quick, { group, topics: [topic] });
        await until('the quick one has all', () => quick.owned.size === 2);
        assert.equal(await one.owns({ topic, partition: 0 }), 'no');
        slow.revoke = async () => undefined;
        release();
        await until('the slow one is told', () => slow.lost.length === 1);
        await until('they share', () => slow.owned.size === 1 && quick.owned.size === 1);
        assert.notEqual(one.memberId, before);
        await Promise.all([one.leave(), two.leave()]);
      });

      test('leave runs the barrier once, and nothing is delivered afterwards', async () => {
        const topic = await newTopic();
        const member = new TestMember();
        const session = await join(member, { group: `g-${randomUUID()}`, topics: [topic] });
        await until('it is assigned', () => member.owned.size === 1);
        await Promise.all([session.leave(), session.leave()]);
        assert.equal(member.revoked.length, 1);
        const calls = member.calls.length;
        await put(topic, 0, [['a', '1']]);
        await sleep(150);
        assert.equal(member.calls.length, calls);
        assert.equal(await session.owns({ topic, partition: 0 }), 'no');
      });

      test('joining for a topic that does not exist is refused', async () => {
        await assert.rejects(join(new TestMember(), { group: 'g', topics: ['t-none'] }), isTopicMissing);
      });
    });

    describe('compaction and deletion', () => {
      const keyed = async (topic: string) =>
        (await readAll(client, { topic, partition: 0 })).map((record) => [
          record.offset,
          record.key,
          record.value,
        ]);

      if (can('compact'))
        test('compaction keeps the last record of each key at its offset, tombstones too, and pages still reach the end', async () => {
          const topic = await newTopic(1, { 'cleanup.policy': 'compact' });
          await put(topic, 0, [
            ['a', '0'],
            ['b', '1'],
            ['a', '2'],
          ]);
          await put(topic, 0, [
            ['a', '3'],
            ['c', '4'],
          ]);
          await put(topic, 0, [
            ['b', null],
            ['c', '6'],
          ]);
          await log.compact!(topic);
          const expected = [
            [3, 'a', '3'],
            [5, 'b', null],
            [6, 'c', '6'],
          ];
          assert.deepEqual(await keyed(topic), expected);
          const [bounds] = await client.topics.bounds([{ topic, partition: 0 }]);
          assert.deepEqual(bounds, { start: 0, lastStable: 7, end: 7 });
          for (const from of [0, 1, 3, 4, 5])
            assert.deepEqual(
              (await readAll(client, { topic, partition: 0 }, { from, maxBytes: 1 })).map((r) => r.offset),
              [3, 5, 6].filter((offset) => offset >= from),
            );
          await put(topic, 0, [['a', '7']]);
          await log.compact!(topic);
          assert.deepEqual(await keyed(topic), [...expected.slice(1), [7, 'a', '7']]);
        });

      if (can('compact') && can('leaveOpen'))
        test('compaction removes what was aborted and the markers, and never the end of the log', async () => {
          const topic = await newTopic(1, { 'cleanup.policy': 'compact' });
          const transactionalId = `id-${randomUUID()}`;
          await put(topic, 0, [['a', 'good']]);
          const batches = [
            batchOf(topic, 0, [
              ['a', 'bad'],
              ['b', 'bad'],
            ]),
          ];
          await log.leaveOpen!({ transactionalId, transactionTimeoutMs: 10_000, batches });
          const producer = await newProducer(transactionalId);
          await producer.commitTransaction({
            batches: [batchOf(topic, 0, [['c', 'good']])],
            group: 'g',
            offsets: [],
          });
          await log.compact!(topic);
          assert.deepEqual(await keyed(topic), [
            [0, 'a', 'good'],
            [4, 'c', 'good'],
          ]);
          const [bounds] = await client.topics.bounds([{ topic, partition: 0 }]);
          assert.deepEqual(bounds, { start: 0, lastStable: 6, end: 6 });
          const uncommitted = await readAll(
            client,
            { topic, partition: 0 },
            { isolation: 'read_uncommitted' },
          );
          assert.equal(uncommitted.length, 2);
        });

      if (can('deleteRecords'))
        test('deleted records are gone and the start says so; a topic that only compacts refuses', async () => {
          const topic = await newTopic();
          for (let n = 0; n < 4; n++) await put(topic, 0, [['a', String(n)]]);
          await log.deleteRecords!(topic, 0, 2);
          const [bounds] = await client.topics.bounds([{ topic, partition: 0 }]);
          assert.deepEqual(bounds, { start: 2, lastStable: 4, end: 4 });
          const reading = client.read({
            topic,
            partition: 0,
            from: 1,
            maxBytes: 100,
            isolation: 'read_committed',
          });
          await assert.rejects(reading, (error) => isPartitaError(error, 'OFFSET_OUT_OF_RANGE'));
          assert.deepEqual(
            (await keyed(topic)).map(([offset]) => offset),
            [2, 3],
          );
          await log.deleteRecords!(topic, 0, 4);
          assert.equal(await put(topic, 0, [['a', '4']]), 4);
          assert.deepEqual(await keyed(topic), [[4, 'a', '4']]);
          const compacted = await newTopic(1, { 'cleanup.policy': 'compact' });
          await put(compacted, 0, [['a', '0']]);
          await assert.rejects(log.deleteRecords!(compacted, 0, 1), (error) =>
            isPartitaError(error, 'POLICY_VIOLATION'),
          );
        });
    });

    test('after close every call rejects LOG_CLOSED, and close may be repeated', async () => {
      const other = await log.connect('other');
      await other.close();
      await other.close();
      await assert.rejects(other.topics.describe(['t']), (error) => isPartitaError(error, 'LOG_CLOSED'));
    });
  });
}

function isTopicMissing(error: unknown): boolean {
  return isPartitaError(error, 'TOPIC_MISSING');
}

function sum(members: readonly TestMember[]): number {
  return members.reduce((total, member) => total + member.owned.size, 0);
}
