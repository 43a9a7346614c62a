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

test('of two members that claim a partition the one of the later generation keeps it, and of equals neither', () => {
  const [a0, a1] = [0, 1].map((partition) => ({ topic: 'a', partition }));
  const claim = (memberId: string, generation: number, owned = [a0!]) =>
    member(memberId, ['a'], { owned, generation });
  const owners = (members: AssignorMember[]) => shape(assign('sticky', members, () => 2));
  assert.deepEqual(owners([claim('m1', 4), claim('m2', 5)]), { m1: ['a1'], m2: ['a0'] });
  assert.deepEqual(owners([claim('m1', 5), claim('m2', 4)]), { m1: ['a0'], m2: ['a1'] });
  // Both claim everything in the same generation: as if nobody had anything.
  const both = [claim('m1', 5, [a0!, a1!]), claim('m2', 5, [a1!, a0!])];
  assert.deepEqual(owners(both), { m1: ['a0'], m2: ['a1'] });
  assert.deepEqual(owners([claim('m1', 5), claim('m2', 5)]), { m1: ['a0'], m2: ['a1'] });
  // The contested partition goes to whoever has least, the uncontested one stays.
  assert.deepEqual(owners([claim('m1', 5, [a0!]), claim('m2', 5, [a0!, a1!])]), { m1: ['a0'], m2: ['a1'] });
  // A claim that is older than a contested one doesn't win by that.
  const three = [claim('m1', 4), claim('m2', 5), claim('m3', 5, [a0!, a1!])];
  assert.deepEqual(owners(three), { m1: ['a0'], m2: [], m3: ['a1'] });
  const later = [claim('m1', 6), claim('m2', 5), claim('m3', 5, [a0!, a1!])];
  assert.deepEqual(owners(later), { m1: ['a0'], m2: [], m3: ['a1'] });
});

const groups = fc.record({
  strategy: fc.constantFrom('range' as const, 'sticky' as const),
  partitions: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 4 }),
  bundled: fc.boolean(),
  members: fc.integer({ min: 1, max: 6 }),
  before: fc.array(fc.nat(5), { maxLength: 48 }),
  generations: fc.array(fc.integer({ min: -1, max: 3 }), { minLength: 6, maxLength: 6 }),
  /** How many members claim what is another's, too. */
  greedy: fc.nat(6),
});

test('every partition has exactly one owner, loads differ by at most one unit, a stream stays together', () => {
  fc.assert(
    fc.property(groups, ({ strategy, partitions, bundled, members, before, generations, greedy }) => {
      const topics = partitions.map((_, index) => `t${index}`);
      // Co-partitioned topics have the same number of partitions.
      const count = (topic: string) => (bundled ? partitions[0]! : partitions[Number(topic.slice(1))]!);
      const streams = bundled ? { s: topics } : {};
      const all = topics.flatMap((topic) =>
        Array.from({ length: count(topic) }, (_, partition) => ({ topic, partition })),
      );
      const list = Array.from({ length: members }, (_, index) =>
        member(`m${index}`, topics, {
          streams,
          owned: all.filter((_, at) => before[at] === index || index < greedy - 3),
          generation: generations[index]!,
        }),
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

/** A stream of some topics over members among whom it is balanced. */
const balanced = fc
  .record({
    topics: fc.integer({ min: 1, max: 3 }),
    partitions: fc.integer({ min: 1, max: 60 }),
    members: fc.integer({ min: 1, max: 7 }),
    /** Shuffles who has what. */
    order: fc.array(fc.nat(1_000), { minLength: 60, maxLength: 60 }),
  })
  .map(({ topics: count, partitions, members, order }) => {
    const topics = Array.from({ length: count }, (_, index) => `t${index}`);
    const shuffled = Array.from({ length: partitions }, (_, partition) => partition).sort(
      (a, b) => order[a]! - order[b]!,
    );
    const group = Array.from({ length: members }, (_, index) =>
      member(`m${index}`, topics, {
        streams: { s: topics },
        generation: 7,
        owned: shuffled
          .filter((_, at) => at % members === index)
          .flatMap((partition) => topics.map((topic) => ({ topic, partition }))),
      }),
    );
    return { topics, partitions, group };
  });

/** Partition numbers of the stream that another member has than before. */
const moved = (group: readonly AssignorMember[], result: ReturnType<typeof assign>) => {
  const before = new Map(group.flatMap(({ memberId, owned }) => owned.map((p) => [p.partition, memberId])));
  return [...result].flatMap(([memberId, own]) =>
    own
      .filter((p) => p.topic === 't0' && before.get(p.partition) !== memberId)
      .map(({ partition }) => ({ partition, from: before.get(partition), to: memberId })),
  );
};

test('when a member joins a balanced group, exactly its share moves, and only to it', () => {
  fc.assert(
    fc.property(balanced, ({ topics, partitions, group }) => {
      // Its name puts it first: it must not profit from ties.
      const joiner = member('a', topics, { streams: { s: topics } });
      const moves = moved(
        group,
        assign('sticky', [...group, joiner], () => partitions),
      );
      assert.ok(moves.every(({ to }) => to === 'a'));
      assert.equal(moves.length, Math.floor(partitions / (group.length + 1)));
    }),
    { numRuns: 300 },
  );
});

test('when a member leaves a balanced group, only what it had moves', () => {
  fc.assert(
    fc.property(balanced, fc.nat(6), ({ partitions, group }, which) => {
      fc.pre(group.length > 1);
      const leaver = group[which % group.length]!;
      const rest = group.filter((m) => m !== leaver);
      const moves = moved(
        group,
        assign('sticky', rest, () => partitions),
      );
      assert.ok(moves.every(({ from }) => from === leaver.memberId));
      assert.equal(moves.length, new Set(leaver.owned.map((p) => p.partition)).size);
    }),
    { numRuns: 300 },
  );
});

test('whatever members subscribe to, each partition that somebody wants has one owner, who wants it', () => {
  const topics = ['t0', 't1', 't2'];
  const subscriptions = fc.array(fc.subarray(topics, { minLength: 1 }), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(subscriptions, fc.integer({ min: 1, max: 20 }), (wanted, partitions) => {
      const group = wanted.map((own, index) => member(`m${index}`, own));
      const result = assign('sticky', group, () => partitions);
      for (const { memberId, topics: own } of group)
        assert.ok(result.get(memberId)!.every(({ topic }) => own.includes(topic)));
      const given = [...result.values()].flat().map((p) => `${p.topic}/${p.partition}`);
      assert.equal(new Set(given).size, given.length);
      assert.equal(given.length, new Set(wanted.flat()).size * partitions);
    }),
    { numRuns: 200 },
  );
});
