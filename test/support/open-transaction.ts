/** A producer that dies in the middle of its transaction: it initialises the id, appends, and is never heard of again. */
import { readBatchHeader, stampProducer } from '../../src/codec/record-batch-header.js';
import { systemClock } from '../../src/core/clock.js';
import type { LogBatch } from '../../src/core/log-types.js';
import { silentLogger } from '../../src/core/logger.js';
import { Cluster } from '../../src/log/kafka/cluster.js';
import { BrokerAnswerError } from '../../src/log/kafka/kafka-errors.js';
import { resolveKafkaOptions } from '../../src/log/kafka/kafka-options.js';
import { loadKafkajs } from '../../src/log/kafka/kafkajs-internals.js';
import { produceRequest } from '../../src/log/kafka/wire/produce.js';

export async function leaveTransactionOpen(
  brokers: readonly string[],
  transaction: {
    readonly transactionalId: string;
    readonly transactionTimeoutMs: number;
    readonly batches: readonly LogBatch[];
  },
): Promise<void> {
  const { transactionalId, transactionTimeoutMs, batches } = transaction;
  const cluster = new Cluster({
    kafkajs: await loadKafkajs(),
    options: resolveKafkaOptions({ brokers }),
    clientId: 'dying-producer',
    clock: systemClock,
    logger: silentLogger,
  });
  try {
    await cluster.connect();
    const { producerId, producerEpoch } = await cluster.onCoordinator(
      'transaction',
      transactionalId,
      'transactions',
      'Initialising a dying producer',
      ({ requests }) =>
        requests.initProducerId({ transactionalId, transactionTimeout: transactionTimeoutMs }),
    );
    await cluster.onCoordinator(
      'transaction',
      transactionalId,
      'transactions',
      'Adding partitions',
      ({ requests }) =>
        requests.addPartitionsToTxn({
          transactionalId,
          producerId,
          producerEpoch,
          topics: batches.map(({ topic, partition }) => ({ topic, partitions: [partition] })),
        }),
    );
    const sequences = new Map<string, number>();
    for (const batch of batches) {
      const bytes = Buffer.from(batch.bytes.slice(0));
      const key = `${batch.topic}/${batch.partition}`;
      const baseSequence = sequences.get(key) ?? 0;
      sequences.set(key, baseSequence + readBatchHeader(bytes, 0)!.recordCount);
      stampProducer(bytes, 0, {
        producerId: Number(producerId),
        epoch: producerEpoch,
        baseSequence,
        transactional: true,
      });
      await cluster.onLeader(batch, 'produce', 'Appending', async (connection) => {
        const [answer] = await connection.send(
          produceRequest({ transactionalId, timeoutMs: 10_000, batches: [{ ...batch, bytes }] }),
        );
        const type = cluster.errorType(answer?.errorCode ?? -1);
        if (type !== 'NONE') throw new BrokerAnswerError(type, answer?.message);
      });
    }
  } finally {
    await cluster.close();
  }
}
