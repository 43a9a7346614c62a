/**
 * Processes and the broker die, freeze, leave and come back by a seed while records flow and topics are compacted.
 * `npm run test:chaos` does the same for as long as one likes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runChaos, type ChaosOptions } from '../support/chaos/run.js';
import { describeKafka } from '../support/describe-kafka.js';

const SEED = Number(process.env['CHAOS_SEED'] ?? Date.now() % 1_000_000);
const LOG_LINES_MAX = 5_000;

async function chaos(
  t: { diagnostic(line: string): void },
  options: Omit<ChaosOptions, 'seed' | 'processes' | 'recordsPerSecond' | 'log'>,
): Promise<void> {
  t.diagnostic(`CHAOS_SEED=${SEED}`);
  const lines: string[] = [];
  try {
    const summary = await runChaos({
      ...options,
      seed: SEED,
      processes: 3,
      recordsPerSecond: 2_000,
      log: (line) => {
        if (lines.length < LOG_LINES_MAX) lines.push(line);
      },
    });
    t.diagnostic(JSON.stringify(summary));
    assert.equal(
      Object.values(summary.faults).reduce((sum, count) => sum + count, 0),
      options.faults,
    );
  } catch (error) {
    process.stderr.write(`${lines.join('\n')}\n`);
    throw error;
  }
}

describeKafka('chaos, exactly-once', { otherClient: true, controlled: true, nodes: 3 }, (broker) => {
  test('after 17 faults state and outputs are those of a plain loop, each once', async (t) => {
    await chaos(t, { broker: broker(), guarantee: 'exactly-once', faults: 17, everyMs: 2_000 });
  });
});

describeKafka('chaos, at-least-once', { otherClient: true, controlled: true, nodes: 3 }, (broker) => {
  test('after 8 faults the state is that of a plain loop, and no output is missing', async (t) => {
    await chaos(t, { broker: broker(), guarantee: 'at-least-once', faults: 8, everyMs: 2_000 });
  });
});
