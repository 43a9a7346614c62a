/** A process that is killed in the middle of writing leaves whole batches behind, and all those it was told of. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { it } from 'node:test';
import type { EngineKind } from '../../src/storage/storage-engine.js';
import { assertWholeBatches } from '../support/numbered-batches.js';
import { withDirectory } from '../contract/storage-engine.js';
import { openNumbered } from '../fixtures/numbered-batches.js';

const KILLS = 25;
const PROGRAM = new URL('../fixtures/numbered-batches.js', import.meta.url).pathname;

for (const engine of ['level', 'rocksdb'] as const)
  it(`${engine}: after ${String(KILLS)} kills at random moments there is always a prefix of whole batches`, () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'p');
      let previous = -1;
      for (let round = 0; round < KILLS; round++) {
        const delayMs = Math.random() * 60;
        const acknowledged = await writeUntilKilled(path, engine, delayMs);
        const context = `kill ${String(round)} after ${String(delayMs)} ms`;
        const partition = await openNumbered(path, engine);
        assert.equal(partition.mismatch, undefined, context);
        const last = await assertWholeBatches(partition, context);
        await partition.close();
        assert.ok(
          last >= acknowledged,
          `${context}: ${String(last)} found, ${String(acknowledged)} acknowledged`,
        );
        assert.ok(last > previous, `${context}: nothing was written`);
        previous = last;
      }
    }));

/** Lets the writer run for a while after its first batch; returns the last batch it was told of. */
function writeUntilKilled(path: string, engine: EngineKind, delayMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, path, engine, '100000'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.setEncoding('latin1').on('data', (chunk: string) => {
      if (output === '') setTimeout(() => child.kill('SIGKILL'), delayMs);
      output += chunk;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (signal !== 'SIGKILL') reject(new Error(`The writer ended by itself with ${String(code)}.`));
      else resolve(Number(output.slice(0, output.lastIndexOf('\n')).split('\n').at(-1)));
    });
  });
}
