/** What the state layer needs of an actor's database: `storage/store-partition.ts` fits, and so does a test's fake. */
import type { EngineSnapshot } from '../storage/storage-engine.js';

export interface StatePartition {
  /** Synchronous point read by whole store key; `undefined` if there is none. The bytes belong to the caller. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** Whether it holds nothing at all yet. Absent: unknown. */
  readonly empty?: boolean;
  /** Synchronous: of this very moment. */
  snapshot(): EngineSnapshot;
}
