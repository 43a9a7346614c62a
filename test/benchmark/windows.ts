/**
 * W2 and its kin on the embedded log, as `w1.ts` runs W1: windows of each kind, and W1 with a TTL beside W1 without, in
 * alternation. Final emission, but for W2 with updates.
 */
import { median, report } from './report.js';
import { runW1, type W1Result } from './w1.js';

const KINDS = ['tumbling', 'session', 'count', 'sliding', 'countHopping', 'hopping'] as const;
const DAY_MS = 86_400_000;

export async function benchWindows(records: number, workers: number): Promise<void> {
  const updates = await run(
    records,
    workers,
    processor('window', { window: 'tumbling', emission: 'updates' }),
  );
  figures('tumbling, updates', workers, updates);
  for (const window of KINDS)
    figures(
      `${window}, final`,
      workers,
      await run(records, workers, processor('window', { window, emission: 'final' })),
    );
}

/** What a TTL costs W1: pairs in alternation, since machines change their speed. */
export async function benchTtlOfW1(records: number, pairs: number): Promise<void> {
  const ratios: number[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    const plain = await run(records, 1, processor('w1', {}));
    const expiring = await run(records, 1, processor('w1', { ttlMs: String(DAY_MS) }));
    ratios.push(expiring.cpuSecondsPerMillion / plain.cpuSecondsPerMillion);
  }
  report({
    bench: 'windows',
    metric: 'cpu of W1 with a TTL / without, median',
    ...median(ratios),
    unit: 'ratio',
    with: { records, pairs },
  });
}

function run(records: number, workers: number, url: URL): Promise<W1Result> {
  return runW1({
    records,
    keys: 10_000,
    workers,
    guarantee: 'at-least-once',
    engine: 'level',
    processor: url,
  });
}

function processor(name: 'w1' | 'window', parameters: Readonly<Record<string, string>>): URL {
  const url = new URL(`./${name}-processor.js`, import.meta.url);
  for (const [parameter, value] of Object.entries(parameters)) url.searchParams.set(parameter, value);
  return url;
}

function figures(what: string, workers: number, result: W1Result): void {
  const figure = (metric: string, value: number, unit: string) => {
    report({ bench: 'windows', metric: `${what}: ${metric}`, value, unit, with: { workers, keys: 10_000 } });
  };
  figure('throughput', result.recordsPerSecond, 'records/s');
  figure('cpu', result.cpuSecondsPerMillion, 'CPU-s per million');
  figure('memory beyond the log', result.rssBeyondLogMb, 'MB');
}
