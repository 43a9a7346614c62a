/**
 * Who gets which partition, as a pure function of members, topics and the previous assignment. Topics of one stream are
 * assigned together: the same partition number of each goes to the same member.
 */
import type { TopicPartition } from '../../core/log-types.js';

export interface AssignorMember {
  readonly memberId: string;
  readonly topics: readonly string[];
  readonly streams: Readonly<Record<string, readonly string[]>>;
  /** What the member had in the previous generation. */
  readonly owned: readonly TopicPartition[];
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

/** Keeps what members have, fills up the least loaded, then moves units until loads differ by at most one. */
function sticky(units: readonly Unit[], members: readonly AssignorMember[]): Map<Unit, number> {
  const previous = new Map<string, number>();
  members.forEach((member, index) => {
    for (const partition of member.owned) previous.set(keyOf(partition), index);
  });
  const owners = new Map<Unit, number>();
  const load = members.map(() => 0);
  const give = (unit: Unit, owner: number): void => {
    const before = owners.get(unit);
    if (before !== undefined) load[before]!--;
    owners.set(unit, owner);
    load[owner]!++;
  };
  const waiting: Unit[] = [];
  for (const unit of units) {
    const owner = unit.partitions.map((p) => previous.get(keyOf(p))).find((index) => index !== undefined);
    if (owner !== undefined && unit.eligible.includes(owner)) give(unit, owner);
    else waiting.push(unit);
  }
  const least = (unit: Unit) =>
    unit.eligible.reduce((best, index) => (load[index]! < load[best]! ? index : best));
  for (const unit of waiting) give(unit, least(unit));
  // Each move lowers the sum of squared loads, so that this ends.
  for (let moved = true; moved;) {
    moved = false;
    for (const unit of units) {
      const owner = owners.get(unit)!;
      const better = least(unit);
      if (load[owner]! - load[better]! < 2) continue;
      give(unit, better);
      moved = true;
    }
  }
  return owners;
}

function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}
