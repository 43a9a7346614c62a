/** The disk of one simulated process: databases that outlive their actors, writes that wait or fail when the simulation says so. */
import { PartitaError } from '../../src/core/errors.js';
import type { EngineFactory, EngineWrite, StorageEngine } from '../../src/storage/storage-engine.js';
import { KeptEngines } from '../../src/testing/kept-engines.js';
import type { Scheduler } from './scheduler.js';

export class SimulatedDisk implements EngineFactory {
  readonly kind = 'memory';
  /** The next write fails, with nothing written. */
  failNext = false;
  /** Writes wait for the scheduler. */
  slow = false;
  readonly #name: string;
  readonly #scheduler: Scheduler;
  readonly #engines = new KeptEngines();

  constructor(name: string, scheduler: Scheduler) {
    this.#name = name;
    this.#scheduler = scheduler;
  }

  async open(directory: string): Promise<StorageEngine> {
    const engine = await this.#engines.open(directory);
    const write = engine.write.bind(engine);
    engine.write = async (batch: readonly EngineWrite[], options: { readonly sync: boolean }) => {
      if (this.slow) await this.#scheduler.once(`disk of ${this.#name}`, 'disks', `write of ${batch.length} rows`);
      if (this.failNext) {
        this.failNext = false;
        throw new PartitaError('ENGINE_FAILED', 'The simulated disk has failed.');
      }
      await write(batch, options);
    };
    return engine;
  }

  destroy(directory: string): Promise<void> {
    return this.#engines.destroy(directory);
  }
}
