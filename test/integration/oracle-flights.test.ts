/** The main job against a plain loop over the data, which uses nothing of Partita. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { temporaryDirectory } from '../support/temporary-directory.js';

const ROOT = new URL('../../../', import.meta.url);
const MAIN = fileURLToPath(new URL('../../examples/01-flights/main.js', import.meta.url));

interface Logbook {
  tailnum: string;
  flights: number;
  miles: number;
  delayMin: number;
  last: string;
}

let expected: unknown;
let dir: string;

before(async () => {
  expected = plainLoop(
    gunzipSync(await readFile(new URL('examples/data/flights-2013.csv.gz', ROOT))).toString(),
  );
  dir = temporaryDirectory('flights-oracle');
});

test('the committed expectation of the example is what a plain loop finds', async () => {
  const file = new URL('examples/01-flights/expected.json', ROOT);
  assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), expected);
});

test('a thread that dies half-way changes nothing', async () => {
  assert.deepEqual(await flights('--crash', '--workers', '2'), expected);
});

test('a second run on the same state reprocesses nothing and finds the same', async () => {
  const state = ['--state', join(dir, 'state')];
  assert.deepEqual(await flights(...state), expected);
  const { stdout } = await promisify(execFile)(process.execPath, [MAIN, ...state]);
  assert.match(stdout, /336776 flights in the topic, 0 of them produced now/);
  assert.match(stdout, /state restored from 336776 of 336776 records/);
  assert.deepEqual(await flights(...state), expected);
});

async function flights(...options: string[]): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, [MAIN, '--json', ...options]);
  const { recordsPerSecond, ...found } = JSON.parse(stdout) as { recordsPerSecond: number };
  assert.ok(Number.isFinite(recordsPerSecond));
  return found;
}

function plainLoop(csv: string): unknown {
  const logbooks = new Map<string, Logbook>();
  let records = 0;
  let flown = 0;
  for (const line of csv.trimEnd().split('\n').slice(1)) {
    records++;
    const [, , , tailnum = '', , last = '', delay = '', , miles] = line.split(',');
    if (tailnum === '' || delay === '') continue;
    flown++;
    const book = logbooks.get(tailnum) ?? { tailnum, flights: 0, miles: 0, delayMin: 0, last };
    logbooks.set(tailnum, book);
    book.flights++;
    book.miles += Number(miles);
    book.delayMin += Number(delay);
    book.last = last;
  }
  const top = [...logbooks.values()].sort((a, b) => b.miles - a.miles || (a.tailnum < b.tailnum ? -1 : 1));
  return { records, flown, aircraft: logbooks.size, top: top.slice(0, 10) };
}
