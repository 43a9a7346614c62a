/** A rebalance of many partitions on a broker moves only what must move, and costs the kept ones nothing but the pause. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { describeKafka } from '../support/describe-kafka.js';
import { probeRebalance } from '../support/rebalance-probe.js';

describeKafka('rebalances on a broker', {}, (broker) => {
  test('a second member takes half of 64 partitions; the others resume without asking the log', async (t) => {
    const { joined, left, total } = await probeRebalance({
      brokers: broker().brokers,
      partitions: 64,
      keys: 2_000,
    });
    assert.equal(joined.before.length, 64);
    assert.equal(joined.after.length, 32);
    assert.deepEqual(joined.how, Array<string>(32).fill('unchanged'));
    assert.equal(left.before.length, 32);
    assert.equal(left.after.length, 64);
    assert.deepEqual(left.how, Array<string>(32).fill('unchanged'));
    for (const facts of [joined, left]) assert.deepEqual([facts.readsOfKept, facts.initsOfKept], [0, 0]);
    assert.equal(total, 2_000);
    const worst = (values: readonly number[]) => Math.round(Math.max(...values));
    t.diagnostic(
      `from the assignment: ${worst(joined.resumedMs)} and ${worst(left.resumedMs)} ms at most; ` +
        `the pause: ${worst(joined.pausedMs)} and ${worst(left.pausedMs)} ms at most`,
    );
  });
});
