/** What an actor is given besides its spec: everything that a test replaces. It holds nothing of its own. */
import type { EngineKind } from '../core/engine-kind.js';
import type { Clock } from '../core/clock.js';
import type { Logger } from '../core/logger.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import type { EngineFactory } from '../storage/storage-engine.js';

export interface ActorEnvironment {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Who makes engines; the testing driver's databases outlive their actors. Default: the three engines. */
  readonly engines?: (kind: EngineKind) => EngineFactory;
  /** Whether somebody may be stepping through the thread: then nothing of it counts as stuck. Default: never. */
  readonly isDebugged?: () => boolean;
  /** Imports a processor module and returns the definition of its default export. Rejects INVALID_PROCESSOR. */
  importProcessor(url: string): Promise<AnyDefinition>;
}
