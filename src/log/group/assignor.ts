/**
 * Who gets which partition, as a pure function of members, topics and the previous assignment. Topics of one stream are
 * assigned together: the same partition number of each goes to the same member.
 */
import { keyOf } from '../by-topic.js';
import type { TopicPartition } from '../../core/log-types.js';

export interface AssignorMember {
  readonly memberId: string;
  readonly topics: readonly string[];
  readonly streams: Readonly<Record<string, readonly string[]>>;
  /** What the member claims: what it had in its last assignment. */
  readonly owned: readonly TopicPartition[];
  /** The generation of that assignment; −1 if there was none. */
  readonly generation: number;
}

/** What is assigned as a whole: one partition number of all topics of a stream. */
interface Unit {
  readonly partitions: readonly TopicPartition[];
  /** Indexes of the members that subscribe to all of it, ascending. */
  readonly eligible: readonly number[];
}

/** Partitions of each member, by member id. `partitionsOf` says how many a topic has; 0: it does not exist. */
export function assign(
  strategy: 'range' | 'sticky',
  members: readonly AssignorMember[],
  partitionsOf: (topic: string) => number,
): ReadonlyMap<string, readonly TopicPartition[]> {
  const sorted = [...members].sort((a, b) => (a.memberId < b.memberId ? -1 : 1));
  const bundles = bundlesOf(sorted);
  const units = bundles.map((topics) => unitsOf(topics, sorted, partitionsOf));
  const owners = strategy === 'range' ? range(units) : sticky(units.flat(), sorted);
  const result = new Map(sorted.map((member) => [member.memberId, [] as TopicPartition[]]));
  for (const [unit, owner] of owners) result.get(sorted[owner]!.memberId)!.push(...unit.partitions);
  return result;
}

/** Topics that belong together; a topic that no stream names stands for itself. */
function bundlesOf(members: readonly AssignorMember[]): readonly (readonly string[])[] {
  const bundles = new Map<string, Set<string>>();
  const placed = new Set<string>();
  for (const member of members)
    for (const [stream, topics] of Object.entries(member.streams)) {
      const bundle = bundles.get(stream) ?? new Set<string>();
      bundles.set(stream, bundle);
      for (const topic of topics)
        if (!placed.has(topic)) {
          placed.add(topic);
          bundle.add(topic);
        }
    }
  for (const topic of members.flatMap((member) => member.topics))
    if (!placed.has(topic)) {
      placed.add(topic);
      bundles.set(`/${topic}`, new Set([topic]));
    }
  return [...bundles].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, topics]) => [...topics].sort());
}

function unitsOf(
  topics: readonly string[],
  members: readonly AssignorMember[],
  partitionsOf: (topic: string) => number,
): readonly Unit[] {
  const count = Math.max(0, ...topics.map(partitionsOf));
  return Array.from({ length: count }, (_, partition) => {
    const present = topics.filter((topic) => partition < partitionsOf(topic));
    const wants = (all: boolean) =>
      members.flatMap((member, index) =>
        (
          all
            ? present.every((t) => member.topics.includes(t))
            : present.some((t) => member.topics.includes(t))
        )
          ? [index]
          : [],
      );
    const complete = wants(true);
    return {
      partitions: present.map((topic) => ({ topic, partition })),
      // While a deploy adds a topic to a stream, members of the old version still take what they know.
      eligible: complete.length > 0 ? complete : wants(false),
    };
  }).filter((unit) => unit.eligible.length > 0);
}

/** Contiguous runs of partitions, the first members taking one more each: Kafka's RangeAssignor. */
function range(bundles: readonly (readonly Unit[])[]): Map<Unit, number> {
  const owners = new Map<Unit, number>();
  for (const units of bundles)
    units.forEach((unit, index) => {
      const members = unit.eligible.length;
      const each = Math.floor(units.length / members);
      const extra = units.length % members;
      const wide = extra * (each + 1);
      const at = index < wide ? Math.floor(index / (each + 1)) : extra + Math.floor((index - wide) / each);
      owners.set(unit, unit.eligible[at]!);
    });
  return owners;
}

/**
 * Keeps what members have, gives the rest to the least loaded, then moves units from the most loaded until loads differ by
 * at most one: by moving from there first, none is moved that could stay.
 */
function sticky(units: readonly Unit[], members: readonly AssignorMember[]): Map<Unit, number> {
  const claims = claimsOf(members);
  const held: Set<Unit>[] = members.map(() => new Set());
  const least = (unit: Unit) =>
    unit.eligible.reduce((best, index) => (held[index]!.size < held[best]!.size ? index : best));
  const waiting: Unit[] = [];
  for (const unit of units) {
    const owner = unit.partitions.map((p) => claims.get(keyOf(p))).find((index) => index !== undefined);
    if (owner !== undefined && unit.eligible.includes(owner)) held[owner]!.add(unit);
    else waiting.push(unit);
  }
  for (const unit of waiting) held[least(unit)]!.add(unit);
  // Each move lowers the sum of squared loads, so that this ends.
  while (moveOne(held, least));
  const owners = new Map(held.flatMap((own, index) => [...own].map((unit) => [unit, index] as const)));
  return new Map(units.map((unit) => [unit, owners.get(unit)!]));
}

/** Who had which partition, by index: of several claims the one of the latest generation; of equal ones none. */
function claimsOf(members: readonly AssignorMember[]): Map<string, number | undefined> {
  const claims = new Map<string, { readonly generation: number; readonly owner: number | undefined }>();
  members.forEach(({ owned, generation }, index) => {
    for (const key of new Set(owned.map(keyOf))) {
      const other = claims.get(key)?.generation ?? -Infinity;
      if (generation > other) claims.set(key, { generation, owner: index });
      else if (generation === other) claims.set(key, { generation, owner: undefined });
    }
  });
  return new Map([...claims].map(([key, { owner }]) => [key, owner]));
}

/** Moves one unit from the most loaded member that has one for a member with two units less; whether there was one. */
function moveOne(held: readonly Set<Unit>[], least: (unit: Unit) => number): boolean {
  for (const from of [...held].sort((a, b) => b.size - a.size))
    for (const unit of from) {
      const to = held[least(unit)]!;
      if (from.size - to.size < 2) continue;
      from.delete(unit);
      to.add(unit);
      return true;
    }
  return false;
}
