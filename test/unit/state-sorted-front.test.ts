/** The front of a due index against a sorted array, over random inserts, removals and cuts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SortedFront } from '../../src/state/sorted-front.js';
import { seededRandom } from '../support/seeded-random.js';

interface Entry {
  readonly atMs: number;
  readonly key: string;
}

const byTimeAndKey = (a: Entry, b: Entry): number => a.atMs - b.atMs || (a.key < b.key ? -1 : 1);

test('a front holds in order what was put into it, through thousands of inserts, removals anywhere and cuts', (t) => {
  const seed = Date.now() % 1_000_000;
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  const front = new SortedFront<Entry>();
  let model: Entry[] = [];
  const check = (): void => {
    assert.deepEqual([...front], model);
    assert.deepEqual([front.size, front.first, front.last], [model.length, model[0], model.at(-1)]);
  };
  for (let step = 0; step < 20_000; step++) {
    const growing = step % 4_000 < 2_000;
    const entry = { atMs: random.between(0, 400), key: String(random.between(0, 9)) };
    const there = model.find(({ atMs, key }) => atMs === entry.atMs && key === entry.key);
    assert.equal(front.find(entry.atMs, entry.key), there);
    if (there === undefined && growing) {
      front.insert(entry);
      model = [...model, entry].sort(byTimeAndKey);
    } else if (there !== undefined && random.chance(0.7)) {
      front.remove(there);
      model = model.filter((one) => one !== there);
    } else if (model.length > 0 && random.chance(0.3)) {
      front.removeFirst();
      model = model.slice(1);
    } else front.remove(entry);
    if (random.chance(0.001)) {
      const cutOff = front.cut(model.length / 2);
      assert.deepEqual(cutOff, model.slice(model.length - cutOff.length));
      model = model.slice(0, model.length - cutOff.length);
    }
    if (step % 97 === 0) check();
  }
  for (const entry of model.splice(0)) front.remove(entry);
  check();
});
