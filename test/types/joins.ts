/* eslint-disable @typescript-eslint/ban-ts-comment, @typescript-eslint/no-unsafe-call -- the wrong uses are the point */
/**
 * A processor with a table, a timestamped store and joins as users write one, with their mistakes kept as expected errors: that
 * this file compiles is the test. Nothing runs it.
 */
import { expectTypeOf } from 'expect-type';
import {
  asOfJoin,
  defineProcessor,
  json,
  processorAt,
  StateManager,
  embeddedLog,
  streamJoin,
  string,
  table,
  timestamped,
  topic,
  type Emit,
  type Frozen,
  type RecordOf,
} from '../../src/index.js';

interface Order {
  id: string;
  lines: string[];
}
interface Payment {
  amount: number;
}
interface Product {
  tags: string[];
}

const inputs = {
  products: table({ key: string(), value: json<Product>() }),
  orders: topic({ key: string(), value: json<Order>() }),
  payments: topic({ key: string(), value: json<Payment>() }),
};
const outputs = { paid: topic({ key: string(), value: json<{ order: string; amount: number }>() }) };
interface Emits {
  readonly emit: Emit<typeof outputs>;
}

const inner = streamJoin({
  name: 'inner',
  key: string(),
  left: json<Order>(),
  right: json<Payment>(),
  beforeMs: 0,
  afterMs: 10,
  type: 'inner',
  onJoined: ({ key, left, right, timestamp }, { emit }: Emits) => {
    emit.paid(key, { order: left.id, amount: right.amount }, { timestamp });
    // @ts-expect-error values are frozen, or those of a record
    right.amounts = 5;
  },
  onLate: ({ side, lateBy }) => {
    expectTypeOf(side).toEqualTypeOf<'left' | 'right'>();
    expectTypeOf(lateBy).toEqualTypeOf<number>();
  },
});

streamJoin({
  name: 'left',
  key: string(),
  left: json<Order>(),
  right: json<Payment>(),
  beforeMs: 0,
  afterMs: 10,
  type: 'left',
  onJoined: ({ left, right }) => {
    expectTypeOf(left).toEqualTypeOf<Order | Frozen<Order>>();
    expectTypeOf(right).toEqualTypeOf<Payment | Frozen<Payment> | undefined>();
  },
});

const outer = streamJoin({
  name: 'outer',
  key: string(),
  left: json<Order>(),
  right: json<Payment>(),
  beforeMs: 0,
  afterMs: 10,
  type: 'outer',
  onJoined: ({ key, left, right }, { emit }: Emits) => {
    expectTypeOf(left).toEqualTypeOf<Order | Frozen<Order> | undefined>();
    emit.paid(key, { order: left?.id ?? '', amount: right?.amount ?? 0 });
  },
});

const asOf = asOfJoin({
  name: 'asOf',
  key: string(),
  left: json<Order>(),
  right: json<Payment>(),
  type: 'left',
  onJoined: ({ key, left, right }, { emit }: Emits) => {
    expectTypeOf(right).toEqualTypeOf<Frozen<Payment> | undefined>();
    emit.paid(key, { order: left.id, amount: right?.amount ?? 0 });
  },
});

const joining = defineProcessor({
  inputs,
  outputs,
  stores: {
    ...inner.stores,
    ...asOf.stores,
    ...outer.stores,
    owners: timestamped({ key: string(), value: json<Product>(), graceMs: 5 }),
  },
  timers: {
    ...outer.timers,
    remind: ({ stores }, key) => {
      stores.owners.getAsOf(key, 5);
    },
  },
  process(record, context) {
    const { stores } = context;
    context.schedule.remind(record.key, record.timestamp);
    expectTypeOf(record.input).toEqualTypeOf<'orders' | 'payments'>();
    expectTypeOf(stores.products.get('a')).toEqualTypeOf<{ readonly tags: readonly string[] } | undefined>();
    // @ts-expect-error handlers only read tables
    stores.products.set('a', { tags: [] });
    expectTypeOf(context.watermark).toEqualTypeOf<number>();
    if (record.input === 'orders') {
      inner.left(record, context);
      outer.left(record, context);
      asOf.left(record, context);
      // @ts-expect-error an order is no payment
      inner.right(record, context);
    } else {
      asOf.right(record, context);
      inner.right(record, context);
      // @ts-expect-error a join needs its stores and the clock
      inner.right(record, { emit: context.emit });
      // @ts-expect-error a join needs what its callback needs
      inner.right(record, { stores, watermark: 0 });
    }
    expectTypeOf(stores.owners.set('a', { tags: [] }, 5)).toEqualTypeOf<boolean>();
    // @ts-expect-error an entry has a time
    stores.owners.set('a', { tags: [] });
    // @ts-expect-error another value
    stores.owners.set('a', { tag: 'x' }, 5);
    const owner = stores.owners.getAsOf('a', 5);
    expectTypeOf(owner?.value.tags).toEqualTypeOf<readonly string[] | undefined>();
    // @ts-expect-error frozen
    owner?.value.tags.push('x');
  },
  queries: {
    owners: async ({ stores }, key: string) => {
      // @ts-expect-error queries cannot write
      stores.owners.set(key, { tags: [] }, 0);
      // @ts-expect-error nor tables
      stores.products.delete(key);
      const owners: [number, string][] = [];
      for await (const [at, { tags }] of stores.owners.interval(key, 0, Infinity, { limit: 5 }))
        owners.push([at, tags.join()]);
      return owners;
    },
  },
});

expectTypeOf<RecordOf<typeof inputs>['input']>().toEqualTypeOf<'orders' | 'payments'>();

export async function main(): Promise<void> {
  await using manager = await StateManager.start({
    group: 'joins',
    log: await embeddedLog(),
    stateDir: './state',
    streams: { joining: processorAt<typeof joining>(new URL('./joins.js', import.meta.url)) },
  });
  const { joining: router } = manager.streams;
  await router.send('products', { key: 'a', value: null });
  await router.send('products', { key: 'a', value: { tags: [] } });
  // @ts-expect-error null deletes from a table only
  await router.send('orders', { key: 'a', value: null });
  expectTypeOf(await router.query('owners', { key: 'a' })).toEqualTypeOf<[number, string][]>();
}

export default joining;
