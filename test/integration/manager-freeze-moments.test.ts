/**
 * Members freeze in the middle of a commit, an init, a page of a recovery, an assignment: of whatever the seed says; wholly,
 * or their heartbeats or answers alone. No partition stays unserved, none has two writers, and the changelog alone holds the
 * same. `manager-freeze.test.ts` has the freezes at any time; the life itself is `../support/freeze-run.ts`.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EmbeddedFreezeWorld } from '../support/embedded-freeze.js';
import { freezeRun, type FreezeReport } from '../support/freeze-run.js';

const SEEDS = Number(process.env['SEEDS'] ?? 10);
const FIRST = Number(process.env['SEED'] ?? 1);
const AT_ONCE = 2;

test(`managers that freeze in the middle of a commit, an init, a recovery or an assignment leave no partition unserved and never write twice (${SEEDS} seeds from ${FIRST})`, async (t) => {
  const reports: FreezeReport[] = [];
  const seeds = Array.from({ length: SEEDS }, (_, i) => FIRST + i);
  const failures: Error[] = [];
  const worker = async (): Promise<void> => {
    for (let seed = seeds.shift(); seed !== undefined; seed = seeds.shift()) {
      const kind = seed % 2 === 0 ? 'directory' : 'memory';
      const directory = await mkdtemp(join(tmpdir(), 'partita-freeze-log-'));
      try {
        const world = await EmbeddedFreezeWorld.open(kind === 'memory' ? undefined : directory);
        reports.push(await freezeRun(seed, world));
      } catch (cause) {
        failures.push(new Error(`seed ${seed} (log in ${kind}): ${String(cause)}`, { cause }));
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('\n'));
  const sum = (of: (report: FreezeReport) => number): number => reports.reduce((n, each) => n + of(each), 0);
  const held = (...operations: string[]): number =>
    sum(({ held }) =>
      [...held].reduce((n, [operation, times]) => n + (operations.includes(operation) ? times : 0), 0),
    );
  t.diagnostic(
    `${sum(({ freezes }) => freezes)} freezes, ${sum(({ evictions }) => evictions)} evictions, ${sum(({ acknowledged }) => acknowledged)} commands acknowledged; held: ${held('commit')} commits, ${held('init', 'committed', 'bounds', 'read')} steps of recoveries, ${held('assign')} assignments, ${held('heartbeat')} heartbeats`,
  );
  // One seed alone may be spared.
  if (SEEDS < 10) return;
  assert.ok(sum(({ evictions }) => evictions) > 0, 'no freeze was longer than the session');
  for (const operation of ['commit', 'assign', 'heartbeat'])
    assert.ok(held(operation) > 0, `no ${operation} was ever held back`);
});
