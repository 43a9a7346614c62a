/**
 * SIGKILL of the whole process at random moments, on the durable embedded log, with records and commands in flight: what
 * was acknowledged counts once, what was not at most once, in the state, in what readers of committed records see, and
 * in a state that is restored from the changelog alone. `ORACLE_SEED` repeats a seed.
 */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { on, once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { embeddedLog, type EngineKind } from '../../src/index.js';
import type { Ack, Report } from '../fixtures/killed-job.js';
import type { Dump } from '../fixtures/oracle.js';
import { adjustedKeys, createTopics, readAll } from '../support/oracle-job.js';
import {
  appliedOnce,
  assertNoneLost,
  assertTotals,
  byPartition,
  expectedOf,
  rowsOf,
  type RawRecord,
} from '../support/oracle-model.js';
import { seededRandom } from '../support/seeded-random.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const PARTITIONS = 4;
const JOB = new URL('../fixtures/killed-job.js', import.meta.url);
/** First numbers of each life are this far apart. */
const LIFE = 10_000_000;
const KILLS: readonly { readonly engine: EngineKind; readonly kills: number }[] = [
  { engine: 'level', kills: 20 },
  { engine: 'rocksdb', kills: 10 },
];

for (const { engine, kills } of KILLS)
  test(`after ${kills} kills of the process every acknowledged input and command counts exactly once (${engine})`, async (t) => {
    const seed = Number(process.env['ORACLE_SEED'] ?? Date.now() % 1_000_000);
    t.diagnostic(`ORACLE_SEED=${seed}`);
    const random = seededRandom(seed);
    const dir = temporaryDirectory('kill');
    await withLog(dir, async (log) => {
      await createTopics(log, PARTITIONS);
    });
    for (let life = 0; life < kills; life++) {
      // Some die while they start and recover, others at work.
      const early = random.chance(0.25);
      await killedLife([dir, engine, String(life * LIFE)], early, random.between(20, early ? 800 : 500));
    }
    const { inLog, totals, adjusted } = await withLog(dir, async (log) => ({
      inLog: await readAll(log, 'events'),
      totals: await readAll(log, 'totals'),
      adjusted: await readAll(log, 'adjusted'),
    }));
    const acks = await readAcks(dir);
    const numbers = assertInputs(inLog, acks);
    const expected = expectedOf(inLog, PARTITIONS);

    const dumps = await lastLife([dir, engine, '0', String(expected.processed)]);
    assertTotals(dumps, expected);
    const applied = appliedOnce(dumps);
    assertNoneLost(acks.commands, applied);
    const outputs = await withLog(dir, async (log) => ({
      totals: byPartition(await readAll(log, 'totals'), PARTITIONS),
      adjusted: await adjustedKeys(log),
    }));
    assert.deepEqual(outputs.totals, expected.outputs);
    assert.deepEqual(outputs.adjusted, [...applied].sort());
    assert.ok(totals.length <= expected.processed && adjusted.length <= applied.size);

    await rm(join(dir, 'state'), { recursive: true });
    assert.deepEqual(rowsOf(await lastLife([dir, engine, '0', String(expected.processed)])), rowsOf(dumps));
    t.diagnostic(
      `${numbers} records and ${applied.size} commands in the log, ${acks.commands.length} of them acknowledged`,
    );
    assert.ok(acks.numbers.length > 0 && acks.commands.length > 0);
  });

interface Acks {
  readonly numbers: readonly number[];
  readonly commands: readonly string[];
}

async function killedLife(args: readonly string[], early: boolean, delayMs: number): Promise<void> {
  const job = fork(JOB, args);
  let killer: NodeJS.Timeout | undefined;
  const killSoon = () => (killer ??= setTimeout(() => job.kill('SIGKILL'), delayMs));
  if (early) killSoon();
  job.once('message', killSoon);
  await once(job, 'exit');
  clearTimeout(killer);
  assert.equal(job.signalCode, 'SIGKILL', `${args.join(' ')} ended by itself`);
}

async function lastLife(args: readonly string[]): Promise<readonly Dump[]> {
  const job = fork(JOB, args);
  let dumps: readonly Dump[] = [];
  const exit = once(job, 'exit');
  for await (const [report] of on(job, 'message', { close: ['exit'] }) as AsyncIterable<[Report]>)
    if (report.type === 'done') dumps = report.dumps;
  assert.deepEqual(await exit, [0, null]);
  return dumps;
}

/** A line that has no end was not written, or not acknowledged. */
async function readAcks(dir: string): Promise<Acks> {
  const lines = (await readFile(join(dir, 'acks.jsonl'), 'utf8')).split('\n').slice(0, -1);
  const acks = lines.map((line) => JSON.parse(line) as Ack);
  return {
    numbers: acks.flatMap((ack) =>
      'from' in ack ? Array.from({ length: ack.to - ack.from }, (_, i) => ack.from + i) : [],
    ),
    commands: acks.flatMap((ack) => ('command' in ack ? [ack.command] : [])),
  };
}

/** The log itself holds what it acknowledged, once. */
function assertInputs(inLog: readonly RawRecord[], acks: Acks): number {
  const numbers = inLog.map(({ value }) => (JSON.parse(Buffer.from(value!).toString()) as { n: number }).n);
  const held = new Set(numbers);
  assert.equal(held.size, numbers.length, 'the log holds a record twice');
  assert.deepEqual(
    acks.numbers.filter((n) => !held.has(n)),
    [],
    'acknowledged records that the log has lost',
  );
  return numbers.length;
}

async function withLog<T>(
  dir: string,
  use: (log: Awaited<ReturnType<typeof embeddedLog>>) => Promise<T>,
): Promise<T> {
  const log = await embeddedLog({ dir: join(dir, 'log') });
  try {
    return await use(log);
  } finally {
    await log.close();
  }
}
