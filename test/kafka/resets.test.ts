/**
 * Resets and recovery's rules on a real broker: the suites that the embedded log passes too. What becomes of a running
 * manager when topics and offsets change under it is in `bad-times.test.ts`.
 */
import { describe } from 'node:test';
import { recoverySuite } from '../contract/recovery.js';
import { resetsSuite } from '../contract/resets.js';
import { describeKafka } from '../support/describe-kafka.js';
import { KafkaLedgerLog } from '../support/kafka-ledger-log.js';
import { LedgerDesk } from '../support/ledger-desk.js';

/** On a machine that is busy with other things; on a quiet one it is half a minute. */
const BUDGET_MS = 240_000;

describeKafka('on a broker', {}, (broker) => {
  let desks = 0;
  const open = async (): Promise<LedgerDesk<KafkaLedgerLog>> => {
    const of = `ledger-${++desks}-${Date.now().toString(36)}`;
    return LedgerDesk.on(await KafkaLedgerLog.open(broker().brokers), of, {
      sessionTimeoutMs: 6_000,
      rebalanceTimeoutMs: 4_000,
      transactionTimeoutMs: 2_000,
    });
  };

  describe('at once', { concurrency: 2, timeout: BUDGET_MS }, () => {
    describe('resets', { concurrency: 1, timeout: BUDGET_MS }, () => {
      let desk: LedgerDesk<KafkaLedgerLog>;
      resetsSuite({
        open: async () => (desk = await open()),
        engines: ['level'],
        fates: ['lost', 'never'],
        meet: (fate, after) => {
          desk.log.meet(fate, after);
        },
      });
    });

    describe('recovery', { concurrency: 1, timeout: BUDGET_MS }, () => {
      recoverySuite(open);
    });
  });
});
