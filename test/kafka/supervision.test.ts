/**
 * `integration/supervision-*.test.ts` on a broker: partitions whose handler blocks for ever, eats its thread's memory, ends it
 * or throws cost themselves only. Stock clients fill the input and read the outputs; the generation is what the broker has
 * written down.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endSomeForEver } from '../support/deadly-neighbours.js';
import {
  buryTheDeadly,
  isolateOne,
  leaveAndHandOver,
  refuseDeadlyCommand,
  reopenOne,
  type DeadlyPlace,
} from '../support/deadly-policies.js';
import { DeadlyTopics, deadlyStream } from '../support/deadly-run.js';
import { describeKafka } from '../support/describe-kafka.js';
import { atKafkaDesk } from '../support/kafka-manager-desk.js';

const SUPERVISED = {
  watchdogMs: 1_000,
  memory: { threadHeapMb: 48 },
  restarts: { max: 8, firstMs: 20, maxMs: 100 },
  onPartitionFailed: 'isolate',
} as const;

describeKafka('supervision on a broker', { otherClient: true }, (broker) => {
  test('one partition blocks for ever, one is out of memory, one exits, one throws: the others advance meanwhile, and the group has no new generation', async (t) => {
    await atKafkaDesk(
      'neighbours',
      broker().brokers,
      SUPERVISED,
      async ({ desk, topicsLog, of, generation }) => {
        const topics = await DeadlyTopics.create(topicsLog, 8);
        const manager = await desk.start(deadlyStream('fail', of), { workers: 4 });
        await endSomeForEver({
          topics,
          manager,
          deeds: ['block', 'memory', 'exit', 'throw'],
          generation,
          tell: (line) => {
            t.diagnostic(line);
          },
        });
      },
    );
  });

  test('records that kill in every way there is go to the dead letters, each once, and nothing else is missing', async () => {
    await atKafkaDesk('poison', broker().brokers, SUPERVISED, async ({ desk, topicsLog, of, generation }) => {
      const topics = await DeadlyTopics.create(topicsLog, 6);
      let before: Promise<number> | undefined;
      await buryTheDeadly(topics, ['throw', 'exit', 'memory', 'block', 'hang'], async (policy, options) => {
        const manager = await desk.start(deadlyStream(policy, of), { ...options, workers: 2 });
        before = generation();
        return manager;
      });
      assert.equal(await generation(), await before);
    });
  });

  test('a command that ends its thread is rejected and not run again, and the partition serves on', async () => {
    await atKafkaDesk(
      'command',
      broker().brokers,
      SUPERVISED,
      async ({ desk, topicsLog, of, generation }) => {
        const topics = await DeadlyTopics.create(topicsLog, 1);
        await refuseDeadlyCommand(topics, 'exit', (policy, options) =>
          desk.start(deadlyStream(policy, of), options),
        );
        assert.equal(await generation(), 1);
      },
    );
  });

  /** Three partitions on two threads. */
  async function atPlace(name: string, run: (place: DeadlyPlace) => Promise<void>, generations: number) {
    const defaults = { workers: 2, restarts: { max: 2, firstMs: 5, maxMs: 20 } };
    await atKafkaDesk(name, broker().brokers, defaults, async ({ desk, topicsLog, of, generation }) => {
      const topics = await DeadlyTopics.create(topicsLog, 3);
      await run({
        log: topicsLog,
        topics,
        start: (policy, options) => desk.start(deadlyStream(policy, of), options),
      });
      assert.equal(await generation(), generations);
    });
  }

  test('an isolated partition is down alone: its calls are told why at once, the others go on in the same generation', async () => {
    await atPlace('isolate', isolateOne, 1);
  });

  test('reopening tries again: it fails again for the same cause, and serves once that is gone, in the same generation', async () => {
    await atPlace('reopen', reopenOne, 1);
  });

  test('a manager whose partition fails gives the others back, committed, and leaves; another takes over', async () => {
    // The first joins and leaves, the second joins.
    await atPlace('leave', leaveAndHandOver, 3);
  });
});
