/** How the Kafka fetcher asks, hands on and tries again, against scripted brokers on a manual clock. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isPartitaError } from '../../src/core/errors.js';
import type { FetchState } from '../../src/log/group/partition-fetcher.js';
import { KafkaFetcher } from '../../src/log/kafka/fetcher.js';
import {
  ConnectionLost,
  RecordingSink,
  ScriptedBrokers,
  batch,
  emptiedBatch,
  stateAt,
  turn,
} from '../support/scripted-brokers.js';

interface Scene {
  readonly brokers: ScriptedBrokers;
  readonly sink: RecordingSink;
  readonly fetcher: KafkaFetcher;
}

/** A fetcher of these partitions at work, its first polls sent. */
async function scene(
  brokers: ScriptedBrokers,
  states: readonly FetchState[],
  maxBytes?: number,
): Promise<Scene> {
  const sink = new RecordingSink(brokers.clock);
  const fetcher = new KafkaFetcher(sink, brokers.parts(maxBytes));
  fetcher.assign(states);
  fetcher.start();
  await turn();
  await turn();
  return { brokers, sink, fetcher };
}

/** One topic `t` whose partitions all are led by node 1. */
function oneBroker(partitions = 1): ScriptedBrokers {
  const brokers = new ScriptedBrokers();
  brokers.topic('t', new Array<number>(partitions).fill(1));
  brokers.learnAll();
  return brokers;
}

const t0 = { topic: 't', partition: 0 };

describe('the Kafka fetcher', () => {
  test('hands on whole batches once, copied out, and asks for what follows', async () => {
    const { brokers, sink, fetcher } = await scene(oneBroker(), [stateAt('t', 0, 2)]);
    const cut = batch(5, 3);
    const bytes = Buffer.concat([batch(0, 5), cut.subarray(0, cut.length - 1)]);
    const aborted = [{ producerId: 7, firstOffset: 1 }];
    await brokers.poll().answer({ ...t0, bytes, end: 9, lastStable: 8, aborted });
    const [chunk] = sink.chunks;
    assert.deepEqual(Buffer.from(chunk!.bytes), batch(0, 5));
    assert.deepEqual([chunk!.from, chunk!.next, chunk!.lastStable, chunk!.highWatermark], [2, 5, 8, 9]);
    assert.deepEqual(chunk!.aborted, aborted);
    assert.deepEqual(brokers.poll().asked, ['t/0@5']);
    await fetcher.close();
  });

  test('asks read-committed, with the waits and bytes of the options', async () => {
    const { brokers, sink, fetcher } = await scene(oneBroker(), [stateAt('t', 0)], 4_321);
    await brokers.poll().answer({ ...t0, bytes: batch(0, 1), end: 1 });
    const { request } = brokers.poll();
    assert.deepEqual(
      [request.isolationLevel, request.maxWaitTime, request.minBytes, request.maxBytes],
      [1, 100, 1, 10 << 20],
    );
    assert.equal(request.topics[0]!.partitions[0]!.maxBytes, 4_321);
    assert.deepEqual(sink.fatals, []);
    await fetcher.close();
  });

  test('sends nothing while nothing may be fetched, and at once when something may', async () => {
    const paused = { ...stateAt('t', 0), paused: true };
    const unsought = { ...stateAt('t', 1), position: undefined };
    const { brokers, sink, fetcher } = await scene(oneBroker(2), [paused, unsought]);
    await brokers.clock.advanceAsync(1_000);
    assert.equal(brokers.polls.length, 0);
    paused.paused = false;
    sink.delivering = false;
    fetcher.wakeUp();
    await turn();
    assert.equal(brokers.polls.length, 0);
    sink.delivering = true;
    fetcher.wakeUp();
    await turn();
    assert.deepEqual(brokers.poll().asked, ['t/0@0']);
    await fetcher.close();
  });

  for (const [what, change] of [
    ['was sought', (state: FetchState) => ((state.position = 1), state.version++)],
    ['got another epoch', (state: FetchState) => state.version++],
    ['was paused', (state: FetchState) => (state.paused = true)],
  ] as const)
    test(`what comes for a partition that ${what} meanwhile is dropped`, async () => {
      const state = stateAt('t', 0);
      const { brokers, sink, fetcher } = await scene(oneBroker(), [state]);
      change(state);
      const { position } = state;
      await brokers.poll().answer({ ...t0, bytes: batch(0, 5), end: 5 });
      assert.deepEqual(sink.chunks, []);
      assert.equal(state.position, position);
      state.paused = false;
      fetcher.wakeUp();
      await brokers.clock.advanceAsync(10);
      assert.deepEqual(brokers.poll().asked, [`t/0@${position}`]);
      await fetcher.close();
    });

  test('what comes during a barrier, or for a partition that is no longer assigned, is dropped', async () => {
    const [zero, one] = [stateAt('t', 0), stateAt('t', 1)];
    const { brokers, sink, fetcher } = await scene(oneBroker(2), [zero, one]);
    sink.delivering = false;
    await brokers.poll().answer({ ...t0, bytes: batch(0, 5), end: 5 });
    assert.deepEqual(sink.chunks, []);
    sink.delivering = true;
    fetcher.wakeUp();
    await brokers.clock.advanceAsync(10);
    const poll = brokers.poll();
    fetcher.assign([one]);
    await poll.answer(
      { ...t0, bytes: batch(0, 5), end: 5 },
      { ...t0, partition: 1, bytes: batch(0, 5), end: 5 },
    );
    assert.deepEqual(sink.data, ['t/1 0-5']);
    await fetcher.close();
  });

  test('a partition that is paused by its own chunk is not in the next poll', async () => {
    const { brokers, sink, fetcher } = await scene(oneBroker(2), [stateAt('t', 0), stateAt('t', 1)]);
    sink.onDeliver = (state) => (state.paused = state.id.partition === 0);
    const both = [0, 1].map((partition) => ({ topic: 't', partition, bytes: batch(0, 5), end: 9 }));
    await brokers.poll().answer(...both);
    assert.deepEqual(brokers.poll().asked, ['t/1@5']);
    await fetcher.close();
  });

  test('while a partition has been paused only for a moment, no broker sits on the poll of the others', async () => {
    const states = [stateAt('t', 0), stateAt('t', 1)];
    const { brokers, sink, fetcher } = await scene(oneBroker(2), states);
    sink.onDeliver = (state) => (state.paused = state.id.partition === 0);
    const end = { topic: 't', partition: 1, end: 0 };
    await brokers.poll().answer({ ...t0, bytes: batch(0, 5), end: 9 }, end);
    assert.equal(brokers.poll().request.maxWaitTime, 10);
    await brokers.clock.advanceAsync(10);
    states[0]!.paused = false;
    await brokers.poll().answer(end);
    assert.deepEqual(brokers.poll().asked.toSorted(), ['t/0@5', 't/1@0']);
    await brokers.poll().answer({ ...t0, bytes: batch(5, 4), end: 9 }, end);
    await brokers.clock.advanceAsync(1_100);
    await brokers.poll().answer(end);
    assert.equal(brokers.poll().request.maxWaitTime, 100);
    await fetcher.close();
  });

  test('while nothing happens polls wait longer, until something does or a partition is paused', async () => {
    const states = [stateAt('t', 0), stateAt('t', 1)];
    const { brokers, fetcher } = await scene(oneBroker(2), states);
    const ends = (end: number) => [
      { topic: 't', partition: 0, end },
      { topic: 't', partition: 1, end: 0 },
    ];
    const nothing = async (end: number) => {
      await brokers.clock.advanceAsync(100);
      await brokers.poll().answer(...ends(end));
    };
    for (let n = 0; n < 25; n++) await nothing(0);
    assert.equal(brokers.poll().request.maxWaitTime, 400);
    const [, other] = ends(0);
    await brokers.poll().answer({ ...t0, bytes: batch(0, 1), end: 1 }, other!);
    assert.equal(brokers.poll().request.maxWaitTime, 100);
    for (let n = 0; n < 25; n++) await nothing(1);
    assert.equal(brokers.poll().request.maxWaitTime, 400);
    states[1]!.paused = true;
    await brokers.clock.advanceAsync(2_000);
    await brokers.poll().answer(...ends(1));
    assert.deepEqual(brokers.poll().asked, ['t/0@1']);
    assert.equal(brokers.poll().request.maxWaitTime, 100);
    await fetcher.close();
  });

  test('batches that compaction has emptied move the position on', async () => {
    const { brokers, sink, fetcher } = await scene(oneBroker(), [stateAt('t', 0)]);
    await brokers.poll().answer({ ...t0, bytes: emptiedBatch(0, 4), end: 9 });
    assert.deepEqual(sink.data, ['t/0 0-4']);
    assert.deepEqual(brokers.poll().asked, ['t/0@4']);
    await fetcher.close();
  });

  test('another partition comes first in each poll', async () => {
    const states = [0, 1, 2].map((partition) => stateAt('t', partition));
    const { brokers, fetcher } = await scene(oneBroker(3), states);
    const firsts: string[] = [];
    for (let poll = 0; poll < 6; poll++) {
      firsts.push(brokers.poll().asked[0]!);
      await brokers.clock.advanceAsync(100);
      await brokers.poll().answer(...states.map(({ id }) => ({ ...id, end: 0 })));
    }
    assert.deepEqual(firsts, ['t/0@0', 't/1@0', 't/2@0', 't/0@0', 't/1@0', 't/2@0']);
    await fetcher.close();
  });

  describe('at the end of partitions', () => {
    test('the end is told at first and then ten times a second, however often polls return', async () => {
      const states = [stateAt('t', 0), stateAt('t', 1)];
      const { brokers, sink, fetcher } = await scene(oneBroker(2), states);
      assert.equal(brokers.poll().request.maxWaitTime, 0);
      let next = 0;
      for (let ms = 0; ms < 1_000; ms += 10) {
        const more = { topic: 't', partition: 1, bytes: batch(next, 1), end: ++next };
        await brokers.poll().answer({ ...t0, end: 0 }, more);
        await brokers.clock.advanceAsync(10);
      }
      const news = sink.chunks.filter(({ partition }) => partition === 0);
      assert.equal(news.length, 10);
      assert.ok(news.every(({ from, next, bytes }) => from === 0 && next === 0 && bytes.byteLength === 0));
      await fetcher.close();
    });

    test('a partition for which the answer had no room is not told to be at its end', async () => {
      const { brokers, sink, fetcher } = await scene(oneBroker(2), [stateAt('t', 0), stateAt('t', 1)]);
      const full = { topic: 't', partition: 1, bytes: batch(0, 5), end: 5 };
      await brokers.poll().answer({ ...t0, end: 9 }, full);
      assert.deepEqual(sink.data, ['t/1 0-5']);
      assert.equal(sink.chunks.length, 1);
      await fetcher.close();
    });

    test('after data of one topic the end of its sibling is asked for at once, and told as of a later fetch', async () => {
      const brokers = new ScriptedBrokers();
      brokers.topic('a', [1]);
      brokers.topic('b', [1]);
      brokers.learnAll();
      const siblings = { lastData: 0 };
      const states = [
        { ...stateAt('a', 0), siblings },
        { ...stateAt('b', 0), siblings },
      ];
      const { sink, fetcher } = await scene(brokers, states);
      await brokers.poll().answer({ topic: 'a', partition: 0, end: 0 }, { topic: 'b', partition: 0, end: 0 });
      assert.equal(brokers.poll().request.maxWaitTime, 100);
      // This poll asks for b first: a's record may be younger than b's end.
      assert.deepEqual(brokers.poll().asked, ['b/0@0', 'a/0@0']);
      const data = { topic: 'a', partition: 0, bytes: batch(0, 1), end: 1 };
      await brokers.poll().answer(data, { topic: 'b', partition: 0, end: 0 });
      assert.deepEqual(sink.data, ['a/0 0-1']);
      const { fetch } = sink.chunks.at(-1)!;
      assert.equal(brokers.poll().request.maxWaitTime, 0);
      await brokers.poll().answer({ topic: 'a', partition: 0, end: 1 }, { topic: 'b', partition: 0, end: 0 });
      const told = sink.chunks.at(-1)!;
      assert.equal(told.topic, 'b');
      assert.ok(told.asOf! >= fetch);
      assert.equal(brokers.poll().request.maxWaitTime, 100);
      await fetcher.close();
    });

    test('numbers of chunks are unique and rise in the order of delivery, also with two brokers', async () => {
      const brokers = new ScriptedBrokers();
      brokers.topic('t', [1, 2]);
      brokers.learnAll();
      const { sink, fetcher } = await scene(brokers, [stateAt('t', 0), stateAt('t', 1)]);
      for (let n = 0; n < 10; n++) {
        const partition = n % 3 === 0 ? 1 : 0;
        const { position } = {
          position: sink.chunks.filter((chunk) => chunk.partition === partition).length,
        };
        const poll = brokers.poll(partition + 1);
        await poll.answer({ topic: 't', partition, bytes: batch(position, 1), end: 99 });
      }
      const fetches = sink.chunks.map(({ fetch }) => fetch);
      assert.equal(fetches.length, 10);
      assert.deepEqual(
        fetches,
        [...new Set(fetches)].sort((a, b) => a - b),
      );
      await fetcher.close();
    });

    test('an end that one broker told while another brought data counts only as of before, and is told again', async () => {
      const brokers = new ScriptedBrokers();
      brokers.topic('a', [1]);
      brokers.topic('b', [2]);
      brokers.learnAll();
      const siblings = { lastData: 0 };
      const states = [
        { ...stateAt('a', 0), siblings },
        { ...stateAt('b', 0), siblings },
      ];
      const { sink, fetcher } = await scene(brokers, states);
      await brokers.poll(1).answer({ topic: 'a', partition: 0, bytes: batch(0, 1), end: 1 });
      const { fetch } = sink.chunks.at(-1)!;
      // This poll was sent before a's record came.
      await brokers.poll(2).answer({ topic: 'b', partition: 0, bytes: batch(0, 1), end: 1 });
      assert.ok(sink.chunks.at(-1)!.asOf! < fetch);
      assert.equal(brokers.poll(2).request.maxWaitTime, 0);
      await brokers.poll(2).answer({ topic: 'b', partition: 0, end: 1 });
      const told = sink.chunks.at(-1)!;
      assert.deepEqual([told.topic, told.bytes.byteLength], ['b', 0]);
      assert.ok(told.asOf! >= fetch);
      assert.equal(brokers.poll(2).request.maxWaitTime, 100);
      await fetcher.close();
    });
  });

  describe('when leaders move', () => {
    test('each broker has one poll, and a partition that moved is asked of its new leader', async () => {
      const brokers = new ScriptedBrokers();
      brokers.topic('t', [1, 2, 1]);
      brokers.learnAll();
      const { sink, fetcher } = await scene(
        brokers,
        [0, 1, 2].map((partition) => stateAt('t', partition)),
      );
      assert.deepEqual(brokers.poll(1).asked, ['t/0@0', 't/2@0']);
      assert.deepEqual(brokers.poll(2).asked, ['t/1@0']);
      brokers.topic('t', [2, 2, 2]);
      const moved = [0, 2].map((partition) => ({
        topic: 't',
        partition,
        error: 'NOT_LEADER_FOR_PARTITION' as const,
      }));
      await brokers.poll(1).answer(...moved);
      await brokers.clock.advanceAsync(50);
      assert.equal(brokers.questions, 1);
      assert.equal(brokers.waiting, 1);
      await brokers.poll(2).answer({ topic: 't', partition: 1, bytes: batch(0, 1), end: 1 });
      assert.deepEqual(brokers.poll(2).asked.toSorted(), ['t/0@0', 't/1@1', 't/2@0']);
      assert.deepEqual(sink.fatals, []);
      await fetcher.close();
    });

    test('while a partition has no new leader it is looked for with a back-off of at most a second', async () => {
      const { brokers, sink, fetcher } = await scene(oneBroker(), [stateAt('t', 0)]);
      for (let poll = 0; poll < 20; poll++) {
        await brokers.poll().answer({ ...t0, error: 'NOT_LEADER_FOR_PARTITION' });
        assert.equal(brokers.waiting, 0, 'it is not asked again at once');
        await brokers.clock.advanceAsync(1_000);
        assert.equal(brokers.waiting, 1);
      }
      assert.deepEqual(sink.fatals, []);
      await fetcher.close();
    });

    test('a partition that does not do does not hold up the others of its broker', async () => {
      const { brokers, sink, fetcher } = await scene(oneBroker(2), [stateAt('t', 0), stateAt('t', 1)]);
      await brokers
        .poll()
        .answer(
          { ...t0, error: 'UNKNOWN_SERVER_ERROR' },
          { ...t0, partition: 1, bytes: batch(0, 1), end: 2 },
        );
      assert.deepEqual(sink.data, ['t/1 0-1']);
      assert.deepEqual(brokers.poll().asked, ['t/1@1']);
      await fetcher.close();
    });

    test('a broker that is down for minutes is never fatal, and is fetched from within two seconds of its return', async () => {
      const { brokers, sink, fetcher } = await scene(oneBroker(), [stateAt('t', 0)]);
      await brokers.poll().answer({ ...t0, bytes: batch(0, 3), end: 3 });
      brokers.down.add(1);
      await brokers.poll().raw(new ConnectionLost('reset'));
      for (let s = 0; s < 300; s++) await brokers.clock.advanceAsync(1_000);
      assert.ok(brokers.questions > 100 && brokers.questions < 700, `${brokers.questions} questions`);
      assert.equal(brokers.warnings.length, 1);
      brokers.down.delete(1);
      await brokers.clock.advanceAsync(2_000);
      assert.deepEqual(brokers.poll().asked, ['t/0@3']);
      await brokers.poll().answer({ ...t0, bytes: batch(3, 1), end: 4 });
      assert.deepEqual(sink.data, ['t/0 0-3', 't/0 3-4']);
      assert.deepEqual(sink.fatals, []);
      await fetcher.close();
    });
  });

  describe('when positions are not there', () => {
    test('a position out of range is told with the bounds, once, and goes on after a seek', async () => {
      const state = stateAt('t', 0, 99);
      const { brokers, sink, fetcher } = await scene(oneBroker(), [state]);
      const bounds = { start: 3, lastStable: 8, end: 9 };
      brokers.bounds.set('t/0', bounds);
      await brokers.poll().answer({ ...t0, error: 'OFFSET_OUT_OF_RANGE' });
      await brokers.clock.advanceAsync(5_000);
      assert.deepEqual(sink.outOfRanges, [{ at: t0, bounds }]);
      assert.equal(brokers.polls.length, 1);
      state.position = 3;
      state.version++;
      state.paused = false;
      fetcher.wakeUp();
      await turn();
      assert.deepEqual(brokers.poll().asked, ['t/0@3']);
      assert.deepEqual(sink.fatals, []);
      await fetcher.close();
    });

    test('a position that is in range after all is asked for again', async () => {
      const { brokers, sink, fetcher } = await scene(oneBroker(), [stateAt('t', 0, 9)]);
      brokers.bounds.set('t/0', { start: 3, lastStable: 8, end: 9 });
      await brokers.poll().answer({ ...t0, error: 'OFFSET_OUT_OF_RANGE' });
      await turn();
      assert.equal(brokers.waiting, 0);
      await brokers.clock.advanceAsync(100);
      assert.deepEqual(brokers.poll().asked, ['t/0@9']);
      assert.deepEqual(sink.outOfRanges, []);
      await fetcher.close();
    });

    test('nobody is told of a position that was left while its bounds were asked for', async () => {
      const state = stateAt('t', 0, 99);
      const { brokers, sink, fetcher } = await scene(oneBroker(), [state]);
      brokers.bounds.set('t/0', { start: 3, lastStable: 8, end: 9 });
      const answering = brokers.poll().answer({ ...t0, error: 'OFFSET_OUT_OF_RANGE' });
      state.position = 5;
      state.version++;
      await answering;
      assert.equal(brokers.boundsAsked, 0, 'the answer was for the old position');
      await brokers.clock.advanceAsync(100);
      assert.deepEqual(brokers.poll().asked, ['t/0@5']);
      const again = brokers.poll().answer({ ...t0, error: 'OFFSET_OUT_OF_RANGE' });
      await Promise.resolve();
      await again;
      state.position = 4;
      state.version++;
      await brokers.clock.advanceAsync(100);
      assert.deepEqual(sink.outOfRanges, []);
      assert.deepEqual(brokers.poll().asked, ['t/0@4']);
      await fetcher.close();
    });

    test('a topic that was created again is told as out of range, even where the position would do', async () => {
      const state = stateAt('t', 0, 4);
      const { brokers, sink, fetcher } = await scene(oneBroker(), [state]);
      const bounds = { start: 0, lastStable: 10, end: 10 };
      brokers.bounds.set('t/0', bounds);
      brokers.topic('t', [1], 'another');
      brokers.learnAll();
      await brokers.clock.advanceAsync(100);
      await brokers.poll().answer({ ...t0, end: 4 });
      await turn();
      assert.deepEqual(sink.outOfRanges, [{ at: t0, bounds }]);
      assert.equal(brokers.waiting, 0);
      state.position = 0;
      state.version++;
      state.paused = false;
      fetcher.wakeUp();
      await turn();
      assert.deepEqual(brokers.poll().asked, ['t/0@0']);
      assert.equal(sink.outOfRanges.length, 1);
      await fetcher.close();
    });

    test('a topic that is gone is waited for, with one warning, and told when it is back as another', async () => {
      const { brokers, sink, fetcher } = await scene(oneBroker(), [stateAt('t', 0, 4)]);
      brokers.topics.delete('t');
      await brokers.poll().answer({ ...t0, error: 'UNKNOWN_TOPIC_OR_PARTITION' });
      for (let s = 0; s < 60; s++) await brokers.clock.advanceAsync(1_000);
      assert.equal(brokers.waiting, 0);
      assert.equal(brokers.warnings.length, 1);
      assert.match(brokers.warnings[0]!, /t-0 does not exist/);
      assert.ok(brokers.questions >= 60 && brokers.questions < 150, `${brokers.questions} questions`);
      brokers.bounds.set('t/0', { start: 0, lastStable: 0, end: 0 });
      brokers.topic('t', [1], 'another');
      for (let ms = 0; ms < 1_000; ms += 100) await brokers.clock.advanceAsync(100);
      assert.equal(sink.outOfRanges.length, 1);
      assert.deepEqual(sink.fatals, []);
      await fetcher.close();
    });
  });

  describe('when answers are wrong', () => {
    test('bytes without a whole batch are asked for again in more bytes, and at last are fatal', async () => {
      const state = stateAt('t', 0, 7);
      const { brokers, sink, fetcher } = await scene(oneBroker(), [state], 1_000);
      const asked: number[] = [];
      for (let tries = 0; tries < 6; tries++) {
        asked.push(brokers.poll().request.topics[0]!.partitions[0]!.maxBytes);
        await brokers.poll().answer({ ...t0, bytes: batch(7, 9).subarray(0, 80), end: 16 });
        assert.equal(brokers.waiting, 0);
        await brokers.clock.advanceAsync(1_000);
      }
      assert.deepEqual(asked, [1_000, 4_000, 16_000, 64_000, 256_000, 1_024_000]);
      const [fatal] = sink.fatals;
      assert.ok(isPartitaError(fatal, 'RECORD_BATCH_CORRUPT'));
      assert.deepEqual(fatal.details, { topic: 't', partition: 0, offset: 7 });
      assert.equal(brokers.waiting, 0, 'it is not asked for any more');
      state.position = 16;
      state.version++;
      fetcher.wakeUp();
      await turn();
      assert.deepEqual(brokers.poll().asked, ['t/0@16']);
      await fetcher.close();
    });

    test('a log that its broker finds corrupt is tried some times and then fatal, naming the offset', async () => {
      const { brokers, sink, fetcher } = await scene(oneBroker(), [stateAt('t', 0, 7)]);
      for (let tries = 0; tries < 6; tries++) {
        assert.equal(sink.fatals.length, 0);
        await brokers.poll().answer({ ...t0, error: 'CORRUPT_MESSAGE' });
        await brokers.clock.advanceAsync(1_000);
      }
      assert.ok(isPartitaError(sink.fatals[0], 'RECORD_BATCH_CORRUPT'));
      assert.match((sink.fatals[0] as Error).message, /t-0 at offset 7/);
      await fetcher.close();
    });

    test('an answer that ends too early is tried again and at last fatal', async () => {
      const { brokers, sink, fetcher } = await scene(oneBroker(), [stateAt('t', 0, 7)]);
      for (let tries = 0; tries < 11; tries++) {
        assert.equal(sink.fatals.length, 0);
        await brokers.poll().raw(Buffer.alloc(3));
        await brokers.clock.advanceAsync(1_000);
      }
      assert.ok(isPartitaError(sink.fatals[0], 'RECORD_BATCH_CORRUPT'));
      await fetcher.close();
    });

    test('a refused topic is fatal at once and not asked for again; others go on', async () => {
      const { brokers, sink, fetcher } = await scene(oneBroker(2), [stateAt('t', 0), stateAt('t', 1)]);
      await brokers
        .poll()
        .answer({ ...t0, error: 'TOPIC_AUTHORIZATION_FAILED' }, { ...t0, partition: 1, end: 0 });
      assert.equal(sink.fatals.length, 1);
      assert.ok(isPartitaError(sink.fatals[0], 'LOG_AUTHORIZATION_FAILED'));
      await brokers.clock.advanceAsync(5_000);
      assert.deepEqual(brokers.poll().asked, ['t/1@0']);
      await fetcher.close();
    });

    test('a broker that answers nothing at once is not asked in a hot loop', async () => {
      const { brokers, fetcher } = await scene(oneBroker(), [stateAt('t', 0)]);
      for (let ms = 0; ms < 1_000; ms++) {
        if (brokers.waiting > 0) await brokers.poll().answer({ ...t0, end: 0 });
        await brokers.clock.advanceAsync(1);
      }
      assert.ok(brokers.polls.length < 100, `${brokers.polls.length} polls in a second`);
      await fetcher.close();
    });

    test('a member that throws ends the fetching, and the session is told', async () => {
      const { brokers, sink, fetcher } = await scene(oneBroker(), [stateAt('t', 0)]);
      sink.onDeliver = () => {
        throw new Error('no');
      };
      await brokers.poll().answer({ ...t0, bytes: batch(0, 1), end: 1 });
      await brokers.clock.advanceAsync(2_000);
      assert.deepEqual(
        sink.fatals.map((error) => (error as Error).message),
        ['no'],
      );
      assert.equal(brokers.waiting, 0);
      await fetcher.close();
    });
  });

  test('after close, during a poll, nothing is delivered, asked or told', async () => {
    const { brokers, sink, fetcher } = await scene(oneBroker(), [stateAt('t', 0)]);
    const poll = brokers.poll();
    const closing = fetcher.close();
    await poll.answer({ ...t0, bytes: batch(0, 5), end: 5 });
    await Promise.all([closing, fetcher.close()]);
    fetcher.wakeUp();
    fetcher.assign([]);
    await brokers.clock.advanceAsync(10_000);
    assert.deepEqual([sink.chunks, sink.fatals, brokers.waiting], [[], [], 0]);
    assert.equal(brokers.polls.length, 1);
    assert.equal(brokers.clock.pendingTimers, 0);
  });
});
