/** Every relative link of the docs leads to a file, and every path of the source they name exists. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
];

for (const page of pages)
  test(`${page} links to what exists`, () => {
    const text = readFileSync(join(root, page), 'utf8');
    for (const [, target] of text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g))
      if (!/^[a-z]+:/.test(target!))
        assert.ok(existsSync(join(root, dirname(page), target!)), `${page} links to ${target!}`);
    for (const [, path] of text.matchAll(/`((?:src|test|workers|examples|docs)\/[\w./-]+)`/g))
      assert.ok(existsSync(join(root, path!)), `${page} names ${path!}`);
  });
