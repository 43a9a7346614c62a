/** W1: per key count, sum and last of the input's `v`; the new aggregate is emitted for every input. As a user writes it. */
import { defineProcessor, json, keyValue, string, topic } from '../../src/index.js';

export interface Input {
  readonly t: number;
  readonly v: number;
  readonly pad: string;
}

export interface Aggregate {
  readonly count: number;
  readonly sum: number;
  readonly last: number;
}

/** Of the store; 0: none. Stands in the query of this module's URL. */
const ttlMs = Number(new URL(import.meta.url).searchParams.get('ttlMs') ?? 0);

/** Records that this thread has processed: how the benchmark sees the end without waiting for a checkpoint. */
const seen = new Map<number, number>();

export default defineProcessor({
  inputs: { w1: topic({ key: string(), value: json<Input>() }) },
  outputs: { aggregates: topic({ key: string(), value: json<Aggregate>() }) },
  stores: {
    aggregates: keyValue({ key: string(), value: json<Aggregate>(), ...(ttlMs === 0 ? {} : { ttlMs }) }),
  },
  process({ key, value: { v } }, { stores, emit, partition }) {
    const old = stores.aggregates.get(key);
    const next = { count: (old?.count ?? 0) + 1, sum: (old?.sum ?? 0) + v, last: v };
    stores.aggregates.set(key, next);
    emit.aggregates(key, next);
    seen.set(partition, (seen.get(partition) ?? 0) + 1);
  },
  queries: { seen: ({ partition }) => seen.get(partition) ?? 0 },
});
