/** The conformance suite of the log port, run on the embedded log in memory and in a directory. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { embeddedLog, type EmbeddedLogOptions } from '../../src/log/embedded/embedded-log.js';
import { logClientSuite, type LogSuiteOptions, type LogUnderTest } from './log-client.js';

const OPTIONS: LogSuiteOptions = {
  sessionTimeoutMs: 300,
  rebalanceTimeoutMs: 300,
  patienceMs: 5_000,
  can: ['leaveOpen', 'compact', 'deleteRecords'],
};

async function open(options: EmbeddedLogOptions): Promise<LogUnderTest> {
  const log = await embeddedLog(options);
  return {
    connect: (clientId) => log.connect({ clientId }),
    leaveOpen: (transaction) => log.leaveTransactionOpen(transaction),
    compact: (topic) => log.compact(topic),
    deleteRecords: (topic, partition, before) => log.deleteRecords(topic, partition, before),
    close: () => log.close(),
  };
}

logClientSuite('embedded log in memory', () => open({}), OPTIONS);

logClientSuite(
  'embedded log in a directory',
  async () => {
    const dir = await mkdtemp(join(tmpdir(), 'partita-log-'));
    const log = await open({ dir: join(dir, 'log') });
    return {
      ...log,
      close: async () => {
        await log.close();
        await rm(dir, { recursive: true });
      },
    };
  },
  OPTIONS,
);
