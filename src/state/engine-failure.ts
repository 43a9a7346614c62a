/** What the engine threw, as the error that fails the transaction. A PartitaError of storage stays what it is. */
import { PartitaError } from '../core/errors.js';

export function asEngineError(cause: unknown, store: string): PartitaError {
  if (cause instanceof PartitaError) return cause;
  return new PartitaError('ENGINE_FAILED', `The engine failed to read the store ${store}.`, {
    cause,
    details: { store },
  });
}
