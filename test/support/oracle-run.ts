/**
 * One random run of the whole runtime against the plain loop: records in portions, commands, dying threads, restarts with
 * state kept and wiped, a second member that comes and goes. Whether the runtime has threads and a real clock is the world's affair.
 */
import assert from 'node:assert/strict';
import { isPartitaError, type ErrorCode } from '../../src/index.js';
import { createTopics, readAll, settled, type Job, type OracleLog } from './oracle-job.js';
import {
  assertSuperset,
  assertTotals,
  byPartition,
  expectedOf,
  randomEvents,
  type Expected,
  type Policy,
} from './oracle-model.js';
import type { SeededRandom } from './seeded-random.js';
import { PATIENCE_MS } from './waiting.js';

export const PARTITIONS = 4;

export interface World {
  readonly log: OracleLog;
  start(): Promise<Job>;
  /** A second member of the group, with databases of its own or (if it can) the same ones. */
  join(): Promise<Job>;
  pause(ms: number): Promise<void>;
  /** The first member has missed an assignment: until the next one its partitions don't answer. */
  deaf(): boolean;
  /** A moment, within what is driven. */
  breathe(): Promise<void>;
  /** Awaits what may need the clock to move. */
  drive<T>(promise: Promise<T>): Promise<T>;
  killThread(job: Job): Promise<void>;
  /** Something else that may happen at any time: an actor moves, a topic is compacted. */
  disturb(job: Job): Promise<void>;
  /** Deletes the state of a stopped job. */
  wipe(): Promise<void>;
}

export interface RunOptions {
  readonly policy: Policy;
  readonly guarantee: 'exactly-once' | 'at-least-once';
  readonly keys: number;
  readonly steps: number;
}

export async function runOracle(random: SeededRandom, options: RunOptions, world: World): Promise<void> {
  const { policy, guarantee, keys, steps } = options;
  const { log } = world;
  await createTopics(log, PARTITIONS);
  const adjusted = new Map<string, number>();
  let job = await world.drive(world.start());
  let peer: Job | undefined;
  const stopPeer = async (): Promise<void> => {
    await world.drive(peer?.stop() ?? Promise.resolve());
    peer = undefined;
  };
  for (let step = 0; step < steps; step++) {
    await log.produce('events', randomEvents(random, policy, random.between(1, 400), keys));
    await world.pause(random.between(0, 15));
    if (random.chance(0.3) && !world.deaf())
      await world.drive(adjust([job, peer], random, keys, adjusted, world));
    if (random.chance(0.12)) await world.killThread(job);
    if (random.chance(0.15)) await world.drive(world.disturb(job));
    if (random.chance(0.15)) {
      if (peer === undefined) peer = await world.drive(world.join());
      else await stopPeer();
    }
    if (random.chance(0.07)) {
      await stopPeer();
      await world.drive(job.stop());
      if (random.chance(0.5)) await world.wipe();
      job = await world.drive(world.start());
    }
  }
  await stopPeer();
  const expected = expectedOf(await readAll(log, 'events'), PARTITIONS);
  const dumps = await world.drive(settled(job, expected.processed, PATIENCE_MS, (ms) => world.pause(ms)));
  await world.drive(job.stop());
  assertTotals(dumps, expected);
  assert.deepEqual(
    new Map(dumps.flatMap(({ adjustments }) => adjustments).sort(byKey)),
    new Map([...adjusted].sort(byKey)),
  );
  await assertOutputs(log, policy, guarantee, expected, adjusted);
}

async function assertOutputs(
  log: OracleLog,
  policy: Policy,
  guarantee: 'exactly-once' | 'at-least-once',
  expected: Expected,
  adjusted: ReadonlyMap<string, number>,
): Promise<void> {
  const outputs = byPartition(await readAll(log, 'totals'), PARTITIONS);
  if (guarantee === 'exactly-once') assert.deepEqual(outputs, expected.outputs);
  else assertSuperset(outputs, expected.outputs);
  const dead = byPartition(await readAll(log, 'dead'), PARTITIONS);
  const wanted = policy === 'dead-letter' || policy === 'decide' ? expected.dead : dead.map(() => []);
  if (guarantee === 'exactly-once') assert.deepEqual(dead, wanted);
  else assertSuperset(dead, wanted);
  // Every adjustment added one: what was emitted for a key is 1, 2, 3, … under both guarantees.
  const counts = new Map<string, number>();
  for (const { key, value } of await readAll(log, 'adjusted')) {
    const name = Buffer.from(key!).toString();
    const next = (counts.get(name) ?? 0) + 1;
    assert.equal(Buffer.from(value!).readBigInt64BE(), BigInt(next), `adjustments of ${name}`);
    counts.set(name, next);
  }
  assert.deepEqual(new Map([...counts].sort(byKey)), new Map([...adjusted].sort(byKey)));
}

/** A command that adds one, until whoever owns its key acknowledges it; and one that is refused. */
async function adjust(
  jobs: readonly (Job | undefined)[],
  random: SeededRandom,
  keys: number,
  adjusted: Map<string, number>,
  world: World,
): Promise<void> {
  const key = `key-${random.below(keys)}`;
  const expected = (adjusted.get(key) ?? 0) + 1;
  const members = jobs.filter((job) => job !== undefined);
  let isUnknown = false;
  for (let attempt = 0; ; attempt++)
    try {
      const { oracle } = members[attempt % members.length]!.streams;
      // The next owner has settled the commit in doubt before it answers.
      if (isUnknown && (await oracle.query('adjustment', { key, read: 'committed' })) === expected) break;
      isUnknown = false;
      assert.equal(await oracle.command('adjust', { key, args: [1] }), expected);
      break;
    } catch (error) {
      if (attempt === 200) throw error;
      // The other member has it, or its actor restarted under it: what was not applied may be sent again.
      if (isPartitaError(error, 'PARTITION_NOT_OWNED')) {
        if (attempt % members.length === members.length - 1) await world.breathe();
      } else if (isPartitaError(error, 'ACTOR_RESTARTED')) {
        isUnknown ||= error.details['outcome'] === 'unknown';
      } else throw error;
    }
  adjusted.set(key, expected);
  await assert.rejects(members[0]!.streams.oracle.command('refuse', { key }), (error: unknown) =>
    ['HANDLER_FAILED', 'ACTOR_RESTARTED', 'PARTITION_NOT_OWNED'].some((code) =>
      isPartitaError(error, code as ErrorCode),
    ),
  );
}

function byKey([a]: readonly [string, number], [b]: readonly [string, number]): number {
  return a < b ? -1 : 1;
}

/** Seeds from 1; `ORACLE_SEED` repeats one, `ORACLE_SEEDS` asks for another number of them. */
export function seeds(count: number): number[] {
  const { ORACLE_SEED: one, ORACLE_SEEDS: many } = process.env;
  if (one !== undefined) return [Number(one)];
  return Array.from({ length: many === undefined ? count : Number(many) }, (_, index) => index + 1);
}
