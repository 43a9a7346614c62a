/** The manager's pure decisions, by table: placement, restarts, cache shares, changelogs, options. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../../src/core/backoff.js';
import { isPartitaError, PartitaError } from '../../src/core/errors.js';
import type { TopicDescription } from '../../src/core/log-types.js';
import type { LogFactory } from '../../src/log/log-client.js';
import { actorDirectory } from '../../src/manager/actor-spec.js';
import { cacheShare } from '../../src/manager/cache-budget.js';
import type { ManagerOptions } from '../../src/manager/options.js';
import { resolveOptions } from '../../src/manager/resolve-options.js';
import { choosePlace, PlaceTable } from '../../src/manager/placement.js';
import { changelogDifferences, checkChangelog } from '../../src/manager/stream-plan.js';
import { decideRestart } from '../../src/manager/supervisor.js';

const loads = (...actors: number[]): { place: number; actors: number }[] =>
  actors.map((count, place) => ({ place, actors: count }));

for (const [name, actors, previous, expected] of [
  ['the least loaded place gets the next actor', [2, 0, 1], undefined, 1],
  ['among equals the first', [1, 1, 1], undefined, 0],
  ['an actor stays where it was among equals', [1, 1, 1], 2, 2],
  ['an actor stays where there is one more', [1, 2, 1], 1, 1],
  ['an actor leaves a place that has two more', [1, 3, 1], 1, 0],
  ['a place that is gone is forgotten', [1, 0], 5, 1],
] as const)
  test(`placement: ${name}`, () => {
    assert.equal(choosePlace(loads(...actors), previous), expected);
  });

test('placement spreads actors evenly and keeps doing so as they come and go', () => {
  const table = new PlaceTable(3);
  const places = Array.from({ length: 9 }, () => table.enter());
  assert.deepEqual(
    table.loads().map(({ actors }) => actors),
    [3, 3, 3],
  );
  for (const place of places.slice(0, 6)) table.leave(place);
  for (let i = 0; i < 6; i++) table.enter(0);
  const counts = table.loads().map(({ actors }) => actors);
  assert.ok(Math.max(...counts) - Math.min(...counts) <= 2, counts.join());
});

test('an actor that failed for a passing reason is restarted with growing delays, up to the bound', () => {
  const backoff = new Backoff({ firstMs: 100, maxMs: 300, attemptsMax: 3, jitter: 0 });
  const error = new PartitaError('THREAD_DIED', 'gone');
  const delays = Array.from({ length: 4 }, () =>
    decideRestart({ error, mended: false, innocent: false }, false, backoff, { rebuildOnCorruption: true }),
  );
  assert.deepEqual(delays, [
    { kind: 'restart', delayMs: 100 },
    { kind: 'restart', delayMs: 200 },
    { kind: 'restart', delayMs: 300 },
    { kind: 'fail' },
  ]);
  backoff.reset();
  assert.deepEqual(
    decideRestart({ error, mended: false, innocent: false }, false, backoff, { rebuildOnCorruption: true }),
    {
      kind: 'restart',
      delayMs: 100,
    },
  );
});

test('what the log refuses for good is tried once more, with the limits as they are then, and not again', () => {
  const backoff = new Backoff({ firstMs: 1, maxMs: 1, attemptsMax: 9, jitter: 0 });
  const ending = { mended: false, innocent: false };
  for (const code of ['COMMIT_REJECTED', 'LOG_AUTHORIZATION_FAILED', 'CHANGELOG_INVALID'] as const) {
    const error = new PartitaError(code, '');
    assert.equal(
      decideRestart({ ...ending, error }, false, backoff, { rebuildOnCorruption: true }).kind,
      'restart',
    );
    assert.equal(
      decideRestart({ ...ending, error }, true, backoff, { rebuildOnCorruption: true }).kind,
      'fail',
    );
  }
  const passing = new PartitaError('THREAD_DIED', '');
  assert.equal(
    decideRestart({ ...ending, error: passing }, true, backoff, { rebuildOnCorruption: true }).kind,
    'restart',
  );
});

test('a corrupt database that is not to be rebuilt fails its partition at once', () => {
  const backoff = new Backoff({ firstMs: 1, maxMs: 1, attemptsMax: 9, jitter: 0 });
  const ending = { error: new PartitaError('CORRUPT', ''), mended: false, innocent: false };
  const decide = (rebuildOnCorruption: boolean): string =>
    decideRestart(ending, false, backoff, { rebuildOnCorruption }).kind;
  assert.equal(decide(true), 'restart');
  assert.equal(decide(false), 'fail');
});

test('what another actor did to its thread is not counted among the restarts of a partition', () => {
  const backoff = new Backoff({ firstMs: 100, maxMs: 100, attemptsMax: 1, jitter: 0 });
  const error = new PartitaError('THREAD_DIED', 'gone');
  for (let death = 0; death < 5; death++)
    assert.deepEqual(
      decideRestart({ error, mended: true, innocent: true }, false, backoff, { rebuildOnCorruption: true }),
      {
        kind: 'restart',
        delayMs: 0,
      },
    );
  assert.equal(backoff.attempts, 0);
});

test('what a restart would meet again fails at once; what the group took away is lost, not restarted', () => {
  const backoff = new Backoff({ firstMs: 1, maxMs: 1, attemptsMax: 9, jitter: 0 });
  const decide = (error: unknown, mended = false): string =>
    decideRestart({ error, mended, innocent: false }, false, backoff, { rebuildOnCorruption: true }).kind;
  assert.equal(decide(new PartitaError('STATE_MISSING', '')), 'fail');
  assert.equal(decide(new PartitaError('POISON_RECORD', '')), 'fail');
  // Handlers talk to a world that changes; the bound on restarts decides.
  assert.equal(decide(new PartitaError('HANDLER_FAILED', '')), 'restart');
  assert.equal(decide(new PartitaError('OFFSET_OUT_OF_RANGE', '')), 'fail');
  assert.equal(decide(new PartitaError('OFFSET_OUT_OF_RANGE', ''), true), 'restart');
  assert.equal(decide(new PartitaError('FENCED', '')), 'restart');
  assert.equal(decide(new Error('anything')), 'restart');
  assert.equal(decide(new PartitaError('PARTITION_NOT_OWNED', '')), 'lost');
});

test('the cache budget is divided over the actors, none gets next to nothing', () => {
  assert.equal(cacheShare(1 << 30, 4), 1 << 28);
  assert.equal(cacheShare(1 << 30, 0), 1 << 30);
  assert.equal(cacheShare(1 << 20, 1_000), 256 * 1024);
});

function changelog(configs: Record<string, string>, partitions = 4): TopicDescription {
  return {
    topic: 'changelog__g--s',
    topicId: 'id',
    partitions,
    replicationFactor: 1,
    configs,
    limits: { maxBatchBytes: 1_000_000, timestampBeforeMaxMs: Infinity, timestampAfterMaxMs: Infinity },
  };
}

for (const [configs, partitions, refused] of [
  [{ 'cleanup.policy': 'compact' }, 4, undefined],
  [{ 'cleanup.policy': 'compact' }, 5, /partitions 5/],
  [{ 'cleanup.policy': 'delete' }, 4, /cleanup\.policy delete/],
  [{ 'cleanup.policy': 'compact,delete' }, 4, /compact,delete/],
  [{}, 4, /cleanup\.policy/],
] as const)
  test(`a changelog with ${JSON.stringify(configs)} and ${partitions} partitions is ${refused ? 'refused' : 'accepted'}`, () => {
    const check = (): void => {
      checkChangelog(changelog(configs, partitions), 4);
    };
    if (refused === undefined) check();
    else
      assert.throws(check, (error: unknown) => {
        assert.ok(isPartitaError(error, 'CHANGELOG_INVALID'));
        assert.match(error.message, refused);
        return true;
      });
  });

test('differences of a changelog that lose nothing are told with what was expected and what is', () => {
  const found = changelogDifferences(
    changelog({ 'cleanup.policy': 'compact', 'delete.retention.ms': '1000' }),
    3,
  );
  assert.deepEqual(
    found.map(({ config, actual }) => [config, actual]),
    [
      ['message.timestamp.type', 'CreateTime'],
      ['delete.retention.ms', '1000'],
      ['max.message.bytes', '1000000'],
      ['replication', '1'],
    ],
  );
});

const log: LogFactory = { kind: 'none', connect: () => Promise.reject(new Error('never called')) };
const valid: ManagerOptions = {
  group: 'g',
  log,
  stateDir: 'state',
  streams: { s: { url: new URL('file:///s.js'), config: undefined } },
};

for (const [name, broken, path] of [
  ['a missing group', { group: undefined }, 'group'],
  ['zero workers', { workers: 0 }, 'workers'],
  ['an unknown option', { colour: 'red' }, 'colour'],
  ['an unknown option further in', { checkpoint: { everyMs: 5 } }, 'everyMs'],
  ['a negative time', { checkpoint: { intervalMs: -1 } }, 'checkpoint.intervalMs'],
  ['something that is no log', { log: {} }, 'log'],
  ['something that is no processor', { streams: { s: { url: 'x' } } }, 'streams.s.url'],
  ['no streams', { streams: {} }, 'streams'],
  ['another guarantee', { guarantee: 'maybe' }, 'guarantee'],
  ['a reset where offsets were moved, without its id', { onOffsetsMoved: 'resetState' }, 'resetId'],
  ['a reset of a stream that is not there', { reset: { id: 'r', streams: ['t'] } }, 'reset.streams'],
  ['a reset of its stores', { resetStores: { id: 'r', stores: { t: ['x'] } } }, 'resetStores.stores'],
] as const)
  test(`${name} is refused at start, and named`, async () => {
    const options = { ...valid, ...broken } as unknown as ManagerOptions;
    await assert.rejects(resolveOptions(options), (error: unknown) => {
      assert.ok(isPartitaError(error, 'INVALID_OPTIONS'), String(error));
      assert.ok(error.message.includes(path), error.message);
      return true;
    });
  });

test('names that would leave their folder are refused before a file is touched', async () => {
  for (const group of ['..', 'a/b', 'a--b', ''])
    await assert.rejects(resolveOptions({ ...valid, group }), (error: unknown) =>
      isPartitaError(error, 'INVALID_NAME'),
    );
});

test('options are complete and frozen; budgets follow the rebalance timeout', async () => {
  const options = await resolveOptions({ ...valid, rebalanceTimeoutMs: 100_000, instanceId: 'one' });
  assert.equal(options.openBudgetMs, 50_000);
  assert.equal(options.revokeBudgetMs, 20_000);
  assert.equal(options.checkpoint.intervalMs, 1_000);
  assert.equal((await resolveOptions({ ...valid, guarantee: 'at-least-once' })).checkpoint.intervalMs, 5_000);
  assert.ok(Object.isFrozen(options) && Object.isFrozen(options.checkpoint));
  assert.equal(actorDirectory(options, 's', 3).replaceAll('\\', '/'), 'state/one/g/s/3');
});
