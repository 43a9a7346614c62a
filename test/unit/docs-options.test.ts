/** Compares docs/options.md with the schema of `manager/resolve-options.ts`: every option, and every default that is a constant. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { LogFactory } from '../../src/log/log-client.js';
import { optionsSchema, resolveOptions } from '../../src/manager/resolve-options.js';

const page = readFileSync(new URL('../../../docs/options.md', import.meta.url), 'utf8');
/** Rows `| option | default | meaning |`. A default in backticks is a constant, otherwise it is told in words. */
const rows = page
  .split('\n')
  .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()))
  .filter((cells) => /^`[A-Za-z.]+`$/.test(cells[1] ?? ''))
  .map((cells) => ({ path: cells[1]!.slice(1, -1), fallback: cells[2] ?? '', meaning: cells[3] ?? '' }));

interface SchemaNode {
  readonly def?: { readonly innerType?: SchemaNode };
  readonly shape?: Readonly<Record<string, SchemaNode>>;
}

/** Paths of all options that have no options below them. */
function pathsOf(node: SchemaNode, prefix = ''): string[] {
  let inner = node;
  while (inner.shape === undefined && inner.def?.innerType !== undefined) inner = inner.def.innerType;
  if (inner.shape === undefined) return [prefix];
  return Object.entries(inner.shape).flatMap(([name, below]) =>
    pathsOf(below, prefix === '' ? name : `${prefix}.${name}`),
  );
}

test('every option is documented once, and nothing that is none', async () => {
  const schema = (await optionsSchema()) as unknown as SchemaNode;
  assert.deepEqual(rows.map(({ path }) => path).sort(), pathsOf(schema).sort());
});

test('every default that the page gives is the one that is used', async () => {
  const log: LogFactory = { kind: 'none', connect: () => Promise.reject(new Error('never called')) };
  const streams = { s: { url: new URL('file:///s.js'), config: undefined } };
  const resolved: unknown = await resolveOptions({ group: 'g', log, stateDir: 'dir', streams });
  for (const { path, fallback, meaning } of rows) {
    assert.ok(meaning.length > 10, `${path} has no meaning`);
    const constant = /^`(.*?)`/.exec(fallback)?.[1];
    if (constant === undefined) continue;
    const used = path
      .split('.')
      .reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], resolved);
    assert.equal(JSON.stringify(used), constant.replaceAll("'", '"'), path);
  }
});
