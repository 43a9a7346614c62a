/**
 * What an actor opens before it may recover: the user's processor with its config, and the partition's database. Whoever has
 * opened it closes the database; nothing here reads the log or runs a handler. Next: `state-recovery.ts`.
 */
import type { AnyDefinition } from '../processor/define-processor.js';
import { StorePartition } from '../storage/store-partition.js';
import type { ActorSpec } from '../threads/protocol.js';
import type { ActorEnvironment } from './actor-environment.js';
import { parseConfig } from './declared-stores.js';

const ENGINE_OPTIONS = { blockCacheBytes: 8 << 20, writeBufferBytes: 4 << 20 };

export interface OpenedParts {
  readonly definition: AnyDefinition;
  readonly config: unknown;
  /** Absent for a stream without state. */
  readonly partition: StorePartition | undefined;
}

/** @throws PartitaError INVALID_PROCESSOR, INVALID_OPTIONS, and what opening the database throws */
export async function openParts(
  spec: ActorSpec,
  environment: ActorEnvironment,
  signal: AbortSignal,
): Promise<OpenedParts> {
  const definition = await environment.importProcessor(spec.processorUrl);
  const config = parseConfig(definition, spec);
  if (spec.changelog === undefined) return { definition, config, partition: undefined };
  const { engine, openBudgetMs, rebuildOnCorruption } = spec.options;
  const partition = await StorePartition.open({
    directory: spec.directory,
    engine,
    changelogTopicId: spec.changelog.topicId,
    openBudgetMs,
    engineOptions: ENGINE_OPTIONS,
    clock: environment.clock,
    signal,
    rebuildOnCorruption,
    ...(environment.engines === undefined ? {} : { factoryOf: environment.engines }),
  });
  return { definition, config, partition };
}
