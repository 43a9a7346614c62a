/**
 * The runs of `integration/oracle-threads.test.ts` on a broker: threads that die, throws under each error policy, commands,
 * a second member, restarts with state kept and wiped. Stock clients fill the input and read the outputs. `ORACLE_SEED` repeats one.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isPartitaError, kafka } from '../../src/index.js';
import { describeKafka } from '../support/describe-kafka.js';
import { KafkaTopicsLog } from '../support/kafka-topics-log.js';
import { startJob } from '../support/oracle-job.js';
import type { Policy } from '../support/oracle-model.js';
import { PARTITIONS, runOracle, seeds } from '../support/oracle-run.js';
import { seededRandom } from '../support/seeded-random.js';

const POLICIES: readonly Policy[] = ['fail', 'skip', 'dead-letter', 'decide'];

describeKafka('the oracle on a broker', { otherClient: true }, (broker) => {
  for (const seed of seeds(4)) {
    const policy = POLICIES[seed % POLICIES.length]!;
    const guarantee = seed % 4 === 0 ? 'at-least-once' : 'exactly-once';
    test(`dying threads, throws and restarts leave what a plain loop leaves (seed ${seed}: ${guarantee}, ${policy})`, async () => {
      const random = seededRandom(seed);
      const of = `oracle-${seed}-${Date.now().toString(36)}`;
      const stateDir = await mkdtemp(join(tmpdir(), 'partita-oracle-'));
      const log = await KafkaTopicsLog.connect(broker().brokers, of);
      const job = {
        log: kafka({ brokers: broker().brokers }),
        of,
        stateDir,
        policy,
        workers: 2,
        engine: 'level',
        guarantee,
        intervalMs: random.between(20, 200),
        cacheMb: random.pick([1, 64]),
      } as const;
      try {
        await runOracle(
          random,
          { policy, guarantee, keys: random.pick([5, 200, 5_000]), steps: 25 },
          {
            log,
            start: () => startJob(job),
            join: () => startJob({ ...job, stateDir: join(stateDir, 'beside') }),
            pause: (ms) => sleep(ms),
            deaf: () => false,
            breathe: () => sleep(50),
            drive: (promise) => promise,
            wipe: () => rm(stateDir, { recursive: true, force: true }),
            disturb: () => Promise.resolve(),
            killThread: async ({ streams: { oracle } }) => {
              await oracle
                .command('exit', { partition: random.below(PARTITIONS) })
                .catch((error: unknown) => {
                  if (!isPartitaError(error) || !error.retryable) throw error;
                });
            },
          },
        );
      } finally {
        await log.close();
        await rm(stateDir, { recursive: true, force: true });
      }
    });
  }
});
