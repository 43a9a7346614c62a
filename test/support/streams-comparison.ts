/**
 * Owns the form in which results of Kafka Streams and ours are compared: what was emitted by which record, without what both
 * define differently (docs/stores.md lists that), and which records were late. It runs nothing; kafka-streams-oracle.ts and
 * store-windows.ts do.
 */
import type { StreamsResult, StreamsRun, StreamsWindow, StreamsWindowing } from './kafka-streams-oracle.js';
import { byKeyBytes } from './windows-model.js';

export interface WindowEmission {
  /** Index of the record that caused it. */
  readonly at: number;
  readonly key: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly count: number;
  readonly sum: number;
}

export interface WindowOutcome {
  /** With `final` the closings, with `updates` the changes without the closings. */
  readonly emissions: readonly WindowEmission[];
  /** Indices of the records that were too late for a window. */
  readonly late: readonly number[];
}

export type WindowRun = StreamsRun<StreamsWindowing>;

/** One line for each fact, so that a difference reads as a difference of lines. */
export function linesOf({ emissions, late }: WindowOutcome): string[] {
  return [
    ...emissions.map(
      ({ at, key, startMs, endMs, count, sum }) => `${at}: ${key} ${startMs}-${endMs} n=${count} sum=${sum}`,
    ),
    ...late.map((at) => `${at}: late`),
  ];
}

/**
 * Kafka Streams' results in our terms. The removals of swallowed sessions go; of several updates of one window by one record the
 * last stays (a new sliding window may be put twice); what one record causes goes by end, then key, then start.
 */
export function outcomeOfStreams({ windows, dropped }: StreamsResult): WindowOutcome {
  const last = new Map<string, WindowEmission>();
  for (const window of windows) {
    const { at, key, startMs, endMs } = window;
    const name = JSON.stringify([at, key, startMs, endMs]);
    if (isPresent(window)) last.set(name, { at, key, startMs, endMs, count: window.count, sum: window.sum });
    else last.delete(name);
  }
  return { emissions: [...last.values()].sort(byRecordAndEnd), late: dropped.map(({ at }) => at) };
}

function isPresent(window: StreamsWindow): window is StreamsWindow & { count: number; sum: number } {
  return window.count !== null;
}

export function byRecordAndEnd(a: WindowEmission, b: WindowEmission): number {
  return a.at - b.at || a.endMs - b.endMs || byKeyBytes(a.key, b.key) || a.startMs - b.startMs;
}
