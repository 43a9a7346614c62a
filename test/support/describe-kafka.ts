/**
 * Owns how a test file asks for brokers: they start before the file's tests and end after them, and where none can run
 * the file says so loudly, or fails in CI. It never decides what a broker is; kafka-broker.ts does.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { kafkaBroker, kafkaMissing, type KafkaBroker, type KafkaBrokerOptions } from './kafka-broker.js';
import { installOtherClient, otherClientMissing } from './other-client.js';

/** Includes the download. */
const START_BUDGET_MS = 300_000;

export interface KafkaSuiteOptions extends KafkaBrokerOptions {
  /** True if the tests call other-client.ts. @default false */
  readonly otherClient?: boolean;
}

/** A `describe` with brokers; call `broker()` inside its tests. */
export function describeKafka(
  title: string,
  { otherClient = false, ...options }: KafkaSuiteOptions,
  suite: (broker: () => KafkaBroker) => void,
): void {
  const missing = kafkaMissing(options) ?? (otherClient ? otherClientMissing() : undefined);
  if (missing !== undefined) {
    registerMissing(title, missing);
    return;
  }
  describe(title, () => {
    let broker: KafkaBroker | undefined;
    before(
      async () => {
        if (otherClient) await installOtherClient();
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
export function registerMissing(title: string, reason: string): void {
  if (process.env['CI'] === 'true') {
    test(title, () => {
      assert.fail(`Kafka tests have to run in CI: ${reason}.`);
    });
    return;
  }
  process.stderr.write(`KAFKA TESTS SKIPPED: ${title}: ${reason}.\n`);
  test(title, { skip: reason });
}
