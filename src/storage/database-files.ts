/**
 * Looks for damage in a database's files before they are opened, of the kinds that LevelDB and RocksDB pass over in
 * silence: a lost CURRENT, over which both make a new database, and batches missing from the middle of the write-ahead
 * logs. It reads only, never touches the LOCK file, and decides nothing. LevelDB's tables are looked at in
 * `level-tables.ts`.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readLogRecords } from './database-bytes.js';
import { readManifest, type Manifest } from './database-manifest.js';
import { systemCode } from './format-file.js';

/** Sequence number (u64) and count (u32) before the writes of a batch. */
const BATCH_HEADER_BYTES = 12;

export interface FilesFound {
  /** What is wrong, in a sentence. */
  readonly damage: string | undefined;
  /** `undefined`: there is no database yet, or it can't be read. */
  readonly manifest: Manifest | undefined;
}

/**
 * Files that vanish meanwhile belong to somebody who has the database open, which opening it will say. RocksDB's manifest
 * may hold what is not known here, and its first log need not exist; RocksDB checks the former itself.
 */
export async function findDamage(directory: string, engine: 'level' | 'rocksdb'): Promise<FilesFound> {
  const found = (damage?: string, manifest?: Manifest): FilesFound => ({ damage, manifest });
  const names = await listDirectory(directory);
  if (!names.includes('CURRENT')) return found(hasRemains(names) ? 'CURRENT is missing' : undefined);
  const current = (await readIfThere(join(directory, 'CURRENT')))?.toString('latin1') ?? '';
  const manifestName = /^(MANIFEST-\d+)\n$/.exec(current)?.[1];
  if (manifestName === undefined) return found('CURRENT names no MANIFEST');
  const bytes = await readIfThere(join(directory, manifestName));
  if (bytes === undefined) return found();
  const manifest = readManifest(bytes);
  if (manifest === undefined) return found(engine === 'level' ? `${manifestName} is damaged` : undefined);
  if (!(await logsAreWhole(directory, names, manifest, engine === 'level'))) {
    // Unless somebody has it open and has moved on meanwhile, which shows in the manifest.
    const again = await readIfThere(join(directory, manifestName));
    if (again?.equals(bytes) === true)
      return found('batches are missing from its write-ahead logs', manifest);
  }
  return found(undefined, manifest);
}

/** Whether a database has something in it, as far as its files tell: one that was only just made has no tables, and empty logs. */
export async function holdsData(directory: string): Promise<boolean> {
  for (const name of await listDirectory(directory)) {
    if (/^\d+\.(?:ldb|sst)$/.test(name)) return true;
    if (/^\d+\.log$/.test(name) && (await bytesOf(join(directory, name))) > 0) return true;
  }
  return false;
}

async function bytesOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 0;
    throw error;
  }
}

/** Whether files of a database are left. A crash while one was made leaves exactly its first, empty manifest. */
function hasRemains(names: readonly string[]): boolean {
  const remains = names.filter((name) => /^\d+\.(?:ldb|sst|log)$|^MANIFEST-/.test(name));
  return remains.length > 1 || (remains.length === 1 && remains[0] !== 'MANIFEST-000001');
}

/**
 * Whether the batches of the logs follow on what is in tables and on each other: by their sequence numbers, and because
 * nothing is damaged before one of them. Damage at the very end leaves a prefix, as a crash does.
 */
async function logsAreWhole(
  directory: string,
  names: readonly string[],
  manifest: Manifest,
  firstLogIsKnown: boolean,
): Promise<boolean> {
  const logs = names
    .filter((name) => /^\d+\.log$/.test(name) && Number.parseInt(name, 10) >= manifest.logNumber)
    .sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  let next: number | undefined;
  let damaged = false;
  for (const name of logs) {
    const bytes = await readIfThere(join(directory, name));
    if (bytes === undefined) return false;
    const log = readLogRecords(bytes);
    if (log.hole || (damaged && log.records.length > 0)) return false;
    damaged ||= log.damaged;
    for (const record of log.records) {
      if (record.length < BATCH_HEADER_BYTES) return false;
      const sequence = Number(record.readBigUInt64LE(0));
      if (next !== undefined && sequence !== next) return false;
      if (next === undefined && sequence > manifest.lastSequence + 1) return false;
      if (next === undefined && firstLogIsKnown && Number.parseInt(name, 10) !== manifest.logNumber)
        return false;
      next = sequence + record.readUInt32LE(8);
    }
  }
  return true;
}

async function listDirectory(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    const native = systemCode(error);
    // A file in its place the engine itself will complain of.
    if (native === 'ENOENT' || native === 'ENOTDIR') return [];
    throw error;
  }
}

export async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
