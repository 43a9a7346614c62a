// One actor alone, where its parts meet: commits beside slow handlers and steady traffic, its end under way, odd results.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { json, string } from '../../src/codec/serdes.js';
import { isPartitaError } from '../../src/core/errors.js';
import { keyValue, topic } from '../../src/processor/declarations.js';
import { defineProcessor, type Context, type ErrorPolicy } from '../../src/processor/define-processor.js';
import { ActorHarness } from '../support/actor-harness.js';

type AnyContext = Context<object, { seen: ReturnType<typeof seen> }, undefined>;
const seen = () => keyValue({ key: string(), value: json<number>() });

interface Handling {
  readonly handle?: (value: number, context: AnyContext) => void | Promise<void>;
  readonly onError?: ErrorPolicy;
}

const counting = ({ handle, onError = 'fail' }: Handling = {}) =>
  defineProcessor({
    inputs: { events: topic({ key: string(), value: json<number>() }) },
    stores: { seen: seen() },
    onError,
    process(record, context) {
      context.stores.seen.set(record.key, record.value);
      return handle?.(record.value, context);
    },
    queries: {
      seen: ({ stores }, key) => stores.seen.get(key),
      never: () => new Promise(() => undefined),
    },
    commands: {
      give: ({ stores }, key: string, kind: 'function' | 'number') => {
        stores.seen.set(key, 7);
        return kind === 'number' ? 7 : () => 7;
      },
    },
  }).definition;

async function produce(harness: ActorHarness, count: number, timestamp = 1_000): Promise<void> {
  const records = Array.from({ length: count }, (_, i) => ({
    key: `k${i % 3}`,
    value: String(i),
    timestamp,
    partition: 0,
  }));
  await harness.log.produce('events', records);
}

const checkpoints = (harness: ActorHarness): number =>
  harness.events.filter(({ type }) => type === 'checkpoint').length;

test('what slow asynchronous handlers have done is committed every interval, not only at the end', async () => {
  await using harness = await ActorHarness.make({
    definition: counting({ handle: () => sleep(8) }),
    options: { checkpointIntervalMs: 30, yieldMs: 1 },
  });
  await harness.boot();
  await produce(harness, 40);
  await harness.feed('events');
  const count = checkpoints(harness);
  assert.ok(count >= 3, `${count} checkpoints in 320 ms, one is due every 30 ms`);
});

test('a query that never answers holds up a partition with slow handlers until its timeout, not for ever', async () => {
  await using harness = await ActorHarness.make({ definition: counting({ handle: () => sleep(1) }) });
  await harness.boot();
  await produce(harness, 1);
  await harness.feed('events');
  const query = harness.actor.query({
    name: 'never',
    key: 'a',
    args: [],
    read: 'latest',
    timeoutMs: 30,
  });
  await Promise.all([
    assert.rejects(query, (error) => isPartitaError(error, 'CALL_TIMEOUT')),
    sleep(1).then(async () => {
      await produce(harness, 1);
      await harness.feed('events');
    }),
  ]);
});

test('a checkpoint that is asked for under steady traffic ends with its own commit', async () => {
  await using harness = await ActorHarness.make({
    definition: counting({ handle: () => sleep(1) }),
    options: { yieldMs: 1 },
  });
  await harness.boot();
  await produce(harness, 600);
  const fed = harness.feed('events', 2_000);
  await sleep(20);
  let ended = false;
  const asked = harness.actor.checkpoint('asked').then(() => (ended = true));
  await Promise.race([asked, fed]);
  const before = checkpoints(harness);
  assert.ok(ended, `not ended by the end of the traffic, after ${before} checkpoints`);
  await fed;
});

test('a chunk that reaches an actor after its failure is told that the actor has ended, not that it is the wrong one', async () => {
  await using harness = await ActorHarness.make({
    definition: counting({
      handle: () => {
        throw new Error('told to');
      },
    }),
  });
  await harness.boot();
  await produce(harness, 1);
  await assert.rejects(harness.feed('events'), (error) => isPartitaError(error, 'ACTOR_RESTARTED'));
  await produce(harness, 1);
  await assert.rejects(harness.feed('events'), (error) => isPartitaError(error, 'ACTOR_RESTARTED'));
});

test('a command whose result can not be copied is refused and undone, and nothing else', async () => {
  await using harness = await ActorHarness.make({ definition: counting() });
  await harness.boot();
  await assert.rejects(harness.command('give', 'a', 'function'), (error) =>
    isPartitaError(error, 'HANDLER_FAILED'),
  );
  assert.equal(await harness.query('seen', 'a'), undefined);
  assert.equal(await harness.command('give', 'a', 'number'), 7);
  assert.equal(await harness.query('seen', 'a'), 7);
});

test('an error policy that throws or decides nothing fails the partition with the error of the record', async () => {
  const policies: ErrorPolicy[] = [
    () => {
      throw new Error('the policy threw');
    },
    () => undefined as never,
  ];
  for (const onError of policies) {
    await using harness = await ActorHarness.make({
      definition: counting({
        onError,
        handle: () => {
          throw new Error('told to');
        },
      }),
    });
    await harness.boot();
    await produce(harness, 1);
    await assert.rejects(harness.feed('events'));
    const failure = await harness.failure;
    assert.ok(isPartitaError(failure, 'HANDLER_FAILED'), String(failure));
    assert.match(failure.message, /told to/);
  }
});

test('what a handler left behind can not write into a later record', async () => {
  const late: string[] = [];
  await using harness = await ActorHarness.make({
    definition: counting({
      handle: (value, { stores }) => {
        if (value % 2 === 0) return sleep(20);
        // Left behind: it goes on during the next record.
        void sleep(5).then(() => {
          try {
            stores.seen.set('smuggled', value);
            late.push('written');
          } catch (error) {
            late.push(isPartitaError(error, 'RECORD_CLOSED') ? 'refused' : String(error));
          }
        });
        return undefined;
      },
    }),
  });
  await harness.boot();
  await produce(harness, 6);
  await harness.feed('events');
  await sleep(10);
  assert.deepEqual(late, ['refused', 'refused', 'refused']);
});

test('a log that answers a recovery with nothing is asked again later, not taken for the end of the state', async () => {
  await using harness = await ActorHarness.make({ definition: counting() });
  await harness.boot();
  await produce(harness, 3);
  await harness.feed('events');
  await harness.actor.checkpoint('asked');
  await harness.crash();
  const { client } = harness;
  const read = client.read.bind(client);
  client.read = async (request) => {
    const page = await read({ ...request, maxBytes: 1 });
    return { ...page, bytes: new ArrayBuffer(0), next: request.from };
  };
  await assert.rejects(harness.boot(), (error) => isPartitaError(error, 'LOG_UNAVAILABLE'));
  client.read = read;
  const recovered = await harness.boot();
  assert.equal(recovered.restoredRecords, 3);
});

test('a record with a timestamp that the dead letter topic refuses gets there all the same', async () => {
  const future = Date.now() + 30 * 86_400_000;
  await using harness = await ActorHarness.make({
    inputConfigs: { 'message.timestamp.after.max.ms': String(Number.MAX_SAFE_INTEGER) },
    definition: counting({
      onError: { deadLetter: 'dead' },
      handle: () => {
        throw new Error('told to');
      },
    }),
  });
  await harness.log.createTopic({
    topic: 'dead',
    partitions: 3,
    configs: { 'message.timestamp.after.max.ms': '3600000' },
  });
  await harness.boot();
  await produce(harness, 1, future);
  await harness.feed('events');
  await harness.actor.checkpoint('asked');
  const [dead] = await harness.read('dead');
  assert.equal(dead?.key, 'k0');
  assert.equal(new Map(dead.headers).get('partita.timestamp'), String(future));
});
