/**
 * The processor of the simulated world, and what it does written down a second time as a plain loop over one partition's
 * records: the truth that every run is compared with. Commands touch a store of their own, so that the loop needs to
 * know nothing of their order.
 */
import type { AnyDefinition } from '../../src/processor/define-processor.js';
import { defineProcessor, json, keyValue, string, topic, tumbling, windowed } from '../../src/index.js';

export interface SimulatedEvent {
  readonly n: number;
  /** A timer at so many ms after the event. */
  readonly timerIn?: number;
}

export interface Chain {
  readonly n: number;
  readonly sum: number;
  readonly hash: number;
}

/** What a partition answers. */
export interface Dump {
  readonly records: number;
  readonly totals: readonly (readonly [string, Chain])[];
  readonly fired: readonly (readonly [string, number])[];
  readonly commands: readonly (readonly [string, number])[];
}

export const TTL_MS = 120;
export const WINDOW_MS = 500;
export const GRACE_MS = 150;
const RECORDS_KEY = '#records';

function link(old: Chain | undefined, n: number, seen: number | undefined): Chain {
  const hash = Math.imul((old?.hash ?? 17) ^ n ^ ((seen ?? 0) << 12), 0x9e3779b1) >>> 0;
  return { n: (old?.n ?? 0) + 1, sum: (old?.sum ?? 0) + n, hash };
}

async function entriesOf<V>(entries: AsyncIterable<readonly [string, V]>): Promise<(readonly [string, V])[]> {
  const all: (readonly [string, V])[] = [];
  for await (const entry of entries) all.push(entry);
  return all;
}

export const simulatedProcessor = defineProcessor({
  inputs: { events: topic({ key: string(), value: json<SimulatedEvent>() }) },
  outputs: {
    out: topic({ key: string(), value: json<Chain>() }),
    fired: topic({ key: string(), value: json<readonly [number, number]>() }),
    closed: topic({ key: string(), value: json<readonly [number, number]>() }),
    late: topic({ key: string(), value: json<number>() }),
    done: topic({ key: string(), value: json<number>() }),
  },
  stores: {
    totals: keyValue({ key: string(), value: json<Chain>() }),
    recent: keyValue({ key: string(), value: json<number>(), ttlMs: TTL_MS }),
    counts: keyValue({ key: string(), value: json<number>() }),
    commands: keyValue({ key: string(), value: json<number>() }),
    windows: windowed({
      key: string(),
      value: json<number>(),
      window: tumbling(WINDOW_MS),
      graceMs: GRACE_MS,
      closing: 'partition',
      aggregate: (of) => ({ count: of.count() }),
    }),
  },
  timers: {
    remind({ stores, emit }, key, payload: { readonly at: number; readonly n: number }) {
      stores.counts.update(key, (old) => (old ?? 0) + 1);
      emit.fired(key, [payload.at, payload.n]);
    },
  },
  process({ key, value, timestamp }, { stores, emit, schedule }) {
    const next = link(stores.totals.get(key), value.n, stores.recent.get(key));
    stores.totals.set(key, next);
    stores.recent.set(key, value.n);
    stores.counts.update(RECORDS_KEY, (old) => (old ?? 0) + 1);
    stores.windows.add(key, value.n);
    emit.out(key, next);
    if (value.timerIn !== undefined) {
      const at = timestamp + value.timerIn;
      schedule.remind(key, at, { at, n: value.n });
    }
  },
  windows: {
    windows({ key, startMs, result }, { emit }) {
      emit.closed(key, [startMs, result.count]);
    },
  },
  onLate: {
    windows({ key, value }, { emit }) {
      emit.late(key, value);
    },
  },
  queries: {
    dump: async ({ stores }): Promise<Dump> => {
      // All three begin in this one step, before any further record.
      const records = stores.counts.get(RECORDS_KEY) ?? 0;
      const [totals, counts, commands] = await Promise.all([
        entriesOf(stores.totals.entries()),
        entriesOf(stores.counts.entries()),
        entriesOf(stores.commands.entries()),
      ]);
      const fired = counts.filter(([key]) => key !== RECORDS_KEY);
      return { records, totals, fired, commands };
    },
  },
  commands: {
    add({ stores, emit }, id: string) {
      stores.commands.update(id, (old) => (old ?? 0) + 1);
      emit.done(id, 1);
      return id;
    },
    refuse({ stores, emit }, id: string) {
      stores.commands.set(id, 1);
      emit.done(id, 1);
      throw new Error('refused');
    },
  },
});

export const OUTPUTS = ['out', 'fired', 'closed', 'late'] as const;
export type OutputName = (typeof OUTPUTS)[number];

/** The plain loop over one partition. */
export class PartitionModel {
  readonly outputs: Readonly<Record<OutputName, string[]>> = { out: [], fired: [], closed: [], late: [] };
  /** By number of records: how much of each output there is, and the state. */
  readonly after: {
    readonly counts: Readonly<Record<OutputName, number>>;
    readonly totals: string;
    readonly state: string;
  }[] = [];
  readonly #taken: { readonly key: string; readonly event: SimulatedEvent; readonly timestamp: number }[] =
    [];
  /** After how many records the totals were reset. */
  readonly #resets = new Set<number>();
  /** What was so before a reset, and is still seen by who has not heard of it: `<records> <totals>`. */
  readonly #abandoned = new Set<string>();
  readonly #totals = new Map<string, Chain>();
  readonly #recent = new Map<string, { readonly n: number; readonly until: number }>();
  readonly #fired = new Map<string, number>();
  readonly #timers = new Map<string, { readonly key: string; readonly at: number; readonly n: number }>();
  readonly #windows = new Map<string, { readonly key: string; readonly start: number; count: number }>();
  #clock = -1;

  constructor() {
    this.#note();
  }

  get records(): number {
    return this.after.length - 1;
  }

  take(key: string, event: SimulatedEvent, timestamp: number): void {
    this.#taken.push({ key, event, timestamp });
    this.#process(key, event, timestamp);
  }

  /** The totals were dropped after so many records; everything behind is computed anew. */
  resetTotals(records: number): void {
    for (let after = records; after < this.after.length; after++)
      this.#abandoned.add(`${after} ${this.after[after]!.totals}`);
    this.#resets.add(records);
    for (const output of Object.values(this.outputs)) output.length = 0;
    for (const kept of [this.#totals, this.#recent, this.#fired, this.#timers, this.#windows]) kept.clear();
    this.#clock = -1;
    this.after.length = 0;
    this.#note();
    for (const { key, event, timestamp } of this.#taken) this.#process(key, event, timestamp);
  }

  /** Whether these were the totals after so many records, at any time. */
  hadTotals(records: number, totals: string): boolean {
    return this.after[records]?.totals === totals || this.#abandoned.has(`${records} ${totals}`);
  }

  #process(key: string, { n, timerIn }: SimulatedEvent, timestamp: number): void {
    this.#clock = Math.max(this.#clock, timestamp);
    const recent = this.#recent.get(key);
    const seen = recent !== undefined && recent.until > this.#clock ? recent.n : undefined;
    const next = link(this.#totals.get(key), n, seen);
    this.#totals.set(key, next);
    this.#recent.set(key, { n, until: timestamp + TTL_MS });
    this.#emit('out', key, next);
    this.#addToWindow(key, n, timestamp);
    if (timerIn !== undefined) {
      const at = timestamp + timerIn;
      this.#timers.set(`${at} ${key}`, { key, at, n });
    }
    this.#fireTimers();
    this.#closeWindows();
    this.#note();
  }

  #addToWindow(key: string, n: number, timestamp: number): void {
    const start = Math.floor(timestamp / WINDOW_MS) * WINDOW_MS;
    if (this.#clock >= start + WINDOW_MS + GRACE_MS) {
      this.#emit('late', key, n);
      return;
    }
    const id = `${start} ${key}`;
    const window = this.#windows.get(id) ?? { key, start, count: 0 };
    window.count++;
    this.#windows.set(id, window);
  }

  #fireTimers(): void {
    const due = [...this.#timers.entries()].filter(([, { at }]) => at <= this.#clock);
    due.sort(([, a], [, b]) => a.at - b.at || (a.key < b.key ? -1 : 1));
    for (const [id, { key, at, n }] of due) {
      this.#timers.delete(id);
      this.#fired.set(key, (this.#fired.get(key) ?? 0) + 1);
      this.#emit('fired', key, [at, n]);
    }
  }

  #closeWindows(): void {
    const due = [...this.#windows.entries()].filter(
      ([, { start }]) => start + WINDOW_MS + GRACE_MS <= this.#clock,
    );
    due.sort(([, a], [, b]) => a.start - b.start || (a.key < b.key ? -1 : 1));
    for (const [id, { key, start, count }] of due) {
      this.#windows.delete(id);
      this.#emit('closed', key, [start, count]);
    }
  }

  #emit(output: OutputName, key: string, value: unknown): void {
    this.outputs[output].push(`${key} ${JSON.stringify(value)}`);
  }

  #note(): void {
    if (this.#resets.has(this.after.length)) this.#totals.clear();
    const { out, fired, closed, late } = this.outputs;
    this.after.push({
      counts: { out: out.length, fired: fired.length, closed: closed.length, late: late.length },
      totals: stateText([...this.#totals], []),
      state: stateText([...this.#totals], [...this.#fired]),
    });
  }
}

export function stateText(totals: Dump['totals'], fired: Dump['fired']): string {
  const sorted = <T>(entries: readonly (readonly [string, T])[]) =>
    [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([sorted(totals), sorted(fired)]);
}

/** As the runtime finds it in a module. */
export const simulatedDefinition = (simulatedProcessor as unknown as { readonly definition: AnyDefinition })
  .definition;
