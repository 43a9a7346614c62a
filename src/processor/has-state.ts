/** Which processors have state, and hence a changelog and databases. */
import type { AnyDefinition } from './define-processor.js';

/** Whether there is anything that outlives a record: stores or timers. */
export function hasState({ stores = {}, timers = {} }: AnyDefinition): boolean {
  return Object.keys(stores).length > 0 || Object.keys(timers).length > 0;
}
