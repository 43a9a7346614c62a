// One actor alone: what parking commits and drops, when it is refused, and what the actor finds when it serves again.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { int64, string } from '../../src/codec/serdes.js';
import { isPartitaError } from '../../src/core/errors.js';
import { keyValue, topic } from '../../src/processor/declarations.js';
import { defineProcessor } from '../../src/processor/define-processor.js';
import { ActorHarness, GROUP } from '../support/actor-harness.js';
import { until } from '../support/waiting.js';

/** A gate before each record, open until it is shut. */
class Gate {
  #opened: Promise<void> = Promise.resolve();
  open: () => void = () => undefined;
  entered = 0;

  shut(): void {
    this.#opened = new Promise((resolve) => (this.open = resolve));
  }

  pass(): Promise<void> {
    this.entered++;
    return this.#opened;
  }
}

const counting = (gate: Gate, inits: string[] = []) =>
  defineProcessor({
    inputs: { orders: topic({ key: string(), value: string() }) },
    outputs: { counts: topic({ key: string(), value: int64() }) },
    stores: { counts: keyValue({ key: string(), value: int64() }) },
    init: () => {
      inits.push('init');
    },
    async process({ key }, { stores, emit }) {
      await gate.pass();
      const count = (stores.counts.get(key) ?? 0) + 1;
      stores.counts.set(key, count);
      emit.counts(key, count);
    },
    queries: { count: ({ stores }, key) => stores.counts.get(key) },
    commands: {
      set: ({ stores }, key: string, count: number) => {
        stores.counts.set(key, count);
        return count;
      },
    },
  }).definition;

const order = (harness: ActorHarness, key: string): Promise<unknown> =>
  harness.log.produce('orders', [{ key, value: '', partition: 0 }]);

const code =
  (expected: Parameters<typeof isPartitaError>[1]) =>
  (error: unknown): boolean => {
    assert.ok(isPartitaError(error, expected), String(error));
    return true;
  };

async function allRestarted(promises: readonly Promise<unknown>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(promises))
    assert.ok(outcome.status === 'rejected' && code('ACTOR_RESTARTED')(outcome.reason));
}

describe('a running actor that is parked', () => {
  it('ends the record under way and commits it; what waits behind it comes again', async () => {
    const gate = new Gate();
    const inits: string[] = [];
    await using harness = await ActorHarness.make({ definition: counting(gate, inits) });
    await harness.boot();
    for (const key of ['a', 'b', 'a']) await order(harness, key);
    gate.shut();
    const delivered = await harness.deliver('orders', 1);
    const dropped = allRestarted(delivered);
    await until(() => gate.entered === 1);
    const waiting = harness.command('set', 'c', 7);
    const parking = harness.actor.park({ commit: true, budgetMs: 2_000 });
    await assert.rejects(waiting, code('ACTOR_RESTARTED'));
    gate.open();
    assert.deepEqual(await parking, { outcome: 'parked' });
    await dropped;
    assert.equal((await harness.read('counts')).length, 1, 'the record under way is committed');
    await assert.rejects(harness.query('count', 'a'), code('ACTOR_RESTARTED'));
    await assert.rejects(harness.command('set', 'c', 7), code('ACTOR_RESTARTED'));
    await order(harness, 'b');
    const resumed = await harness.resume(false);
    assert.equal(resumed.how, 'unchanged');
    assert.deepEqual(resumed.positions, [{ topic: 'orders', offset: 1 }]);
    await harness.feed('orders');
    assert.equal(await harness.query('count', 'a'), 2);
    assert.equal(await harness.query('count', 'b'), 2);
    assert.equal(await harness.command('set', 'c', 7), 7);
    assert.deepEqual(inits, ['init']);
  });

  it('refuses chunks of the epoch before', async () => {
    await using harness = await ActorHarness.make({ definition: counting(new Gate()) });
    await harness.boot();
    await harness.actor.park({ commit: true, budgetMs: 2_000 });
    const [stale] = await harness.deliver('orders');
    assert.deepEqual(await stale, { accepted: false, records: 0 });
    await harness.actor.resume({ epoch: 99, verify: false });
    await order(harness, 'a');
    const [late] = await harness.deliver('orders');
    assert.deepEqual(await late, { accepted: false, records: 0 });
  });

  it('is closed and not parked if the record under way does not end in time', async () => {
    const gate = new Gate();
    await using harness = await ActorHarness.make({ definition: counting(gate) });
    await harness.boot();
    await order(harness, 'a');
    gate.shut();
    const delivered = await harness.deliver('orders');
    const dropped = allRestarted(delivered);
    await until(() => gate.entered === 1);
    assert.deepEqual(await harness.actor.park({ commit: true, budgetMs: 30 }), { outcome: 'dropped' });
    assert.equal(harness.actor.lifecycle.state, 'closed');
    gate.open();
    await dropped;
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(await harness.read('counts'), [], 'what ends too late is not committed');
    await harness.boot();
    await harness.feed('orders');
    assert.equal(await harness.query('count', 'a'), 1);
  });

  it('tells at its close that nothing was dropped', async () => {
    await using harness = await ActorHarness.make({ definition: counting(new Gate()) });
    await harness.boot();
    await order(harness, 'a');
    await harness.feed('orders');
    await harness.actor.park({ commit: true, budgetMs: 2_000 });
    assert.deepEqual(await harness.actor.close({ commit: false, budgetMs: 0 }), { outcome: 'committed' });
  });
});

describe('an actor that asks the log after a parking', () => {
  it('goes on with its cache if nobody wrote, also several times in a row', async () => {
    await using harness = await ActorHarness.make({ definition: counting(new Gate()) });
    await harness.boot();
    for (let round = 1; round <= 3; round++) {
      await order(harness, 'a');
      await harness.feed('orders');
      assert.deepEqual(await harness.actor.park({ commit: true, budgetMs: 2_000 }), { outcome: 'parked' });
      const resumed = await harness.resume(true);
      assert.equal(resumed.how, 'verified');
      assert.equal(await harness.query('count', 'a'), round);
    }
    assert.equal((await harness.read('counts')).length, 3);
  });

  it('recovers what another one committed, in place, with the cache dropped', async () => {
    const inits: string[] = [];
    await using harness = await ActorHarness.make({ definition: counting(new Gate(), inits) });
    await harness.boot();
    await order(harness, 'a');
    await harness.feed('orders');
    const first = harness.actor;
    await first.park({ commit: true, budgetMs: 2_000 });
    const parked = harness.setAside();
    await harness.boot();
    await order(harness, 'a');
    await harness.feed('orders');
    await harness.actor.close({ commit: true, budgetMs: 2_000 });
    parked.takeUp();
    const resumed = await harness.resume(true);
    assert.equal(resumed.how, 'recovered');
    assert.equal(resumed.restoredRecords, 1);
    assert.deepEqual(resumed.positions, [{ topic: 'orders', offset: 2 }]);
    assert.equal(await harness.query('count', 'a'), 2);
    await order(harness, 'a');
    await harness.feed('orders');
    await harness.actor.checkpoint('asked');
    assert.equal((await harness.read('counts')).length, 3);
    assert.deepEqual(inits, ['init', 'init'], 'its own init is not called again');
  });

  it('lets no query that is still under way see another one’s state half replayed', async () => {
    const gate = new Gate();
    const slowly = defineProcessor({
      inputs: { orders: topic({ key: string(), value: string() }) },
      stores: { counts: keyValue({ key: string(), value: int64() }) },
      process({ key }, { stores }) {
        stores.counts.update(key, (count) => (count ?? 0) + 1);
      },
      queries: {
        count: ({ stores }, key) => stores.counts.get(key),
        later: async ({ stores }, key) => {
          await gate.pass();
          return stores.counts.get(key);
        },
      },
    }).definition;
    await using harness = await ActorHarness.make({ definition: slowly });
    await harness.boot();
    await order(harness, 'a');
    await harness.feed('orders');
    gate.shut();
    const query = harness.query('later', 'a');
    await until(() => gate.entered === 1);
    assert.deepEqual(await harness.actor.park({ commit: true, budgetMs: 2_000 }), { outcome: 'parked' });
    const parked = harness.setAside();
    await harness.boot();
    await order(harness, 'a');
    await harness.feed('orders');
    await harness.actor.close({ commit: true, budgetMs: 2_000 });
    parked.takeUp();
    assert.equal((await harness.resume(true)).how, 'recovered');
    gate.open();
    await assert.rejects(query, code('ACTOR_RESTARTED'));
    assert.equal(await harness.query('count', 'a'), 2);
  });

  it('does not go on if an operator has moved the offsets meanwhile', async () => {
    await using harness = await ActorHarness.make({ definition: counting(new Gate()) });
    await harness.boot();
    await order(harness, 'a');
    await harness.feed('orders');
    await harness.actor.park({ commit: true, budgetMs: 2_000 });
    await harness.log.setOffset(GROUP, { topic: 'orders', partition: 0 }, 0);
    await assert.rejects(harness.resume(true), code('OFFSETS_MOVED'));
    assert.equal(harness.actor.lifecycle.state, 'failed');
  });

  it('does not go on if the partition is somebody else’s', async () => {
    await using harness = await ActorHarness.make({ definition: counting(new Gate()) });
    await harness.boot();
    await harness.actor.park({ commit: true, budgetMs: 2_000 });
    harness.owns = 'no';
    await assert.rejects(harness.resume(true), code('PARTITION_NOT_OWNED'));
  });
});
