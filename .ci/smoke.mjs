/**
 * Runs the main job with this Node and with each Node named on the command line, and fails unless all print the same
 * result. Rates differ and are left out. It asserts no figures of its own: the examples' check does.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import console from 'node:console';
import process from 'node:process';
import { URL, fileURLToPath } from 'node:url';

const job = fileURLToPath(new URL('../dist/examples/01-flights/main.js', import.meta.url));
const TIMEOUT_MS = 180_000;

function run(binary) {
  const { status, signal, stdout, error } = spawnSync(binary, [job, '--json'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: TIMEOUT_MS,
  });
  if (error) throw error;
  assert.equal(status, 0, `${binary} ended with ${status ?? signal}`);
  const { recordsPerSecond, ...result } = JSON.parse(stdout);
  const version = spawnSync(binary, ['--version'], { encoding: 'utf8' }).stdout.trim();
  console.log(`Node ${version}: ${result.records} records, ${Math.round(recordsPerSecond)} per second`);
  return result;
}

const expected = run(process.execPath);
for (const binary of process.argv.slice(2)) assert.deepEqual(run(binary), expected);
