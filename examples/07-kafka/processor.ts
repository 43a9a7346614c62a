/** A shop's revenue: per customer in state, and each change of it to a topic. */
import { defineProcessor, json, keyValue, string, topic } from 'partita';

export interface Order {
  readonly item: string;
  readonly cents: number;
}

export interface Revenue {
  readonly orders: number;
  readonly cents: number;
}

export default defineProcessor({
  inputs: { orders: topic({ key: string(), value: json<Order>() }) },
  outputs: { revenues: topic({ key: string(), value: json<Revenue>() }) },
  stores: { revenues: keyValue({ key: string(), value: json<Revenue>() }) },
  process({ key: customer, value: { cents } }, { stores, emit }) {
    const before = stores.revenues.get(customer) ?? { orders: 0, cents: 0 };
    const revenue = { orders: before.orders + 1, cents: before.cents + cents };
    stores.revenues.set(customer, revenue);
    emit.revenues(customer, revenue);
  },
  queries: {
    revenue: ({ stores }, customer) => stores.revenues.get(customer),
  },
});
