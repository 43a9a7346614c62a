/** Whether a processor has state: then its stream has a changelog, and each of its actors a database. */
import type { AnyDefinition } from './define-processor.js';
import { storesOf } from './tables.js';

export function hasState(definition: AnyDefinition): boolean {
  return Object.keys(storesOf(definition)).length > 0 || Object.keys(definition.timers ?? {}).length > 0;
}
