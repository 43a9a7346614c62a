/**
 * Some partitions end their actors for ever, each in its own way, and what the others notice of it, on whatever log: they
 * advance meanwhile, no rebalance comes, and in the end outputs and state are the plain loop's. The facts that an operator
 * asks for, detection and return, are told.
 */
import assert from 'node:assert/strict';
import type { Deed } from '../fixtures/deadly.js';
import { codesOf, type DeadlyManager, type DeadlyTopics } from './deadly-run.js';
import { until } from './waiting.js';

export interface Neighbourhood {
  readonly topics: DeadlyTopics;
  /** Under `fail` and `isolate`; it has no records yet. */
  readonly manager: DeadlyManager;
  /** Of the first partitions, in their order; the others are healthy. */
  readonly deeds: readonly Deed[];
  /** The group's, as the log tells it to those who ask. */
  readonly generation: () => Promise<number>;
  tell(line: string): void;
}

const CAUSES: Partial<Record<Deed, readonly string[]>> = {
  throw: ['ACTOR_FAILED', 'HANDLER_FAILED', 'Error'],
};
const POISON = ['ACTOR_FAILED', 'POISON_RECORD'];
const ROUNDS_MAX = 3_000;

export async function endSomeForEver(of: Neighbourhood): Promise<void> {
  const { topics, manager, deeds } = of;
  const doomed = deeds.map((_, partition) => partition);
  const healthy = Array.from({ length: topics.partitions }, (_, i) => i).slice(deeds.length);
  await manager.ready();
  await topics.fill(5);
  await until(() => topics.settled(), 'the records before');
  const generation = await of.generation();
  const watched = watch(manager, deeds);
  const sentAt = new Map<number, number>();
  for (const [partition, deed] of deeds.entries()) {
    sentAt.set(partition, performance.now());
    await topics.deed(partition, deed);
  }
  // Traffic goes on until all are known for what they are.
  for (let round = 0; watched.failedAt.size < deeds.length; round++) {
    assert.ok(
      round < ROUNDS_MAX,
      `after ${round} rounds only ${[...watched.failedAt.keys()].join()} have failed`,
    );
    await topics.fill(1, ...healthy);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const untilThen = (await topics.outputs()).map((outputs) => outputs.length);
  await until(() => topics.settled(healthy), 'the healthy ones');
  for (const partition of healthy)
    assert.ok(untilThen[partition]! > 5, `${partition} has not got on: ${untilThen.join()}`);
  assert.deepEqual([...watched.failedAt.keys()].sort(), doomed);
  assert.deepEqual(await topics.outputs(), topics.expected().outputs);
  await topics.assertState(manager, healthy);
  assert.equal(watched.rebalances, 0);
  assert.equal(await of.generation(), generation);
  for (const [partition, deed] of deeds.entries()) {
    const [first] = watched.deaths.get(partition)!;
    const back = (watched.returns.get(partition) ?? []).find((at) => at > first!);
    of.tell(
      `${deed}: noticed after ${ms(first! - sentAt.get(partition)!)}, back after ${ms(back! - first!)}, given up after ${ms(watched.failedAt.get(partition)! - sentAt.get(partition)!)}`,
    );
  }
  const last = Math.max(...watched.failedAt.values());
  of.tell(
    `the last was given up ${ms(last - sentAt.get(0)!)} after the first record; outputs by then: ${untilThen.join(', ')}`,
  );
}

function watch(manager: DeadlyManager, deeds: readonly Deed[]) {
  const watched = {
    deaths: new Map<number, number[]>(),
    returns: new Map<number, number[]>(),
    failedAt: new Map<number, number>(),
    rebalances: 0,
  };
  const note = (map: Map<number, number[]>, partition: number): void => {
    map.set(partition, [...(map.get(partition) ?? []), performance.now()]);
  };
  manager
    .on('restarting', ({ partition }) => {
      note(watched.deaths, partition);
    })
    .on('recovered', ({ partition }) => {
      note(watched.returns, partition);
    })
    .on('partitionFailed', ({ partition, error }) => {
      assert.deepEqual(codesOf(error), CAUSES[deeds[partition]!] ?? POISON);
      watched.failedAt.set(partition, performance.now());
    })
    .on('revoked', () => watched.rebalances++)
    .on('lost', () => watched.rebalances++);
  return watched;
}

function ms(time: number): string {
  return `${Math.round(time)} ms`;
}
