/**
 * Amounts on their way through managers of the totals processor, and the plain loop over them that the managers must agree
 * with: every record counted once, whoever serves its key. It starts no manager.
 */
import assert from 'node:assert/strict';
import { isPartitaError, processorAt, type EmbeddedLog, type StateManager } from '../../src/index.js';
import type totals from '../fixtures/totals-processor.js';
import type { Total } from '../fixtures/totals-processor.js';
import { until } from './waiting.js';

export const totalsStream = {
  totals: processorAt<typeof totals>(new URL('../fixtures/totals-processor.js', import.meta.url)),
};

export type TotalsManager = StateManager<typeof totalsStream>;

export class Amounts {
  /** The sum of each key. Whoever changes it otherwise than by records notes that here. */
  readonly expected = new Map<string, number>();
  readonly #log: EmbeddedLog;

  constructor(log: EmbeddedLog) {
    this.#log = log;
  }

  /** Both topics. */
  static async on(log: EmbeddedLog, partitions: number): Promise<Amounts> {
    await log.createTopic({ topic: 'amounts', partitions });
    await log.createTopic({ topic: 'totals', partitions: 1 });
    return new Amounts(log);
  }

  /** A record for each. */
  async produce(amounts: Iterable<readonly [key: string, amount: number]>): Promise<void> {
    const records = Array.from(amounts, ([key, amount]) => {
      this.expected.set(key, (this.expected.get(key) ?? 0) + amount);
      const value = Buffer.alloc(8);
      value.writeBigInt64BE(BigInt(amount));
      return { key, value };
    });
    await this.#log.produce('amounts', records);
  }

  /** Until the managers together hold what the plain loop holds. */
  async countedOnce(...managers: readonly TotalsManager[]): Promise<void> {
    let found = new Map<string, number>();
    const same = async (): Promise<boolean> => {
      found = await sumsOf(...managers);
      return found.size === this.expected.size && [...found].every(([k, v]) => this.expected.get(k) === v);
    };
    await until(same, 'the sums of a plain loop').catch((cause: unknown) => {
      assert.deepEqual(sorted(found), sorted(this.expected));
      throw cause;
    });
  }

  /** No committed output is missing, repeated, or of another state. */
  async assertOutputs(): Promise<void> {
    const last = new Map<string, Total>();
    for await (const { key, value } of this.#log.read('totals')) {
      const name = Buffer.from(key!).toString();
      const total = JSON.parse(Buffer.from(value!).toString()) as Total;
      assert.equal(total.n, (last.get(name)?.n ?? 0) + 1, `an output of ${name} is missing or repeated`);
      last.set(name, total);
    }
    const sums = new Map([...last].map(([name, { sum }]) => [name, sum]));
    assert.deepEqual(sorted(sums), sorted(this.expected));
  }
}

/** The sums of all partitions that answer; a manager that can't at the moment has none. */
export async function sumsOf(...managers: readonly TotalsManager[]): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const manager of managers) {
    const all = await manager.streams.totals.queryAll('all', { timeoutMs: 4_000 }).catch((error: unknown) => {
      assert.ok(isPartitaError(error), String(error));
      return new Map<number, never[]>();
    });
    for (const { key, sum } of [...all.values()].flat()) found.set(key, sum);
  }
  return found;
}

function sorted(map: ReadonlyMap<string, number>): [string, number][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
