/** Compares docs/errors.md with the table of codes: each has its cause and remedy, and says truly whether it is retryable. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ERROR_CODES } from '../../src/core/errors.js';

const page = readFileSync(new URL('../../../docs/errors.md', import.meta.url), 'utf8');
/** Rows `| CODE | retryable | cause | remedy |`, the code in backticks. */
const rows = page
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .filter((cells) => /^`[A-Z_]+`$/.test(cells[1] ?? ''))
  .map((cells) => ({ code: cells[1]!.slice(1, -1), retryable: cells[2], cause: cells[3], remedy: cells[4] }));

test('every code that Partita throws is explained once, and no other', () => {
  assert.deepEqual(rows.map(({ code }) => code).sort(), Object.keys(ERROR_CODES).sort());
});

test('each explanation has a cause, a remedy, and the truth about retrying', () => {
  const codes: Readonly<Record<string, { readonly retryable: boolean }>> = ERROR_CODES;
  for (const { code, retryable, cause, remedy } of rows) {
    assert.equal(retryable, codes[code]?.retryable === true ? 'yes' : 'no', code);
    assert.ok((cause ?? '').length > 10, `${code} has no cause`);
    assert.ok((remedy ?? '').length > 10, `${code} has no remedy`);
  }
});

test('there is no code that nothing in the source uses', () => {
  const folder = fileURLToPath(new URL('../../../src/', import.meta.url));
  const source = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && name !== join('core', 'errors.ts'))
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('\n');
  for (const code of Object.keys(ERROR_CODES))
    assert.ok(source.includes(`'${code}'`), `${code} is never used`);
});
