/**
 * Directories that tests write in: each is empty when it is given and gone when the process ends, also after a failure or
 * a signal, so that a run of the tests leaves nothing. It never removes one earlier; at-end.ts comes next.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd } from './at-end.js';

/** @param of what its name begins with, for whoever finds it while the test runs */
export function temporaryDirectory(of: string): string {
  const directory = mkdtempSync(join(tmpdir(), `partita-${of}-`));
  atEnd(() => {
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}
