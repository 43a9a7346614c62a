/** A directory log whose process is killed at any moment holds everything it acknowledged, and transactions whole or not at all. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { isPartitaError } from '../../src/core/errors.js';
import { embeddedLog, type EmbeddedLog } from '../../src/log/embedded/embedded-log.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const APPENDER = fileURLToPath(new URL('../fixtures/log-appender.js', import.meta.url));
const KILLS = 8;

async function appendUntilKilled(dir: string, seed: number, afterMs: number, during?: () => Promise<void>) {
  const child = spawn(execPath, [APPENDER, dir, String(seed)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const exited = new Promise((resolve) => child.once('close', resolve));
  try {
    // An append and a transaction, so that the newest transaction is one of this process.
    for (let waited = 0; text.split('\n').length <= 2; waited += 5) {
      assert.ok(waited < 20_000 && child.exitCode === null, 'the appender never acknowledged anything');
      await sleep(5);
    }
    await during?.();
    await sleep(afterMs);
  } finally {
    child.kill('SIGKILL');
    await exited;
  }
  // A line that the kill cut in two was not an acknowledgement.
  return text.split('\n').slice(0, -1).map(Number);
}

async function numbers(log: EmbeddedLog, topic: string, partition?: number): Promise<number[]> {
  const found: number[] = [];
  for await (const { value } of log.read(topic, partition === undefined ? {} : { partition }))
    found.push(Number(Buffer.from(value!).toString().split(' ')[0]));
  return found;
}

test('every acknowledged append and transaction survives kill -9, again and again', async () => {
  const root = temporaryDirectory('kill');
  const dir = join(root, 'log');
  const acknowledged: number[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    const seed = kill * 1_000_000;
    const delayMs = Math.floor(Math.random() * 120);
    const acks = await appendUntilKilled(dir, seed, delayMs);
    acknowledged.push(...acks);
    const last = acks.at(-1)!;
    await using log = await embeddedLog({ dir });
    const context = `kill ${kill} after ${delayMs} ms, ${acks.length} acknowledged`;
    const plain = await numbers(log, 'plain');
    const sums = [await numbers(log, 'sums', 0), await numbers(log, 'sums', 1)];
    const wanted = (parity: number) => acknowledged.filter((n) => n % 2 === parity);
    const missing = (found: number[], parity: number) => {
      const has = new Set(found);
      assert.equal(has.size, found.length, `${context}: nothing is there twice`);
      return wanted(parity).filter((n) => !has.has(n));
    };
    assert.deepEqual(missing(plain, 0), [], context);
    assert.deepEqual(missing(sums[0]!, 1), [], context);
    assert.deepEqual(sums[0], sums[1], `${context}: a transaction is in both partitions or in none`);
    // The offsets are those of the newest transaction that is there, acknowledged or not.
    const newest = sums[0]!.at(-1)!;
    assert.ok(newest === last || newest === last + 1 || newest === last - 1, context);
    assert.deepEqual(await log.committed('g'), [
      { topic: 'plain', partition: 0, offset: newest, metadata: `m${newest}` },
    ]);
    for (const bounds of await log.bounds('sums')) assert.equal(bounds.lastStable, bounds.end, context);
  }
});

test('a second process is told that the log is in use, and the first goes on', async () => {
  const root = temporaryDirectory('lock');
  const dir = join(root, 'log');
  const acks = await appendUntilKilled(dir, 0, 30, async () => {
    await assert.rejects(embeddedLog({ dir }), (error) => {
      assert.ok(isPartitaError(error, 'LOG_LOCKED'));
      assert.ok(error.message.includes(dir));
      return true;
    });
  });
  assert.ok(acks.length > 1);
  await using log = await embeddedLog({ dir });
  await assert.rejects(embeddedLog({ dir }), (error) => isPartitaError(error, 'LOG_LOCKED'));
  assert.ok((await numbers(log, 'plain')).length > 0);
});
