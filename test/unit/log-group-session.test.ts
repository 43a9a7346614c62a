/** A group's member, as any log's coordinator sees it: what it asks with, and what it makes of the answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ManualClock } from '../../src/core/clock.js';
import { PartitaError } from '../../src/core/errors.js';
import { type Logger, silentLogger } from '../../src/core/logger.js';
import type { TopicPartition } from '../../src/core/log-types.js';
import type { GroupLink, HeartbeatAnswer, JoinAnswer, JoinRequest } from '../../src/log/group/group-link.js';
import type { GroupMember, OwnershipAnswer } from '../../src/log/log-client.js';
import { LogGroupSession } from '../../src/log/group/group-session.js';
import type {
  Fetched,
  FetchSink,
  FetchState,
  PartitionFetcher,
} from '../../src/log/group/partition-fetcher.js';
import { TestMember } from '../contract/log-client.js';
import { turns } from '../support/waiting.js';

const SESSION_MS = 1_000;
const HEARTBEAT_MS = 200;
const [P0, P1, P2] = [0, 1, 2].map((partition) => ({ topic: 't', partition })) as [
  TopicPartition,
  TopicPartition,
  TopicPartition,
];

interface PendingJoin {
  readonly request: JoinRequest;
  readonly resolve: (answer: JoinAnswer) => void;
  readonly reject: (error: Error) => void;
}

/** A coordinator that answers what the test tells it to; ids are its own, as Kafka's. */
class ScriptedLink implements GroupLink {
  readonly joins: PendingJoin[] = [];
  readonly heartbeats: string[] = [];
  readonly left: string[] = [];
  answer: () => HeartbeatAnswer | Promise<HeartbeatAnswer> = () => 'ok';

  newMemberId(): string {
    return '';
  }

  join(request: JoinRequest): Promise<JoinAnswer> {
    return new Promise((answer, reject) => {
      const resolve = (given: JoinAnswer): void => {
        // The rebalance is over.
        if (given.kind === 'joined') this.answer = () => 'ok';
        answer(given);
      };
      this.joins.push({ request, resolve, reject });
    });
  }

  heartbeat(memberId: string, generation: number): HeartbeatAnswer | Promise<HeartbeatAnswer> {
    this.heartbeats.push(`${memberId}@${generation}`);
    return this.answer();
  }

  revokeDeadline(): number {
    return 12_345;
  }

  leave(memberId: string): void {
    this.left.push(memberId);
    this.joins.at(-1)?.resolve({ kind: 'unknownMember' });
  }

  owns(memberId: string, generation: number): OwnershipAnswer | Promise<OwnershipAnswer> {
    return memberId === 'm' && generation === 1 ? 'yes' : 'no';
  }

  ownerOf(): string {
    return 'somewhere:1';
  }
}

/** Delivers what the test tells it to. */
class ScriptedFetcher implements PartitionFetcher {
  readonly sink: FetchSink;
  states: readonly FetchState[] = [];
  wakeUps = 0;
  started = 0;
  closed = 0;

  constructor(sink: FetchSink) {
    this.sink = sink;
  }

  start(): void {
    this.started++;
  }

  assign(states: readonly FetchState[]): void {
    this.states = states;
  }

  wakeUp(): void {
    this.wakeUps++;
  }

  async close(): Promise<void> {
    this.closed++;
  }

  state(id: TopicPartition): FetchState {
    return this.states.find((state) => state.id.topic === id.topic && state.id.partition === id.partition)!;
  }

  deliver(id: TopicPartition, extra: Partial<Fetched> = {}): void {
    const fetch = this.sink.nextFetch();
    const from = this.state(id).position!;
    const end = { lastStable: 9, highWatermark: 9 };
    const bytes = new ArrayBuffer(0);
    this.sink.deliver(this.state(id), { bytes, from, next: from, aborted: [], ...end, fetch, ...extra });
  }
}

const joined = (memberId: string, generation: number, assignment: readonly TopicPartition[]): JoinAnswer => ({
  kind: 'joined',
  memberId,
  generation,
  assignment,
});

const unavailable = () => new PartitaError('LOG_UNAVAILABLE', 'The coordinator moved.');

/** A session that has asked to join for the first time. */
async function open(streams: Record<string, string[]> = {}) {
  const clock = new ManualClock(1_000);
  const link = new ScriptedLink();
  const member = new TestMember();
  const warnings: string[] = [];
  const warn = (...[, message]: unknown[]) => void warnings.push(message as string);
  const logger: Logger = { ...silentLogger, warn };
  const ends: string[] = [];
  let fetcher: ScriptedFetcher | undefined;
  const session = new LogGroupSession(
    {
      clock,
      link,
      clientId: 'c',
      fetcher: (sink) => (fetcher = new ScriptedFetcher(sink)),
      logger,
      random: () => 0,
      onEnd: () => ends.push('end'),
    },
    { group: 'g', topics: ['t'], streams, sessionTimeoutMs: SESSION_MS },
    member,
  );
  member.session = session;
  session.start();
  await turns(5);
  return { clock, link, member, session, warnings, ends, fetcher: fetcher! };
}

/** The same, as member `m` of generation 1 with these partitions. */
async function openAs(owned: readonly TopicPartition[], streams: Record<string, string[]> = {}) {
  const all = await open(streams);
  all.link.joins[0]!.resolve(joined('m', 1, owned));
  await turns(5);
  return all;
}

/** The next heartbeat says that there is a rebalance, and the ones in the barrier too. */
async function rebalance({ link, clock }: { link: ScriptedLink; clock: ManualClock }): Promise<void> {
  link.answer = () => 'rebalance';
  await clock.advanceAsync(HEARTBEAT_MS);
  await turns(5);
}

test('the id that the coordinator gives is the one that the member goes by', async () => {
  const { clock, link, member, session } = await openAs([P0]);
  assert.equal(link.joins[0]!.request.memberId, '');
  assert.equal(link.joins[0]!.request.known, false);
  assert.equal(session.memberId, 'm');
  assert.equal(member.assignments[0]!.memberId, 'm');
  await clock.advanceAsync(HEARTBEAT_MS);
  assert.deepEqual([...new Set(link.heartbeats)], ['m@1']);
  assert.equal(await session.owns(P0), 'yes');
  assert.equal(await session.owns(P1), 'no');
  assert.equal(session.ownerOf(P1), 'somewhere:1');
  await session.leave();
  assert.deepEqual(link.left, ['m']);
  assert.equal(await session.owns(P0), 'no');
});

test('a member that was given another id by a later join is known by that one', async () => {
  const all = await openAs([P0]);
  await rebalance(all);
  all.link.joins[1]!.resolve(joined('n', 2, [P0]));
  await turns(5);
  assert.equal(all.session.memberId, 'n');
  assert.equal(all.link.heartbeats.at(-1), 'n@2');
});

test('what a member had is told with its next join, also after the barrier, with its generation', async () => {
  const all = await openAs([P0, P1]);
  assert.deepEqual([all.link.joins[0]!.request.owned, all.link.joins[0]!.request.ownedGeneration], [[], -1]);
  await rebalance(all);
  const { owned, ownedGeneration, known, memberId } = all.link.joins[1]!.request;
  assert.deepEqual(all.member.revoked, [[P0, P1]]);
  assert.deepEqual([owned, ownedGeneration, known, memberId], [[P0, P1], 1, true, 'm']);
  all.link.joins[1]!.resolve(joined('m', 2, [P1, P2]));
  await turns(5);
  const { gained, kept, lost } = all.member.assignments[1]!;
  assert.deepEqual({ gained, kept, lost }, { gained: [P2], kept: [P1], lost: [P0] });
});

test("a join that is answered by 'again' is repeated as it was, without a barrier", async () => {
  const all = await openAs([P0, P1]);
  await rebalance(all);
  for (const join of [1, 2, 3]) {
    all.link.joins[join]!.resolve({ kind: 'again' });
    await turns(5);
  }
  assert.equal(all.link.joins.length, 5);
  const { owned, ownedGeneration, known, memberId } = all.link.joins[4]!.request;
  assert.deepEqual([owned, ownedGeneration, known, memberId], [[P0, P1], 1, true, 'm']);
  all.link.joins[4]!.resolve(joined('m', 3, [P0, P1]));
  await turns(5);
  assert.deepEqual(all.member.assignments[1]!.kept, [P0, P1]);
  assert.deepEqual([all.member.revoked.length, all.member.lost.length], [1, 0]);
});

test('a group that can not be asked is asked again after longer and longer, for minutes, and nothing is fatal', async () => {
  const { clock, link, member, warnings } = await open();
  const waits: number[] = [];
  while (clock.monotonic() < 180_000) {
    const attempts = link.joins.length;
    const failedAt = clock.monotonic();
    link.joins.at(-1)!.reject(unavailable());
    await turns(5);
    while (link.joins.length === attempts) {
      assert.ok(clock.monotonic() - failedAt < 3_000, 'it is asked again in time');
      await clock.advanceAsync(100);
      await turns(2);
    }
    waits.push(clock.monotonic() - failedAt);
  }
  assert.deepEqual(waits.slice(0, 7), [100, 200, 400, 800, 1_600, 2_000, 2_000]);
  assert.equal(waits.at(-1), 2_000);
  assert.equal(warnings.length, waits.length);
  link.joins.at(-1)!.resolve(joined('m', 1, [P0]));
  await turns(5);
  assert.deepEqual(member.owned.size, 1);
  assert.deepEqual(member.errors, []);
});

test('what a member had outlasts a time in which the group can not be asked', async () => {
  const all = await openAs([P0]);
  await rebalance(all);
  all.link.joins[1]!.reject(unavailable());
  await all.clock.advanceAsync(100);
  await turns(5);
  const { owned, ownedGeneration, known } = all.link.joins[2]!.request;
  assert.deepEqual([owned, ownedGeneration, known], [[P0], 1, true]);
  assert.deepEqual([all.member.revoked.length, all.member.lost.length], [1, 0]);
});

test('a group that refuses the member is fatal once, and it is not asked again', async () => {
  const all = await openAs([P0]);
  await rebalance(all);
  const beats = all.link.heartbeats.length;
  const refusal = new PartitaError('INVALID_OPTIONS', 'The session timeout is out of bounds.');
  all.link.joins[1]!.reject(refusal);
  await turns(5);
  await all.clock.advanceAsync(60_000);
  assert.deepEqual(all.member.errors, [refusal]);
  assert.equal(all.link.joins.length, 2);
  assert.equal(all.link.heartbeats.length, beats);
  await all.session.leave();
  assert.deepEqual(all.link.left, ['m']);
  assert.equal(all.fetcher.closed, 1);
});

test('no heartbeat is sent while a join is under way, nor between two of them', async () => {
  const all = await openAs([P0]);
  await rebalance(all);
  const beats = all.link.heartbeats.length;
  all.link.joins[1]!.request.nudge();
  await all.clock.advanceAsync(SESSION_MS);
  all.link.joins[1]!.resolve({ kind: 'again' });
  await all.clock.advanceAsync(SESSION_MS);
  all.link.joins[2]!.reject(unavailable());
  await turns(5);
  all.link.joins[0]!.request.nudge();
  await all.clock.advanceAsync(SESSION_MS);
  assert.equal(all.link.joins.length, 4);
  assert.equal(all.link.heartbeats.length, beats);
  all.link.joins[3]!.resolve(joined('m', 2, [P0]));
  await turns(5);
  await all.clock.advanceAsync(SESSION_MS);
  assert.ok(all.link.heartbeats.length > beats);
  assert.ok(all.link.heartbeats.slice(beats).every((beat) => beat === 'm@2'));
});

test('while a join is under way nobody can say who owns a partition, whatever was asked of the generation before', async () => {
  const all = await openAs([P0]);
  let answer: (answer: OwnershipAnswer) => void = () => undefined;
  const owns = all.link.owns.bind(all.link);
  all.link.owns = () => new Promise((resolve) => (answer = resolve));
  const answeredInJoin = all.session.owns(P0);
  await rebalance(all);
  answer('no');
  assert.equal(await answeredInJoin, 'unknown');
  all.link.owns = () => 'no';
  assert.equal(await all.session.owns(P0), 'unknown');
  all.link.joins[1]!.resolve({ kind: 'unknownMember' });
  await turns(5);
  assert.equal(await all.session.owns(P0), 'no');
  all.link.joins[2]!.resolve(joined('m', 1, [P0]));
  await turns(5);
  all.link.owns = () => new Promise((resolve) => (answer = resolve));
  const answeredLater = all.session.owns(P0);
  await rebalance(all);
  all.link.joins[3]!.resolve(joined('m', 2, [P0]));
  await turns(5);
  answer('yes');
  assert.equal(await answeredLater, 'unknown');
  all.link.owns = owns;
  assert.equal(await all.session.owns(P0), 'no', 'the group says so');
});

test('a yes to a question of a session ago is worth nothing by now; a no is', async () => {
  const all = await openAs([P0]);
  for (const [answered, waitedMs, believed] of [
    ['yes', SESSION_MS - 1, 'yes'],
    ['yes', SESSION_MS, 'unknown'],
    ['no', SESSION_MS, 'no'],
  ] as const) {
    let answer: (answer: OwnershipAnswer) => void = () => undefined;
    all.link.owns = () => new Promise((resolve) => (answer = resolve));
    const asked = all.session.owns(P0);
    await turns();
    await all.clock.advanceAsync(waitedMs);
    answer(answered);
    assert.equal(await asked, believed, `${answered} after ${waitedMs} ms`);
  }
});

test('a heartbeat that is answered after the next join has begun says nothing, and holds up no later one', async () => {
  for (const late of ['rebalance', 'unknownMember'] as const) {
    const all = await openAs([P0]);
    let finish: () => void = () => undefined;
    all.member.revoke = () => new Promise((resolve) => (finish = resolve));
    await rebalance(all);
    let answer: (answer: HeartbeatAnswer) => void = () => undefined;
    all.link.answer = () => new Promise((resolve) => (answer = resolve));
    await all.clock.advanceAsync(HEARTBEAT_MS);
    finish();
    await turns(5);
    all.link.answer = () => 'ok';
    all.link.joins[1]!.resolve(joined('m', 2, [P0]));
    await turns(5);
    assert.equal(all.link.heartbeats.at(-1), 'm@2');
    answer(late);
    await turns(5);
    await all.clock.advanceAsync(HEARTBEAT_MS);
    assert.equal(all.link.joins.length, 2, late);
    assert.deepEqual([all.member.revoked.length, all.member.lost.length], [1, 0], late);
  }
});

test('in the barrier heartbeats go on, and say nothing new until the member is forgotten', async () => {
  const all = await openAs([P0, P1]);
  let finish: () => void = () => undefined;
  const deadlines: number[] = [];
  all.member.revoke = (_, deadline) => {
    deadlines.push(deadline);
    return new Promise((resolve) => (finish = resolve));
  };
  await rebalance(all);
  const beats = all.link.heartbeats.length;
  await all.clock.advanceAsync(5 * HEARTBEAT_MS);
  assert.equal(all.link.heartbeats.length, beats + 5);
  assert.deepEqual(deadlines, [12_345]);
  assert.deepEqual([all.member.revoked.length, all.member.lost.length], [1, 0]);
  all.link.answer = () => 'unknownMember';
  await all.clock.advanceAsync(HEARTBEAT_MS);
  assert.deepEqual(all.member.lost, [[P0, P1]], 'at once, with the barrier still under way');
  assert.equal(await all.session.owns(P0), 'no');
  assert.equal(all.link.joins.length, 1);
  finish();
  await turns(5);
  const { owned, ownedGeneration, known, memberId } = all.link.joins[1]!.request;
  assert.deepEqual([owned, ownedGeneration, known, memberId], [[], -1, false, '']);
  all.link.joins[1]!.resolve(joined('n', 5, [P0]));
  await turns(5);
  assert.deepEqual(all.member.assignments[1]!.gained, [P0]);
  assert.deepEqual(all.member.errors, []);
});

test('a member whose join the group does not know any more loses what it had, and joins as a new one', async () => {
  const all = await openAs([P0]);
  await rebalance(all);
  all.link.joins[1]!.resolve({ kind: 'unknownMember' });
  await turns(5);
  assert.deepEqual(all.member.lost, [[P0]]);
  const { owned, ownedGeneration, known, memberId } = all.link.joins[2]!.request;
  assert.deepEqual([owned, ownedGeneration, known, memberId], [[], -1, false, '']);
  all.link.joins[2]!.resolve({ kind: 'unknownMember' });
  await turns(5);
  assert.equal(all.member.lost.length, 1, 'it had nothing');
  assert.equal(all.link.joins.length, 4);
});

test('a member that is forgotten loses what it had and joins as a new one, also while it takes up an assignment', async () => {
  const { clock, link, member, fetcher } = await openAs([P0]);
  link.answer = () => 'unknownMember';
  await clock.advanceAsync(HEARTBEAT_MS);
  await turns(5);
  assert.deepEqual([member.lost, fetcher.states, fetcher.sink.delivering], [[[P0]], [], false]);
  const told: GroupMember = member;
  let finish: () => void = () => undefined;
  told.onAssign = () => new Promise((resolve) => (finish = resolve));
  link.joins[1]!.resolve(joined('n', 3, [P1]));
  await turns(5);
  link.answer = () => 'unknownMember';
  await clock.advanceAsync(HEARTBEAT_MS);
  assert.deepEqual(member.lost, [[P0], [P1]]);
  finish();
  await turns(5);
  assert.equal(fetcher.sink.delivering, false);
  assert.equal(link.joins.length, 3);
  assert.equal(member.revoked.length, 0);
});

test('a member goes on through minutes without an answer to its heartbeats, and after them', async () => {
  const { clock, link, member, session, fetcher, warnings } = await openAs([P0]);
  link.answer = () => Promise.reject(unavailable());
  const beats = link.heartbeats.length;
  await clock.advanceAsync(180_000);
  assert.equal(link.heartbeats.length, beats + 180_000 / HEARTBEAT_MS);
  assert.equal(warnings.length, 1);
  assert.equal(fetcher.sink.delivering, true);
  assert.equal(await session.owns(P0), 'yes');
  link.answer = () => 'ok';
  await clock.advanceAsync(HEARTBEAT_MS);
  assert.equal(warnings.length, 2);
  assert.deepEqual([link.joins.length, member.lost.length, member.errors.length], [1, 0, 0]);
  link.answer = () => 'rebalance';
  await clock.advanceAsync(HEARTBEAT_MS);
  await turns(5);
  assert.deepEqual([link.joins.length, member.revoked.length], [2, 1]);
});

test('leaving gives up a join under way, and the wait before the next one', async () => {
  const asking = await open();
  await asking.session.leave();
  assert.deepEqual(asking.link.left, ['', '']);
  const waiting = await open();
  waiting.link.joins[0]!.reject(unavailable());
  await turns(5);
  await waiting.session.leave();
  assert.equal(waiting.clock.pendingTimers, 0);
  assert.equal(waiting.link.joins.length, 1);
  assert.deepEqual([...asking.member.calls, ...waiting.member.calls], []);
  assert.deepEqual([...asking.member.errors, ...waiting.member.errors], []);
});

test('a join that is answered while the member leaves is left by the id that it brought', async () => {
  const { link, session, member } = await open();
  link.leave = (memberId) => {
    link.left.push(memberId);
    link.joins[0]!.resolve(joined('m', 1, [P0]));
  };
  await session.leave();
  assert.deepEqual(link.left, ['', 'm']);
  assert.deepEqual(member.calls, []);
});

test('leaving runs the barrier with the heartbeats going on, once, and then nothing is told any more', async () => {
  const { clock, link, session, member, fetcher, ends } = await openAs([P0]);
  let finish: () => void = () => undefined;
  member.revoke = () => new Promise((resolve) => (finish = resolve));
  const leaving = session.leave();
  await turns(5);
  assert.equal(fetcher.sink.delivering, false);
  const beats = link.heartbeats.length;
  await clock.advanceAsync(HEARTBEAT_MS);
  assert.equal(link.heartbeats.length, beats + 1);
  assert.deepEqual(link.left, []);
  finish();
  await Promise.all([leaving, session.leave()]);
  assert.deepEqual([link.left, ends, fetcher.closed, member.revoked.length], [['m'], ['end'], 1, 1]);
  assert.deepEqual(fetcher.states, []);
  fetcher.sink.fatal(new Error('the socket was closed'));
  assert.deepEqual(member.errors, []);
});

test('a session whose client is closed ends without a barrier, whatever the group still answers', async () => {
  const { clock, link, session, member, fetcher, ends } = await openAs([P0]);
  let answer: (answer: HeartbeatAnswer) => void = () => undefined;
  link.answer = () => new Promise((resolve) => (answer = resolve));
  await clock.advanceAsync(HEARTBEAT_MS);
  await session.abandon();
  answer('unknownMember');
  await turns(5);
  await clock.advanceAsync(10 * SESSION_MS);
  assert.deepEqual([member.revoked.length, member.lost.length, link.joins.length], [0, 0, 1]);
  assert.deepEqual([link.left, ends, fetcher.closed], [['m'], ['end'], 1]);
  assert.equal(fetcher.sink.delivering, false);
  assert.equal(clock.pendingTimers, 0);
});

test('a member that is forgotten in the moment in which its client is closed is told nothing', async () => {
  const { clock, link, session, member } = await openAs([P0]);
  link.answer = () => 'unknownMember';
  clock.advance(HEARTBEAT_MS);
  await session.abandon();
  await turns(5);
  assert.deepEqual([member.lost.length, link.joins.length], [0, 1]);
});

test('the fetcher is given the partitions before the member is, and may deliver only after it', async () => {
  const { link, member, fetcher } = await open();
  const seen: unknown[] = [];
  const told: GroupMember = member;
  told.onAssign = async () => {
    seen.push(fetcher.states.length, fetcher.sink.delivering);
    await turns(5);
    seen.push(fetcher.sink.delivering);
  };
  link.joins[0]!.resolve(joined('m', 1, [P0, P1]));
  await turns(20);
  assert.deepEqual([...seen, fetcher.sink.delivering], [2, false, false, true]);
  assert.equal(fetcher.started, 1);
});

test('a kept partition goes on from where it was, under a new epoch; a gained one starts paused', async () => {
  const all = await openAs([P0]);
  all.fetcher.deliver(P0, { next: 3 });
  const before = all.fetcher.state(P0);
  const { version } = before;
  all.member.autoResume = false;
  await rebalance(all);
  assert.equal(all.fetcher.sink.delivering, false);
  all.link.joins[1]!.resolve(joined('m', 2, [P0, P1]));
  await turns(5);
  const { position, paused, epoch } = all.fetcher.state(P0);
  assert.deepEqual({ position, paused, epoch }, { position: 3, paused: false, epoch: 2 });
  assert.equal(all.fetcher.state(P0), before);
  assert.ok(before.version > version);
  assert.deepEqual([all.fetcher.state(P1).position, all.fetcher.state(P1).paused], [undefined, true]);
});

test('pauses, seeks and epochs reach the fetcher by its partitions, and chunks carry the epoch of theirs', async () => {
  const { session, member, fetcher } = await openAs([P0, P1]);
  const state = fetcher.state(P0);
  session.pause([P0, P2]);
  assert.deepEqual([state.paused, fetcher.state(P1).paused], [true, false]);
  const wakeUps = fetcher.wakeUps;
  session.resume([P0]);
  assert.deepEqual([state.paused, fetcher.wakeUps], [false, wakeUps + 1]);
  fetcher.deliver(P0, { next: 4 });
  const { version, lastFetch } = state;
  assert.ok(lastFetch > 0);
  session.seek(P0, 2);
  assert.deepEqual([state.position, state.version > version, state.lastFetch], [2, true, 0]);
  const sought = state.version;
  const epoch = session.nextEpoch(P0);
  assert.ok(state.version > sought);
  fetcher.deliver(P0, { next: 5 });
  fetcher.deliver(P1, { next: 1 });
  assert.deepEqual(
    member.chunks.map((chunk) => [chunk.partition, chunk.from, chunk.next, chunk.epoch, chunk.fetch]),
    [
      [0, 0, 4, 1, 1],
      [0, 2, 5, epoch, 2],
      [1, 0, 1, 1, 3],
    ],
  );
  assert.ok(session.nextEpoch(P2) > epoch, 'also of a partition that is not assigned');
});

test('data of one topic is seen by its siblings only, and the end of a partition is not data', async () => {
  const [a, b, c] = ['a', 'b', 'c'].map((topic) => ({ topic, partition: 0 })) as [
    TopicPartition,
    TopicPartition,
    TopicPartition,
  ];
  const { fetcher } = await openAs([a, b, c], { s: ['a', 'b'] });
  fetcher.deliver(a);
  assert.equal(fetcher.state(b).siblings.lastData, 0);
  fetcher.deliver(a, { next: 1 });
  assert.equal(fetcher.state(b).siblings.lastData, 2);
  assert.equal(fetcher.state(c).siblings.lastData, 0);
});

test('a position outside of the log pauses the partition and is told', async () => {
  const { member, fetcher } = await openAs([P0]);
  fetcher.sink.outOfRange(fetcher.state(P0), { ...P0, start: 5, end: 9, lastStable: 9 });
  assert.deepEqual(member.outOfRange, [P0]);
  assert.equal(fetcher.state(P0).paused, true);
});
