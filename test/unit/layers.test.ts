/**
 * Holds the table of houses (docs/architecture.md): reads every import of src/, workers/ and examples/ (static, dynamic,
 * of types) and checks who may import whom, and which packages are loaded only when they are needed.
 */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, existsSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../../../', import.meta.url));

interface Import {
  readonly specifier: string;
  /** `type` imports are erased; `dynamic` ones happen when the code runs. */
  readonly kind: 'static' | 'dynamic' | 'type';
}

/** A folder of src/ → the folders (or files) of src/ it may import, besides itself. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  // The corridor.
  core: [],
  codec: ['core', 'processor/serde.ts'],
  changelog: ['core', 'codec'],
  processor: ['core', 'codec', 'changelog'],
  joins: ['core', 'codec', 'processor'],
  // The main house.
  log: ['core', 'codec', 'changelog', 'processor'],
  threads: ['core', 'codec', 'changelog', 'processor'],
  manager: ['core', 'codec', 'changelog', 'processor', 'threads', 'log'],
  // The worker house.
  storage: ['core', 'codec', 'changelog', 'processor', 'threads/protocol.ts'],
  state: ['core', 'codec', 'changelog', 'processor', 'threads/protocol.ts', 'storage'],
  actor: ['core', 'codec', 'changelog', 'processor', 'threads/protocol.ts', 'storage', 'state'],
};

/** Packages that only some folders or files of src/ may load, and only by a dynamic import(). */
const DEFERRED: Readonly<Record<string, readonly string[]>> = {
  kafkajs: ['log/kafka'],
  piscina: ['threads'],
  zod: ['manager'],
  // An addon has to be loaded once on the main thread before any worker does.
  'classic-level': ['storage', 'log/embedded', 'threads/preload-engine.ts'],
  '@nxtedition/rocksdb': ['storage', 'threads/preload-engine.ts'],
};

/** Packages that may be imported as usual, but only there. */
const HOUSED: Readonly<Record<string, readonly string[]>> = {
  comlink: ['threads'],
  eventemitter3: ['core'],
  '@node-rs/crc32': ['codec'],
};

const WORKER_LINES_MAX = 40;

/** The sentences that are wrong about one file's import; `file` and the result are relative to the root, with `/`. */
function violation(file: string, { specifier, kind }: Import): string | undefined {
  if (specifier.startsWith('.')) return relativeViolation(file, resolve(file, specifier));
  if (specifier.startsWith('node:')) return undefined;
  const name = packageName(specifier);
  if (file.startsWith('examples/'))
    return ['partita', 'partita/testing'].includes(specifier)
      ? undefined
      : `${file} imports ${specifier}: an example shows the public doors only`;
  const deferred = DEFERRED[name];
  if (deferred !== undefined) {
    if (!inOneOf(file, deferred)) return `${file} imports ${name}, which only ${deferred.join(', ')} may`;
    if (kind === 'static') return `${file} imports ${name} statically; it is loaded by import() when needed`;
    return undefined;
  }
  const housed = HOUSED[name];
  if (housed !== undefined && !inOneOf(file, housed) && !file.startsWith('workers/'))
    return `${file} imports ${name}, which only ${housed.join(', ')} may`;
  if (name === 'partita') return `${file} imports its own package`;
  return undefined;
}

function relativeViolation(file: string, target: string): string | undefined {
  if (target.startsWith('workers/')) return `${file} imports ${target}: nobody imports a worker's entry`;
  if (file.startsWith('examples/'))
    return target.startsWith('examples/') ? undefined : `${file} imports ${target} past the public door`;
  if (target.startsWith('test/') || target.startsWith('examples/')) return `${file} imports ${target}`;
  const from = folder(file);
  const to = folder(target);
  // The doors, and the entries of threads, put both houses together; what they pull in is checked by `reached`.
  if (from === undefined || from === 'testing') return undefined;
  if (to === undefined || to === 'testing') return `${file} imports ${target}: the doors are for users`;
  if (from === to) return undefined;
  const allowed = ALLOWED[from];
  if (allowed === undefined) return `${file} is in a folder that the table of houses does not know`;
  if (allowed.some((entry) => entry === to || target === `src/${entry}`)) return undefined;
  return `${file} imports ${target}: ${from} may import ${allowed.join(', ')}`;
}

function folder(file: string): string | undefined {
  const parts = file.split('/');
  return parts[0] === 'src' && parts.length > 2 ? parts[1] : undefined;
}

function inOneOf(file: string, folders: readonly string[]): boolean {
  return folders.some((allowed) => file === `src/${allowed}` || file.startsWith(`src/${allowed}/`));
}

function packageName(specifier: string): string {
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]!;
}

function resolve(file: string, specifier: string): string {
  return posix.join(posix.dirname(file), specifier).replace(/\.js$/, '.ts');
}

function importsOf(source: string): Import[] {
  const imports: Import[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier))
      imports.push({
        specifier: node.moduleSpecifier.text,
        kind: node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword ? 'type' : 'static',
      });
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier && ts.isStringLiteral(node.moduleSpecifier))
      imports.push({ specifier: node.moduleSpecifier.text, kind: node.isTypeOnly ? 'type' : 'static' });
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      if (ts.isStringLiteral(node.argument.literal))
        imports.push({ specifier: node.argument.literal.text, kind: 'type' });
    } else if (ts.isCallExpression(node) && isLoading(node.expression)) {
      const [argument] = node.arguments;
      if (argument !== undefined && ts.isStringLiteralLike(argument))
        imports.push({ specifier: argument.text, kind: 'dynamic' });
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile('file.ts', source, ts.ScriptTarget.ES2023, true));
  return imports;
}

/** `import(…)`, `require(…)` and `createRequire(…)(…)`. */
function isLoading(callee: ts.Expression): boolean {
  if (callee.kind === ts.SyntaxKind.ImportKeyword) return true;
  if (ts.isCallExpression(callee)) return callee.expression.getText() === 'createRequire';
  return ts.isIdentifier(callee) && callee.text.startsWith('require');
}

function filesIn(...folders: readonly string[]): Map<string, readonly Import[]> {
  const files = new Map<string, readonly Import[]>();
  for (const name of folders) {
    const path = join(root, name);
    if (!existsSync(path)) continue;
    for (const entry of readdirSync(path, { recursive: true, withFileTypes: true }))
      if (entry.isFile() && entry.name.endsWith('.ts')) {
        const full = join(entry.parentPath, entry.name);
        files.set(relative(root, full).split(sep).join('/'), importsOf(readFileSync(full, 'utf8')));
      }
  }
  return files;
}

/** Every file and package that is loaded when `entry` is imported, without any dynamic import. */
function reached(files: ReadonlyMap<string, readonly Import[]>, entry: string): Set<string> {
  const all = new Set([entry]);
  for (const file of all)
    for (const { specifier, kind } of files.get(file) ?? [])
      if (kind === 'static')
        all.add(specifier.startsWith('.') ? resolve(file, specifier) : packageName(specifier));
  return all;
}

describe('the houses', () => {
  const files = filesIn('src', 'workers', 'examples');

  test('the checker reads what it is meant to read', () => {
    assert.ok(files.has('src/core/errors.ts'));
    assert.deepEqual(
      importsOf(`
        import type { A } from './a.js';
        import b, { type C } from './b.js';
        export * from './d.js';
        export type { E } from './e.js';
        type F = import('./f.js').F;
        const g = await import('g');
        const h = createRequire(import.meta.url)('x'), i = require('i');
      `),
      [
        { specifier: './a.js', kind: 'type' },
        { specifier: './b.js', kind: 'static' },
        { specifier: './d.js', kind: 'static' },
        { specifier: './e.js', kind: 'type' },
        { specifier: './f.js', kind: 'type' },
        { specifier: 'g', kind: 'dynamic' },
        { specifier: 'x', kind: 'dynamic' },
        { specifier: 'i', kind: 'dynamic' },
      ],
    );
  });

  const wrong: readonly (readonly [file: string, specifier: string, kind: Import['kind']])[] = [
    ['src/manager/a.ts', '../actor/partition-actor.js', 'type'],
    ['src/actor/a.ts', '../manager/state-manager.js', 'dynamic'],
    ['src/actor/a.ts', '../threads/calls.js', 'static'],
    ['src/core/a.ts', '../codec/keys.js', 'static'],
    ['src/state/a.ts', '../../test/support/a.js', 'static'],
    ['src/manager/a.ts', '../../workers/actor-host.js', 'dynamic'],
    ['src/manager/a.ts', '../index.js', 'static'],
    ['src/newfolder/a.ts', '../core/errors.js', 'static'],
    ['src/storage/a.ts', 'classic-level', 'static'],
    ['src/actor/a.ts', 'classic-level', 'dynamic'],
    ['src/log/embedded/a.ts', 'kafkajs', 'dynamic'],
    ['src/manager/a.ts', 'zod', 'static'],
    ['src/manager/a.ts', 'comlink', 'static'],
    ['examples/a/main.ts', '../../src/manager/state-manager.js', 'static'],
    ['examples/a/main.ts', 'partita/dist/src/index.js', 'static'],
  ];
  for (const [file, specifier, kind] of wrong)
    test(`${file} may not import ${specifier} (${kind})`, () => {
      assert.notEqual(violation(file, { specifier, kind }), undefined);
    });

  test('every import keeps to the table of houses', () => {
    const wrongs: string[] = [];
    for (const [file, imports] of files)
      for (const one of imports) {
        const sentence = violation(file, one);
        if (sentence !== undefined) wrongs.push(sentence);
      }
    assert.deepEqual(wrongs, []);
  });

  test('importing the public door loads neither the worker house nor a deferred package', () => {
    for (const loaded of reached(files, 'src/index.ts')) {
      assert.ok(!/^src\/(actor|state|storage|testing)\//.test(loaded), `src/index.ts loads ${loaded}`);
      assert.ok(!(loaded in DEFERRED), `src/index.ts loads ${loaded}`);
    }
  });

  test('the entries of threads are small, nobody imports them, and they never load the main house', () => {
    for (const entry of filesIn('workers').keys()) {
      const lines = readFileSync(join(root, entry), 'utf8').trimEnd().split('\n').length;
      assert.ok(lines <= WORKER_LINES_MAX, `${entry} has ${lines} lines`);
      for (const loaded of reached(files, entry)) {
        assert.ok(!/^src\/(manager|log)\//.test(loaded), `${entry} loads ${loaded}`);
        assert.ok(!(loaded in DEFERRED), `${entry} loads ${loaded}`);
      }
    }
  });

  test('every relative import leads to a file', () => {
    for (const [file, imports] of files)
      for (const { specifier } of imports)
        if (specifier.startsWith('.')) {
          const target = resolve(file, specifier);
          assert.ok(
            files.has(target) || existsSync(join(root, dirname(file), specifier)),
            `${file}: ${specifier}`,
          );
        }
  });
});
