/**
 * The door to Kafka: `kafka(options)` is what users pass as `log`. kafkajs is loaded when a manager connects, never in a
 * worker. Next: `kafka-client.ts`.
 */
import { systemClock } from '../../core/clock.js';
import { silentLogger } from '../../core/logger.js';
import { unlessAborted } from '../../core/unless-aborted.js';
import type { LogFactory } from '../log-client.js';
import { resolveKafkaOptions, type KafkaLogOptions } from './kafka-options.js';

/**
 * A Kafka cluster, version 3.6 or later, as the log of a manager. The options are what kafkajs accepts for connections.
 * @throws PartitaError INVALID_OPTIONS
 */
export function kafka(options: KafkaLogOptions): LogFactory {
  const resolved = resolveKafkaOptions(options);
  return {
    kind: 'kafka',
    /** Rejects LOG_UNAVAILABLE naming the brokers, LOG_AUTHENTICATION_FAILED, LOG_UNSUPPORTED. */
    async connect({ clientId, logger = silentLogger, signal }) {
      const [{ loadKafkajs }, { Cluster }, { KafkaClient }] = await Promise.all([
        import('./kafkajs-internals.js'),
        import('./cluster.js'),
        import('./kafka-client.js'),
      ]);
      const kafkajs = await loadKafkajs();
      const id = resolved.clientId ?? clientId;
      const cluster = new Cluster({ kafkajs, options: resolved, clientId: id, clock: systemClock, logger });
      try {
        await unlessAborted(cluster.connect(), signal);
      } catch (error) {
        await cluster.close();
        throw error;
      }
      return new KafkaClient(cluster, id);
    },
  };
}
