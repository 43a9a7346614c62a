/**
 * A full disk is DISK_FULL, nothing of the batch that met it is there afterwards, and with space again the database goes
 * on. The disk is a small tmpfs where this may be mounted, otherwise a limit on the size of files (`ulimit -f`).
 */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import type { EngineKind } from '../../src/storage/storage-engine.js';
import { withDirectory } from '../contract/storage-engine.js';
import { numberedBatch, openNumbered } from '../fixtures/numbered-batches.js';
import { assertWholeBatches } from '../support/numbered-batches.js';

const PROGRAM = new URL('../fixtures/fill-disk.js', import.meta.url).pathname;
const DISK_BYTES = 12 << 20;
/** Given back after the failure, so that there is space again. */
const BALLAST_BYTES = 6 << 20;

interface Filled {
  readonly failure: string;
  readonly next: string;
  readonly offset: number;
  readonly reopening: string;
}

for (const engine of ['level', 'rocksdb'] as const)
  it(`${engine}: a full disk is DISK_FULL, half of a batch is never there, and with space it goes on`, (t) =>
    withDirectory(async (directory) => {
      if (mount(directory)) {
        try {
          await fillMounted(directory, engine);
        } finally {
          spawnSync('umount', [directory]);
        }
      } else if (process.platform !== 'win32') await fillLimited(directory, engine);
      else skipLoudly(t);
    }));

// The limit strikes in the write-ahead log itself, behind whose torn record LevelDB would go on appending.
it(
  'level: a write-ahead log that could not be written to is not written to again',
  { skip: process.platform === 'win32' },
  () => withDirectory((directory) => fillLimited(directory, 'level')),
);

async function fillMounted(directory: string, engine: EngineKind): Promise<void> {
  const path = join(directory, 'p');
  const ballast = join(directory, 'ballast');
  await writeFile(ballast, Buffer.alloc(BALLAST_BYTES));
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, path, engine, ballast]);
  await checkFilled(path, engine, JSON.parse(stdout) as Filled);
}

/** The write-ahead log grows up to the limit: the engine's buffer is larger than any file may be. */
async function fillLimited(directory: string, engine: EngineKind): Promise<void> {
  const path = join(directory, 'p');
  await mkdir(path);
  const limited = `trap '' XFSZ; ulimit -S -f 150; exec "$0" "$@"`;
  const { stdout } = await promisify(execFile)('bash', [
    '-c',
    limited,
    process.execPath,
    PROGRAM,
    path,
    engine,
    'limit',
  ]);
  await checkFilled(path, engine, JSON.parse(stdout) as Filled);
}

async function checkFilled(path: string, engine: EngineKind, filled: Filled): Promise<void> {
  assert.deepEqual(
    { failure: filled.failure, next: filled.next },
    { failure: 'DISK_FULL', next: 'DISK_FULL' },
    'the write that fails says so, and so does every write after it',
  );
  assert.ok(['opened', 'DISK_FULL'].includes(filled.reopening), filled.reopening);
  const partition = await openNumbered(path, engine);
  assert.equal(partition.mismatch, undefined);
  const last = await assertWholeBatches(partition, 'after the disk was full');
  assert.ok(last === filled.offset, `${String(last)} found, ${String(filled.offset)} acknowledged`);
  assert.ok(last >= 0, 'something had been written before');
  for (let n = last + 1; n <= last + 3; n++)
    await partition.apply(numberedBatch(n), {
      offset: n,
      appendTime: n,
      checkpointRecord: Buffer.from(String(n)),
      sync: true,
    });
  assert.equal(await assertWholeBatches(partition, 'with space again'), last + 3);
  await partition.close();
}

function mount(directory: string): boolean {
  if (process.platform !== 'linux') return false;
  return (
    spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${String(DISK_BYTES)}`, 'tmpfs', directory]).status === 0
  );
}

function skipLoudly(t: TestContext): void {
  console.error('NOT TESTED: neither a small disk nor a limit on the size of files is to be had here.');
  t.diagnostic('not tested: no small disk to be had');
}
