/** The conformance suite of the log port, run on the embedded log in memory and in a directory. */
import { embeddedLog, type EmbeddedLogOptions } from '../../src/log/embedded/embedded-log.js';
import { logClientSuite, type LogUnderTest } from './log-client.js';

const OPTIONS = { sessionTimeoutMs: 300, rebalanceTimeoutMs: 300, patienceMs: 5_000 };

async function open(options: EmbeddedLogOptions): Promise<LogUnderTest> {
  const log = await embeddedLog(options);
  return {
    connect: (clientId) => log.connect({ clientId }),
    leaveOpen: (transaction) => log.leaveTransactionOpen(transaction),
    close: () => log.close(),
  };
}

logClientSuite('embedded log in memory', () => open({}), OPTIONS);
