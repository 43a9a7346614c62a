/**
 * Two managers of one group on a broker: the second one joins, and leaves again. What that cost the first one, counted at
 * its log and by its events: which partitions moved, how the kept ones resumed, how long they paused, what was read.
 * `kafka/rebalance.test.ts` asserts the counts, `benchmark/rebalance.ts` reports the times.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { kafka, processorAt, StateManager } from '../../src/index.js';
import type { LogClient, LogFactory } from '../../src/log/log-client.js';
import type totals from '../fixtures/totals-processor.js';

/** What one change of the group was to the first member. */
export interface RebalanceFacts {
  /** Partitions that it had before, and has after. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** How each kept partition resumed. */
  readonly how: readonly string[];
  /** From the assignment until the partition served, and from the beginning of the barrier, in ms. */
  readonly resumedMs: readonly number[];
  readonly pausedMs: readonly number[];
  /** Pages of the changelog that were read, and producers initialised, by actors of kept partitions. */
  readonly readsOfKept: number;
  readonly initsOfKept: number;
}

export interface ProbeResult {
  readonly joined: RebalanceFacts;
  readonly left: RebalanceFacts;
  readonly total: number;
}

const PATIENCE_MS = 60_000;

export async function probeRebalance(options: {
  readonly brokers: readonly string[];
  readonly partitions: number;
  readonly keys: number;
}): Promise<ProbeResult> {
  const { brokers, partitions, keys } = options;
  const directory = await mkdtemp(join(tmpdir(), 'partita-rebalance-'));
  const group = `rebalance-${process.pid}-${Date.now()}`;
  const counted = countedLog(kafka({ brokers }));
  const start = (name: string, log: LogFactory) =>
    StateManager.start({
      group,
      log,
      stateDir: join(directory, name),
      workers: 2,
      sessionTimeoutMs: 6_000,
      createTopics: { partitions },
      streams: {
        totals: processorAt<typeof totals>(new URL('../fixtures/totals-processor.js', import.meta.url)),
      },
    });
  const first = await start('first', counted.log);
  try {
    await first.ready();
    await fill(first, keys);
    const joining = watch(first, counted);
    const second = await start('second', kafka({ brokers }));
    const joined = await joining.until((now) => now.length === partitions / 2);
    await second.ready();
    const leaving = watch(first, counted);
    await second.stop();
    const left = await leaving.until((now) => now.length === partitions);
    await first.ready();
    return { joined, left, total: await total(first) };
  } finally {
    await first.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

/** Sends one record per key, and waits until all are in the state and committed. */
async function fill(manager: Managed, keys: number): Promise<void> {
  const router = manager.streams.totals;
  for (let from = 0; from < keys; from += 1_000)
    await Promise.all(
      Array.from({ length: Math.min(1_000, keys - from) }, (_, i) =>
        router.send('amounts', { key: `k${from + i}`, value: 1 }),
      ),
    );
  const until = performance.now() + PATIENCE_MS;
  while ((await total(manager)) < keys) {
    if (performance.now() > until) throw new Error('The records are never counted.');
    await sleep(100);
  }
  await manager.checkpoint();
}

type Managed = StateManager<{ totals: ReturnType<typeof processorAt<typeof totals>> }>;

async function total(manager: Managed): Promise<number> {
  const all = await manager.streams.totals.queryAll('all', {});
  return [...all.values()].flat().reduce((sum, { n }) => sum + n, 0);
}

function watch(manager: Managed, counted: Counted) {
  const inputs = (of: readonly { topic: string; partition: number }[]) =>
    of.map(({ partition }) => partition).sort((a, b) => a - b);
  const before: number[] = [];
  let after: number[] = [];
  let assignedAt = 0;
  const resumed: { partition: number; how: string; ms: number; pausedMs: number }[] = [];
  const { reads, inits } = counted.snapshot();
  manager.on('revoked', ({ partitions }) => {
    if (before.length === 0) before.push(...inputs(partitions));
  });
  manager.on('assigned', ({ partitions }) => {
    after = inputs(partitions);
    assignedAt = performance.now();
  });
  manager.on('resumed', ({ partition, how, parkedMs }) => {
    resumed.push({ partition, how, ms: performance.now() - assignedAt, pausedMs: parkedMs });
  });
  return {
    until: async (condition: (now: readonly number[]) => boolean): Promise<RebalanceFacts> => {
      const end = performance.now() + PATIENCE_MS;
      const isDone = () => condition(after) && resumed.length >= kept().length;
      while (!isDone()) {
        if (performance.now() > end)
          throw new Error(`${before.length} → ${after.length} partitions, ${resumed.length} resumed`);
        await sleep(20);
      }
      return facts();
    },
  };
  function facts(): RebalanceFacts {
    const of = (counts: readonly number[], earlier: readonly number[]) =>
      kept().reduce((sum, partition) => sum + (counts[partition] ?? 0) - (earlier[partition] ?? 0), 0);
    const now = counted.snapshot();
    return {
      before,
      after,
      how: resumed.map(({ how }) => how),
      resumedMs: resumed.map(({ ms }) => ms),
      pausedMs: resumed.map(({ pausedMs }) => pausedMs),
      readsOfKept: of(now.reads, reads),
      initsOfKept: of(now.inits, inits),
    };
  }
  function kept(): number[] {
    return before.filter((partition) => after.includes(partition));
  }
}

interface Counted {
  readonly log: LogFactory;
  snapshot(): { readonly reads: readonly number[]; readonly inits: readonly number[] };
}

/** Counts, by partition, what recoveries ask of the log. */
function countedLog(factory: LogFactory): Counted {
  const reads: number[] = [];
  const inits: number[] = [];
  const count = (counts: number[], partition: number): void => {
    counts[partition] = (counts[partition] ?? 0) + 1;
  };
  const wrap = (client: LogClient): LogClient =>
    Object.assign(Object.create(client) as LogClient, {
      topics: client.topics,
      committed: client.committed.bind(client),
      join: client.join.bind(client),
      outputs: client.outputs.bind(client),
      close: client.close.bind(client),
      read: (request: Parameters<LogClient['read']>[0]) => {
        count(reads, request.partition);
        return client.read(request);
      },
      producer: (options: Parameters<LogClient['producer']>[0]) => {
        const producer = client.producer(options);
        const partition = Number(options.transactionalId.split('--').at(-1));
        return {
          init: () => {
            count(inits, partition);
            return producer.init();
          },
          commitTransaction: producer.commitTransaction.bind(producer),
          close: producer.close.bind(producer),
        };
      },
    });
  return {
    log: { kind: factory.kind, connect: async (options) => wrap(await factory.connect(options)) },
    snapshot: () => ({ reads: [...reads], inits: [...inits] }),
  };
}
