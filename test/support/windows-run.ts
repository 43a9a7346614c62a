/**
 * Runs a history over a real processor with one windowed store in the test driver, and gives what it emitted, called late and
 * holds open, in the words of `windows-model.ts`. It compares nothing; `property/windows-oracle.test.ts` does.
 */
import assert from 'node:assert/strict';
import { json, nullable, string } from '../../src/codec/serdes.js';
import { changelogTopic } from '../../src/core/names.js';
import type { Aggregation } from '../../src/processor/aggregations.js';
import { topic } from '../../src/processor/declarations.js';
import { defineProcessor } from '../../src/processor/define-processor.js';
import {
  count,
  countHopping,
  countSliding,
  hopping,
  session,
  sliding,
  tumbling,
  windowed,
  type Window,
  type WindowResult,
} from '../../src/processor/windowed.js';
import { GROUP, STREAM } from '../../src/testing/driven-topics.js';
import { TestDriver } from '../../src/testing/index.js';
import { eventsOf, FAR_FUTURE_MS, type History, type Interruption } from './random-events.js';
import {
  byKeyBytes,
  type ModelEmission,
  type ModelKind,
  type ModelLate,
  type ModelOutcome,
  type ModelResult,
  type ModelWindow,
  type ModelWindows,
} from './windows-model.js';

/** What stands in the one output topic, so that its order tells which event caused what. */
export type Told =
  | { readonly event: number }
  | { readonly window: Omit<ModelEmission, 'at' | 'key' | 'timestamp'> }
  | { readonly late: Omit<ModelLate, 'at' | 'key'> & { readonly offset: number | undefined } };

export interface WindowsRun {
  readonly windows: ModelWindows;
  readonly history: History;
  /** Bytes of the cache of decoded values; few, so that the engine is read. */
  readonly cacheBytes?: number;
  /** Called between events with how many of them have been processed and what is open. */
  readonly onPause?: (events: number, open: readonly ModelWindow[]) => void;
}

/** What the store makes of a history. */
export async function runWindows(run: WindowsRun): Promise<ModelOutcome> {
  // The log takes no record that is far ahead of its clock.
  await using driver = await TestDriver.start(processorOf(run.windows), {
    startMs: FAR_FUTURE_MS,
    ...(run.cacheBytes === undefined ? {} : { cacheBytes: run.cacheBytes }),
  });
  const keys = [...new Set(eventsOf(run.history).map(({ key }) => key))].filter((key) => key !== null);
  const readOpen = async (): Promise<readonly ModelWindow[]> => {
    const perKey = await Promise.all(keys.map((key) => driver.query('current', { key })));
    const all = await driver.query('all', { partition: 0 });
    const open = inOrder(perKey.flat());
    assert.deepEqual(inOrder(all), open, 'all() differs from the current() of all keys');
    return open;
  };

  let appended = 0;
  for (const step of run.history) {
    if (step.do === 'event') {
      const { key, value, timestamp } = step.event;
      await driver.append('in', [{ key, value: { event: appended++, value }, timestamp }]);
      continue;
    }
    await driver.drain();
    run.onPause?.(appended, await readOpen());
    await interrupt(driver, step.do);
  }
  await driver.drain();
  const open = await readOpen();
  await driver.checkpoint();
  return { ...toldIn(await driver.outputs<string | null, Told>('out')), open };
}

/** As `ModelOutcome.open`, but by start, which says more of count windows. */
export function inOrder(open: readonly ModelWindow[]): readonly ModelWindow[] {
  return open.toSorted(
    (a, b) =>
      byKeyBytes(a.key, b.key) || a.startMs - b.startMs || a.endMs - b.endMs || b.result.n - a.result.n,
  );
}

/** Of the changelog. */
const DELETE_RETENTION_MS = 7 * 86_400_000;

type WindowsDriver = TestDriver<ReturnType<typeof processorOf>>;

async function interrupt(driver: WindowsDriver, how: Interruption): Promise<void> {
  if (how === 'compactLate') await driver.advance(2 * DELETE_RETENTION_MS);
  if (how === 'compact' || how === 'compactLate') return driver.log.compact(changelogTopic(GROUP, STREAM));
  if (how === 'commit' || how === 'reopen') await driver.checkpoint();
  if (how === 'commit') return;
  if (how !== 'reopen') await driver.crash();
  await driver.restart({ wipe: how === 'crashAndWipe' });
}

export function toldIn(
  records: readonly { readonly key: string | null; readonly value: Told; readonly timestamp: number }[],
): Pick<ModelOutcome, 'emissions' | 'late'> {
  const emissions: ModelEmission[] = [];
  const late: ModelLate[] = [];
  let at = -1;
  for (const { key, value, timestamp } of records) {
    if ('event' in value) at = value.event;
    else if ('window' in value) emissions.push({ at, key: key!, timestamp, ...value.window });
    else {
      const { offset, ...event } = value.late;
      assert.equal(offset, at, 'onLate names another record');
      late.push({ at, key: key!, ...event });
    }
  }
  return { emissions, late };
}

/** What is added: the number of the event tells the order of arrival, whatever was merged with what. */
interface Added {
  readonly event: number;
  readonly value: number | null;
}

interface Aggregated {
  readonly n: number;
  readonly sum: number;
  readonly all: readonly Added[];
  readonly earliest: Added | undefined;
  readonly latest: Added | undefined;
}

/** Named, since TypeScript does not infer it beside options that may be missing. */
interface Aggregates {
  readonly [name: string]: Aggregation<Added, unknown>;
  readonly n: Aggregation<Added, number>;
  readonly sum: Aggregation<Added, number>;
  readonly all: Aggregation<Added, readonly Added[]>;
  readonly earliest: Aggregation<Added, Added | undefined>;
  readonly latest: Aggregation<Added, Added | undefined>;
}

export function processorOf(windows: ModelWindows) {
  const { trigger, kind } = windows;
  return defineProcessor({
    inputs: { in: topic({ key: nullable(string()), value: json<Added>() }) },
    outputs: { out: topic({ key: nullable(string()), value: json<Told>() }) },
    stores: {
      w: windowed<string, Added, Aggregates>({
        key: string(),
        value: json<Added>(),
        window: windowOf(windows),
        emission: windows.emission,
        aggregate: (of) => ({
          n: of.count(),
          sum: of.sum(({ value }) => value),
          all: of.collect(),
          earliest: of.earliest(),
          latest: of.latest(),
        }),
        // Windows by count have no clock and refuse its options.
        ...(kind.startsWith('count') ? {} : byTime(windows)),
        ...(trigger?.count === undefined
          ? {}
          : { trigger: { count: trigger.count, closes: trigger.closes } }),
        ...(trigger?.whenSumAtLeast === undefined
          ? {}
          : { trigger: bySum(trigger.whenSumAtLeast, trigger.closes) }),
      }),
    },
    process({ key, value }, { stores, emit }) {
      emit.out(key, { event: value.event });
      if (key !== null) stores.w.add(key, value);
    },
    windows: {
      w({ key, startMs, endMs, closed, result }, { emit }) {
        emit.out(key, { window: { startMs, endMs, closed, result: resultOf(byArrival(kind, result)) } });
      },
    },
    onLate: {
      w({ key, value, timestamp, lateBy, window, offset }, { emit }) {
        emit.out(key, { late: { value: value.value, timestamp, lateBy, ...window, offset } });
      },
    },
    queries: {
      current: ({ stores }, key: string | null): readonly ModelWindow[] =>
        key === null ? [] : stores.w.current(key).map((window) => openOf(kind, window)),
      async all({ stores }): Promise<readonly ModelWindow[]> {
        const all: ModelWindow[] = [];
        for await (const window of stores.w.all(0, Number.MAX_SAFE_INTEGER)) all.push(openOf(kind, window));
        return all;
      },
    },
    // Anything else that throws is found.
    onError: (_, { timestamp }) => (timestamp < 0 ? 'skip' : 'fail'),
  });
}

const byTime = ({ graceMs, closing, keyClockRetentionMs }: ModelWindows) => ({
  graceMs,
  closing,
  keyClockRetentionMs,
});

const bySum = (atLeast: number, closes: boolean) => ({
  when: ({ sum }: { readonly sum: number }) => sum >= atLeast,
  closes,
});

function resultOf({ n, sum, all, earliest, latest }: Aggregated): ModelResult {
  assert.ok(earliest !== undefined && latest !== undefined, 'a window without events');
  return { n, sum, values: all.map(({ value }) => value), earliest: earliest.value, latest: latest.value };
}

/** What sessions had collected comes together in the order of the sessions; all else stands in the order of arrival. */
function byArrival(kind: ModelKind, aggregated: Aggregated): Aggregated {
  if (kind !== 'session') return aggregated;
  return { ...aggregated, all: aggregated.all.toSorted((a, b) => a.event - b.event) };
}

function openOf(
  kind: ModelKind,
  { key, startMs, endMs, closed, result }: WindowResult<string, Aggregated>,
): ModelWindow {
  assert.equal(closed, false, 'an open window is said to be closed');
  return { key, startMs, endMs, result: resultOf(byArrival(kind, result)) };
}

function windowOf({ kind, sizeMs, stepMs, gapMs, count: n, step }: ModelWindows): Window {
  switch (kind) {
    case 'tumbling':
      return tumbling(sizeMs!);
    case 'hopping':
      return hopping(sizeMs!, stepMs!);
    case 'sliding':
      return sliding(sizeMs!);
    case 'session':
      return session(gapMs!);
    case 'count':
      return count(n!);
    case 'countHopping':
      return countHopping(n!, step!);
    case 'countSliding':
      return countSliding(n!);
  }
}
