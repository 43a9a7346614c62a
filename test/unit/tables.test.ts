/* eslint-disable @typescript-eslint/no-unsafe-call -- a wrong use is the point */
/** Tables as users meet them: an input that becomes a store, joined by a lookup, against the lookup join's naive model. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { decidePositions } from '../../src/changelog/recovery-decision.js';
import {
  defineProcessor,
  json,
  keyValue,
  nullable,
  string,
  table,
  timestamped,
  topic,
  type PartitaError,
} from '../../src/index.js';
import { TestDriver } from '../../src/testing/index.js';
import { lookupJoinOf } from '../support/joins-model.js';
import { eventsOf, randomHistory } from '../support/random-events.js';

const pricing = defineProcessor({
  inputs: {
    rates: table({ key: string(), value: json<{ of: number }>(), name: 'rates.v1' }),
    orders: topic({ key: string(), value: json<{ currency: string }>() }),
  },
  outputs: { priced: topic({ key: string(), value: nullable(json<{ of: number }>()) }) },
  process(record, { stores, emit }) {
    const { currency } = record.value;
    emit.priced(record.key, stores.rates.get(currency) ?? null);
  },
  onError: 'skip',
  queries: {
    rate: ({ stores }, key) => stores.rates.get(key),
    all: async ({ stores }) => {
      const all: unknown[] = [];
      for await (const entry of stores.rates.entries()) all.push(entry);
      return all;
    },
  },
});

test('a table holds the latest value of each key of its topic, null deletes, and records do not reach process', async () => {
  await using driver = await TestDriver.start(pricing, { partitions: 2 });
  await driver.pipe('rates', { key: 'EUR', value: { of: 1 } });
  await driver.pipe('rates', { key: 'USD', value: { of: 7 } });
  await driver.pipe('rates', { key: 'EUR', value: { of: 2 } });
  await driver.pipe('rates', { key: 'USD', value: null });
  assert.deepEqual(await driver.query('rate', { key: 'EUR' }), { of: 2 });
  assert.equal(await driver.query('rate', { key: 'EUR', read: 'committed' }), undefined);
  assert.equal(await driver.query('rate', { key: 'USD' }), undefined);
  await driver.checkpoint();
  await driver.restart({ wipe: true });
  const partition = driver.partitionOf('EUR');
  assert.deepEqual(await driver.query('all', { partition }), [['EUR', { of: 2 }]]);
  assert.ok(Object.isFrozen(await driver.store('rates', { partition }).get('EUR')));
  assert.deepEqual(await driver.outputs('priced'), []);
});

test('a table merges with the other inputs by timestamp', async () => {
  await using driver = await TestDriver.start(pricing);
  await driver.append('orders', [
    { key: 'a', value: { currency: 'EUR' }, timestamp: 9 },
    { key: 'b', value: { currency: 'EUR' }, timestamp: 11 },
  ]);
  await driver.append('rates', [{ key: 'EUR', value: { of: 5 }, timestamp: 10 }]);
  await driver.drain();
  await driver.checkpoint();
  assert.deepEqual(
    (await driver.outputs('priced')).map(({ value }) => value),
    [null, { of: 5 }],
  );
});

test('a record without a key is skipped with one warning, a broken one by the error policy, and the table stays as it was', async () => {
  await using driver = await TestDriver.start(pricing);
  await driver.pipe('rates', { key: 'EUR', value: { of: 1 } });
  const value = Buffer.from('{"of":2}');
  for (const key of [null, null, Buffer.from('EUR')])
    await driver.log.produce('rates.v1', [
      { key, value: key === null ? value : Buffer.from('{'), timestamp: driver.clock.now() },
    ]);
  await driver.drain();
  const warnings = driver.events.filter(({ type }) => type === 'warning');
  assert.equal(warnings.length, 1);
  assert.match(JSON.stringify(warnings), /rates\.v1-0 have no key, the first at offset 1/);
  assert.equal(driver.events.filter(({ type }) => type === 'skipped').length, 1);
  assert.deepEqual(await driver.query('all', { partition: 0 }), [['EUR', { of: 1 }]]);
  await driver.pipe('rates', { key: 'EUR', value: { of: 3 } });
  assert.deepEqual(await driver.query('rate', { key: 'EUR' }), { of: 3 });
});

test('handlers only read a table', async () => {
  const writing = defineProcessor({
    inputs: {
      rates: table({ key: string(), value: string() }),
      in: topic({ key: string(), value: string() }),
    },
    process(record, { stores }) {
      // @ts-expect-error a table is written by its topic alone
      stores.rates.set(record.key, 'x');
    },
  });
  await using driver = await TestDriver.start(writing);
  await assert.rejects(driver.pipe('in', { key: 'a', value: '' }), { code: 'HANDLER_FAILED' });
});

test('a table is read from its beginning, whatever startFrom says of the other inputs', () => {
  const bounds = { start: 3, end: 9, lastStable: 9 };
  const input = (name: string, isTable: boolean) => ({
    topic: name,
    topicId: name,
    bounds,
    committed: undefined,
    isTable,
  });
  const decision = decidePositions(undefined, [input('rates', true), input('orders', false)], {
    startFrom: 'latest',
    onOffsetsMoved: 'error',
    onOutOfRange: 'error',
  });
  assert.ok(decision.kind === 'positions');
  assert.deepEqual([decision.positions['rates']!.offset, decision.positions['orders']!.offset], [3, 9]);
});

test('a table that is declared twice, under a name that no store may have, or as an output is refused', () => {
  const refused = (declare: () => unknown, code: PartitaError['code'], what: RegExp) => {
    assert.throws(declare, (error: PartitaError) => error.code === code && what.test(error.message));
  };
  const rates = table({ key: string(), value: string() });
  const process = () => undefined;
  for (const store of [
    keyValue({ key: string(), value: string() }),
    timestamped({ key: string(), value: string() }),
  ])
    refused(
      () => defineProcessor({ inputs: { rates }, stores: { rates: store }, process }),
      'INVALID_PROCESSOR',
      /table rates and a store/,
    );
  refused(() => defineProcessor({ inputs: { 'a b': rates }, process }), 'INVALID_NAME', /a b/);
  refused(
    () =>
      defineProcessor({
        inputs: { in: topic({ key: string(), value: string() }) },
        outputs: { rates },
        process,
      }),
    'INVALID_PROCESSOR',
    /tables are inputs/,
  );
});

test('lookups in a table equal those over all records, whatever commits and crashes come between', async () => {
  const lookup = defineProcessor({
    inputs: {
      right: table({ key: string(), value: json<number>() }),
      left: topic({ key: nullable(string()), value: json<number>() }),
    },
    outputs: { joined: topic({ key: string(), value: json<readonly (number | null)[]>() }) },
    process({ key, value }, { stores, emit }) {
      if (key === null) return;
      emit.joined(key, [value, stores.right.get(key) ?? null]);
    },
  });
  const side = fc.record({ side: fc.constantFrom<'left' | 'right'>('left', 'right') });
  await fc.assert(
    fc.asyncProperty(randomHistory({ unkeyed: false }, side), async (history) => {
      await using driver = await TestDriver.start(lookup, { cacheBytes: 2_000 });
      let n = 0;
      for (const step of history) {
        if (step.do === 'event') {
          const { key, value, side: of } = step.event;
          const index = n++;
          // Rising, so that a replay merges the inputs in the order in which they came.
          const timestamp = index;
          if (of === 'left') await driver.append('left', [{ key, value: index, timestamp }]);
          else await driver.append('right', [{ key: key!, value: value === null ? null : index, timestamp }]);
          await driver.drain();
        } else if (step.do === 'commit') await driver.checkpoint();
        else {
          if (step.do === 'reopen') await driver.checkpoint();
          await driver.restart({ wipe: step.do === 'crashAndWipe' });
          await driver.drain();
        }
      }
      await driver.checkpoint();
      const events = eventsOf(history);
      assert.deepEqual(
        (await driver.outputs('joined')).map(({ value }) => value),
        lookupJoinOf({ type: 'left' }, events).map(({ left, right }) => [left, right ?? null]),
      );
    }),
    { numRuns: 150 },
  );
});
