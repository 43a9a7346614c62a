/**
 * The whole runtime in the test's own thread: a real manager and real actors over the embedded log, on a clock that
 * moves only when nothing else does. "Threads" are places that can be ended, which abandons their actors. The same seed
 * gives the same run.
 */
import { PartitionActor } from '../../src/actor/partition-actor.js';
import { ManualClock } from '../../src/core/clock.js';
import { silentLogger } from '../../src/core/logger.js';
import type { ManagerEnvironment } from '../../src/manager/manager-parts.js';
import { importProcessor } from '../../src/processor/import-processor.js';
import { KeptEngines } from '../../src/testing/kept-engines.js';
import { LocalPlaces } from '../../src/threads/local-places.js';
import type { SeededRandom } from './seeded-random.js';

/** Turns of the event loop after which only timers can move anything. */
const TURNS = 8;
const STEP_MS = 5;
const STEPS_MAX = 100_000;

export class OneThread {
  readonly clock = new ManualClock(1_767_225_600_000);
  readonly environment: ManagerEnvironment;
  readonly #engines = new KeptEngines();
  readonly #places: LocalPlaces[] = [];

  constructor(random: SeededRandom) {
    this.environment = {
      clock: this.clock,
      random: () => random.next(),
      importProcessor,
      places: async ({ workers }) => {
        const places = new LocalPlaces(workers, (spec, uplink) => {
          const api = new PartitionActor(spec, uplink, {
            clock: this.clock,
            logger: silentLogger,
            engines: () => this.#engines,
            importProcessor,
          });
          const abandon = async () => {
            await api.close({ commit: false, budgetMs: 0 });
          };
          return { api, abandon };
        });
        this.#places.push(places);
        return places;
      },
    };
  }

  /** Ends a place of each manager as a thread's death would. */
  async kill(place: number): Promise<void> {
    for (const places of this.#places) await places.end(place, 'killed by the test');
  }

  /** The databases are gone; none may be open. */
  wipe(): void {
    this.#engines.wipe();
  }

  /** Awaits what needs the clock to move. */
  async drive<T>(promise: Promise<T>): Promise<T> {
    const state = { settled: false };
    const done = promise.finally(() => {
      state.settled = true;
    });
    done.catch(() => undefined);
    for (let step = 0; !state.settled; step++) {
      if (step === STEPS_MAX) throw new Error(`nothing came of it in ${STEPS_MAX * STEP_MS} ms`);
      for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
      await this.clock.advanceAsync(STEP_MS);
    }
    return done;
  }
}
