/**
 * What a member believes of the group's answers to whether a partition is still its own, when they come late: in one thread on a
 * clock that is moved.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GatedWorld } from '../support/gated-world.js';

const SESSION_MS = 10_000;

test('a yes that was held back for longer than a session is not believed: whoever took over is not fenced', async () => {
  const holding = { member: undefined as string | undefined, heartbeats: false, answers: false };
  const held: { readonly answer: string; readonly pass: () => void }[] = [];
  let inits = 0;
  const world = await GatedWorld.open({
    before: (operation, { memberId }) => {
      if (operation === 'init') inits++;
      if (operation !== 'heartbeat') return undefined;
      holding.member ??= memberId;
      // Nobody answers for as long as the test takes.
      return holding.heartbeats && memberId === holding.member ? new Promise(() => undefined) : undefined;
    },
    after: (operation, { memberId, answer }) => {
      if (operation !== 'owns' || memberId !== holding.member || !holding.answers) return undefined;
      return new Promise<void>((pass) => held.push({ answer: String(answer), pass }));
    },
  });
  try {
    const sleeper = await world.start({
      instanceId: 'sleeper',
      sessionTimeoutMs: SESSION_MS,
      workers: 1,
      recovery: { concurrency: 3 },
    });
    await world.drive(sleeper.ready());
    await world.settled(sleeper);
    holding.heartbeats = true;
    holding.answers = true;
    await world.threads.kill(0);
    await world.until('the questions of all partitions', () => held.length === 3);
    assert.deepEqual(new Set(held.map(({ answer }) => answer)), new Set(['yes']));

    const heir = await world.start({ instanceId: 'heir', workers: 1 });
    await world.drive(heir.ready());
    await world.settled(heir);
    const restarts: unknown[] = [];
    heir.on('restarting', ({ error }) => restarts.push(error));
    const before = inits;
    for (const { pass } of held) pass();
    await world.pass(1_000);
    assert.equal(inits, before, 'the sleeper has opened producers');
    await world.settled(heir);
    assert.deepEqual(restarts, []);
    const { partitions } = await sleeper.stats();
    assert.deepEqual(new Set(partitions.map(({ state }) => state)), new Set(['lost']));
    await world.drive(world.topics.assertEqual(heir));
  } finally {
    await world.close();
  }
});
