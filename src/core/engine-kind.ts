/**
 * The storage engines by name, and what is to be installed for each; both houses know them. The port is
 * `storage/storage-engine.ts`, which the main house never imports.
 */
import { PartitaError } from './errors.js';

export type EngineKind = 'memory' | 'level' | 'rocksdb';

/** The package that holds an engine's native code. */
export const ENGINE_PACKAGES = {
  level: 'classic-level',
  rocksdb: '@nxtedition/rocksdb',
} as const satisfies Partial<Record<EngineKind, string>>;

/** What to say when an engine's package could not be loaded: what to install, or that the platform has none. */
export function engineUnavailable(kind: keyof typeof ENGINE_PACKAGES, cause: unknown): PartitaError {
  const name = ENGINE_PACKAGES[kind];
  const platform = `${process.platform}-${process.arch}`;
  const missing =
    cause instanceof Error && 'code' in cause && String(cause.code).endsWith('MODULE_NOT_FOUND');
  const remedy =
    kind === 'level'
      ? `Run "npm install ${name}".`
      : missing
        ? `It is an optional dependency: run "npm install ${name}@12.2.12", or choose the engine "level".`
        : 'Its prebuilt binaries are for Linux x64 (glibc 2.34 or later) and macOS arm64; choose the engine "level" elsewhere.';
  return new PartitaError(
    'ENGINE_UNAVAILABLE',
    `The engine "${kind}" needs the package ${name}, which ${missing ? 'is not installed' : 'could not be loaded'} on ${platform}. ${remedy}`,
    { cause, details: { engine: kind, package: name, platform } },
  );
}
