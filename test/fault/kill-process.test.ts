/** SIGKILL of the whole process at random moments, on the durable embedded log: nothing lost, nothing twice. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { on, once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { embeddedLog, type EngineKind } from '../../src/index.js';
import type { Report } from '../fixtures/killed-job.js';
import type { Dump } from '../fixtures/oracle.js';
import { readAll } from '../support/oracle-job.js';
import { assertTotals, byPartition, expectedOf } from '../support/oracle-model.js';
import { seededRandom } from '../support/seeded-random.js';

/** Lives that end by a kill. */
const KILLS: readonly (readonly [EngineKind, number])[] = [
  ['level', 20],
  ['rocksdb', 10],
];
const PARTITIONS = 4;
const JOB = new URL('../fixtures/killed-job.js', import.meta.url);
/** First numbers of each life are this far apart. */
const LIFE = 10_000_000;

for (const [engine, kills] of KILLS)
  test(`every input and every acknowledged command counts exactly once after ${kills} kills of the process, on ${engine}`, async (t) => {
    const seed = Number(process.env['ORACLE_SEED'] ?? Date.now() % 1_000_000);
    t.diagnostic(`ORACLE_SEED=${seed}`);
    const random = seededRandom(seed);
    const dir = await mkdtemp(join(tmpdir(), 'partita-kill-'));
    await withLog(dir, async (log) => {
      for (const topic of ['events', 'totals', 'adjusted', 'dead'])
        await log.createTopic({ topic, partitions: PARTITIONS });
    });
    const acked: number[] = [];
    const commanded: string[] = [];
    for (let life = 0; life < kills; life++) {
      const job = fork(JOB, [dir, engine, String(life * LIFE)]);
      // Some die while they start and recover, others at work.
      const early = random.chance(0.3);
      const delayMs = early ? random.between(20, 800) : random.between(20, 500);
      let killer: NodeJS.Timeout | undefined;
      const killSoon = () => (killer ??= setTimeout(() => job.kill('SIGKILL'), delayMs));
      if (early) killSoon();
      for await (const [report] of on(job, 'message', { close: ['exit'] }) as AsyncIterable<[Report]>)
        if (report.type === 'running') killSoon();
        else if (report.type === 'commanded') commanded.push(report.key);
        else if (report.type === 'acked') for (let n = report.from; n < report.to; n++) acked.push(n);
      clearTimeout(killer);
      assert.equal(job.signalCode, 'SIGKILL', `life ${life} ended by itself`);
    }
    const inLog = await withLog(dir, (log) => readAll(log, 'events'));
    const numbers = inLog.map(({ value }) => (JSON.parse(Buffer.from(value!).toString()) as { n: number }).n);
    assert.equal(new Set(numbers).size, numbers.length, 'the log holds a record twice');
    const held = new Set(numbers);
    assert.deepEqual(
      acked.filter((n) => !held.has(n)),
      [],
      'acknowledged records that the log has lost',
    );
    t.diagnostic(
      `${acked.length} inputs acknowledged, ${numbers.length} in the log; ${commanded.length} commands acknowledged`,
    );
    assert.ok(acked.length > 0 && commanded.length > 0);

    const expected = expectedOf(inLog, PARTITIONS);
    const last = fork(JOB, [dir, engine, '0', String(expected.processed)]);
    let dumps: readonly Dump[] = [];
    const exit = once(last, 'exit');
    for await (const [report] of on(last, 'message', { close: ['exit'] }) as AsyncIterable<[Report]>)
      if (report.type === 'done') dumps = report.dumps;
    assert.deepEqual(await exit, [0, null]);
    assertTotals(dumps, expected);
    const outputs = byPartition(await withLog(dir, (log) => readAll(log, 'totals')), PARTITIONS);
    assert.deepEqual(outputs, expected.outputs);
    // A command whose answer was lost in a kill has happened once or not at all.
    const applied = dumps.flatMap(({ adjustments }) => adjustments);
    assert.deepEqual(
      applied.filter(([, count]) => count !== 1),
      [],
    );
    const keys = new Set(applied.map(([key]) => key));
    assert.deepEqual(
      commanded.filter((key) => !keys.has(key)),
      [],
      'acknowledged commands that are lost',
    );
    const told = (await withLog(dir, (log) => readAll(log, 'adjusted'))).map(({ key }) =>
      Buffer.from(key!).toString(),
    );
    assert.deepEqual(told.sort(), [...keys].sort());
    await rm(dir, { recursive: true, force: true });
  });

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
