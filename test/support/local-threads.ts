/**
 * "Threads" in the test's own thread and on the machine's clock, which can be ended as by their death; point reads of
 * their databases are counted, so that a test sees whether a cache was warm.
 */
import { PartitionActor } from '../../src/actor/partition-actor.js';
import { systemClock } from '../../src/core/clock.js';
import { silentLogger } from '../../src/core/logger.js';
import type { ManagerEnvironment } from '../../src/manager/manager-parts.js';
import { importProcessor } from '../../src/processor/import-processor.js';
import type { EngineFactory, StorageEngine } from '../../src/storage/storage-engine.js';
import { KeptEngines } from '../../src/testing/kept-engines.js';
import { LocalPlaces } from '../../src/threads/local-places.js';

export class LocalThreads {
  readonly environment: ManagerEnvironment;
  /** Point reads that reached a database, by its directory's last part. */
  readonly reads = new Map<string, number>();
  readonly #kept = new KeptEngines();
  readonly #engines: EngineFactory = {
    kind: 'memory',
    open: async (directory) => this.#counting(await this.#kept.open(directory), directory),
    destroy: (directory) => this.#kept.destroy(directory),
  };
  #places: LocalPlaces | undefined;

  constructor() {
    this.environment = {
      clock: systemClock,
      random: Math.random,
      importProcessor,
      places: async ({ workers }) => {
        this.#places = new LocalPlaces(workers, (spec, uplink) => {
          const api = new PartitionActor(spec, uplink, {
            clock: systemClock,
            logger: silentLogger,
            engines: () => this.#engines,
            importProcessor,
          });
          return {
            api,
            abandon: async () => {
              await api.close({ commit: false, budgetMs: 0 });
            },
          };
        });
        return this.#places;
      },
    };
  }

  /** Ends a place as a thread's death would. */
  async kill(place: number): Promise<void> {
    await this.#places?.end(place, 'killed by the test');
  }

  #counting(engine: StorageEngine, directory: string): StorageEngine {
    const partition = directory.split('/').at(-1)!;
    return {
      kind: engine.kind,
      get: (key) => {
        this.reads.set(partition, (this.reads.get(partition) ?? 0) + 1);
        return engine.get(key);
      },
      snapshot: () => engine.snapshot(),
      write: (batch, options) => engine.write(batch, options),
      stats: () => engine.stats(),
      close: () => engine.close(),
    };
  }
}
