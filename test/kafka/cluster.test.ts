/**
 * Leaders and coordinators that move: nodes of a cluster of three are killed, come back and freeze while managers process
 * under both guarantees, and the result equals the plain loop.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeKafka } from '../support/describe-kafka.js';
import { otherRead } from '../support/other-client.js';
import { KafkaDesk, plainLoop, until, type Amount } from '../support/kafka-desk.js';

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'];
const ROUNDS_PER_S = 10;
const FROZEN_MS = 3_500;
const REPLICATED = { 'min.insync.replicas': '2' };

/**
 * Produces all the time until it is told to end. What is then in the topic is read back by another client: kafkajs' producer
 * has been seen to take a batch for acknowledged that its leader had lost.
 */
async function producing(desk: KafkaDesk): Promise<{ end(): Promise<readonly Amount[]> }> {
  const producer = desk.kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const ending = new AbortController();
  const run = (async () => {
    for (let round = 0; !ending.signal.aborted; round++) {
      const batch = KEYS.map((key, i) => ({ key, value: round * 10 + i, partition: i % 2 }));
      await producer.send({
        topic: desk.amounts,
        messages: batch.map(({ value, ...rest }) => ({ ...rest, value: JSON.stringify(value) })),
      });
      await sleep(1_000 / ROUNDS_PER_S);
    }
  })();
  return {
    async end() {
      ending.abort();
      await run;
      await producer.disconnect();
      const read = await otherRead(desk.brokers, desk.amounts);
      return read.map(({ key, value }) => ({ key: String(key), value: JSON.parse(String(value)) as number }));
    },
  };
}

describeKafka('three brokers', { nodes: 3, controlled: true, otherClient: true }, (broker) => {
  test(
    'kills and freezes of leaders and coordinators lose nothing, and double nothing under exactly-once',
    { timeout: 150_000 },
    async (t) => {
      const desks = (['exactly-once', 'at-least-once'] as const).map((guarantee) => ({
        guarantee,
        desk: new KafkaDesk(`moves-${guarantee}`, broker().brokers),
      }));
      try {
        const running = [];
        for (const { guarantee, desk } of desks) {
          await desk.createTopic(desk.amounts, 2, REPLICATED);
          await desk.createTopic(desk.totals, 2, REPLICATED);
          const manager = await desk.startTotals({
            guarantee,
            sessionTimeoutMs: 6_000,
            rebalanceTimeoutMs: 8_000,
            transactionTimeoutMs: 8_000,
            restarts: { max: 100, firstMs: 50, maxMs: 1_000 },
            log: { brokers: broker().brokers, retryTimeoutMs: 15_000, requestTimeoutMs: 5_000 },
          });
          await manager.ready();
          let fatal: unknown;
          manager.once('failed', ({ error }) => (fatal = error));
          running.push({ guarantee, desk, manager, producer: await producing(desk), fatal: () => fatal });
        }
        await sleep(1_000);
        const dead = await broker().leaderOf(desks[0]!.desk.amounts, 0);
        await broker().kill(dead);
        await sleep(3_500);
        await broker().start(dead);
        await sleep(2_000);
        const frozen = await broker().leaderOf('__transaction_state', 0);
        broker().pause(frozen);
        await sleep(FROZEN_MS);
        broker().resume(frozen);
        const leader = await broker().leaderOf(desks[0]!.desk.amounts, 1);
        broker().pause(leader);
        await sleep(FROZEN_MS);
        broker().resume(leader);
        for (const { guarantee, desk, producer, fatal } of running) {
          const amounts = await producer.end();
          const began = performance.now();
          const expected = plainLoop(amounts);
          let read = await desk.committedTotals(amounts.length);
          t.diagnostic(
            `${guarantee}: ${amounts.length} records, the last read after ${Math.round(performance.now() - began)} ms`,
          );
          assert.equal(fatal(), undefined);
          if (guarantee === 'exactly-once') assert.deepEqual(read, expected);
          else {
            const isComplete = () =>
              KEYS.every((key) => new Set(read.get(key)).size === expected.get(key)!.length);
            await until('every total', async () => {
              if (!isComplete()) read = await desk.committedTotals(amounts.length);
              return isComplete();
            });
            for (const key of KEYS) assert.deepEqual([...new Set(read.get(key))], expected.get(key));
          }
        }
      } finally {
        for (const { desk } of desks) await desk.close();
      }
    },
  );
});
