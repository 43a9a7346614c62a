/**
 * W2 and its kin: count and sum of the input's `v` in windows. Which windows, and whether every update or only closed
 * windows are emitted, stands in the query of this module's URL (`window-processor.js?window=sliding&emission=final`), as
 * do the topics where a program names them.
 */
import {
  count,
  countHopping,
  defineProcessor,
  hopping,
  json,
  session,
  sliding,
  string,
  topic,
  tumbling,
  windowed,
  type Window,
} from '../../src/index.js';
import type { Input } from './w1-processor.js';

const parameters = new URL(import.meta.url).searchParams;
const kind = parameters.get('window') ?? 'tumbling';
const emission = parameters.get('emission') === 'final' ? 'final' : 'updates';
const closing = parameters.get('closing') === 'key' ? 'key' : 'partition';
const output = parameters.get('in') === null ? 'aggregates' : (parameters.get('out') ?? undefined);

const SECOND_MS = 1_000;
const windows: Readonly<Record<string, () => Window>> = {
  tumbling: () => tumbling(SECOND_MS),
  hopping: () => hopping(SECOND_MS, SECOND_MS / 5),
  sliding: () => sliding(SECOND_MS),
  session: () => session(SECOND_MS / 2),
  count: () => count(10),
  countHopping: () => countHopping(10, 2),
};

interface Aggregate {
  readonly count: number;
  readonly sum: number;
}

/** Records that this thread has processed. */
const seen = new Map<number, number>();

export default defineProcessor({
  inputs: { records: topic({ name: parameters.get('in') ?? 'w1', key: string(), value: json<Input>() }) },
  outputs:
    output === undefined
      ? {}
      : { aggregates: topic({ name: output, key: string(), value: json<Aggregate>() }) },
  stores: {
    windows: windowed({
      key: string(),
      value: json<Input>(),
      window: windows[kind]!(),
      emission,
      ...(closing === 'key' ? { closing } : {}),
      aggregate: (of) => ({ count: of.count(), sum: of.sum(({ v }) => v) }),
    }),
  },
  process({ key, value }, { stores, partition }) {
    stores.windows.add(key, value);
    seen.set(partition, (seen.get(partition) ?? 0) + 1);
  },
  windows: {
    windows({ key, result, closed }, { emit }) {
      // Each change has been emitted when it came: the peers say nothing more of a window that closes.
      if (closed === (emission === 'final')) emit.aggregates?.(key, result);
    },
  },
  queries: { seen: ({ partition }) => seen.get(partition) ?? 0 },
});
