/** Tests of `manager/metrics-recorder.ts`: events in, series out. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Emitter } from '../../src/core/emitter.js';
import { PartitaError } from '../../src/core/errors.js';
import { MemoryMetrics, noMetrics } from '../../src/core/metrics.js';
import type { ManagerEvents } from '../../src/manager/events.js';
import { recordMetrics } from '../../src/manager/metrics-recorder.js';

const at = { stream: 'payments', partition: 3 };
const labels = { stream: 'payments', partition: '3' };

function emitAll(events: Emitter<ManagerEvents>): void {
  const topic = 'payments';
  events.emit('assigned', { partitions: [{ topic, partition: 3 }] });
  const recovery = { restoredRecords: 40, restoredBytes: 1, rebuilt: undefined, durationMs: 7, place: 0 };
  events.emit('recovered', { ...at, ...recovery });
  events.emit('checkpoint', { ...at, number: 1, records: 10, bytes: 100, durationMs: 2, reason: 'interval' });
  events.emit('checkpoint', { ...at, number: 2, records: 5, bytes: 50, durationMs: 4, reason: 'interval' });
  events.emit('parked', at);
  events.emit('resumed', { ...at, how: 'unchanged', parkedMs: 12 });
  events.emit('skipped', { ...at, topic, offset: 4, error: new Error('bad') });
  events.emit('restarting', { ...at, error: new Error('oh'), delayMs: 1 });
  events.emit('partitionFailed', { ...at, error: new PartitaError('ACTOR_FAILED', 'down') });
}

test('checkpoints, recoveries, parkings, skips, restarts and failures add up per partition', () => {
  const events = new Emitter<ManagerEvents>();
  const metrics = new MemoryMetrics();
  recordMetrics(events, metrics);
  emitAll(events);
  assert.equal(metrics.value('partita_assigned_partitions'), 1);
  assert.equal(metrics.value('partita_records_total', labels), 15);
  assert.equal(metrics.value('partita_checkpoints_total', labels), 2);
  assert.equal(metrics.value('partita_changelog_bytes_total', labels), 150);
  assert.deepEqual(metrics.summary('partita_checkpoint_ms', labels), { count: 2, sum: 6, min: 2, max: 4 });
  assert.equal(metrics.value('partita_parked_total', labels), 1);
  assert.deepEqual(metrics.summary('partita_parked_ms', labels), { count: 1, sum: 12, min: 12, max: 12 });
  assert.equal(metrics.value('partita_skipped_records_total', labels), 1);
  assert.equal(metrics.value('partita_restarts_total', labels), 1);
  assert.equal(metrics.value('partita_partition_failures_total', labels), 1);
  assert.equal(metrics.value('partita_restored_records_total', labels), 40);
  assert.equal(metrics.summary('partita_recovery_ms', labels)?.max, 7);
});

test('without metrics nothing listens', () => {
  const events = new Emitter<ManagerEvents>();
  recordMetrics(events, noMetrics);
  assert.equal(events.listenerCount('checkpoint'), 0);
});

test('every metric is documented', () => {
  const page = readFileSync(new URL('../../../docs/operations.md', import.meta.url), 'utf8');
  const documented = [...page.matchAll(/^\| `(partita_\w+)`/gm)].map(([, name]) => name).sort();
  const made = new Set<string>();
  const metrics = new MemoryMetrics();
  const events = new Emitter<ManagerEvents>();
  recordMetrics(events, {
    counter: (name, of) => (made.add(name), metrics.counter(name, of)),
    gauge: (name, of) => (made.add(name), metrics.gauge(name, of)),
    histogram: (name, of) => (made.add(name), metrics.histogram(name, of)),
  });
  emitAll(events);
  assert.deepEqual([...made].sort(), documented);
});
