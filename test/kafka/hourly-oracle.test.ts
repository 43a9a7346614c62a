/** What examples/08-hourly-delays has to print, by another engine: DuckDB, from the flights and the definitions alone. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { registerMissing } from '../support/describe-kafka.js';
import { installPython, pythonMissing, pythonWith } from '../support/python-environment.js';

const PACKAGE = 'duckdb==2.0.1';
const RUN_BUDGET_MS = 60_000;
const root = new URL('../../../', import.meta.url);

const title = 'DuckDB finds the same hourly delays in the flights as the example is expected to print';
const missing = pythonMissing(PACKAGE);
if (missing !== undefined) registerMissing(title, missing);
else
  test(title, async () => {
    await installPython(PACKAGE);
    const files = ['test/support/hourly-flights.py', 'examples/data/flights-2013.csv.gz'];
    const paths = files.map((file) => fileURLToPath(new URL(file, root)));
    const { stdout } = await promisify(execFile)(pythonWith(PACKAGE), paths, { timeout: RUN_BUDGET_MS });
    const expected = readFileSync(new URL('examples/08-hourly-delays/expected.json', root), 'utf8');
    assert.deepEqual(JSON.parse(stdout), JSON.parse(expected));
  });
