/** Sums up orders; a record that its handler can't take goes to a topic of its own instead of stopping the partition. */
import { defineProcessor, int64, json, keyValue, string, topic } from 'partita';

export interface Order {
  readonly quantity: number;
}

export default defineProcessor({
  inputs: { orders: topic({ key: string(), value: json<Order>() }) },
  stores: { ordered: keyValue({ key: string(), value: int64() }) },
  process({ key: customer, value: order }, { stores }) {
    // A record is atomic: this write leaves no trace if the handler throws afterwards.
    stores.ordered.update(customer, (sum) => (sum ?? 0) + order.quantity);
    if (!Number.isInteger(order.quantity) || order.quantity < 1)
      throw new RangeError(`${order.quantity} is not a quantity`);
  },
  onError: { deadLetter: 'orders.dead' },
  queries: { ordered: ({ stores }, customer) => stores.ordered.get(customer) },
});
