/**
 * W1 between topics that the program names at run time: they stand in the query of this module's URL, which the main
 * thread and every worker import alike (`stream-processor.js?in=orders&out=totals`). The aggregate is `w1-processor.ts`'s;
 * without `out` nothing is emitted. `stream.ts` is the program around it.
 */
import { defineProcessor, json, keyValue, string, topic } from '../../src/index.js';
import type { Aggregate, Input } from './w1-processor.js';

const topics = new URL(import.meta.url).searchParams;
const input = topics.get('in') ?? 'w1';
const output = topics.get('out') ?? undefined;

export default defineProcessor({
  inputs: { records: topic({ name: input, key: string(), value: json<Input>() }) },
  outputs:
    output === undefined
      ? {}
      : { aggregates: topic({ name: output, key: string(), value: json<Aggregate>() }) },
  stores: { aggregates: keyValue({ key: string(), value: json<Aggregate>() }) },
  process({ key, value: { v } }, { stores, emit }) {
    const old = stores.aggregates.get(key);
    const next = { count: (old?.count ?? 0) + 1, sum: (old?.sum ?? 0) + v, last: v };
    stores.aggregates.set(key, next);
    emit.aggregates?.(key, next);
  },
});
