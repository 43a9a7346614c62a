/**
 * Proves that what tests download is made once, whole, and in spite of processes that died on the way. It downloads
 * nothing itself.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { once } from '../support/kafka-jars.js';

describe('the cache of what tests download', () => {
  let cache = '';
  before(async () => {
    cache = await mkdtemp(join(tmpdir(), 'partita-cache-'));
  });
  after(async () => {
    await rm(cache, { recursive: true, force: true });
  });

  async function make(temporary: string): Promise<string> {
    const made = join(temporary, 'made');
    await mkdir(made);
    await writeFile(join(made, 'file'), 'whole');
    return made;
  }

  test('two that ask at the same time share one download', async () => {
    const folder = join(cache, 'shared');
    let downloads = 0;
    const slow = async (temporary: string): Promise<string> => {
      downloads++;
      await sleep(300);
      return make(temporary);
    };
    await Promise.all([once(folder, slow), once(folder, slow)]);
    await once(folder, slow);
    assert.equal(downloads, 1);
    assert.equal(await readFile(join(folder, 'file'), 'utf8'), 'whole');
  });

  test('a lock whose holder has died is taken over', async () => {
    const folder = join(cache, 'stale');
    const old = new Date(Date.now() - 60_000);
    await mkdir(`${folder}.lock`);
    await utimes(`${folder}.lock`, old, old);
    await once(folder, make);
    assert.equal(await readFile(join(folder, 'file'), 'utf8'), 'whole');
  });

  test('a failed download leaves neither a part nor a lock, and can be tried again', async () => {
    const folder = join(cache, 'failed');
    const fail = async (temporary: string): Promise<string> => {
      await make(temporary);
      throw new Error('no network');
    };
    await assert.rejects(once(folder, fail), /no network/);
    assert.equal(existsSync(folder), false);
    assert.deepEqual(
      (await readdir(cache)).filter((name) => name.startsWith('failed')),
      [],
    );
    await once(folder, make);
    assert.equal(await readFile(join(folder, 'file'), 'utf8'), 'whole');
  });
});
