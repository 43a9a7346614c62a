/**
 * Loads the native code of an engine on the main thread before any worker does, since an addon that is first loaded by
 * two threads at once may fail in one of them. It opens no database and knows nothing of the engines beyond their
 * packages' names; the engines themselves are in `storage/`.
 */
import { ENGINE_PACKAGES, engineUnavailable, type EngineKind } from '../core/engine-kind.js';

/** @throws PartitaError ENGINE_UNAVAILABLE, naming what to install or that the platform has none */
export async function preloadEngine(kind: EngineKind): Promise<void> {
  if (kind === 'memory') return;
  try {
    await import(ENGINE_PACKAGES[kind]);
  } catch (cause) {
    throw engineUnavailable(kind, cause);
  }
}
