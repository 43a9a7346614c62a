/**
 * The index of what is due against a sorted array, over random histories of records, calls, rollbacks, checkpoints and
 * crashes, with a front so small that most entries lie in the engine. What the entries mean is the stores' tests' affair.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { family, type StoreParts } from '../../src/state/declared-store.js';
import { DueIndex, type DueIndexSizes } from '../../src/state/due-index.js';
import { EventClock } from '../../src/state/event-clock.js';
import { FrozenLayer } from '../../src/state/frozen-layer.js';
import { internal, latin1Keys, timeText } from '../../src/state/internal-serdes.js';
import type { KeyValueStore } from '../../src/state/key-value-store.js';
import { StateLayers } from '../../src/state/state-layers.js';
import { WindowEvents } from '../../src/state/window-events.js';
import { CountingPartition } from '../support/counting-partition.js';

const RUNS = Number(process.env['PARTITA_ORACLE_RUNS'] ?? 1_500);
const SMALL: DueIndexSizes = { frontMax: 16, pageEntries: 6, runMax: 4 };

const NUMBERS = internal<number>('number', { toText: String, fromText: Number, bytesMax: () => 18 });

interface Due {
  readonly atMs: number;
  readonly key: string;
}

/** What a handler does: something becomes due, or is not any more; `own`: what was taken becomes due again. */
type Change = { readonly do: 'add' | 'cancel'; readonly due: Due } | { readonly do: 'own' };

type Step =
  | { readonly do: 'record'; readonly changes: readonly Change[]; readonly fails: boolean }
  | {
      readonly do: 'take';
      readonly untilMs: number;
      readonly changes: readonly Change[];
      readonly fails: boolean;
    }
  | { readonly do: 'takeAll'; readonly untilMs: number }
  | { readonly do: 'freeze' | 'complete' | 'crash' };

const order = (a: Due, b: Due): number => a.atMs - b.atMs || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);

/**
 * As timers use it: a row for each time of a key, written before the index hears of it. As windowed stores do: a row for
 * each key that holds its one time, written afterwards.
 */
type Usage = 'timers' | 'windows';

/** An index beside the plain array of what is due. */
class Bench {
  readonly partition = new CountingPartition();
  taken = 0;
  pages = 0;
  #layers!: StateLayers;
  #rows!: KeyValueStore;
  #index!: DueIndex;
  #frozen: { readonly layer: FrozenLayer; readonly due: readonly Due[] } | undefined;
  #due: readonly Due[] = [];
  #flushed: readonly Due[] = [];
  readonly #usage: Usage;

  constructor(usage: Usage) {
    this.#usage = usage;
    this.#open();
  }

  #open(): void {
    this.#layers = new StateLayers('bench-0', 1_000);
    const parts: StoreParts = {
      name: 's',
      layers: this.#layers,
      partition: this.partition,
      maxRecordBytes: 1e6,
      clock: new EventClock(-1),
      wallNow: () => 0,
      events: new WindowEvents(),
    };
    this.#rows = family(parts, '$er', latin1Keys, NUMBERS);
    const isCurrent = (atMs: number, key: string): boolean =>
      this.#rows.get(this.#rowOf({ atMs, key })) === atMs;
    this.#index = new DueIndex(parts, '$ed', isCurrent, SMALL);
  }

  #rowOf({ atMs, key }: Due): string {
    return this.#usage === 'timers' ? timeText(atMs) + key : key;
  }

  record(changes: readonly Change[], fails: boolean): void {
    const before = this.#due;
    this.#layers.savepoint();
    this.#change(changes, undefined);
    if (fails) this.#rollback(before);
  }

  /** One call, as the actor makes it. Whether something was due. */
  async take(untilMs: number, changes: readonly Change[], fails: boolean): Promise<boolean> {
    const index = this.#index;
    // Every page but the last holds something; so many there can't be.
    for (let pages = 0; pages < 10_000; pages++) {
      await index.load(untilMs);
      const head = index.head(untilMs);
      if (head === undefined) break;
      this.#layers.savepoint();
      if (!this.#apply(head)) {
        index.pop();
        continue;
      }
      const first = this.#due[0];
      assert.deepEqual({ atMs: head.atMs, key: head.key }, first, 'what is due first');
      assert.ok(index.nextMs <= head.atMs);
      const before = this.#due;
      this.#due = before.slice(1);
      this.#change(changes, first);
      if (fails) {
        this.#rollback(before);
        this.#layers.savepoint();
        this.#due = before.slice(1);
        assert.ok(this.#apply(index.head(untilMs)!), 'what failed is the head again');
      }
      index.pop();
      this.taken++;
      return true;
    }
    assert.ok((this.#due[0]?.atMs ?? Infinity) > untilMs, 'something is due and was not found');
    return false;
  }

  async takeAll(untilMs: number): Promise<void> {
    while (await this.take(untilMs, [], false));
  }

  freeze(): void {
    if (this.#frozen !== undefined) return;
    this.#index.prepare();
    const layer = new FrozenLayer(this.#layers, this.#layers.freeze());
    this.#frozen = { layer, due: this.#due };
  }

  complete(): void {
    if (this.#frozen === undefined) return;
    this.partition.write(this.#frozen.layer.encode());
    this.#frozen.layer.complete();
    this.#flushed = this.#frozen.due;
    this.#frozen = undefined;
  }

  crash(): void {
    this.pages += this.#index.pages;
    this.#frozen = undefined;
    this.#due = this.#flushed;
    this.#open();
  }

  /** Takes all that is left. Then nothing may be left in the engine either. */
  async end(): Promise<void> {
    this.complete();
    await this.takeAll(Number.MAX_SAFE_INTEGER);
    assert.deepEqual(this.#due, []);
    this.freeze();
    this.complete();
    this.pages += this.#index.pages;
    assert.equal(this.partition.data.size, 0, 'rows that nobody will ever delete');
  }

  #apply(head: Due): boolean {
    this.#index.takeHead();
    const row = this.#rowOf(head);
    if (this.#rows.get(row) !== head.atMs) return false;
    this.#rows.delete(row);
    return true;
  }

  #change(changes: readonly Change[], own: Due | undefined): void {
    for (const change of changes) {
      if (change.do === 'cancel') this.#cancel(change.due);
      else if (change.do === 'add') this.#add(change.due);
      else if (own !== undefined) this.#add(own);
    }
  }

  #add(due: Due): void {
    const row = this.#rowOf(due);
    const before = this.#rows.get(row) as number | undefined;
    if (this.#usage === 'timers') this.#rows.set(row, due.atMs);
    if (this.#usage === 'windows' && before !== undefined && before !== due.atMs)
      this.#index.remove(before, due.key);
    if (this.#usage === 'timers' || before !== due.atMs) this.#index.insert(due.atMs, due.key);
    if (this.#usage === 'windows') this.#rows.set(row, due.atMs);
    this.#forget(due.key, before);
    this.#due = [...this.#due, due].sort(order);
  }

  #cancel(due: Due): void {
    const row = this.#rowOf(due);
    const atMs = this.#rows.get(row) as number | undefined;
    if (atMs === undefined) return;
    this.#rows.delete(row);
    this.#index.remove(atMs, due.key);
    this.#forget(due.key, atMs);
  }

  #forget(key: string, atMs: number | undefined): void {
    this.#due = this.#due.filter((one) => one.key !== key || one.atMs !== atMs);
  }

  #rollback(before: readonly Due[]): void {
    this.#layers.rollback();
    this.#index.rolledBack();
    this.#due = before;
  }
}

async function run(usage: Usage, history: readonly Step[]): Promise<Bench> {
  const bench = new Bench(usage);
  for (const step of history) {
    if (step.do === 'record') bench.record(step.changes, step.fails);
    else if (step.do === 'take') await bench.take(step.untilMs, step.changes, step.fails);
    else if (step.do === 'takeAll') await bench.takeAll(step.untilMs);
    else bench[step.do]();
  }
  await bench.end();
  return bench;
}

const keys: Readonly<Record<Usage, fc.Arbitrary<string>>> = {
  timers: fc.constantFrom('', 'a', 'a\0', 'b', '\xff'),
  // A key has one time: it takes many for a front to overflow.
  windows: fc.nat(80).map((n) => String.fromCharCode(n)),
};

function histories(usage: Usage): fc.Arbitrary<readonly Step[]> {
  const due = fc.record({ atMs: fc.nat(40), key: keys[usage] }, { noNullPrototype: true });
  const change: fc.Arbitrary<Change> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('add' as const), due }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), due }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('own' as const) }) },
  );
  const untilMs = fc.nat(45);
  const call = { changes: fc.array(change, { maxLength: 40, size: 'max' }), fails: fc.boolean() };
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('record' as const), ...call }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant('take' as const), untilMs, ...call }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('takeAll' as const), untilMs }) },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constantFrom('freeze' as const, 'complete' as const, 'crash' as const) }),
    },
  );
  return fc.array(step, { maxLength: 30, size: 'max' });
}

for (const usage of ['timers', 'windows'] as const)
  test(`an index of ${usage} gives what is due in order and loses nothing, through rollbacks, checkpoints and crashes`, async (t) => {
    let taken = 0;
    let pages = 0;
    await fc.assert(
      fc.asyncProperty(histories(usage), async (history) => {
        const bench = await run(usage, history);
        taken += bench.taken;
        pages += bench.pages;
      }),
      { numRuns: RUNS, includeErrorInReport: true },
    );
    t.diagnostic(`${taken} entries taken, ${pages} pages read`);
    // Otherwise the front was never too small.
    assert.ok(pages > 2 * RUNS, `${pages} pages`);
  });

test('what becomes due again while its call makes much else due before it is not lost', async () => {
  const add = (atMs: number, key: string): Change => ({ do: 'add', due: { atMs, key } });
  const before = Array.from({ length: 30 }, (_, n) => add(n % 5, String.fromCharCode(n)));
  await run('timers', [
    // It has a row: it is loaded from the engine.
    { do: 'record', changes: [add(5, 'a')], fails: false },
    { do: 'take', untilMs: 5, changes: [{ do: 'own' }, ...before], fails: false },
  ]);
});

test('a call that fails does not bring back what had been moved to the engine long before', async () => {
  const add = (n: number): Change => ({ do: 'add', due: { atMs: n, key: 'a' } });
  await run('timers', [
    // Everything that is due fits the front, until there is too much.
    { do: 'takeAll', untilMs: 0 },
    { do: 'record', changes: Array.from({ length: 30 }, (_, n) => add(n)), fails: false },
    { do: 'takeAll', untilMs: 29 },
    // One of those that were cut off.
    { do: 'record', changes: [add(12)], fails: false },
    { do: 'take', untilMs: 29, changes: [], fails: true },
  ]);
});
