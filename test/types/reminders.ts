/* eslint-disable @typescript-eslint/ban-ts-comment, @typescript-eslint/no-unsafe-call -- the wrong uses are the point */
/**
 * A processor with timers as users write one, with their mistakes kept as expected errors: that this file compiles is the
 * test. Nothing runs it.
 */
import {
  defineProcessor,
  int64,
  json,
  keyValue,
  string,
  topic,
  tumbling,
  windowed,
} from '../../src/index.js';

interface Reminder {
  readonly of: string;
  readonly n: number;
}

export default defineProcessor({
  inputs: { orders: topic({ key: string(), value: json<{ id: string }>() }) },
  outputs: { reminders: topic({ key: string(), value: json<Reminder>() }) },
  stores: { open: keyValue({ key: string(), value: int64() }) },
  timers: {
    remind({ stores, emit, schedule, config }, key, payload: Reminder) {
      const text: string = key;
      const nothing: undefined = config;
      emit.reminders(text, payload);
      // @ts-expect-error wrong value
      emit.reminders(text, nothing);
      stores.open.delete(key);
      schedule['remind']?.(key, 5, { ...payload, n: payload.n + 1 });
      // @ts-expect-error a name that may not be declared
      schedule['remind'](key, 5, payload);
      // @ts-expect-error wrong key
      schedule['remind']?.(5, 5, payload);
    },
    async tick({ stores }, key) {
      await Promise.resolve();
      stores.open.set(key, 1);
    },
    maybe: ({ emit }, key: string, payload?: Reminder) => {
      if (payload !== undefined) emit.reminders(key, payload);
    },
  },
  process({ key, value, timestamp }, { schedule }) {
    schedule.remind(key, timestamp + 1, { of: value.id, n: 0 });
    schedule.remind(key, timestamp + 1, { of: value.id, n: 0 }, { clock: 'wall' });
    schedule.remind.cancel(key, timestamp + 1);
    schedule.remind.cancel(key, timestamp + 1, { clock: 'event' });
    schedule.tick(key, timestamp);
    schedule.tick(key, timestamp, undefined, { clock: 'wall' });
    schedule.maybe(key, timestamp);
    schedule.maybe(key, timestamp, { of: 'x', n: 1 });
    // @ts-expect-error the payload is missing
    schedule.remind(key, timestamp);
    // @ts-expect-error wrong payload
    schedule.remind(key, timestamp, { of: 5, n: 0 });
    // @ts-expect-error a timer without a payload
    schedule.tick(key, timestamp, { of: 'x', n: 1 });
    // @ts-expect-error keys are strings
    schedule.tick(5, timestamp);
    // @ts-expect-error no such clock
    schedule.tick(key, timestamp, undefined, { clock: 'sun' });
    // @ts-expect-error no such timer
    schedule.nothing(key, timestamp);
    // @ts-expect-error a time is a number
    schedule.tick.cancel(key, new Date());
  },
  commands: {
    later: ({ schedule }, key, ms: number) => {
      schedule.remind(key, ms, { of: 'x', n: 0 });
      // @ts-expect-error wrong payload
      schedule.remind(key, ms, 5);
      return ms;
    },
  },
  queries: {
    // @ts-expect-error queries know nothing of timers
    planned: ({ schedule }) => String(schedule),
  },
});

const orders = topic({ key: string(), value: string() });

defineProcessor({
  inputs: { orders },
  // @ts-expect-error keys are strings
  timers: {
    wrongKey: ({ partition }, key: number) => {
      if (key === partition) return;
    },
  },
  process() {
    return;
  },
});

defineProcessor({
  inputs: { orders },
  // @ts-expect-error a timer returns nothing
  timers: {
    wrongResult: () => 5,
  },
  process() {
    return;
  },
});

defineProcessor({
  inputs: { orders },
  process({ key }, { schedule }) {
    // @ts-expect-error timers are declared above the handlers that schedule them
    schedule.late(key, 5);
  },
  timers: {
    late: ({ partition }, key, payload: string) => {
      if (key === payload + String(partition)) return;
    },
  },
});

defineProcessor({
  inputs: { orders },
  process({ key }, { schedule }) {
    // @ts-expect-error no timers are declared
    schedule.late(key, 5);
  },
});

const perKey = windowed({
  key: string(),
  value: int64(),
  window: tumbling(10),
  aggregate: (of) => ({ sum: of.sum((n) => n) }),
});

// Every handler that stands below its timers knows them, in whatever order.
defineProcessor({
  inputs: { orders: topic({ key: string(), value: int64() }) },
  outputs: { sums: topic({ key: string(), value: int64() }) },
  stores: { perKey },
  timers: {
    remind({ stores }, key, payload: number) {
      stores.perKey.add(key, payload);
    },
  },
  commands: {
    later: ({ schedule }, key, n: number) => {
      schedule.remind(key, 5, n);
    },
  },
  onLate: {
    perKey({ key, value }, { schedule }) {
      schedule.remind(key, 20, value);
      // @ts-expect-error wrong payload
      schedule.remind(key, 20, 'x');
    },
  },
  windows: {
    perKey({ key, result }, { schedule, emit }) {
      emit.sums(key, result.sum);
      schedule.remind(key, 20, result.sum);
      // @ts-expect-error wrong payload
      schedule.remind(key, 20, result);
    },
  },
  process({ key }, { schedule }) {
    schedule.remind(key, 20, 7);
  },
});
