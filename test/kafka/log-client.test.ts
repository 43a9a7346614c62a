/** The conformance suite of the log port, run on Kafka: the newest broker, and the oldest that is tested. */
import { Kafka, logLevel } from 'kafkajs';

import { isPartitaError, PartitaError } from '../../src/core/errors.js';
import { kafka } from '../../src/log/kafka/kafka-log.js';
import { logClientSuite, type LogSuiteOptions } from '../contract/log-client.js';
import { describeKafka } from '../support/describe-kafka.js';
import { leaveTransactionOpen } from '../support/open-transaction.js';

const OPTIONS: LogSuiteOptions = {
  sessionTimeoutMs: 3_000,
  rebalanceTimeoutMs: 3_000,
  patienceMs: 30_000,
  // Compaction has tests of its own (fetching.test.ts): a broker needs other topic configs and time for it.
  can: ['leaveOpen', 'deleteRecords'],
};

for (const version of ['4.4.0', '3.9.1'])
  describeKafka(
    `Kafka ${version}`,
    process.env['KAFKA_BROKERS'] === undefined ? { version } : {},
    (broker) => {
      logClientSuite(
        `the log port on Kafka ${version}`,
        async () => {
          const { brokers } = broker();
          const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin();
          await admin.connect();
          return {
            connect: (clientId) => kafka({ brokers }).connect({ clientId }),
            leaveOpen: (transaction) => leaveTransactionOpen(brokers, transaction),
            deleteRecords: async (topic, partition, before) => {
              // kafkajs knows the leaders only of topics that it was asked about.
              await admin.fetchTopicOffsets(topic);
              try {
                await admin.deleteTopicRecords({
                  topic,
                  partitions: [{ partition, offset: String(before) }],
                });
              } catch (error) {
                if (isPartitaError(error)) throw error;
                throw new PartitaError('POLICY_VIOLATION', String(error), { cause: error });
              }
            },
            close: () => admin.disconnect(),
          };
        },
        OPTIONS,
      );
    },
  );
