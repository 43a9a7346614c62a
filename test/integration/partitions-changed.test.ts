/** What becomes of a stream with state when somebody adds partitions to its input, while it runs and at a start. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isPartitaError } from '../../src/core/errors.js';
import { embeddedLog } from '../../src/log/embedded/embedded-log.js';
import { StateManager } from '../../src/manager/state-manager.js';
import { processorAt } from '../../src/processor/processor-at.js';
import type life from '../fixtures/life-of-a-record.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { PATIENCE_MS } from '../support/waiting.js';

test('partitions added to an input stop a stream with state before any of their records is processed', async () => {
  const stateDir = temporaryDirectory('partitions');
  const log = await embeddedLog();
  const start = () =>
    StateManager.start({
      group: 'partitions',
      log,
      stateDir,
      workers: 1,
      createTopics: { partitions: 1 },
      sessionTimeoutMs: 2_000,
      streams: {
        life: processorAt<typeof life>(new URL('../fixtures/life-of-a-record.js', import.meta.url)),
      },
    });
  await log.createTopic({ topic: 'payments', partitions: 1 });
  const manager = await start();
  try {
    await manager.ready();
    const failed = new Promise<unknown>((resolve) => {
      manager.once('failed', ({ error }) => {
        resolve(error);
      });
    });
    await log.addPartitions('payments', 2);
    await log.produce('payments', [{ key: 'alice', value: '{"amount":5}', partition: 1 }]);
    const error = await Promise.race([failed, sleep(PATIENCE_MS, 'nothing was noticed', { ref: false })]);
    assert.ok(isPartitaError(error, 'PARTITIONS_CHANGED'), String(error));
    for await (const record of log.read('balances'))
      assert.fail(`partition ${record.partition} was processed`);
    await manager.stop();
    await assert.rejects(start(), (again) => isPartitaError(again, 'CHANGELOG_INVALID'));
  } finally {
    await manager.stop();
    await log.close();
  }
});
