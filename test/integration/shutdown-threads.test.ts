/**
 * `stop` with real threads, each time in a process of its own: it releases everything by its deadline (blocked threads by
 * force), and then nothing keeps the process alive.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import test from 'node:test';
import type { Left, StopMoment } from '../fixtures/stopped-job.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const JOB = new URL('../fixtures/stopped-job.js', import.meta.url).pathname;
/** What a loaded machine may take beyond a deadline; without its deadline a stop would wait for ever. */
const SLACK_MS = 60_000;

const MOMENTS: readonly {
  readonly moment: StopMoment;
  readonly what: string;
  readonly deadlineMs: number;
  /** As far as it is certain: whether everything that was processed is committed. */
  readonly committed?: boolean;
}[] = [
  { moment: 'idle', what: 'a manager that has nothing to do', deadlineMs: 20_000, committed: true },
  { moment: 'idle', what: 'a manager that has nothing to do', deadlineMs: 0 },
  { moment: 'opening', what: 'a manager that has just started', deadlineMs: 20_000, committed: true },
  { moment: 'recovering', what: 'the recovery of a long changelog', deadlineMs: 20_000, committed: true },
  { moment: 'recovering', what: 'the recovery of a long changelog', deadlineMs: 0 },
  { moment: 'block', what: 'a handler that blocks its thread', deadlineMs: 2_000, committed: false },
  { moment: 'hang', what: 'a handler that never settles', deadlineMs: 2_000, committed: false },
  { moment: 'commit', what: 'commits that the log does not answer', deadlineMs: 2_000, committed: false },
  { moment: 'calls', what: 'calls under way', deadlineMs: 2_000, committed: false },
  { moment: 'exit', what: 'a thread that has just ended', deadlineMs: 20_000 },
  { moment: 'twice', what: 'a second stop with another deadline', deadlineMs: 20_000, committed: true },
];

for (const { moment, what, deadlineMs, committed } of MOMENTS)
  test(`a process ends by itself after a stop with ${what} (deadline ${deadlineMs} ms)`, async () => {
    const stateDir = temporaryDirectory('stop');
    const child = spawn(process.execPath, [JOB, moment, stateDir, String(deadlineMs)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exit = once(child, 'exit');
    const killed = setTimeout(() => child.kill('SIGKILL'), 150_000);
    const printed = await text(child.stdout);
    const saidAt = performance.now();
    assert.deepEqual(await exit, [0, null], `it did not end by itself after it printed ${printed}`);
    clearTimeout(killed);
    assert.ok(performance.now() - saidAt < SLACK_MS);
    const left = JSON.parse(printed) as Left;
    assert.deepEqual(left.held, []);
    assert.deepEqual(left.resources, []);
    assert.ok(left.tookMs < deadlineMs + SLACK_MS, `it took ${left.tookMs} ms`);
    // One that ends in the very moment of its deadline may be told as either.
    if (left.late) assert.ok(left.tookMs > deadlineMs - 5, printed);
    else assert.ok(left.tookMs < deadlineMs + 1_000 && deadlineMs > 0, printed);
    if (committed !== undefined && !left.late) assert.equal(left.committed, committed);
  });
