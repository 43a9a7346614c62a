/** What chaos plans: the same seed the same faults, of every kind, and never two at once on one process. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planFaults, type FaultKind, type PlanOptions } from '../support/chaos/plan.js';

const options: PlanOptions = {
  ...{ seed: 1, faults: 12, processes: 3, nodes: 3 },
  ...{ sessionTimeoutMs: 2_500, everyMs: 2_000 },
};
const seeds = Array.from({ length: 200 }, (_, seed) => seed);

test('a seed always gives the same faults, another seed others', () => {
  assert.deepEqual(planFaults(options), planFaults(options));
  assert.notDeepEqual(planFaults(options), planFaults({ ...options, seed: 2 }));
});

test('twelve faults are of every kind, with any seed', () => {
  const all: FaultKind[] = [
    'brokerFreeze',
    'brokerKill',
    'brokerRestart',
    'freeze',
    'join',
    'kill',
    'leave',
    'wipe',
  ];
  for (const seed of seeds)
    assert.deepEqual([...new Set(planFaults({ ...options, seed }).map(({ kind }) => kind))].sort(), all);
});

test('a process that freezes does so past its session timeout, and no fault hits one that is away', () => {
  for (const seed of seeds) {
    const plan = planFaults({ ...options, seed, faults: 40 });
    const until = new Map<number | undefined, number>();
    let atMs = 0;
    for (const fault of plan) {
      assert.ok(fault.atMs >= atMs, `seed ${seed}: times rise`);
      assert.ok(fault.atMs >= (until.get(fault.process) ?? 0), `seed ${seed}: ${fault.process} is away`);
      if (fault.kind === 'freeze') assert.ok(fault.forMs > options.sessionTimeoutMs);
      until.set(fault.process, fault.atMs + fault.forMs);
      atMs = fault.atMs;
    }
  }
});
