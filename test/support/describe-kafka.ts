/**
 * Owns how a test file asks for brokers: they start before the file's tests and end after them, and where none can run
 * the file says so loudly, or fails in CI. It never decides what a broker is; kafka-broker.ts does.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { kafkaBroker, kafkaMissing, type KafkaBroker, type KafkaBrokerOptions } from './kafka-broker.js';

/** Includes the download. */
const START_BUDGET_MS = 300_000;

/** A `describe` with brokers; call `broker()` inside its tests. */
export function describeKafka(
  title: string,
  options: KafkaBrokerOptions,
  suite: (broker: () => KafkaBroker) => void,
): void {
  const missing = kafkaMissing(options);
  if (missing !== undefined) {
    registerMissing(title, 'KAFKA', missing);
    return;
  }
  describe(title, () => {
    let broker: KafkaBroker | undefined;
    before(
      async () => {
        broker = await kafkaBroker(options);
      },
      { timeout: START_BUDGET_MS },
    );
    after(async () => {
      await broker?.stop();
    });
    suite(() => {
      assert.ok(broker, 'The broker is there while tests run.');
      return broker;
    });
  });
}

/** One loud line and a skipped test; in CI a failing one, so that nothing is skipped there unseen. */
export function registerMissing(title: string, what: string, reason: string): void {
  if (process.env['CI'] === 'true') {
    test(title, () => {
      assert.fail(`${what} tests have to run in CI: ${reason}.`);
    });
    return;
  }
  process.stderr.write(`${what} TESTS SKIPPED: ${title}: ${reason}.\n`);
  test(title, { skip: reason });
}
