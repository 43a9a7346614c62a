/**
 * What a user gets from the registry: packs the package, installs it in an empty project, runs README's snippet there,
 * and looks at types and doors from outside. Needs the npm registry, or npm's cache, for the dependencies.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '../support/temporary-directory.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const require = createRequire(import.meta.url);
const RUN_MS_MAX = 200_000;

describe('the packed package in an empty project', () => {
  const project = temporaryDirectory('pack');
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  /** Blocks that begin with a comment naming their file, by that name. */
  const files = new Map(
    [...readme.matchAll(/```ts\n\/\/ (\S+\.ts)\n(.*?)```/gs)].map(([, name, code]) => [name!, code!]),
  );

  before(() => {
    // Scripts are left out: `prepack` would remove the very dist/ that this test runs from.
    const packed = execFileSync(
      'npm',
      ['pack', '--ignore-scripts', '--json', '--pack-destination', project],
      { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
    writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
    execFileSync('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', join(project, filename)], {
      cwd: project,
      stdio: 'ignore',
    });
    // Without the optional packages, which have to be optional. (Left out at install, those of other packages were too.)
    const { optionalDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      optionalDependencies: Readonly<Record<string, string>>;
    };
    for (const name of Object.keys(optionalDependencies))
      rmSync(join(project, 'node_modules', name), { recursive: true, force: true });
    mkdirSync(join(project, 'src'));
    for (const [name, code] of files) writeFileSync(join(project, 'src', name), code);
  });

  after(() => {});

  /** Runs our compiler over the project; its errors, empty if there are none. */
  function compile(options: Readonly<Record<string, unknown>>, folder = 'src'): string {
    const config = {
      compilerOptions: {
        target: 'es2023',
        lib: ['es2023', 'esnext.disposable'],
        strict: true,
        exactOptionalPropertyTypes: true,
        types: ['node'],
        typeRoots: [join(root, 'node_modules', '@types')],
        rootDir: 'src',
        outDir: 'out',
        ...options,
      },
      include: [folder],
    };
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(config));
    const tsc = require.resolve('typescript/bin/tsc');
    return spawnSync(process.execPath, [tsc, '-p', project, '--pretty', 'false'], { encoding: 'utf8' })
      .stdout;
  }

  function run(code: string): {
    readonly status: number | null;
    readonly stdout: string;
    readonly stderr: string;
  } {
    return spawnSync(process.execPath, ['--input-type=module', '-e', code], {
      cwd: project,
      encoding: 'utf8',
      timeout: RUN_MS_MAX,
    });
  }

  test('it holds the compiled package and its papers, and no tests, sources or examples', () => {
    const listed = execFileSync('npm', ['pack', '--ignore-scripts', '--dry-run', '--json'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [{ files: packed }] = JSON.parse(listed) as [{ files: { path: string }[] }];
    const paths = packed.map(({ path }) => path);
    const papers = ['package.json', 'README.md', 'CHANGELOG.md', 'LICENSE'];
    for (const path of [...papers, 'dist/src/index.js', 'dist/src/index.d.ts'])
      assert.ok(paths.includes(path), path);
    for (const path of paths)
      assert.ok(papers.includes(path) || /^dist\/(src|workers)\/.*\.(js|d\.ts|js\.map)$/.test(path), path);
  });

  test("README's snippet compiles under moduleResolution node16, and prints what README says", () => {
    assert.deepEqual([...files.keys()], ['words.ts', 'main.ts']);
    assert.equal(compile({ module: 'node16', moduleResolution: 'node16' }), '');
    const { stdout, stderr, status } = spawnSync(process.execPath, [join('out', 'main.js')], {
      cwd: project,
      encoding: 'utf8',
      timeout: RUN_MS_MAX,
    });
    assert.equal(stderr, '');
    assert.equal(stdout, /```text\n(.*?)```/s.exec(readme)?.[1]);
    assert.equal(status, 0);
  });

  test('types resolve under moduleResolution bundler as well', () => {
    assert.equal(
      compile({ module: 'esnext', moduleResolution: 'bundler', noEmit: true, skipLibCheck: true }),
      '',
    );
  });

  test('the pages for beginners compile, and their test passes', () => {
    const page = readFileSync(join(root, 'docs', 'getting-started.md'), 'utf8');
    const pieces = new Map<string, string>();
    for (const [, name, code] of page.matchAll(/```ts\n\/\/ (\S+\.ts)\n(.*?)```/gs))
      pieces.set(name!, (pieces.get(name!) ?? '') + code!);
    assert.deepEqual([...pieces.keys()], ['accounts.ts', 'main.ts', 'accounts.test.ts']);
    mkdirSync(join(project, 'beginner'));
    for (const [name, code] of pieces) writeFileSync(join(project, 'beginner', name), code);
    const options = { module: 'node16', moduleResolution: 'node16', skipLibCheck: true };
    assert.equal(compile({ ...options, rootDir: 'beginner', outDir: 'begun' }, 'beginner'), '');
    const { status, stdout } = spawnSync(process.execPath, ['--test', join('begun', 'accounts.test.js')], {
      cwd: project,
      encoding: 'utf8',
      timeout: RUN_MS_MAX,
      // As from a shell: inside a test file the runner would speak to its parent instead.
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    assert.equal(status, 0, stdout);
  });

  test('types are real: a wrong use of the processor does not compile', () => {
    const wrong = join(project, 'src', 'wrong.ts');
    const main = files.get('main.ts')!;
    writeFileSync(wrong, main.replaceAll("query('count'", "query('counts'"));
    try {
      assert.match(
        compile({ module: 'node16', moduleResolution: 'node16', noEmit: true, skipLibCheck: true }),
        /wrong\.ts.*error TS/,
      );
    } finally {
      rmSync(wrong);
    }
  });

  test('nothing but the doors can be imported', () => {
    for (const path of [
      'dist/src/index.js',
      'dist/src/core/errors.js',
      'core/errors',
      'src/index.ts',
      'workers',
    ]) {
      const { stderr } = run(`await import('partita/${path}')`);
      assert.match(stderr, /ERR_PACKAGE_PATH_NOT_EXPORTED/, path);
    }
    const { stdout, stderr } = run(`
      const door = await import('partita');
      const testing = await import('partita/testing');
      const { default: { version } } = await import('partita/package.json', { with: { type: 'json' } });
      console.log(typeof door.StateManager, typeof testing.TestDriver, version);
    `);
    assert.match(stdout, /^(function|object) function \d+\.\d+\.\d+\n$/, stderr);
  });

  test('importing the package needs none of what only a manager or an engine loads', () => {
    const modules = join(project, 'node_modules');
    const deferred = ['zod', 'piscina', 'classic-level'];
    for (const name of deferred) renameSync(join(modules, name), join(modules, `${name}.away`));
    try {
      const { stdout, stderr } = run(`const { topic } = await import('partita'); console.log(typeof topic)`);
      assert.equal(stdout, 'function\n', stderr);
    } finally {
      for (const name of deferred) renameSync(join(modules, `${name}.away`), join(modules, name));
    }
  });
});
