/**
 * A hundred deaths of worker threads at random moments on the durable embedded log, with commands in flight: every input
 * counts once, and each command as often as its answer says.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, isPartitaError } from '../../src/index.js';
import { readAll, settled, startJob, type Job } from '../support/oracle-job.js';
import { assertTotals, byPartition, expectedOf, randomEvents } from '../support/oracle-model.js';
import { seededRandom, type SeededRandom } from '../support/seeded-random.js';

const DEATHS = 100;
const PARTITIONS = 6;
const KEYS = 300;
const COMMANDS_A_DEATH = 8;

test('a hundred deaths of threads leave what a plain loop leaves, and every command as its answer says', async (t) => {
  const seed = Number(process.env['ORACLE_SEED'] ?? Date.now() % 1_000_000);
  t.diagnostic(`ORACLE_SEED=${seed}`);
  const random = seededRandom(seed);
  const dir = await mkdtemp(join(tmpdir(), 'partita-deaths-'));
  const log = await embeddedLog({ dir: join(dir, 'log') });
  for (const topic of ['events', 'totals', 'adjusted', 'dead'])
    await log.createTopic({ topic, partitions: PARTITIONS });
  const job = await startJob({
    log,
    stateDir: join(dir, 'state'),
    policy: 'skip',
    workers: 3,
    engine: 'level',
    guarantee: 'exactly-once',
    intervalMs: 20,
    cacheMb: 16,
  });
  let rebalances = 0;
  job.on('assigned', () => rebalances++);
  await job.ready();
  const answers = new Map<string, 'applied' | 'notApplied' | 'unknown'>();
  const underWay: Promise<void>[] = [];
  const places = new Set<string>();
  for (let death = 0; death < DEATHS; death++) {
    await log.produce('events', randomEvents(random, 'skip', random.between(1, 120), KEYS));
    for (let i = 0; i < COMMANDS_A_DEATH; i++) underWay.push(command(job, `command-${death}-${i}`, answers));
    await sleep(random.between(0, 40));
    places.add(await end(job, random));
  }
  await Promise.all(underWay);
  const inputs = await readAll(log, 'events');
  const expected = expectedOf(inputs, PARTITIONS);
  const dumps = await settled(job, expected.processed, 30_000);
  await job.stop();
  assertTotals(dumps, expected);
  assert.deepEqual(byPartition(await readAll(log, 'totals'), PARTITIONS), expected.outputs);
  assert.equal(answers.size, DEATHS * COMMANDS_A_DEATH);
  const applied = new Map(dumps.flatMap(({ adjustments }) => adjustments));
  for (const [key, answer] of answers) {
    const times = applied.get(key) ?? 0;
    if (answer === 'unknown') assert.ok(times <= 1, `${key} was applied ${times} times`);
    else assert.equal(times, answer === 'applied' ? 1 : 0, `${key}, whose answer was ${answer}`);
  }
  const told = (await readAll(log, 'adjusted')).map(({ key }) => Buffer.from(key!).toString());
  assert.deepEqual(told.sort(), [...applied.keys()].sort());
  // The group has noticed nothing.
  assert.equal(rebalances, 0);
  assert.ok(places.size > 1, `only ${[...places].join()} died`);
  t.diagnostic(`${inputs.length} inputs, ${applied.size} of ${answers.size} commands applied`);
  await log.close();
  await rm(dir, { recursive: true, force: true });
});

/** A thread ends in a command, or soon after it by an error that nobody catches. @returns which one */
async function end(job: Job, random: SeededRandom): Promise<string> {
  const partition = random.below(PARTITIONS);
  const death = new Promise<string>((resolve) => {
    const listen = ({ error }: { readonly error: unknown }): void => {
      if (!isPartitaError(error, 'THREAD_DIED')) return;
      job.off('restarting', listen);
      resolve(String(error.details['thread']));
    };
    job.on('restarting', listen);
  });
  const { oracle } = job.streams;
  const call = random.chance(0.5)
    ? oracle.command('exit', { partition })
    : oracle.command('throwLater', { partition, ack: 'processed' });
  // Whether the answer still gets through is up to the thread.
  await call.catch((error: unknown) => {
    if (!isPartitaError(error) || !error.retryable) throw error;
  });
  return death;
}

async function command(
  job: Job,
  key: string,
  answers: Map<string, 'applied' | 'notApplied' | 'unknown'>,
): Promise<void> {
  try {
    assert.equal(await job.streams.oracle.command('adjust', { key, args: [1] }), 1);
    answers.set(key, 'applied');
  } catch (error) {
    if (!isPartitaError(error, 'ACTOR_RESTARTED')) throw error;
    answers.set(key, error.details['outcome'] === 'unknown' ? 'unknown' : 'notApplied');
  }
}
