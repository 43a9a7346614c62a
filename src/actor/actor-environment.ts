/** What an actor is given besides its spec: everything that a test replaces. It holds nothing of its own. */
import type { Clock } from '../core/clock.js';
import type { Logger } from '../core/logger.js';
import type { AnyDefinition } from '../processor/define-processor.js';

export interface ActorEnvironment {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Imports a processor module and returns the definition of its default export. Rejects INVALID_PROCESSOR. */
  importProcessor(url: string): Promise<AnyDefinition>;
}
