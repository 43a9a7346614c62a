/**
 * A start that its signal ends, in whatever it is in the middle of: it rejects by the deadline of a stop, leaves no lock and no
 * timer, and the next start on the same directory and group goes on. In one thread on a clock that is moved.
 */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { isPartitaError, StateManager, type LogFactory, type ManagerOptions } from '../../src/index.js';
import type { LogOperation } from '../../src/log/embedded/log-faults.js';
import { acquireDirectory } from '../../src/manager/directory-registry.js';
import { deadlyStream } from '../support/deadly-run.js';
import { GatedWorld, type WorldOptions } from '../support/gated-world.js';
import { code } from '../support/manager-desk.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

/** A group that can't be told forgets a member by then. */
const SESSION_MS = 14_000;
/** Two steps of a second after the deadline, and a moment for the rest. */
const GRACE_MS = 3_500;

interface Moment {
  readonly title: string;
  readonly options?: WorldOptions;
  /** Before the start that is aborted. */
  readonly prepare: (world: GatedWorld) => Promise<void>;
}

const held = (title: string, when: 'before' | 'after', operation: LogOperation): Moment => ({
  title,
  prepare: (world) => {
    world.gate.hold(when, operation);
    return Promise.resolve();
  },
});

const MOMENTS: readonly Moment[] = [
  held('topics that the log does not describe', 'before', 'describe'),
  held('a changelog that the log has created and does not answer', 'after', 'ensure'),
  held('an assignment that does not come', 'after', 'assign'),
  {
    title: 'a directory that somebody else holds',
    prepare: async (world) => {
      await holdDirectory(world, 0);
    },
  },
  {
    title: 'partitions that wait for their restart',
    options: { openBudgetMs: 10, restarts: { firstMs: 300_000, maxMs: 300_000 } },
    prepare: async (world) => {
      for (const partition of [0, 1, 2]) {
        await holdDirectory(world, partition);
      }
    },
  },
];

for (const moment of MOMENTS)
  for (const stopDeadlineMs of [0, 5_000])
    test(`a start aborted with ${moment.title} ends within ${stopDeadlineMs} ms and leaves nothing behind`, async () => {
      const world = await GatedWorld.open();
      const { clock } = world.threads;
      const timers = clock.pendingTimers;
      try {
        await moment.prepare(world);
        const abort = new AbortController();
        const reason = new Error('told to stop');
        const starting = world.starting({ stopDeadlineMs, ...moment.options, signal: abort.signal });
        let settled = false;
        const outcome = starting.then(
          () => assert.fail('it started'),
          (error: unknown) => {
            settled = true;
            return error;
          },
        );
        await world.pass(200);
        assert.equal(settled, false, 'it waits');
        const abortedAt = clock.monotonic();
        abort.abort(reason);
        const error = await world.drive(outcome);
        assert.ok(isPartitaError(error, 'CALL_ABORTED'), String(error));
        assert.equal(error.cause, reason);
        assert.ok(clock.monotonic() - abortedAt <= stopDeadlineMs + GRACE_MS);
        await world.stopped();
        assert.deepEqual(world.held, [], 'directories that are held');
        // What the log answers late changes nothing any more.
        world.gate.open();
        await world.pass(SESSION_MS);
        assert.equal(clock.pendingTimers, timers, 'timers that are left');
        const next = await world.start();
        await world.drive(next.ready());
        await world.settled(next);
        await world.drive(world.topics.assertEqual(next));
      } finally {
        await world.close();
      }
    });

test('a start with a signal that is aborted already does not even connect', async () => {
  let connects = 0;
  const log: LogFactory = {
    kind: 'counting',
    connect: () => {
      connects++;
      return Promise.reject(new Error('never'));
    },
  };
  await assert.rejects(start({ log, signal: AbortSignal.abort() }), code('CALL_ABORTED'));
  assert.equal(connects, 0);
});

test('a connection that comes after the abort is closed, before the start rejects if it comes in time', async () => {
  const world = await GatedWorld.open();
  try {
    for (const late of [false, true]) {
      const abort = new AbortController();
      let closed = 0;
      let connected: () => void = () => undefined;
      let told: AbortSignal | undefined;
      const log: LogFactory = {
        kind: 'slow',
        connect: async (options) => {
          told = options.signal;
          const client = await world.log.connect(options);
          await new Promise<void>((resolve) => (connected = resolve));
          return Object.assign(client, {
            close: () => {
              closed++;
              return Promise.resolve();
            },
          });
        },
      };
      const starting = start({ log, signal: abort.signal, stopDeadlineMs: 1_000 }, world);
      starting.catch(() => undefined);
      await world.pass(50);
      abort.abort();
      await world.pass(100);
      assert.equal(told?.aborted, true);
      if (!late) connected();
      await assert.rejects(world.drive(starting), code('CALL_ABORTED'));
      if (late) connected();
      await world.pass(10);
      assert.equal(closed, 1);
    }
  } finally {
    await world.close();
  }
});

test('an abort after the start changes nothing, and the signal keeps no listener', async () => {
  const world = await GatedWorld.open();
  try {
    const abort = new AbortController();
    const { signal } = abort;
    const manager = await world.start({ signal });
    assert.equal(getEventListeners(signal, 'abort').length, 0);
    abort.abort();
    await world.drive(manager.ready());
    await world.settled(manager);
    assert.equal(manager.state, 'running');
  } finally {
    await world.close();
  }
});

/** Somebody else has it until the world is stopped. */
async function holdDirectory(world: GatedWorld, partition: number): Promise<void> {
  const { clock } = world.threads;
  const holding = await acquireDirectory(`${world.stateDir}/g/deadly/${partition}`, {
    holder: 'the test',
    budgetMs: 60_000,
    clock,
    signal: new AbortController().signal,
  });
  world.atStop(() => {
    holding.release();
    return Promise.resolve();
  });
}

function start(options: Pick<ManagerOptions, 'log' | 'signal' | 'stopDeadlineMs'>, world?: GatedWorld) {
  const all = {
    group: 'g',
    stateDir: temporaryDirectory('aborted'),
    streams: deadlyStream('skip'),
    ...options,
  };
  return world === undefined ? StateManager.start(all) : StateManager.startIn(all, world.threads.environment);
}
