/**
 * The plain loop that the oracle tests compare with: what `test/fixtures/oracle.ts` must have come to, computed from the
 * records as they stand in the input topic and the commands that were acknowledged. It uses nothing of the runtime but
 * the log's reader.
 */
import assert from 'node:assert/strict';
import type { Dump, OracleEvent, Total } from '../fixtures/oracle.js';
import type { SeededRandom } from './seeded-random.js';

export type Policy = 'fail' | 'skip' | 'dead-letter' | 'decide';

/** A record as the log's reader gives it. */
export interface RawRecord {
  readonly partition: number;
  readonly offset: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
}

/** What a partition of an output holds: key and value of each record, in order. */
export type Outputs = readonly (readonly [key: string, value: unknown])[][];

export interface Expected {
  readonly totals: ReadonlyMap<string, Total>;
  readonly outputs: Outputs;
  /** Keys and values of dead letters by input partition. */
  readonly dead: Outputs;
  readonly processed: number;
}

/** Records at random. Under `fail` nothing is poisoned for good, since that ends the job. */
export function randomEvents(
  random: SeededRandom,
  policy: Policy,
  records: number,
  keys: number,
): { readonly key: string; readonly value: string }[] {
  return Array.from({ length: records }, () => {
    const event: { n: number; poison?: OracleEvent['poison'] } = { n: random.between(-1000, 1000) };
    if (policy !== 'fail' && random.chance(0.01)) event.poison = 'always';
    else if ((policy === 'fail' || policy === 'decide') && random.chance(2 / records)) event.poison = 'once';
    return { key: `key-${random.below(keys)}`, value: JSON.stringify(event) };
  });
}

/** The plain loop. Inputs and outputs have the same number of partitions, so a key stays where it is. */
export function expectedOf(input: readonly RawRecord[], partitions: number): Expected {
  const totals = new Map<string, Total>();
  const outputs: [string, unknown][][] = Array.from({ length: partitions }, () => []);
  const dead: [string, unknown][][] = Array.from({ length: partitions }, () => []);
  for (const record of input) {
    const key = text(record.key);
    const event = JSON.parse(text(record.value)) as OracleEvent;
    if (event.poison === 'always') {
      dead[record.partition]!.push([key, event]);
      continue;
    }
    const total = totals.get(key) ?? { count: 0, sum: 0, last: 0 };
    const next = { count: total.count + 1, sum: total.sum + event.n, last: event.n };
    totals.set(key, next);
    outputs[record.partition]!.push([key, next]);
  }
  return { totals, outputs, dead, processed: outputs.reduce((sum, list) => sum + list.length, 0) };
}

/** Records of a JSON topic by partition. */
export function byPartition(records: readonly RawRecord[], partitions: number): Outputs {
  const lists: [string, unknown][][] = Array.from({ length: partitions }, () => []);
  for (const { partition, key, value } of records)
    lists[partition]!.push([text(key), JSON.parse(text(value)) as unknown]);
  return lists;
}

export function assertTotals(dumps: Iterable<Dump>, expected: Expected): void {
  const found = new Map<string, Total>();
  for (const dump of dumps)
    for (const [key, total] of dump.totals) {
      assert.ok(!found.has(key), `${key} is in the state of two partitions`);
      found.set(key, total);
    }
  assert.deepEqual(sorted(found), sorted(expected.totals));
}

/** At-least-once: every expected record is there, in order, per key; what is repeated was expected too. */
export function assertSuperset(found: Outputs, expected: Outputs): void {
  for (const [partition, list] of expected.entries()) {
    const last = new Map<string, unknown>();
    const wanted = new Map<string, Set<string>>();
    for (const [key, value] of list) {
      wanted.set(key, (wanted.get(key) ?? new Set()).add(JSON.stringify(value)));
      last.set(key, value);
    }
    const seen = new Map<string, Set<string>>();
    for (const [key, value] of found[partition]!) {
      const is = JSON.stringify(value);
      assert.ok(wanted.get(key)?.has(is), `${key}: ${is} was never to be emitted`);
      seen.set(key, (seen.get(key) ?? new Set()).add(is));
    }
    for (const [key, values] of wanted)
      assert.equal(seen.get(key)?.size ?? 0, values.size, `outputs of ${key} are missing`);
    const final = new Map(found[partition]);
    for (const [key, value] of last) assert.deepEqual(final.get(key), value, `the last output of ${key}`);
  }
}

function sorted<V>(map: ReadonlyMap<string, V>): [string, V][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}

function text(bytes: Uint8Array | null): string {
  return Buffer.from(bytes ?? []).toString();
}

/** The keys of the commands that were applied, each of which was so once. */
export function appliedOnce(dumps: readonly Dump[]): ReadonlySet<string> {
  const adjustments = dumps.flatMap((dump) => dump.adjustments);
  assert.deepEqual(
    adjustments.filter(([, times]) => times !== 1),
    [],
    'commands that were applied more than once',
  );
  const applied = new Set(adjustments.map(([key]) => key));
  assert.equal(applied.size, adjustments.length, 'commands that were applied in two partitions');
  return applied;
}

/** Commands that were acknowledged are among those that were applied. */
export function assertNoneLost(acknowledged: Iterable<string>, applied: ReadonlySet<string>): void {
  const lost = [...acknowledged].filter((key) => !applied.has(key));
  assert.deepEqual(lost, [], 'acknowledged commands that were lost');
}

/** All that a state holds, in an order of its own, to compare it with another one's. */
export function rowsOf(dumps: readonly Dump[]): readonly string[] {
  return dumps
    .flatMap(({ totals, adjustments }) => [...totals, ...adjustments].map((entry) => JSON.stringify(entry)))
    .sort();
}
