/**
 * A disk that fills under a manager, or under the embedded log, and has space again: the databases are closed and opened
 * anew with back-off, and nothing is lost or doubled; where the space does not come back in time the partition fails and
 * says why. The disk is a small tmpfs; where none may be mounted this is not tested, loudly.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import {
  embeddedLog,
  isPartitaError,
  processorAt,
  type EmbeddedLog,
  type StateManager,
} from '../../src/index.js';
import type lastValue from '../fixtures/last-value-processor.js';
import { ManagerDesk } from '../support/manager-desk.js';
import { until } from '../support/waiting.js';

const streams = {
  kept: processorAt<typeof lastValue>(new URL('../fixtures/last-value-processor.js', import.meta.url)),
};
const DISK_BYTES = 80 << 20;
/** Until it is removed a tenth of the disk is free; afterwards there is room for the data several times. */
const BALLAST_BYTES = 72 << 20;
const VALUE_BYTES = 8_000;
/** More than fits beside the ballast. */
const RECORDS_MAX = 2_000;
const BATCH = 50;

for (const engine of ['level', 'rocksdb'] as const) {
  test(`${engine}: a manager whose disk fills goes on when there is space again; nothing is lost or doubled`, (t) =>
    onSmallDisk(t, async (stateDir, ballast) => {
      const desk = await newDesk(engine, { max: 400, firstMs: 20, maxMs: 100 });
      try {
        const manager = await desk.start(streams, { stateDir });
        await manager.ready();
        const errors: unknown[] = [];
        manager.on('restarting', ({ error }) => errors.push(error));
        const model = new Map<string, number>();
        await fill(desk.log, model, () => errors.length >= 4);
        await until(() => errors.length >= 4, 'it is tried again while the disk is full');
        for (const error of errors) assert.ok(hasCause(error, 'DISK_FULL'), String(error));
        await rm(ballast);
        await produce(desk.log, model, 0);
        await until(async () => same(await countsOf(manager), model), 'everything is processed');
        // With the last checkpoint.
        await manager.stop();
        assert.deepEqual(await outputsOf(desk.log), expectedOutputs(model));
        // What is on disk, and in the changelog, is the same.
        const again = await desk.start(streams, { stateDir });
        await again.ready();
        assert.ok(same(await countsOf(again), model));
        await again.stop();
      } finally {
        await desk.close();
      }
    }));

  test(`${engine}: a disk that stays full fails the partition with DISK_FULL as its cause, and reopens when asked`, (t) =>
    onSmallDisk(t, async (stateDir, ballast) => {
      const desk = await newDesk(engine, { max: 3, firstMs: 5, maxMs: 20 });
      try {
        const manager = await desk.start(streams, { stateDir, onPartitionFailed: 'isolate' });
        await manager.ready();
        const failed: unknown[] = [];
        manager.on('partitionFailed', ({ error }) => failed.push(error));
        const model = new Map<string, number>();
        await fill(desk.log, model, () => failed.length > 0);
        await until(() => failed.length > 0, 'the partition fails');
        assert.ok(hasCause(failed[0], 'DISK_FULL'), String(failed[0]));
        await rm(ballast);
        // The other one may have had its last attempt before there was space again.
        await until(async () => {
          const { partitions } = await manager.stats();
          for (const { partition } of partitions.filter(({ state }) => state === 'failed'))
            await manager.reopen('kept', partition);
          return same(await countsOf(manager), model);
        }, 'everything is processed');
        // With the last checkpoint.
        await manager.stop();
        assert.deepEqual(await outputsOf(desk.log), expectedOutputs(model));
      } finally {
        await desk.close();
      }
    }));
}

test('the embedded log on a full disk says DISK_FULL; opened again with space it has what was acknowledged, and goes on', (t) =>
  onSmallDisk(t, async (directory, ballast) => {
    const dir = join(directory, 'log');
    let log = await embeddedLog({ dir });
    await log.createTopic({ topic: 'values', partitions: 1 });
    const acknowledged: string[] = [];
    const append = async (n: number): Promise<void> => {
      const records = Array.from({ length: BATCH }, (_, i) => ({
        key: `${n}-${i}`,
        value: Buffer.alloc(VALUE_BYTES, n),
      }));
      await log.produce('values', records);
      acknowledged.push(...records.map(({ key }) => key));
    };
    let failure: unknown;
    for (let n = 0; failure === undefined && n < RECORDS_MAX / BATCH; n++)
      await append(n).catch((error: unknown) => (failure = error));
    assert.ok(isPartitaError(failure, 'DISK_FULL'), String(failure));
    await assert.rejects(append(900), (error) => isPartitaError(error, 'DISK_FULL'));
    await log.close();
    await rm(ballast);
    log = await embeddedLog({ dir });
    const keysOf = async (): Promise<string[]> => {
      const keys: string[] = [];
      for await (const { key } of log.read('values')) keys.push(Buffer.from(key!).toString());
      return keys;
    };
    assert.deepEqual(await keysOf(), acknowledged);
    await append(901);
    assert.deepEqual(await keysOf(), acknowledged);
    await log.close();
  }));

async function newDesk(
  engine: 'level' | 'rocksdb',
  restarts: { max: number; firstMs: number; maxMs: number },
): Promise<ManagerDesk> {
  const desk = await ManagerDesk.open({ engine, restarts });
  await desk.log.createTopic({ topic: 'values', partitions: 2 });
  await desk.log.createTopic({ topic: 'counts', partitions: 1 });
  return desk;
}

/** Ever new keys, a moment apart, until the disk is full. */
async function fill(log: EmbeddedLog, model: Map<string, number>, full: () => boolean): Promise<void> {
  for (let from = 0; from < RECORDS_MAX && !full(); from += BATCH) {
    await produce(log, model, from);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function produce(log: EmbeddedLog, model: Map<string, number>, from: number): Promise<void> {
  const records = Array.from({ length: BATCH }, (_, i) => ({
    key: `key-${String(from + i)}`,
    // Nothing that a database could make smaller.
    value: randomBytes(VALUE_BYTES),
  }));
  for (const { key } of records) model.set(key, (model.get(key) ?? 0) + 1);
  await log.produce('values', records);
}

/** Of the partitions that answer. */
async function countsOf(manager: StateManager<typeof streams>): Promise<ReadonlyMap<string, number>> {
  try {
    const all = await manager.streams.kept.queryAll('counts', { timeoutMs: 2_000 });
    return new Map([...all.values()].flat());
  } catch (error) {
    assert.ok(isPartitaError(error), String(error));
    return new Map();
  }
}

/** Each key's outputs, in order. */
async function outputsOf(log: EmbeddedLog): Promise<Record<string, number[]>> {
  const outputs: Record<string, number[]> = {};
  for await (const { key, value } of log.read('counts'))
    (outputs[Buffer.from(key!).toString()] ??= []).push(Number(Buffer.from(value!).readBigInt64BE()));
  return outputs;
}

function expectedOutputs(model: ReadonlyMap<string, number>): Record<string, number[]> {
  return Object.fromEntries([...model].map(([key, n]) => [key, Array.from({ length: n }, (_, i) => i + 1)]));
}

function same(found: ReadonlyMap<string, number>, model: ReadonlyMap<string, number>): boolean {
  return found.size === model.size && [...model].every(([key, n]) => found.get(key) === n);
}

function hasCause(error: unknown, code: string): boolean {
  for (let at = error; at instanceof Error; at = at.cause)
    if (isPartitaError(at) && at.code === code) return true;
  return false;
}

async function onSmallDisk(
  t: TestContext,
  use: (directory: string, ballast: string) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'partita-small-disk-'));
  const size = `size=${String(DISK_BYTES)}`;
  const mounted =
    process.platform === 'linux' &&
    spawnSync('mount', ['-t', 'tmpfs', '-o', size, 'tmpfs', directory]).status === 0;
  try {
    if (!mounted) {
      console.error('NOT TESTED: a small disk is not to be had here.');
      t.diagnostic('not tested: no small disk to be had');
      return;
    }
    const ballast = join(directory, 'ballast');
    await writeFile(ballast, Buffer.alloc(BALLAST_BYTES));
    await use(directory, ballast);
  } finally {
    if (mounted) spawnSync('umount', [directory]);
    await rm(directory, { recursive: true, force: true });
  }
}
