/**
 * Bugs that are planted into a copy of the compiled product, one at a time, to see whether the simulator finds them: each
 * replaces one snippet, which must stand in its file exactly once. The copy runs in a process of its own.
 */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Mutant {
  readonly name: string;
  /** Below `dist/src`. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'the offset is committed before the changelog',
    file: 'actor/checkpoint.js',
    from: 'const outcome = await uplink.commit({',
    to: `await uplink.commit({ batches: [], offsets: this.#offsets(contents), commands: [] });
        const outcome = await uplink.commit({`,
  },
  {
    name: 'positions are committed without their state',
    file: 'actor/checkpoint.js',
    from: 'for (const change of changes)\n            append(change.key, change.value);',
    to: '',
  },
  {
    name: 'a fenced producer may still commit',
    file: 'log/embedded/transaction-coordinator.js',
    from: 'if (row?.producerId === holder.producerId && row.epoch === holder.epoch)',
    to: 'if (row?.producerId === holder.producerId)',
  },
  {
    name: 'a dirty entry is evicted',
    file: 'state/state-cache.js',
    from: 'if (entry.generation <= flushed && !entry.used) {',
    to: 'if (!entry.used) {',
  },
  {
    name: 'a parked actor resumes unread, whoever was between',
    file: 'manager/parking.js',
    from: 'now.generation === before.generation + 1',
    to: 'now.generation > before.generation',
  },
  {
    name: 'replay begins one record late',
    file: 'changelog/recovery-decision.js',
    from: 'const next = local.offset + 1;',
    to: 'const next = local.offset + 3;',
  },
  {
    name: 'the sweep does not see what a layer holds',
    file: 'state/key-value-store.js',
    from: 'if (entry !== undefined && entry.value !== UNKNOWN)\n            return entry.expiryMs;\n        const stored = this.#readEngine(key);\n        return',
    to: 'const stored = this.#readEngine(key);\n        return',
  },
  {
    name: 'a chunk of a stale epoch is accepted',
    file: 'actor/partition-actor.js',
    from: ' || chunk.epoch !== this.#epoch)',
    to: ')',
  },
  {
    name: 'the savepoint of a command does not cover its emits',
    file: 'actor/record-processor.js',
    from: 'this.commandOutputs.rollback();',
    to: '',
  },
  {
    name: 'a command is acknowledged before its commit',
    file: 'actor/partition-actor.js',
    from: 'this.#calls.commandDone(call, result);',
    to: 'call.resolve(result);',
  },
  {
    name: 'who started a commit in doubt is told that nothing was applied',
    file: 'manager/actor-uplink.js',
    from: "if (outcome.kind === 'inDoubt')\n            this.#inDoubt = commit;",
    to: '',
  },
];

export interface Caught {
  readonly mutant: string;
  /** The first seed that finds it; absent: none does. */
  readonly seed?: number;
  readonly how: string;
}

const DIST = join(dirname(fileURLToPath(import.meta.url)), '../..');

/** Plants the bug and runs seeds until one breaks. Throws if the snippet is not there exactly once. */
export async function hunt(
  mutant: Mutant,
  options: { readonly seeds: number; readonly steps: number },
): Promise<Caught> {
  const directory = await mkdtemp(join(tmpdir(), 'partita-mutant-'));
  try {
    for (const part of ['src', 'test/simulation', 'test/support'])
      await cp(join(DIST, part), join(directory, 'dist', part), { recursive: true });
    await symlink(join(DIST, '../node_modules'), join(directory, 'node_modules'));
    await cp(join(DIST, '../package.json'), join(directory, 'package.json'));
    const path = join(directory, 'dist/src', mutant.file);
    const code = await readFile(path, 'utf8');
    if (code.split(mutant.from).length !== 2)
      throw new Error(`The snippet of "${mutant.name}" does not stand in ${mutant.file} exactly once.`);
    await writeFile(
      path,
      code.replace(mutant.from, () => mutant.to),
    );
    return { mutant: mutant.name, ...(await firstBroken(directory, options)) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function firstBroken(
  directory: string,
  { seeds, steps }: { readonly seeds: number; readonly steps: number },
): Promise<Omit<Caught, 'mutant'>> {
  const args = [
    join(directory, 'dist/test/simulation/run.js'),
    '--first',
    '--seeds',
    `${seeds}`,
    '--steps',
    `${steps}`,
  ];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout: 240_000, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      const found = /^BROKEN seed (\d+): (.*)$/m.exec(stdout);
      if (found !== null) resolve({ seed: Number(found[1]), how: found[2]!.slice(0, 120) });
      // A process that a bug ends by force has found it too, whatever the seed.
      else if (error === null) resolve({ how: 'not found' });
      else resolve({ how: `the run itself failed: ${stderr.slice(-300)}` });
    });
  });
}
