/**
 * Windowed stores that come back from their changelog: random histories in which it is compacted at random points and files
 * get lost give what the naive model gives, on each engine; and what is left of it after many closed windows is bounded.
 * Histories without compaction are `windows-oracle.test.ts`'s.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { json, string } from '../../src/codec/serdes.js';
import { changelogTopic } from '../../src/core/names.js';
import { topic } from '../../src/processor/declarations.js';
import { defineProcessor } from '../../src/processor/define-processor.js';
import { hopping, session, sliding, tumbling, windowed, type Window } from '../../src/processor/windowed.js';
import { GROUP, STREAM } from '../../src/testing/driven-topics.js';
import { TestDriver } from '../../src/testing/index.js';
import { ActorHarness, CHANGELOG } from '../support/actor-harness.js';
import { eventsOf, randomHistory, randomWindows, type History } from '../support/random-events.js';
import { modelOf, type ModelKind, type ModelOutcome, type ModelWindows } from '../support/windows-model.js';
import { inOrder, processorOf, runWindows, toldIn, type Told } from '../support/windows-run.js';

/** Per kind of window and per engine. More come by the environment, for a night. */
const RUNS = Number(process.env['PARTITA_ORACLE_RUNS'] ?? 250);
const ENGINE_RUNS = Math.ceil(RUNS / 5);
const TIMEOUT_MS = 240_000;
const KINDS: readonly ModelKind[] = [
  'tumbling',
  'hopping',
  'sliding',
  'session',
  'count',
  'countHopping',
  'countSliding',
];

function assertModel(found: ModelOutcome, windows: ModelWindows, history: History): void {
  const expected = modelOf(windows, eventsOf(history));
  assert.deepEqual(found.late, expected.late, 'late');
  assert.deepEqual(found.emissions, expected.emissions, 'emissions');
  assert.deepEqual(inOrder(found.open), inOrder(expected.open), 'open in the end');
}

for (const kind of KINDS)
  for (const closing of kind.startsWith('count') ? (['partition'] as const) : (['partition', 'key'] as const))
    test(
      `${kind} windows that close by ${closing} come back from a changelog that is compacted at any point`,
      { timeout: TIMEOUT_MS },
      async () => {
        const run = fc.record({
          windows: randomWindows(kind).map((windows) => ({ ...windows, closing })),
          history: randomHistory({ compactions: true }),
          cacheBytes: fc.constantFrom(16_384, 16_777_216),
        });
        const check = async (one: { windows: ModelWindows; history: History; cacheBytes: number }) => {
          assertModel(await runWindows(one), one.windows, one.history);
        };
        await fc.assert(fc.asyncProperty(run, check), { numRuns: RUNS, includeErrorInReport: true });
      },
    );

// ── on disk ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const anyTime = {
  'retention.ms': '-1',
  'message.timestamp.before.max.ms': String(Number.MAX_SAFE_INTEGER),
  'message.timestamp.after.max.ms': String(Number.MAX_SAFE_INTEGER),
};

/** Commits until nothing more comes out. */
async function settle(harness: ActorHarness, topicName: string) {
  let before = -1;
  for (let round = 0; round < 100; round++) {
    await harness.actor.checkpoint('asked');
    const records = await harness.read(topicName);
    if (records.length === before) return records;
    before = records.length;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`${topicName} still grows.`);
}

async function interruptOnDisk(harness: ActorHarness, how: string, directory: string): Promise<void> {
  if (how === 'compact' || how === 'compactLate') return harness.log.compact(CHANGELOG);
  if (how === 'commit' || how === 'reopen') await harness.actor.checkpoint('asked');
  if (how === 'commit') return;
  await harness.crash();
  if (how === 'crashAndWipe') await rm(directory, { recursive: true, force: true });
  await harness.boot();
}

async function runOnDisk(
  engine: 'level' | 'rocksdb',
  windows: ModelWindows,
  history: History,
): Promise<ModelOutcome> {
  const root = await mkdtemp(join(tmpdir(), 'partita-windows-'));
  const directory = join(root, 'db');
  try {
    await using harness = await ActorHarness.make({
      definition: processorOf(windows).definition,
      directory,
      inputConfigs: anyTime,
      outputConfigs: anyTime,
      outputPartitions: 1,
      // What is due to be dropped is dropped by the first compaction that may.
      changelogConfigs: { 'delete.retention.ms': '0' },
      options: { engine },
    });
    await harness.boot();
    let appended = 0;
    for (const step of history) {
      if (step.do === 'event') {
        const { key, value, timestamp } = step.event;
        const added = JSON.stringify({ event: appended++, value });
        await harness.log.produce('in', [{ key, value: added, timestamp, partition: 0 }]);
        continue;
      }
      await harness.feed('in');
      await interruptOnDisk(harness, step.do, directory);
    }
    await harness.feed('in');
    const records = await settle(harness, 'out');
    const times: number[] = [];
    for await (const { timestamp } of harness.log.read('out')) times.push(timestamp);
    const told = records.map(({ key, value }, i) => {
      return { key, value: JSON.parse(value!) as Told, timestamp: times[i]! };
    });
    const open = (await harness.query('all', null)) as ModelOutcome['open'];
    return { ...toldIn(told), open };
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

for (const engine of ['level', 'rocksdb'] as const)
  test(`windows of every kind come back on ${engine} as well`, { timeout: TIMEOUT_MS }, async () => {
    const run = fc.record({
      windows: fc.constantFrom(...KINDS).chain(randomWindows),
      history: randomHistory({ compactions: true, stepsMax: 40 }),
    });
    const check = async ({ windows, history }: { windows: ModelWindows; history: History }) => {
      assertModel(await runOnDisk(engine, windows, history), windows, history);
    };
    await fc.assert(fc.asyncProperty(run, check), { numRuns: ENGINE_RUNS, includeErrorInReport: true });
  });

// ── what is left of the changelog ────────────────────────────────────────────────────────────────────────────────────

const SIZE_MS = 1_000;
const KEYS = 50;
const DELETE_RETENTION_MS = 7 * 86_400_000;

function countingProcessor(window: Window, closing: 'key' | 'partition') {
  return defineProcessor({
    inputs: { in: topic({ key: string(), value: json<number>() }) },
    outputs: { out: topic({ key: string(), value: json<number>() }) },
    stores: {
      w: windowed({
        key: string(),
        value: json<number>(),
        window,
        closing,
        keyClockRetentionMs: 10 * SIZE_MS,
        aggregate: (of) => ({ n: of.count(), all: of.collect() }),
      }),
    },
    process({ key, value }, { stores }) {
      stores.w.add(key, value);
    },
    windows: {
      w({ key, result }, { emit }) {
        emit.out(key, result.n);
      },
    },
  });
}

const windowKinds: readonly (readonly [string, Window])[] = [
  ['tumbling', tumbling(SIZE_MS)],
  ['hopping', hopping(SIZE_MS, SIZE_MS / 2)],
  ['sliding', sliding(SIZE_MS / 10)],
  ['session', session(SIZE_MS / 10)],
];

for (const [kind, window] of windowKinds)
  for (const closing of ['partition', 'key'] as const)
    test(
      `after 3,000 ${kind} windows that closed by ${closing}, the compacted changelog holds what is open only`,
      { timeout: TIMEOUT_MS },
      async () => {
        await using driver = await TestDriver.start(countingProcessor(window, closing));
        const changelog = changelogTopic(GROUP, STREAM);
        const startMs = driver.clock.now() - (driver.clock.now() % SIZE_MS);
        const rounds = 60;
        for (let round = 0; round < rounds; round++) {
          await driver.append(
            'in',
            Array.from({ length: KEYS }, (_, key) => {
              return { key: `key-${String(key)}`, value: round, timestamp: startMs + round * SIZE_MS + key };
            }),
          );
          await driver.drain();
          await driver.checkpoint();
          if (round % 20 === 19) await driver.log.compact(changelog);
        }
        const closings = (await driver.outputs('out')).length;
        assert.ok(closings >= KEYS * (rounds - 1), `${String(closings)} windows closed`);
        const left = async () => {
          let live = 0;
          let tombstones = 0;
          for await (const { value } of driver.log.read(changelog))
            if (value === null) tombstones++;
            else live++;
          return { live, tombstones };
        };
        const dropTombstones = async () => {
          // The second compaction drops what the first one has met, once its time is up.
          await driver.log.compact(changelog);
          await driver.advance(DELETE_RETENTION_MS + 1);
          await driver.log.compact(changelog);
        };
        await dropTombstones();
        const whileOpen = await left();
        // A row of the key, its place in the index and blocks of what is collected; the checkpoint record.
        assert.ok(whileOpen.live <= 4 * KEYS + 1, `${String(whileOpen.live)} rows of ${String(KEYS)} keys`);
        assert.equal(whileOpen.tombstones, 0);
        await driver.restart({ wipe: true });
        assert.equal((await driver.windows('w').all()).length > 0, true);

        // All time is over for all keys but one.
        for (const later of [20, 60])
          await driver.pipe('in', {
            key: 'other',
            value: 0,
            timestamp: startMs + (rounds + later) * SIZE_MS,
          });
        await driver.checkpoint();
        assert.ok((await left()).tombstones > 0);
        await dropTombstones();
        const { live, tombstones } = await left();
        assert.ok(live <= 5, `${String(live)} rows of one key`);
        assert.equal(tombstones, 0);
      },
    );
