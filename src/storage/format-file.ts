/**
 * `partita.json` in a partition's directory: which engine wrote the database beside it, in which format, and for which
 * changelog. Written atomically (temporary file, fsync, rename, fsync of the directory) and only by the partition that
 * holds the database's lock. It judges nothing: what a difference means is decided in `store-partition.ts`.
 */
import { mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, PartitaError } from '../core/errors.js';
import type { EngineKind } from './storage-engine.js';

/** The layout of the keyspace and of the position rows; a change of either raises it. */
export const FORMAT_VERSION = 1;
export const FORMAT_FILE = 'partita.json';

export interface DatabaseFormat {
  readonly engine: EngineKind;
  readonly formatVersion: number;
  /** Empty where the log gives none. */
  readonly changelogTopicId: string;
}

/** Of a version of Partita that this one knows nothing of but the number. */
export interface OtherFormat {
  readonly engine: undefined;
  readonly formatVersion: number;
}

export type FormatFound = DatabaseFormat | OtherFormat | 'invalid' | undefined;

/** `undefined`: there is none. `'invalid'`: there is one that makes no sense. */
export async function readFormatFile(directory: string): Promise<FormatFound> {
  let text: string;
  try {
    text = await readFile(join(directory, FORMAT_FILE), 'utf8');
  } catch (error) {
    const native = systemCode(error);
    if (native === 'ENOENT') return undefined;
    if (native === 'EISDIR') return 'invalid';
    throw fileError('reading', directory, error);
  }
  return parseFormat(text) ?? 'invalid';
}

/** @throws PartitaError DISK_FULL, ENGINE_FAILED */
export async function writeFormatFile(directory: string, format: DatabaseFormat): Promise<void> {
  const path = join(directory, FORMAT_FILE);
  try {
    await mkdir(directory, { recursive: true });
    const file = await open(`${path}.tmp`, 'w');
    try {
      await file.writeFile(`${JSON.stringify(format, undefined, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.tmp`, path);
    await syncDirectory(directory);
  } catch (error) {
    throw fileError('writing', directory, error);
  }
}

function parseFormat(text: string): DatabaseFormat | OtherFormat | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // Not JSON: the caller learns that there is a file that makes no sense.
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  const { engine, formatVersion, changelogTopicId } = parsed as Partial<
    Record<keyof DatabaseFormat, unknown>
  >;
  if (typeof formatVersion === 'number' && formatVersion !== FORMAT_VERSION)
    return { engine: undefined, formatVersion };
  if (engine !== 'memory' && engine !== 'level' && engine !== 'rocksdb') return undefined;
  if (typeof formatVersion !== 'number' || typeof changelogTopicId !== 'string') return undefined;
  return { engine, formatVersion, changelogTopicId };
}

export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    const native = systemCode(error);
    if (native === 'ENOENT' || native === 'ENOTDIR') return false;
    throw fileError('reading', path, error);
  }
}

async function syncDirectory(directory: string): Promise<void> {
  // Windows can't open a directory; its renames are durable in order.
  if (process.platform === 'win32') return;
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** `ENOENT` and the like, of an error of node:fs. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** An error of node:fs in a partition's directory. */
export function fileError(doing: string, directory: string, error: unknown): PartitaError {
  if (error instanceof PartitaError) return error;
  const native = systemCode(error);
  const full = native === 'ENOSPC' || native === 'EDQUOT' || native === 'EFBIG';
  return new PartitaError(
    full ? 'DISK_FULL' : 'ENGINE_FAILED',
    `${doing} ${FORMAT_FILE} in ${directory} failed: ${describeError(error)}`,
    { cause: error, details: { directory, nativeCode: native } },
  );
}
