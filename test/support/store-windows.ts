/**
 * Owns the windowed store's part in the comparison with Kafka Streams: a processor with one store in the test driver, which counts
 * and sums as Oracle.java does. It compares nothing; `kafka/streams-oracle.test.ts` does.
 */
import { json, nullable, string } from '../../src/codec/serdes.js';
import { topic } from '../../src/processor/declarations.js';
import { defineProcessor } from '../../src/processor/define-processor.js';
import { hopping, session, sliding, tumbling, windowed, type Window } from '../../src/processor/windowed.js';
import { TestDriver } from '../../src/testing/index.js';
import type { StreamsWindowing } from './kafka-streams-oracle.js';
import {
  byRecordAndEnd,
  type WindowEmission,
  type WindowOutcome,
  type WindowRun,
} from './streams-comparison.js';

/** What stands in the one output topic, so that its order tells which record caused what. */
type Told =
  | { readonly record: number }
  | { readonly window: Omit<WindowEmission, 'at' | 'key'> }
  | { readonly late: true };

interface Added {
  readonly record: number;
  readonly value: number | null;
}

const BATCH_RECORDS = 1_000;

/** What the windowed store makes of the run, closing by the partition clock. */
export async function outcomeOfStore({ header, records }: WindowRun): Promise<WindowOutcome> {
  const startMs = Math.max(...records.map(({ timestamp }) => timestamp));
  await using driver = await TestDriver.start(processorOf(header), { startMs });
  for (let from = 0; from < records.length; from += BATCH_RECORDS) {
    const batch = records.slice(from, from + BATCH_RECORDS);
    await driver.append(
      'in',
      batch.map(({ key, value, timestamp }, index) => ({
        key,
        value: { record: from + index, value },
        timestamp,
      })),
    );
    await driver.drain();
  }
  await driver.checkpoint();
  return outcomeIn(await driver.outputs<string | null, Told>('out'));
}

function outcomeIn(told: readonly { readonly key: string | null; readonly value: Told }[]): WindowOutcome {
  const emissions: WindowEmission[] = [];
  const late = new Set<number>();
  let at = -1;
  for (const { key, value } of told)
    if ('record' in value) at = value.record;
    else if ('late' in value) late.add(at);
    else emissions.push({ at, key: key!, ...value.window });
  return { emissions: emissions.sort(byRecordAndEnd), late: [...late] };
}

function processorOf(header: StreamsWindowing) {
  return defineProcessor({
    inputs: { in: topic({ key: nullable(string()), value: json<Added>() }) },
    outputs: { out: topic({ key: nullable(string()), value: json<Told>() }) },
    stores: {
      w: windowed({
        key: string(),
        value: json<Added>(),
        window: windowOf(header),
        graceMs: header.graceMs,
        emission: header.emission,
        aggregate: (of) => ({ count: of.count(), sum: of.sum(({ value }) => value) }),
      }),
    },
    process({ key, value }, { stores, emit }) {
      emit.out(key, { record: value.record });
      if (key !== null) stores.w.add(key, value);
    },
    windows: {
      w({ key, startMs, endMs, closed, result }, { emit }) {
        if (closed === (header.emission === 'final'))
          emit.out(key, { window: { startMs, endMs, ...result } });
      },
    },
    onLate: {
      w({ key }, { emit }) {
        emit.out(key, { late: true });
      },
    },
  });
}

function windowOf(header: StreamsWindowing): Window {
  switch (header.topology) {
    case 'tumbling':
      return tumbling(header.sizeMs);
    case 'hopping':
      return hopping(header.sizeMs, header.stepMs);
    case 'sliding':
      return sliding(header.sizeMs);
    case 'session':
      return session(header.gapMs);
  }
}
