/** Which processors have state, and hence a changelog and databases. */
import type { AnyDefinition } from './define-processor.js';
import { storesOf } from './tables.js';

/** Whether there is anything that outlives a record: stores, tables or timers. */
export function hasState(definition: AnyDefinition): boolean {
  return Object.keys({ ...storesOf(definition), ...definition.timers }).length > 0;
}
