/**
 * What a rebalance costs kept partitions on Kafka: 64 partitions, a second member that joins and leaves.
 * `node dist/test/benchmark/rebalance.js --brokers HOST:PORT [--partitions 64] [--keys 20000]`
 */
import { parseArgs } from 'node:util';
import { probeRebalance, type RebalanceFacts } from '../support/rebalance-probe.js';
import { median, printTable, report } from './report.js';

const { values } = parseArgs({
  options: {
    brokers: { type: 'string', default: '127.0.0.1:19192' },
    partitions: { type: 'string', default: '64' },
    keys: { type: 'string', default: '20000' },
  },
});
const partitions = Number(values.partitions);
const keys = Number(values.keys);
const { joined, left } = await probeRebalance({ brokers: values.brokers.split(','), partitions, keys });
for (const [event, facts] of Object.entries({ 'a member joins': joined, 'a member leaves': left }))
  figures(event, facts);
printTable();

function figures(event: string, facts: RebalanceFacts): void {
  const bench = { bench: 'rebalance', with: { event, partitions, keys } };
  const { before, after, resumedMs, pausedMs, readsOfKept } = facts;
  const moved = Math.abs(before.length - after.length);
  report({ ...bench, metric: 'partitions moved', value: moved, unit: `of ${partitions}` });
  report({ ...bench, metric: 'resumed after the assignment', ...median(resumedMs), unit: 'ms' });
  report({ ...bench, metric: 'pause of a kept partition', ...median(pausedMs), unit: 'ms' });
  report({ ...bench, metric: 'changelog pages read for kept ones', value: readsOfKept, unit: 'pages' });
}
