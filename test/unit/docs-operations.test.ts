/** Compares the table of errors in docs/operations.md with the table of codes: each stands there, with what becomes of a partition. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERROR_CODES, mendability, PartitaError, type ErrorCode } from '../../src/core/errors.js';

const page = readFileSync(new URL('../../../docs/operations.md', import.meta.url), 'utf8');
/** Rows `| codes in backticks | what becomes of a partition | what to do |`. */
const rows = page
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .filter((cells) => /^(`[A-Z_]+`(, )?)+$/.test(cells[1] ?? ''))
  .flatMap(([, codes = '', partition, remedy]) =>
    [...codes.matchAll(/[A-Z_]+/g)].map(([code]) => ({ code, partition, remedy })),
  );

test('an operator finds every error code once, with what to do, and no other', () => {
  assert.deepEqual(rows.map(({ code }) => code).sort(), Object.keys(ERROR_CODES).sort());
  for (const { code, remedy } of rows) assert.ok((remedy ?? '').length > 20, `${code} has no remedy`);
});

test('what is said about restarts is what the runtime does', () => {
  for (const { code, partition } of rows) {
    if (partition === '—') continue;
    const mendable = mendability(new PartitaError(code as ErrorCode, ''));
    assert.equal(partition, mendable === true ? 'restarts' : mendable === 'once' ? 'once' : 'fails', code);
  }
});
