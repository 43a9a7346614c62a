/** What the page reader makes of answers that are not a page: asked again, bounded, and told apart. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/core/clock.js';
import { isPartitaError } from '../../src/core/errors.js';
import type { LogPage } from '../../src/core/log-types.js';
import type { BrokerConnection } from '../../src/log/kafka/kafkajs-internals.js';
import { PageReader } from '../../src/log/kafka/page-reader.js';
import { CODES, batch, encodeAnswer, type PartitionAnswer } from '../support/scripted-brokers.js';

const REQUEST = { topic: 't', partition: 0, from: 3, maxBytes: 100, isolation: 'read_committed' } as const;
const BOUNDS = { start: 1, lastStable: 8, end: 9 };

interface Reading {
  readonly result: Promise<LogPage>;
  readonly asked: readonly number[];
}

/** A read that is answered so, the last answer for ever. */
function reading(answers: readonly Omit<PartitionAnswer, 'topic' | 'partition'>[]): Reading {
  const clock = new ManualClock();
  const asked: number[] = [];
  const connection: Pick<BrokerConnection, 'fetch'> = {
    fetch: async (request, decode) => {
      const answer = answers[Math.min(asked.length, answers.length - 1)];
      asked.push(request.maxBytes);
      return decode(encodeAnswer([{ topic: 't', partition: 0, ...answer }]));
    },
  };
  const reader = new PageReader(
    {
      clock,
      errorType: (code) => Object.entries(CODES).find(([, known]) => known === code)![0],
      onLeader: async (_at, _purpose, _what, ask) => ask(connection as BrokerConnection, 1),
    },
    { bounds: async () => [BOUNDS] },
  );
  const result = reader.read(REQUEST);
  void clock.advanceAsync(60_000);
  return { result, asked };
}

test('a page begins where it was asked for and ends behind its last whole batch', async () => {
  const bytes = Buffer.concat([batch(2, 3), batch(5, 2), batch(7, 1).subarray(0, 70)]);
  const page = await reading([{ bytes, end: 9, lastStable: 8 }]).result;
  assert.deepEqual([page.from, page.next], [3, 7]);
  assert.deepEqual(Buffer.from(page.bytes), Buffer.concat([batch(2, 3), batch(5, 2)]));
});

test('an empty page is the end only where the leader says so', async () => {
  const behind = { end: 9, lastStable: 8 };
  const { result, asked } = reading([behind, behind, { bytes: batch(3, 1), ...behind }]);
  assert.equal((await result).next, 4);
  assert.equal(asked.length, 3);
  const atEnd = await reading([{ end: 9, lastStable: 3 }]).result;
  assert.deepEqual([atEnd.next, atEnd.bytes.byteLength], [3, 0]);
});

test('a leader that gives nothing where something should be is given up after some tries', async () => {
  const { result, asked } = reading([{ end: 9, lastStable: 8 }]);
  await assert.rejects(result, (error) => isPartitaError(error, 'LOG_UNAVAILABLE'));
  assert.equal(asked.length, 9);
});

test('a part of a batch is asked for again in more bytes, and at last is corrupt', async () => {
  const part = { bytes: batch(3, 9).subarray(0, 80), end: 12 };
  const { result, asked } = reading([part, part, { bytes: batch(3, 9), end: 12 }]);
  assert.equal((await result).next, 12);
  assert.deepEqual(asked, [100, 400, 1_600]);
  await assert.rejects(reading([part]).result, (error) => {
    assert.ok(isPartitaError(error, 'RECORD_BATCH_CORRUPT'));
    assert.deepEqual(error.details, { topic: 't', partition: 0, offset: 3 });
    return true;
  });
});

test('bytes of another format than record batches v2 are no batches', async () => {
  const old = batch(3, 9);
  old[16] = 1;
  await assert.rejects(reading([{ bytes: old, end: 12 }]).result, (error) =>
    isPartitaError(error, 'RECORD_BATCH_CORRUPT'),
  );
});

test('an offset that is in range after all is asked for again', async () => {
  const { result } = reading([{ error: 'OFFSET_OUT_OF_RANGE' }, { bytes: batch(3, 1), end: 9 }]);
  assert.equal((await result).next, 4);
});
