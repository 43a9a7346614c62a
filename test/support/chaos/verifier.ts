/**
 * Owns the comparison: outputs as another client reads them under read_committed, and states as fresh processes report
 * them, against the plain loop of model.ts. A difference names the first key with both sequences around it. It never
 * waits for anything to become right; run.ts, which comes next, does that before.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ChaosDump } from '../../fixtures/chaos-processor.js';
import { otherEach } from '../other-client.js';
import type { ProfileState, Total } from './fold.js';
import type { ChaosModel } from './model.js';

/** So many outputs before and after the first difference are shown. */
const SHOWN_AROUND = 4;

interface Found<V> {
  readonly place: string;
  readonly value: V;
}

export interface OutputsFound {
  readonly totals: ReadonlyMap<string, readonly Found<Total>[]>;
  readonly seen: ReadonlyMap<string, readonly Found<ProfileState>[]>;
  readonly count: number;
}

export async function readOutputs(brokers: readonly string[]): Promise<OutputsFound> {
  const totals = await readTopic<Total>(brokers, 'totals');
  const seen = await readTopic<ProfileState>(brokers, 'seen');
  const count = [...totals.values(), ...seen.values()].reduce((sum, list) => sum + list.length, 0);
  return { totals, seen, count };
}

/** Each output once, per key in order. */
export function assertOutputsExactlyOnce(model: ChaosModel, outputs: OutputsFound): void {
  for (const [key, expected] of model.outputs) {
    const found = outputs.totals.get(key) ?? [];
    for (let i = 0; i < Math.max(expected.length, found.length); i++)
      if (!isDeepStrictEqual(found[i]?.value, expected[i]))
        throw difference('totals', key, i, expected, found);
  }
  assertNoOtherKeys('totals', model.outputs, outputs.totals);
  for (const [key, version] of model.versions) {
    const found = outputs.seen.get(key) ?? [];
    found.forEach(({ value, place }, i) => {
      // Compaction decides which versions are seen; each step is emitted once all the same.
      if (value.steps !== i + 1 || value.regressions !== 0)
        throw new Error(`seen: ${key} has at ${place} ${show(value)} as its output number ${i + 1}.`);
    });
    if (found.at(-1)?.value.version !== version)
      throw new Error(`seen: the last of ${key} is ${show(found.at(-1)?.value)}, not version ${version}.`);
  }
  assertNoOtherKeys('seen', model.versions, outputs.seen);
}

/**
 * Every output is there, repeats are of the plain loop's values and never run ahead of a gap, and the last is the last.
 */
export function assertOutputsAtLeastOnce(model: ChaosModel, outputs: OutputsFound): number {
  let repeated = 0;
  for (const [key, expected] of model.outputs) {
    const found = outputs.totals.get(key) ?? [];
    let furthest = 0;
    found.forEach(({ value }, i) => {
      const right = value.seq <= furthest + 1 && isDeepStrictEqual(value, expected[value.seq - 1]);
      if (!right) throw difference('totals', key, i, expected, found);
      if (value.seq <= furthest) repeated++;
      furthest = Math.max(furthest, value.seq);
    });
    if (furthest !== expected.length || found.at(-1)?.value.seq !== expected.length)
      throw difference('totals', key, found.length - 1, expected, found);
  }
  assertNoOtherKeys('totals', model.outputs, outputs.totals);
  for (const [key, version] of model.versions)
    if (outputs.seen.get(key)?.at(-1)?.value.version !== version)
      throw new Error(`seen: the last of ${key} is not version ${version}.`);
  assertNoOtherKeys('seen', model.versions, outputs.seen);
  return repeated;
}

/** The state of all partitions, as a process reported it. */
export function assertState(
  where: string,
  model: ChaosModel,
  dumps: readonly (readonly [partition: number, ChaosDump])[],
  seen: OutputsFound['seen'] | undefined,
): void {
  assertEntries(
    `${where}: totals`,
    model.totals,
    dumps.flatMap(([, { totals }]) => totals),
    isDeepStrictEqual,
  );
  assertEntries(
    `${where}: profiles`,
    model.versions,
    dumps.flatMap(([, { profiles }]) => profiles),
    (found, version) => found?.version === version && found.regressions === 0,
  );
  if (seen === undefined) return;
  // Under exactly-once the state has taken as many steps as it has emitted.
  assertEntries(
    `${where}: profiles`,
    new Map([...seen].map(([key, list]) => [key, list.length])),
    dumps.flatMap(([, { profiles }]) => profiles),
    (found, steps) => found?.steps === steps,
  );
}

function assertEntries<F, E>(
  what: string,
  expected: ReadonlyMap<string, E>,
  entries: readonly (readonly [string, F])[],
  equal: (found: F | undefined, expected: E) => boolean,
): void {
  const found = new Map(entries);
  if (found.size !== entries.length) throw new Error(`${what}: a key is in the state of two partitions.`);
  for (const [key, value] of expected)
    if (!equal(found.get(key), value))
      throw new Error(`${what}: ${key} is ${show(found.get(key))}, the plain loop has ${show(value)}.`);
  assertNoOtherKeys(what, expected, found);
}

function assertNoOtherKeys(
  what: string,
  expected: ReadonlyMap<string, unknown>,
  found: ReadonlyMap<string, unknown>,
): void {
  for (const key of found.keys())
    if (!expected.has(key)) throw new Error(`${what}: there is ${key}, which the plain loop does not have.`);
}

async function readTopic<V>(brokers: readonly string[], topic: string): Promise<Map<string, Found<V>[]>> {
  const found = new Map<string, Found<V>[]>();
  await otherEach(brokers, topic, ({ key, value, partition, offset }) => {
    const name = key?.toString() ?? '';
    const list = found.get(name) ?? [];
    list.push({ place: `${partition}/${offset}`, value: JSON.parse(value?.toString() ?? 'null') as V });
    found.set(name, list);
  });
  return found;
}

function difference(
  topic: string,
  key: string,
  at: number,
  expected: readonly Total[],
  found: readonly Found<Total>[],
): Error {
  const seq = found[at]?.value.seq ?? at + 1;
  const from = Math.max(0, at - SHOWN_AROUND);
  const lines = [
    `${topic}: the outputs of ${key} differ from the plain loop at output number ${at + 1} of ${found.length} (expected ${expected.length}).`,
    'found:',
    ...found.slice(from, at + SHOWN_AROUND + 1).map(({ place, value }) => `  ${place} ${show(value)}`),
    'expected:',
    ...expected.slice(from, at + SHOWN_AROUND + 1).map((value) => `  ${show(value)}`),
  ];
  if (Math.abs(seq - 1 - at) > SHOWN_AROUND)
    lines.push(`expected for event ${seq}: ${show(expected[seq - 1])}`);
  return new Error(lines.join('\n'));
}

function show(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}
