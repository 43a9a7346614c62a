/** Who gets which partition: the rules of Kafka's assignors, as properties over random groups and as tables. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { assign, type AssignorMember } from '../../src/log/group/assignor.js';

const member = (memberId: string, topics: string[], extra: Partial<AssignorMember> = {}): AssignorMember => ({
  memberId,
  topics,
  streams: {},
  owned: [],
  generation: -1,
  ...extra,
});

const shape = (result: ReturnType<typeof assign>) =>
  Object.fromEntries([...result].map(([id, own]) => [id, own.map((p) => `${p.topic}${p.partition}`)]));

test('range gives contiguous runs per topic, the first members one more', () => {
  const members = ['m1', 'm2', 'm3'].map((id) => member(id, ['a', 'b']));
  assert.deepEqual(shape(assign('range', members, (topic) => (topic === 'a' ? 7 : 2))), {
    m1: ['a0', 'a1', 'a2', 'b0'],
    m2: ['a3', 'a4', 'b1'],
    m3: ['a5', 'a6'],
  });
});

test('sticky moves no more than it must when a member comes or goes', () => {
  const owned = (numbers: number[]) => numbers.map((partition) => ({ topic: 'a', partition }));
  const two = [
    member('m1', ['a'], { owned: owned([0, 2, 4]) }),
    member('m2', ['a'], { owned: owned([1, 3, 5]) }),
  ];
  const three = assign('sticky', [...two, member('m3', ['a'])], () => 6);
  for (const { memberId, owned: before } of two) {
    const now = three.get(memberId)!;
    assert.equal(now.length, 2);
    assert.ok(now.every((p) => before.some((b) => b.partition === p.partition)));
  }
  const one = assign('sticky', [two[0]!], () => 6);
  assert.equal(one.get('m1')!.length, 6);
});

const groups = fc.record({
  strategy: fc.constantFrom('range' as const, 'sticky' as const),
  partitions: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 4 }),
  bundled: fc.boolean(),
  members: fc.integer({ min: 1, max: 6 }),
  before: fc.array(fc.nat(5), { maxLength: 48 }),
});

test('every partition has exactly one owner, loads differ by at most one unit, a stream stays together', () => {
  fc.assert(
    fc.property(groups, ({ strategy, partitions, bundled, members, before }) => {
      const topics = partitions.map((_, index) => `t${index}`);
      // Co-partitioned topics have the same number of partitions.
      const count = (topic: string) => (bundled ? partitions[0]! : partitions[Number(topic.slice(1))]!);
      const streams = bundled ? { s: topics } : {};
      const all = topics.flatMap((topic) =>
        Array.from({ length: count(topic) }, (_, partition) => ({ topic, partition })),
      );
      const list = Array.from({ length: members }, (_, index) =>
        member(`m${index}`, topics, { streams, owned: all.filter((_, at) => before[at] === index) }),
      );
      const result = assign(strategy, list, count);
      const given = [...result.values()].flat().map((p) => `${p.topic}/${p.partition}`);
      assert.deepEqual([...given].sort(), all.map((p) => `${p.topic}/${p.partition}`).sort());
      if (bundled)
        for (const own of result.values())
          for (const { partition } of own)
            assert.equal(own.filter((p) => p.partition === partition).length, topics.length);
      if (strategy === 'sticky' || bundled) {
        const loads = [...result.values()].map((own) => own.length / (bundled ? topics.length : 1));
        assert.ok(Math.max(...loads) - Math.min(...loads) <= 1, loads.join());
      }
    }),
    { numRuns: 300 },
  );
});

test('a balanced sticky assignment stays as it is', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 6 }), (count, members) => {
      const fresh = Array.from({ length: members }, (_, index) => member(`m${index}`, ['a']));
      const first = assign('sticky', fresh, () => count);
      const again = fresh.map((m) => ({ ...m, owned: first.get(m.memberId)! }));
      assert.deepEqual(shape(assign('sticky', again, () => count)), shape(first));
    }),
    { numRuns: 100 },
  );
});

test("a member gets only what it subscribes to, and what nobody wants is nobody's", () => {
  const members = [member('m1', ['a', 'b']), member('m2', ['b'])];
  for (const strategy of ['range', 'sticky'] as const) {
    const result = assign(strategy, members, (topic) => (topic === 'c' ? 5 : 2));
    assert.ok(result.get('m2')!.every((p) => p.topic === 'b'));
    assert.equal([...result.values()].flat().length, 4);
  }
});
