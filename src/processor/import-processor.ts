/**
 * Loads a processor module, in whichever thread asks: the main thread for its declarations, a worker to run it. Tells a
 * module that is no processor apart from one that fails to load.
 */
import { describeError, PartitaError } from '../core/errors.js';
import type { AnyDefinition } from './define-processor.js';

/** The definition of the module's default export. Rejects INVALID_PROCESSOR, with the cause if it failed to load. */
export async function importProcessor(url: string): Promise<AnyDefinition> {
  let module: { readonly default?: { readonly definition?: AnyDefinition } };
  try {
    module = (await import(url)) as typeof module;
  } catch (error) {
    throw new PartitaError(
      'INVALID_PROCESSOR',
      `The processor module ${url} could not be loaded: ${describeError(error)}.`,
      { cause: error, details: { url } },
    );
  }
  const definition = module.default?.definition;
  if (typeof definition?.process !== 'function')
    throw new PartitaError(
      'INVALID_PROCESSOR',
      `The module ${url} has no default export made by defineProcessor.`,
      { details: { url } },
    );
  return definition;
}
