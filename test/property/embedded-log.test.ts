/**
 * The embedded log against a plain list of records with their fates: whatever is appended, committed, left open, aborted,
 * compacted, deleted and reopened in any order, both isolation levels read what the list says, in pages of any size.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import fc from 'fast-check';

import { embeddedLog, type EmbeddedLog } from '../../src/log/embedded/embedded-log.js';
import { batchOf, readAll, type SeenRecord } from '../contract/log-client.js';

const IDS = ['x', 'y'] as const;

interface ModelRecord {
  readonly offset: number;
  readonly key: string;
  readonly value: string | null;
  fate: 'committed' | 'aborted' | (typeof IDS)[number];
}

/** What the log must be: it knows offsets, markers and fates, and nothing of batches. */
class Model {
  records: ModelRecord[] = [];
  start = 0;
  end = 0;

  add(records: readonly (readonly [string, string | null])[], fate: ModelRecord['fate']): void {
    for (const [key, value] of records) this.records.push({ offset: this.end++, key, value, fate });
  }

  marker(): void {
    this.end++;
  }

  get lastStable(): number {
    const open = this.records.find((record) => record.fate === 'x' || record.fate === 'y');
    return open?.offset ?? this.end;
  }

  isOpen(id: string): boolean {
    return this.records.some((record) => record.fate === id);
  }

  abort(id: string): void {
    if (!this.isOpen(id)) return;
    for (const record of this.records) if (record.fate === id) record.fate = 'aborted';
    this.marker();
  }

  compact(): void {
    const limit = this.lastStable;
    const live = this.records.filter((record) => record.offset < limit && record.fate === 'committed');
    const last = new Map(live.map((record) => [record.key, record.offset]));
    this.records = this.records.filter(
      (record) =>
        record.offset >= limit || (record.fate === 'committed' && last.get(record.key) === record.offset),
    );
  }

  delete(before: number): void {
    this.start = Math.max(this.start, Math.min(before, this.lastStable));
    this.records = this.records.filter((record) => record.offset >= this.start);
  }

  committed() {
    const limit = this.lastStable;
    return this.records.filter((record) => record.fate === 'committed' && record.offset < limit).map(plain);
  }
}

function plain({ offset, key, value }: Pick<SeenRecord, 'offset' | 'key' | 'value'>) {
  return { offset, key, value };
}

const records = fc.array(
  fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.option(fc.string({ maxLength: 3 }), { nil: null })),
  { minLength: 1, maxLength: 4 },
);
const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ do: fc.constant('append' as const), records }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('commit' as const),
        id: fc.constantFrom(...IDS),
        records,
        more: records,
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('leaveOpen' as const), id: fc.constantFrom(...IDS), records }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('init' as const), id: fc.constantFrom(...IDS) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('compact' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('delete' as const), before: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('reopen' as const) }) },
  ),
  { maxLength: 25 },
);
type Step = typeof steps extends fc.Arbitrary<(infer S)[]> ? S : never;

async function apply(log: EmbeddedLog, model: Model, step: Exclude<Step, { do: 'reopen' }>): Promise<void> {
  const client = await log.connect({ clientId: 'c' });
  const producer = (transactionalId: string) =>
    client.producer({ transactionalId, transactionTimeoutMs: 1e9 });
  switch (step.do) {
    case 'append':
      await log.appendBatches([batchOf('t', 0, step.records)]);
      model.add(step.records, 'committed');
      break;
    case 'commit': {
      const owner = producer(step.id);
      await owner.init();
      model.abort(step.id);
      const batches = [batchOf('t', 0, step.records), batchOf('t', 0, step.more)];
      const outcome = await owner.commitTransaction({ batches, group: 'g', offsets: [] });
      assert.equal(outcome.kind, 'committed');
      assert.deepEqual(outcome.baseOffsets, [model.end, model.end + step.records.length]);
      model.add([...step.records, ...step.more], 'committed');
      model.marker();
      break;
    }
    case 'leaveOpen':
      model.abort(step.id);
      await log.leaveTransactionOpen({
        transactionalId: step.id,
        transactionTimeoutMs: 1e9,
        batches: [batchOf('t', 0, step.records)],
      });
      model.add(step.records, step.id);
      break;
    case 'init':
      await producer(step.id).init();
      model.abort(step.id);
      break;
    case 'compact':
      await log.compact('t');
      model.compact();
      break;
    case 'delete': {
      const before = Math.min(step.before, model.end);
      await log.deleteRecords('t', 0, before);
      model.delete(before);
      break;
    }
  }
  await client.close();
}

async function check(log: EmbeddedLog, model: Model): Promise<void> {
  const client = await log.connect({ clientId: 'c' });
  assert.deepEqual(await log.bounds('t'), [
    { start: model.start, lastStable: model.lastStable, end: model.end },
  ]);
  for (const maxBytes of [1, 150, 1 << 20]) {
    const seen = await readAll(client, { topic: 't', partition: 0 }, { maxBytes });
    assert.deepEqual(seen.map(plain), model.committed());
  }
  const all = await readAll(client, { topic: 't', partition: 0 }, { isolation: 'read_uncommitted' });
  assert.deepEqual(all.map(plain), model.records.map(plain));
  await client.close();
}

async function run(given: readonly Step[], dir: string | undefined): Promise<void> {
  const open = () => embeddedLog({ backgroundMs: 0, ...(dir === undefined ? {} : { dir }) });
  let log = await open();
  try {
    await log.createTopic({ topic: 't', partitions: 1, configs: { 'cleanup.policy': 'compact,delete' } });
    const model = new Model();
    for (const step of given) {
      if (step.do !== 'reopen') await apply(log, model, step);
      else if (dir !== undefined) {
        await log.close();
        log = await open();
      }
      await check(log, model);
    }
  } finally {
    await log.close();
  }
}

test('in memory, the log is what the list of its records says', async () => {
  await fc.assert(
    fc.asyncProperty(steps, (given) => run(given, undefined)),
    { numRuns: 300 },
  );
});

test('in a directory, the log is what the list of its records says, also after it was opened again', async () => {
  const root = await mkdtemp(join(tmpdir(), 'partita-model-'));
  let number = 0;
  try {
    await fc.assert(
      fc.asyncProperty(steps, (given) => run(given, join(root, String(number++)))),
      { numRuns: 60 },
    );
  } finally {
    await rm(root, { recursive: true });
  }
});
