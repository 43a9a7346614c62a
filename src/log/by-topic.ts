/** Partitions as keys of maps, and grouped by topic as Kafka's requests name them, in order. */
export function byTopic<T extends { readonly topic: string }>(items: readonly T[]): Map<string, T[]> {
  const grouped = new Map<string, T[]>();
  for (const item of items) {
    const of = grouped.get(item.topic);
    if (of === undefined) grouped.set(item.topic, [item]);
    else of.push(item);
  }
  return grouped;
}

export function keyOf({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic}/${partition}`;
}
