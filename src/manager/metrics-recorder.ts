/**
 * What the manager's events say, as metrics: per checkpoint, recovery, restart and assignment, never per record. It reads
 * events only, so that measuring can't change what is measured.
 */
import type { EventSource } from '../core/emitter.js';
import { noMetrics, type Counter, type Histogram, type Metrics } from '../core/metrics.js';
import type { AtPartition, ManagerEvents } from './events.js';

/** The series of one partition. */
interface PartitionSeries {
  readonly records: Counter;
  readonly checkpoints: Counter;
  readonly checkpointMs: Histogram;
  readonly changelogBytes: Counter;
  readonly skipped: Counter;
  readonly restarts: Counter;
  readonly failures: Counter;
  readonly restoredRecords: Counter;
  readonly recoveryMs: Histogram;
  readonly parked: Counter;
  readonly parkedMs: Histogram;
}

/** Records from now on; does nothing with `noMetrics`. */
export function recordMetrics(events: EventSource<ManagerEvents>, metrics: Metrics): void {
  if (metrics === noMetrics) return;
  const known = new Map<string, PartitionSeries>();
  const of = ({ stream, partition }: AtPartition): PartitionSeries => {
    const name = `${stream}-${partition}`;
    let series = known.get(name);
    if (series === undefined) known.set(name, (series = seriesOf(metrics, stream, partition)));
    return series;
  };
  const owned = metrics.gauge('partita_assigned_partitions');
  events
    .on('assigned', ({ partitions }) => {
      owned.set(partitions.length);
    })
    .on('checkpoint', (event) => {
      const series = of(event);
      series.records.add(event.records);
      series.checkpoints.add();
      series.checkpointMs.observe(event.durationMs);
      series.changelogBytes.add(event.bytes);
    })
    .on('recovered', (event) => {
      const series = of(event);
      series.restoredRecords.add(event.restoredRecords);
      series.recoveryMs.observe(event.durationMs);
    })
    .on('parked', (event) => {
      of(event).parked.add();
    })
    .on('resumed', (event) => {
      of(event).parkedMs.observe(event.parkedMs);
    })
    .on('skipped', (event) => {
      of(event).skipped.add();
    })
    .on('restarting', (event) => {
      of(event).restarts.add();
    })
    .on('partitionFailed', (event) => {
      of(event).failures.add();
    })
    .on('stopped', () => {
      owned.set(0);
    });
}

function seriesOf(metrics: Metrics, stream: string, partition: number): PartitionSeries {
  const labels = { stream, partition: String(partition) };
  return {
    records: metrics.counter('partita_records_total', labels),
    checkpoints: metrics.counter('partita_checkpoints_total', labels),
    checkpointMs: metrics.histogram('partita_checkpoint_ms', labels),
    changelogBytes: metrics.counter('partita_changelog_bytes_total', labels),
    skipped: metrics.counter('partita_skipped_records_total', labels),
    restarts: metrics.counter('partita_restarts_total', labels),
    failures: metrics.counter('partita_partition_failures_total', labels),
    restoredRecords: metrics.counter('partita_restored_records_total', labels),
    recoveryMs: metrics.histogram('partita_recovery_ms', labels),
    parked: metrics.counter('partita_parked_total', labels),
    parkedMs: metrics.histogram('partita_parked_ms', labels),
  };
}
