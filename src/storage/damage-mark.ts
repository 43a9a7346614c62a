/**
 * `partita.damaged` in a partition's directory: says that its database was found damaged while it was open, at a read or
 * a compaction, which the next opening would not see by itself. Written only where the database may be rebuilt, by whoever
 * holds its lock; it goes with the directory when that is rebuilt. What follows from it is decided in `store-partition.ts`.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileError, systemCode } from './format-file.js';

export const DAMAGE_MARK = 'partita.damaged';

/** What was found, in a sentence; `undefined`: nothing. */
export async function readDamageMark(directory: string): Promise<string | undefined> {
  try {
    return (await readFile(join(directory, DAMAGE_MARK), 'utf8')).trim();
  } catch (error) {
    const native = systemCode(error);
    if (native === 'ENOENT' || native === 'ENOTDIR') return undefined;
    throw fileError('reading', directory, error);
  }
}

/** Whether it could be written. Where not, on a full disk say, the same read finds the same damage again. */
export async function leaveDamageMark(directory: string, message: string): Promise<boolean> {
  try {
    await writeFile(join(directory, DAMAGE_MARK), `${message}\n`);
    return true;
  } catch {
    return false;
  }
}
