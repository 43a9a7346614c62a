/** The plain loop over one partition: what `fixtures/simulated.ts` must have come to after each record. Nothing of the runtime is used. */
import {
  GRACE_MS,
  TTL_MS,
  WINDOW_MS,
  type SimulatedEvent,
  type SimulatedTotal,
} from '../fixtures/simulated.js';

export interface ModelRecord {
  readonly key: string;
  readonly value: SimulatedEvent;
  readonly timestamp: number;
}

export class Model {
  readonly totals = new Map<string, SimulatedTotal>();
  /** Outputs in order, as `key=value` in JSON. */
  readonly outputs: { readonly totals: string[]; readonly closed: string[] } = { totals: [], closed: [] };
  readonly #recent = new Map<string, { readonly n: number; readonly expiryMs: number }>();
  readonly #windows = new Map<string, { readonly key: string; readonly start: number; n: number }>();
  #clock = -1;

  process({ key, value, timestamp }: ModelRecord): void {
    if (value.poison === true) return;
    this.#clock = Math.max(this.#clock, timestamp);
    const recent = (this.recentOf(key) ?? 0) + 1;
    this.#recent.set(key, { n: recent, expiryMs: timestamp + TTL_MS });
    const old = this.totals.get(key);
    const next = { count: (old?.count ?? 0) + 1, sum: (old?.sum ?? 0) + value.n, recent };
    this.totals.set(key, next);
    this.outputs.totals.push(outputOf(key, next));
    const start = timestamp - (timestamp % WINDOW_MS);
    if (!this.#isClosed(start)) {
      const window = this.#windows.get(`${key}/${start}`) ?? { key, start, n: 0 };
      this.#windows.set(`${key}/${start}`, { ...window, n: window.n + 1 });
    }
    this.#close();
  }

  /** Keys whose count has not expired. */
  get recent(): [string, number][] {
    return [...this.#recent.keys()].flatMap((key) => {
      const n = this.recentOf(key);
      return n === undefined ? [] : [[key, n] as [string, number]];
    });
  }

  recentOf(key: string): number | undefined {
    const held = this.#recent.get(key);
    return held === undefined || held.expiryMs <= this.#clock ? undefined : held.n;
  }

  #isClosed(start: number): boolean {
    return this.#clock >= start + WINDOW_MS + GRACE_MS;
  }

  #close(): void {
    const due = [...this.#windows.values()].filter(({ start }) => this.#isClosed(start));
    due.sort((a, b) => a.start - b.start || (a.key < b.key ? -1 : 1));
    for (const { key, start, n } of due) {
      this.outputs.closed.push(outputOf(key, [start, n]));
      this.#windows.delete(`${key}/${start}`);
    }
  }
}

export function outputOf(key: string, value: unknown): string {
  return `${key}=${JSON.stringify(value)}`;
}
