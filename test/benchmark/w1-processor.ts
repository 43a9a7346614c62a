/** W1 as a user would write it: per key {count, sum, last} of the input's `v`, each new aggregate emitted as JSON. */
import { defineProcessor, json, keyValue, string, topic } from '../../src/index.js';

interface Reading {
  readonly t: number;
  readonly v: number;
  readonly pad: string;
}

interface Aggregate {
  readonly count: number;
  readonly sum: number;
  readonly last: number;
}

export default defineProcessor({
  inputs: { input: topic({ key: string(), value: json<Reading>(), name: 'w1-in' }) },
  outputs: { output: topic({ key: string(), value: json<Aggregate>(), name: 'w1-out' }) },
  stores: { aggregates: keyValue({ key: string(), value: json<Aggregate>() }) },
  process(record, { stores, emit }) {
    const { v } = record.value;
    const old = stores.aggregates.get(record.key);
    const next =
      old === undefined ? { count: 1, sum: v, last: v } : { count: old.count + 1, sum: old.sum + v, last: v };
    stores.aggregates.set(record.key, next);
    emit.output(record.key, next);
  },
  queries: {
    one: ({ stores }, key) => stores.aggregates.get(key),
  },
});
