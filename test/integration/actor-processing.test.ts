// One actor alone: what a record, a command and a query may do, and what is left when they fail.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PartitaError } from '../../src/core/errors.js';
import { isPartitaError } from '../../src/core/errors.js';
import { keyValue, topic } from '../../src/processor/declarations.js';
import { defineProcessor, type ErrorPolicy } from '../../src/processor/define-processor.js';
import { json, string } from '../../src/codec/serdes.js';
import { ActorHarness } from '../support/actor-harness.js';

interface Order {
  readonly amount: number;
  readonly fail?: boolean;
}

const sums = (onError: ErrorPolicy = 'fail', before?: () => Promise<void>) =>
  defineProcessor({
    inputs: { orders: topic({ key: string(), value: json<Order>() }) },
    outputs: { totals: topic({ key: string(), value: json<number>() }) },
    stores: { totals: keyValue({ key: string(), value: json<number>() }) },
    onError,
    process(record, { stores, emit }) {
      const work = (): void => {
        const total = (stores.totals.get(record.key) ?? 0) + record.value.amount;
        stores.totals.set(record.key, total);
        emit.totals(record.key, total);
        if (record.value.fail === true) throw new Error('told to');
      };
      if (before !== undefined) return before().then(work);
      work();
      return undefined;
    },
    queries: {
      total: ({ stores }, key) => stores.totals.get(key),
      all: async ({ stores }) => {
        const found: [string, number][] = [];
        for await (const [key, total] of stores.totals.entries()) found.push([key, total]);
        return found;
      },
    },
    commands: {
      set: ({ stores, emit }, key: string, total: number) => {
        stores.totals.set(key, total);
        emit.totals(key, total);
        if (total < 0) throw new RangeError('below zero');
        return total;
      },
    },
  }).definition;

async function order(harness: ActorHarness, key: string | null, value: Order | string): Promise<void> {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  await harness.log.produce('orders', [{ key, value: text, timestamp: 1_000, partition: 0 }]);
}

for (const mode of ['sync', 'async'] as const) {
  const before = mode === 'sync' ? undefined : () => Promise.resolve();
  describe(`a processor with ${mode} handlers`, () => {
    it('keeps state, emits, and both are there after a commit and a cold recovery', async () => {
      await using harness = await ActorHarness.make({ definition: sums('fail', before) });
      await harness.boot();
      for (let i = 1; i <= 10; i++) await order(harness, i % 2 === 0 ? 'even' : 'odd', { amount: i });
      await harness.feed('orders');
      assert.deepEqual(await harness.query('all', undefined), [
        ['even', 30],
        ['odd', 25],
      ]);
      assert.equal((await harness.read('totals')).length, 0, 'outputs wait for their checkpoint');
      await harness.actor.checkpoint('asked');
      assert.equal((await harness.read('totals')).length, 10);
      await harness.crash();
      const recovered = await harness.boot();
      assert.equal(recovered.restoredRecords, 2);
      assert.deepEqual(recovered.positions, [{ topic: 'orders', offset: 10 }]);
      assert.equal(await harness.query('total', 'odd'), 25);
    });

    it('loses and repeats nothing that was not committed when it crashes', async () => {
      await using harness = await ActorHarness.make({ definition: sums('fail', before) });
      await harness.boot();
      await order(harness, 'a', { amount: 1 });
      await harness.feed('orders');
      await harness.actor.checkpoint('asked');
      await order(harness, 'a', { amount: 2 });
      await harness.feed('orders');
      await harness.crash();
      await harness.boot();
      assert.equal(await harness.query('total', 'a'), 1);
      await harness.feed('orders');
      assert.equal(await harness.query('total', 'a'), 3);
      await harness.actor.checkpoint('asked');
      assert.deepEqual(
        (await harness.read('totals')).map(({ value }) => value),
        ['1', '3'],
      );
    });

    it('rolls a failed record back, skips it and goes on', async () => {
      await using harness = await ActorHarness.make({ definition: sums('skip', before) });
      await harness.boot();
      await order(harness, 'a', { amount: 1 });
      await order(harness, 'a', { amount: 5, fail: true });
      await order(harness, 'a', '{not json');
      await order(harness, null, { amount: 1 });
      await order(harness, 'a', { amount: 2 });
      await harness.feed('orders');
      await harness.actor.checkpoint('asked');
      assert.equal(await harness.query('total', 'a'), 3);
      assert.deepEqual(
        (await harness.read('totals')).map(({ value }) => value),
        ['1', '3'],
      );
      assert.equal((await harness.actor.stats()).skipped, 3);
    });

    it('sends a failed record to a dead letter topic with its origin, in the same transaction', async () => {
      await using harness = await ActorHarness.make({ definition: sums({ deadLetter: 'dead' }, before) });
      await harness.log.createTopic({ topic: 'dead', partitions: 1 });
      await harness.boot();
      await order(harness, 'a', { amount: 1 });
      await order(harness, 'b', '{not json');
      await harness.feed('orders');
      assert.equal((await harness.read('dead')).length, 0);
      await harness.actor.checkpoint('asked');
      const [letter] = await harness.read('dead');
      assert.equal(letter?.key, 'b');
      assert.equal(letter.value, '{not json');
      const headers = new Map(letter.headers);
      assert.equal(headers.get('partita.topic'), 'orders');
      assert.equal(headers.get('partita.offset'), '1');
      assert.equal(headers.get('partita.error.code'), 'SERDE_FAILED');
    });

    it('ends the actor under `fail`, leaves nothing of the record, and says so', async () => {
      await using harness = await ActorHarness.make({ definition: sums('fail', before) });
      await harness.boot();
      await order(harness, 'a', { amount: 1 });
      await harness.feed('orders');
      await harness.actor.checkpoint('asked');
      await order(harness, 'a', { amount: 9, fail: true });
      await assert.rejects(harness.feed('orders'), (error) => isPartitaError(error, 'ACTOR_RESTARTED'));
      const failure = await harness.failure;
      assert.ok(isPartitaError(failure, 'HANDLER_FAILED'));
      assert.equal(failure.details['offset'], 1);
      await harness.boot();
      assert.equal(await harness.query('total', 'a'), 1);
    });
  });
}

describe('commands', () => {
  it('change state in order with records and are acknowledged with their commit', async () => {
    await using harness = await ActorHarness.make({ definition: sums() });
    await harness.boot();
    await order(harness, 'a', { amount: 1 });
    await harness.feed('orders');
    assert.equal(await harness.command('set', 'a', 40), 40);
    await harness.crash();
    await harness.boot();
    assert.equal(await harness.query('total', 'a'), 40);
    assert.deepEqual(
      (await harness.read('totals')).map(({ value }) => value),
      ['1', '40'],
    );
  });

  it('leave no trace when they throw, and their caller gets the error', async () => {
    await using harness = await ActorHarness.make({ definition: sums() });
    await harness.boot();
    await assert.rejects(harness.command('set', 'a', -1), (error) => {
      assert.ok(isPartitaError(error, 'HANDLER_FAILED'));
      assert.ok(error.cause instanceof RangeError);
      return true;
    });
    assert.equal(await harness.query('total', 'a'), undefined);
    await harness.command('set', 'b', 1);
    assert.equal((await harness.read('totals')).length, 1);
  });

  it('leave inside the transaction under at-least-once, while outputs of records leave at once', async () => {
    await using harness = await ActorHarness.make({
      definition: sums(),
      options: { guarantee: 'at-least-once', commandLingerMs: 300 },
    });
    await harness.boot();
    await order(harness, 'a', { amount: 1 });
    await harness.feed('orders');
    const command = harness.command('set', 'b', 2);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual(
      (await harness.read('totals')).map(({ key }) => key),
      ['a'],
    );
    await command;
    assert.deepEqual((await harness.read('totals')).map(({ key }) => key).sort(), ['a', 'b']);
  });

  it('are rejected as not applied when the actor dies before their commit', async () => {
    await using harness = await ActorHarness.make({
      definition: sums(),
      options: { commandLingerMs: 60_000 },
    });
    await harness.boot();
    const command = harness.command('set', 'a', 1);
    await harness.query('total', 'a');
    const rejected = assert.rejects(
      command,
      (error) => isPartitaError(error, 'ACTOR_RESTARTED') && error.details['outcome'] === 'notApplied',
    );
    await harness.crash();
    await rejected;
  });

  it('have a name that is declared, as queries do', async () => {
    await using harness = await ActorHarness.make({ definition: sums() });
    await harness.boot();
    await assert.rejects(harness.command('toString', 'a'), (error) =>
      isPartitaError(error, 'UNKNOWN_COMMAND'),
    );
    await assert.rejects(harness.query('nope', 'a'), (error) => isPartitaError(error, 'UNKNOWN_QUERY'));
  });
});

describe('queries', () => {
  it('see uncommitted changes as `latest` and not as `committed`', async () => {
    await using harness = await ActorHarness.make({ definition: sums() });
    await harness.boot();
    await order(harness, 'a', { amount: 1 });
    await harness.feed('orders');
    assert.equal(await harness.query('total', 'a'), 1);
    assert.equal(await harness.query('total', 'a', 'committed'), undefined);
    await harness.actor.checkpoint('asked');
    assert.equal(await harness.query('total', 'a', 'committed'), 1);
  });
});

describe('a context', () => {
  it('is closed once its record has ended', async () => {
    const kept: (() => unknown)[] = [];
    const definition = defineProcessor({
      inputs: { orders: topic({ key: string(), value: json<Order>() }) },
      outputs: { totals: topic({ key: string(), value: json<number>() }) },
      stores: { totals: keyValue({ key: string(), value: json<number>() }) },
      process(record, { stores, emit }) {
        kept.push(
          () => stores.totals.get(record.key),
          () => {
            emit.totals(record.key, 1);
          },
        );
      },
    }).definition;
    await using harness = await ActorHarness.make({ definition });
    await harness.boot();
    await order(harness, 'a', { amount: 1 });
    await harness.feed('orders');
    assert.equal(kept.length, 2);
    for (const use of kept) assert.throws(use, (error) => isPartitaError(error, 'RECORD_CLOSED'));
  });
});

describe('limits of the log', () => {
  it('are errors of the record at `emit`, so that the rest of its batch goes through', async () => {
    const caught: string[] = [];
    const definition = defineProcessor({
      inputs: { orders: topic({ key: string(), value: json<Order>() }) },
      outputs: { totals: topic({ key: string(), value: string() }) },
      process(record, { emit }) {
        for (const attempt of [
          () => {
            emit.totals('k', 'x'.repeat(200_000));
          },
          () => {
            emit.totals('k', 'far', { timestamp: Date.now() + 86_400_000 });
          },
          () => {
            emit.totals('k', 'part', { partition: 9 });
          },
        ])
          try {
            attempt();
          } catch (error) {
            caught.push((error as PartitaError).code);
          }
        emit.totals(record.key, 'fine', { headers: { h: '1' } });
      },
    }).definition;
    await using harness = await ActorHarness.make({
      definition,
      outputConfigs: { 'max.message.bytes': '100000' },
    });
    await harness.boot();
    await order(harness, 'a', { amount: 1 });
    await harness.feed('orders');
    await harness.actor.checkpoint('asked');
    assert.deepEqual(caught, ['RECORD_TOO_LARGE', 'TIMESTAMP_OUT_OF_RANGE', 'INVALID_ARGUMENT']);
    assert.deepEqual(await harness.read('totals'), [{ key: 'a', value: 'fine', headers: [['h', '1']] }]);
  });

  it('a record whose emits pass the limit together still goes through, and is taken back whole', async () => {
    const definition = defineProcessor({
      inputs: { orders: topic({ key: string(), value: json<Order>() }) },
      outputs: { totals: topic({ key: string(), value: string() }) },
      onError: 'skip',
      process(record, { emit }) {
        for (let i = 0; i < 20; i++) emit.totals('k', 'x'.repeat(40_000));
        if (record.value.fail === true) throw new Error('told to');
      },
    }).definition;
    await using harness = await ActorHarness.make({
      definition,
      outputConfigs: { 'max.message.bytes': '100000' },
      outputPartitions: 1,
    });
    await harness.boot();
    await order(harness, 'a', { amount: 1 });
    await order(harness, 'b', { amount: 1, fail: true });
    await order(harness, 'c', { amount: 1 });
    await harness.feed('orders');
    await harness.actor.checkpoint('asked');
    assert.equal((await harness.read('totals')).length, 40);
  });
});
