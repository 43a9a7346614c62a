/** Which engine is made by whom. It loads no native code: the engines do that when a database is opened. */
import { levelEngineFactory } from './level-engine.js';
import { memoryEngineFactory } from './memory-engine.js';
import { rocksdbEngineFactory } from './rocksdb-engine.js';
import type { EngineFactory, EngineKind } from './storage-engine.js';

const FACTORIES: Readonly<Record<EngineKind, EngineFactory>> = {
  memory: memoryEngineFactory,
  level: levelEngineFactory,
  rocksdb: rocksdbEngineFactory,
};

export function engineFactory(kind: EngineKind): EngineFactory {
  return FACTORIES[kind];
}
