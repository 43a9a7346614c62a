/**
 * Owns Python's environments in the user's cache folder: one for each package and version, installed once. It never runs what
 * it has installed; other-client.ts and hourly-oracle.test.ts do.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { once, testCache } from './kafka-jars.js';

const INSTALL_BUDGET_MS = 180_000;

/** Why a package, as `name==version`, cannot be had on this machine, or `undefined` if it can. */
export function pythonMissing(requirement: string): string | undefined {
  if (existsSync(environment(requirement))) return undefined;
  const found = spawnSync('python3', ['-c', 'import ensurepip, venv']);
  return found.status === 0 ? undefined : 'python3 with its venv module is not installed';
}

/** Installs the package if nobody has. */
export async function installPython(requirement: string): Promise<void> {
  await once(environment(requirement), async (temporary) => {
    process.stderr.write(`Installing ${requirement} (once) to ${environment(requirement)}\n`);
    const folder = join(temporary, 'venv');
    const run = promisify(execFile);
    await run('python3', ['-m', 'venv', folder], { timeout: INSTALL_BUDGET_MS });
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', requirement];
    await run(interpreter(folder), pip, { timeout: INSTALL_BUDGET_MS });
    return folder;
  });
}

/** The interpreter that has the package. */
export function pythonWith(requirement: string): string {
  return interpreter(environment(requirement));
}

function environment(requirement: string): string {
  return join(testCache(), `python-${requirement.replace('==', '-')}`);
}

function interpreter(folder: string): string {
  return join(folder, 'bin', 'python');
}
