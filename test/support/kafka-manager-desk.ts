/**
 * A manager-desk.ts on real brokers: managers of one group whose topics stock clients make, fill and read, and the group's
 * generation as the broker has it. It never starts a broker; describe-kafka.ts does.
 */
import { kafka, type LogFactory, type ManagerOptions } from '../../src/index.js';
import { kafkaGeneration } from './kafka-generation.js';
import { KafkaTopicsLog } from './kafka-topics-log.js';
import { ManagerDesk } from './manager-desk.js';

export interface KafkaManagerDesk {
  /** The group, and what stands before the names of its topics. */
  readonly of: string;
  readonly desk: ManagerDesk<LogFactory>;
  readonly topicsLog: KafkaTopicsLog;
  readonly generation: () => Promise<number>;
}

/** Runs the test with a desk that is closed afterwards, whatever happens. */
export async function atKafkaDesk(
  name: string,
  brokers: readonly string[],
  defaults: Partial<Omit<ManagerOptions, 'streams' | 'log' | 'group'>>,
  run: (desk: KafkaManagerDesk) => Promise<void>,
): Promise<void> {
  const of = `${name}-${Date.now().toString(36)}`;
  const topicsLog = await KafkaTopicsLog.connect(brokers, of);
  try {
    const desk = await ManagerDesk.openOn(kafka({ brokers }), { ...defaults, group: of });
    try {
      await run({ of, desk, topicsLog, generation: () => kafkaGeneration(brokers, of) });
    } finally {
      await desk.close();
    }
  } finally {
    await topicsLog.close();
  }
}
