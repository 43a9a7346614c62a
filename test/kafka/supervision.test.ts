/**
 * `integration/supervision-*.test.ts` on a broker: partitions whose handler blocks for ever, eats its thread's memory, ends it
 * or throws cost themselves only. Stock clients fill the input and read the outputs; the generation is what the broker has
 * written down.
 */
import { test } from 'node:test';
import { endSomeForEver } from '../support/deadly-neighbours.js';
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
});
