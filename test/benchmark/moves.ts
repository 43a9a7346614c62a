/**
 * The pause of an actor that moves between two threads while records flow, and beside it the pause of one that is parked
 * and resumed because a member joins and leaves; on the embedded log, or on the brokers that are named.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EmbeddedLog, kafka, processorAt, StateManager, type LogFactory } from '../../src/index.js';
import { topicOf } from '../fixtures/oracle.js';
import { KafkaTopicsLog } from '../support/kafka-topics-log.js';
import type { TopicsLog } from '../support/topics-log.js';
import { report } from './report.js';
import type w1 from './stream-processor.js';
import { INPUT, load } from './w1-load.js';

/** Between two moves: records come in, so that there is something to commit. */
const BETWEEN_MS = 20;
const PORTION = 500;
const PARTITIONS = 2;
/** Times that a second member joins and leaves. */
const ROUNDS = 5;
const BACK_MS = 60_000;
/** Of what is loaded, in one request to the brokers. */
const REQUEST_RECORDS = 5_000;

type Manager = StateManager<{ w1: ReturnType<typeof processorAt<typeof w1>> }>;

/** Where it runs: a log with one record of each key in the input. */
interface Place {
  readonly log: LogFactory;
  readonly topics: TopicsLog;
  /** The group, and what stands before the names of the topics. */
  readonly of: string;
  close(): Promise<void>;
}

export async function benchMoves(keys: number, moves: number, brokers?: readonly string[]): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'partita-moves-'));
  const place = brokers === undefined ? await embedded(keys) : await onBrokers(brokers, keys);
  const { of, topics } = place;
  const processor = new URL('./stream-processor.js', import.meta.url);
  processor.searchParams.set('in', topicOf(of, INPUT));
  processor.searchParams.set('out', topicOf(of, 'aggregates'));
  const start = (instanceId: string): Promise<Manager> =>
    StateManager.start({
      group: of === '' ? 'bench' : of,
      log: place.log,
      stateDir: dir,
      instanceId,
      engine: 'level',
      workers: 2,
      createTopics: { partitions: PARTITIONS },
      streams: { w1: processorAt<typeof w1>(processor) },
    });
  const manager = await start('one');
  await manager.ready();
  const processed = async (): Promise<number> =>
    (await manager.stats()).partitions.reduce((sum, { actor }) => sum + (actor?.records ?? 0), 0);
  while ((await processed()) < keys) await sleep(BETWEEN_MS);
  await manager.checkpoint();
  const pauses: number[] = [];
  for (let move = 0; move < moves; move++) {
    await topics.produce(
      INPUT,
      Array.from({ length: PORTION }, (_, i) => ({
        key: keyName((move * PORTION + i) % keys),
        value: JSON.stringify({ t: Date.now(), v: i, pad: '' }),
      })),
    );
    await sleep(BETWEEN_MS);
    pauses.push((await manager.move('w1', 0, (move + 1) % 2)).pauseMs);
  }
  const with_ = { log: place.log.kind, keys };
  figures({ how: 'move', ...with_ }, pauses);
  figures({ how: 'park and resume', ...with_ }, await parkAndResume(manager, () => start('two')));
  await manager.stop();
  await place.close();
  await rm(dir, { recursive: true, force: true });
}

/** How long kept partitions were parked while another member came and went. */
async function parkAndResume(manager: Manager, join: () => Promise<Manager>): Promise<readonly number[]> {
  const parked: number[] = [];
  manager.on('resumed', ({ parkedMs }) => parked.push(parkedMs));
  for (let round = 0; round < ROUNDS; round++) {
    const other = await join();
    await other.ready();
    await other.stop();
    const until = performance.now() + BACK_MS;
    while ((await manager.stats()).partitions.length < PARTITIONS) {
      if (performance.now() > until) throw new Error('What the other member had does not come back.');
      await sleep(BETWEEN_MS);
    }
    await manager.ready();
  }
  return parked;
}

async function embedded(keys: number): Promise<Place> {
  const log = await EmbeddedLog.open();
  await load(log, { records: keys, keys, sequential: true, partitions: PARTITIONS });
  return { log, topics: log, of: '', close: () => log.close() };
}

async function onBrokers(brokers: readonly string[], keys: number): Promise<Place> {
  const of = `moves-${process.pid}-${Date.now()}`;
  const topics = await KafkaTopicsLog.connect(brokers, of);
  await topics.createTopic({ topic: INPUT, partitions: PARTITIONS });
  const pad = 'x'.repeat(60);
  for (let from = 0; from < keys; from += REQUEST_RECORDS)
    await topics.produce(
      INPUT,
      Array.from({ length: Math.min(REQUEST_RECORDS, keys - from) }, (_, i) => ({
        key: keyName(from + i),
        value: JSON.stringify({ t: Date.now(), v: i % 1_000, pad }),
      })),
    );
  return { log: kafka({ brokers }), topics, of, close: () => topics.close() };
}

/** As `w1-load.ts` has them. */
function keyName(n: number): string {
  return `k${String(n).padStart(7, '0')}`;
}

function figures(
  of: { readonly how: string; readonly log: string; readonly keys: number },
  pauses: readonly number[],
): void {
  const sorted = [...pauses].sort((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
  const bench = { bench: 'moves', with: { ...of, pauses: sorted.length }, unit: 'ms' };
  for (const [metric, share] of [
    ['p50', 0.5],
    ['p99', 0.99],
    ['max', 1],
  ] as const)
    report({ ...bench, metric, value: at(share) });
}
