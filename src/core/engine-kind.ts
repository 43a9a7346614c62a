/** The storage engines by name; the port is `storage/storage-engine.ts`, which the main house never imports. */
export type EngineKind = 'memory' | 'level' | 'rocksdb';
