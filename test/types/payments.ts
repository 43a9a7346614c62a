/* eslint-disable @typescript-eslint/ban-ts-comment, @typescript-eslint/no-unsafe-call, @typescript-eslint/no-unsafe-return -- the wrong uses are the point */
/**
 * A processor as users write one, with their mistakes kept as expected errors: that this file compiles is the test.
 * Nothing runs it.
 */
import {
  defineProcessor,
  int64,
  json,
  keyValue,
  session,
  string,
  topic,
  tumbling,
  windowed,
} from '../../src/index.js';

export interface Payment {
  id: string;
  amount: number;
  currency: 'EUR' | 'USD';
}
export interface Refund {
  of: string;
}
export interface Total {
  sum: number;
  n: number;
  tags: string[];
}

export default defineProcessor({
  config: { parse: (input: unknown): { limit: number } => input as { limit: number } },
  inputs: {
    payments: topic({ key: string(), value: json<Payment>() }),
    refunds: topic({ key: string(), value: json<Refund>(), name: 'refunds.v1' }),
  },
  outputs: {
    totals: topic({ key: string(), value: json<Total>() }),
    perMinute: topic({ key: string(), value: json<{ n: number; sum: number }>() }),
    visits: topic({ key: string(), value: json<{ readonly payments: number }>() }),
    counts: topic({ key: string(), value: int64() }),
  },
  stores: {
    totals: keyValue({ key: string(), value: json<Total>() }),
    seen: keyValue({ key: string(), value: int64(), ttlMs: 60_000 }),
    // @ts-expect-error a ttl is a number of ms
    wrong: keyValue({ key: string(), value: int64(), ttlMs: '1h' }),
    perMinute: windowed({
      key: string(),
      value: json<Payment>(),
      window: tumbling(60_000),
      graceMs: 10_000,
      aggregate: (of) => ({
        n: of.count(),
        sum: of.sum((p) => p.amount),
        avg: of.mean((p) => p.amount),
        last: of.latest((p) => p.currency),
        ids: of.collect((p) => p.id),
        folded: of.fold({ initial: () => 0, add: (a, p) => a + p.amount }),
        // @ts-expect-error no such field on Payment
        wrong: of.sum((p) => p.nope),
      }),
      // After `aggregate`, of whose results it is told.
      trigger: { when: ({ n }) => n > 100, closes: true },
    }),
    visits: windowed({
      key: string(),
      value: json<Payment>(),
      window: session(60_000),
      aggregate: (of) => ({ payments: of.count() }),
    }),
  },
  onError: (_error, record) =>
    record.origin === 'record' && (record.offset ?? 0) < 10 ? 'skip' : { deadLetter: 'dead' },
  process(record, { stores, emit, config }) {
    if (record.input === 'payments') {
      const amount: number = record.value.amount;
      // @ts-expect-error no such field on Payment
      const nope: unknown = record.value.nope;
      const old = stores.totals.get(record.key);
      // @ts-expect-error results of get are frozen
      if (old) old.sum = 5;
      // @ts-expect-error deeply so
      old?.tags.push('x');
      const next = { sum: (old?.sum ?? 0) + amount, n: (old?.n ?? 0) + 1, tags: [] };
      if (next.sum > config.limit) return;
      stores.totals.set(record.key, next);
      stores.totals.update(record.key, (before) => (before === undefined ? next : undefined));
      stores.seen.set(record.key, 1);
      stores.seen.set(record.key, 1, { ttlMs: 1_000 });
      stores.seen.update(record.key, (n) => (n ?? 0) + 1, { ttlMs: 1_000 });
      // @ts-expect-error a ttl is a number of ms
      stores.seen.set(record.key, 1, { ttlMs: '1 h' });
      // @ts-expect-error no such option
      stores.seen.update(record.key, () => undefined, { ttl: 5 });
      stores.perMinute.add(record.key, record.value);
      stores.visits.add(record.key, record.value);
      // @ts-expect-error not a Payment
      stores.visits.add(record.key, { of: 'x' });
      emit.totals(record.key, next, { timestamp: record.timestamp, partition: 0, headers: { a: 'b' } });
      // @ts-expect-error wrong value
      emit.totals(record.key, { sum: 'x' });
      // @ts-expect-error no such output
      emit.nowhere(record.key, next);
      // @ts-expect-error wrong key type
      stores.totals.set(5, next);
      // @ts-expect-error no such store
      const other: unknown = stores.other;
      if (nope === other) return;
    } else {
      const of: string = record.value.of;
      const input: 'refunds' = record.input;
      if (of === input) return;
    }
  },
  windows: {
    perMinute(window, { emit }) {
      const ids: readonly string[] = window.result.ids;
      const folded: number = window.result.folded;
      const last: 'EUR' | 'USD' | undefined = window.result.last;
      const avg: number | undefined = window.result.avg;
      if (folded === avg || last === undefined) return;
      emit.perMinute(window.key, { n: window.result.n + ids.length, sum: window.result.sum });
    },
    visits: 'visits',
  },
  onLate: {
    visits({ value, lateBy, window }, { emit }) {
      const amount: number = value.amount + lateBy + window.endMs;
      emit.counts('late', amount);
    },
  },
  queries: {
    total: ({ stores }, key) => stores.totals.get(key),
    open: ({ stores }, key) => stores.perMinute.current(key).map(({ result }) => result.sum),
    top: async ({ stores }, _key: string, limit: number) => {
      const all: { k: string; sum: number }[] = [];
      for await (const [k, total] of stores.totals.entries()) all.push({ k, sum: total.sum });
      return all.sort((a, b) => b.sum - a.sum).slice(0, limit);
    },
    // @ts-expect-error queries cannot write
    bad: ({ stores }, key: string) => stores.totals.set(key, { sum: 0, n: 0, tags: [] }),
  },
  commands: {
    refund: async ({ stores, emit }, key: string, amount: number) => {
      const total = stores.totals.get(key);
      if (total === undefined) return { ok: false as const };
      const next = { ...total, tags: [...total.tags], sum: total.sum - amount };
      stores.totals.set(key, next);
      emit.totals(key, next);
      return { ok: true as const, sum: next.sum };
    },
    reset: ({ stores }, key: string) => {
      stores.totals.delete(key);
    },
  },
});
