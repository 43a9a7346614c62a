/** What benchmarks print: one JSON line per figure as it is measured, and a table of all of them at the end. */

export interface Figure {
  readonly bench: string;
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  /** What it was measured with: keys, workers, engine, … */
  readonly with?: Readonly<Record<string, string | number | boolean>>;
  /** Smallest and largest of several runs, where `value` is their median. */
  readonly spread?: readonly [number, number];
}

const figures: Figure[] = [];

export function report(figure: Figure): void {
  figures.push(figure);
  console.log(JSON.stringify(figure));
}

export function printTable(): void {
  const rows = figures.map((figure) => [
    figure.bench,
    Object.entries(figure.with ?? {})
      .map(([name, value]) => `${name}=${String(value)}`)
      .join(' '),
    figure.metric,
    format(figure.value),
    figure.unit,
    figure.spread === undefined ? '' : `${format(figure.spread[0])} – ${format(figure.spread[1])}`,
  ]);
  const all = [['bench', 'with', 'metric', 'value', 'unit', 'spread'], ...rows];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  for (const row of all)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    );
}

/** Median with the smallest and the largest. */
export function median(values: readonly number[]): { value: number; spread: readonly [number, number] } {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const value = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { value, spread: [sorted[0]!, sorted.at(-1)!] };
}

/** Takes over the figures that another process has printed. */
export function adopt(output: string): void {
  for (const line of output.split('\n')) if (line.startsWith('{')) report(JSON.parse(line) as Figure);
}

function format(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en') : String(Math.round(value * 1000) / 1000);
}
