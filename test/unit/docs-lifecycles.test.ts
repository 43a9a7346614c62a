/** Compares the drawings of docs/lifecycles.md with the tables of `core/lifecycles.ts`, arrow by arrow. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { LifecycleTable } from '../../src/core/lifecycle.js';
import * as lifecycles from '../../src/core/lifecycles.js';

const page = readFileSync(new URL('../../../docs/lifecycles.md', import.meta.url), 'utf8');
const tables: readonly LifecycleTable<string>[] = Object.values(lifecycles);

/** The drawings by title, each as its sorted arrows. */
function drawings(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const [, title, body] of page.matchAll(
    /```mermaid\n---\ntitle: (\w+)\n---\nstateDiagram-v2\n(.*?)```/gs,
  ))
    found.set(
      title!,
      [...body!.matchAll(/^ +(\S+) --> (\w+)/gm)].map(([, from, to]) => `${from!} ${to!}`).sort(),
    );
  return found;
}

test('there is one drawing for each lifecycle and no other', () => {
  assert.deepEqual([...drawings().keys()].sort(), tables.map(({ name }) => name).sort());
});

for (const table of tables)
  test(`the drawing of the ${table.name} shows exactly the moves of its table`, () => {
    const moves = Object.entries(table.moves).flatMap(([from, tos]) => tos.map((to) => `${from} ${to}`));
    assert.deepEqual(drawings().get(table.name), [`[*] ${table.initial}`, ...moves].sort());
  });
