/** Adds up what each sensor measured; a sum is wrong forever if a single record is lost or counted twice. */
import { defineProcessor, json, keyValue, string, topic } from 'partita';

export interface Sum {
  readonly count: number;
  readonly sum: number;
}

export default defineProcessor({
  inputs: { readings: topic({ key: string(), value: json<number>() }) },
  outputs: { sums: topic({ key: string(), value: json<Sum>() }) },
  stores: { sums: keyValue({ key: string(), value: json<Sum>() }) },
  process({ key, value }, { stores, emit }) {
    const old = stores.sums.get(key);
    const next = { count: (old?.count ?? 0) + 1, sum: (old?.sum ?? 0) + value };
    stores.sums.set(key, next);
    emit.sums(key, next);
  },
  queries: {
    total: async ({ stores }) => {
      const total = { count: 0, sum: 0 };
      for await (const [, { count, sum }] of stores.sums.entries()) {
        total.count += count;
        total.sum += sum;
      }
      return total;
    },
  },
});
