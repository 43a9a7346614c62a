/** What an actor has under way at the log when it ends, as its uplink tells the next one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/core/clock.js';
import type { CommitOutcome } from '../../src/core/log-types.js';
import type { GroupSession, LogClient, OutputProducer } from '../../src/log/log-client.js';
import { PartitionUplink } from '../../src/manager/actor-uplink.js';
import type { ActorSpec } from '../../src/threads/protocol.js';
import { turns } from '../support/waiting.js';

test('a commit that is not answered when its actor has ended is in doubt, not undone', async () => {
  const clock = new ManualClock();
  let answer: (outcome: CommitOutcome) => void = () => undefined;
  const producer = {
    init: () => Promise.resolve(),
    commitTransaction: () => new Promise<CommitOutcome>((resolve) => (answer = resolve)),
    close: () => Promise.resolve(),
  };
  const acknowledged: number[] = [];
  const spec = { id: { stream: 's', partition: 0 }, group: 'g', inputs: [{ topic: 'in' }] };
  const uplink = new PartitionUplink(spec as unknown as ActorSpec, {
    log: { producer: () => producer } as unknown as LogClient,
    session: { owns: () => Promise.resolve('yes') } as unknown as GroupSession,
    outputs: () => ({}) as OutputProducer,
    clock,
    transactionTimeoutMs: 100,
    sessionTimeoutMs: 100,
    inherited: undefined,
    listener: {
      onCommitted: ({ commands }) => acknowledged.push(...commands.map(({ seq }) => seq)),
      onEvent: () => undefined,
      onDecided: () => undefined,
      onNotOwned: () => undefined,
    },
  });
  await uplink.init();
  const offsets = [{ topic: 'in', partition: 0, offset: 5, metadata: '0:1' }];
  const commit = uplink.commit({ batches: [], offsets, commands: [{ seq: 3, result: 'x' }] });
  const retired = assert.rejects(uplink.retire(new AbortController().signal));
  await clock.advanceAsync(200);
  await retired;
  assert.deepEqual(uplink.inDoubt, { offsets, commands: [{ seq: 3, result: 'x' }] });
  // A late answer is good news all the same.
  answer({ kind: 'committed', baseOffsets: [], lastOffsets: [] });
  await commit;
  assert.deepEqual(acknowledged, [3]);
});

test('outputs that were not sent when their actor ends are given up', async () => {
  const signals: (AbortSignal | undefined)[] = [];
  const outputs = {
    produce: (_: unknown, options?: { readonly signal?: AbortSignal }) => {
      signals.push(options?.signal);
      return new Promise<never>((_resolve, reject) => {
        options?.signal?.addEventListener('abort', () => {
          reject(new Error('purged'));
        });
      });
    },
  } as unknown as OutputProducer;
  const spec = { id: { stream: 's', partition: 0 }, group: 'g', inputs: [{ topic: 'in' }] };
  const uplink = new PartitionUplink(spec as unknown as ActorSpec, {
    log: {} as LogClient,
    session: {} as GroupSession,
    outputs: () => outputs,
    clock: new ManualClock(),
    transactionTimeoutMs: 100,
    sessionTimeoutMs: 100,
    inherited: undefined,
    listener: {
      onCommitted: () => undefined,
      onEvent: () => undefined,
      onDecided: () => undefined,
      onNotOwned: () => undefined,
    },
  });
  const produced = assert.rejects(uplink.produce([]), /purged/);
  assert.equal(signals[0]?.aborted, false);
  await uplink.retire(new AbortController().signal);
  await produced;
});

test('commits that are held until a check reach the log after it came out well, and never if it did not', async () => {
  let commits = 0;
  const producer = {
    init: () => Promise.resolve(),
    commitTransaction: () => {
      commits++;
      return Promise.resolve({ kind: 'committed', baseOffsets: [], lastOffsets: [] } as const);
    },
    close: () => Promise.resolve(),
  };
  const spec = { id: { stream: 's', partition: 0 }, group: 'g', inputs: [{ topic: 'in' }] };
  const uplink = new PartitionUplink(spec as unknown as ActorSpec, {
    log: { producer: () => producer } as unknown as LogClient,
    session: { owns: () => Promise.resolve('yes') } as unknown as GroupSession,
    outputs: () => ({}) as OutputProducer,
    clock: new ManualClock(),
    transactionTimeoutMs: 100,
    sessionTimeoutMs: 100,
    inherited: undefined,
    listener: {
      onCommitted: () => undefined,
      onEvent: () => undefined,
      onDecided: () => undefined,
      onNotOwned: () => undefined,
    },
  });
  await uplink.init();
  const request = { batches: [], offsets: [], commands: [] };
  let well: () => void = () => undefined;
  uplink.holdCommits(new Promise((resolve) => (well = resolve)));
  const commit = uplink.commit(request);
  await turns();
  assert.equal(commits, 0);
  well();
  assert.equal((await commit).kind, 'committed');
  uplink.holdCommits(Promise.reject(new Error('another topic')));
  assert.deepEqual(await uplink.commit(request), { kind: 'fenced', reason: 'another topic' });
  assert.equal((await uplink.commit(request)).kind, 'fenced');
  assert.equal(commits, 1);
});

for (const [name, answers, inits, askedAtLeast] of [
  ['yes: it is taken', ['yes'], 1, 1],
  ['no: nothing is written, the partition is lost at once', ['no'], 0, 1],
  ['nothing, and then yes: it waits and is taken', ['unknown', 'unknown', 'yes'], 1, 3],
  ['nothing for a session: nothing is written, the partition is lost', ['unknown'], 0, 3],
] as const)
  test(`before every init the group is asked who owns the partition; it says ${name}`, async () => {
    const clock = new ManualClock();
    let asked = 0;
    let done = 0;
    const lost: string[] = [];
    const producer = { init: () => Promise.resolve(done++), close: () => Promise.resolve() };
    const spec = { id: { stream: 's', partition: 0 }, group: 'g', inputs: [{ topic: 'in' }] };
    const uplink = new PartitionUplink(spec as unknown as ActorSpec, {
      log: { producer: () => producer } as unknown as LogClient,
      session: {
        owns: () => Promise.resolve(answers[Math.min(asked++, answers.length - 1)]),
      } as unknown as GroupSession,
      outputs: () => ({}) as OutputProducer,
      clock,
      transactionTimeoutMs: 100,
      sessionTimeoutMs: 1_000,
      inherited: undefined,
      listener: {
        onCommitted: () => undefined,
        onEvent: () => undefined,
        onDecided: () => undefined,
        onNotOwned: ({ code }) => lost.push(code),
      },
    });
    const init = uplink.init();
    init.catch(() => undefined);
    for (let i = 0; i < 10; i++) await clock.advanceAsync(200);
    if (inits === 1) await init;
    else await assert.rejects(init, /PARTITION_NOT_OWNED|not this member's|did not say/);
    assert.equal(done, inits);
    assert.ok(asked >= askedAtLeast, `asked ${asked} times`);
    assert.deepEqual(lost, inits === 1 ? [] : ['PARTITION_NOT_OWNED']);
    // And so before the next one.
    if (inits === 1) {
      const before = asked;
      await uplink.init();
      assert.equal(asked, before + 1);
    }
  });
