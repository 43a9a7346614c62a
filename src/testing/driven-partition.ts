/**
 * One partition of a processor under test: a real actor in the test's own thread, and what the manager would do around
 * it, one step at a time: open and recover, hand it every record that its inputs hold, crash it, open it again. It never
 * restarts an actor by itself: a failure is the test's to see.
 */
import { PartitaError } from '../core/errors.js';
import type { PartitionBounds } from '../core/log-types.js';
import type { LogClient } from '../log/log-client.js';
import type {
  ActorApi,
  ActorEvent,
  ActorSpec,
  ChunkDone,
  ActorUplink,
  RecoveredActor,
} from '../threads/protocol.js';
import { DirectUplink } from './direct-uplink.js';

/** Bytes of one chunk at most, but at least one batch. */
const CHUNK_BYTES = 256 * 1024;
/** Turns of the event loop after which what waits for nothing else has ended, and a failed actor has told why. */
const TURNS = 20;
/** Rounds of fetches in one drain. */
const ROUNDS_MAX = 1_000_000;

export interface PartitionParts {
  readonly client: LogClient;
  /** The spec without its epoch. */
  readonly spec: Omit<ActorSpec, 'epoch'>;
  readonly make: (spec: ActorSpec, uplink: ActorUplink) => ActorApi;
  readonly onEvent: (partition: number, event: ActorEvent) => void;
}

interface Running {
  readonly actor: ActorApi;
  readonly uplink: DirectUplink;
  readonly epoch: number;
  readonly positions: Map<string, number>;
}

export class DrivenPartition {
  readonly partition: number;
  readonly #parts: PartitionParts;
  #running: Running | undefined;
  #epoch = 0;
  #fetch = 0;
  #failure: unknown;

  constructor(parts: PartitionParts) {
    this.#parts = parts;
    this.partition = parts.spec.id.partition;
  }

  /** The actor, if it is open. */
  get actor(): ActorApi | undefined {
    return this.#running?.actor;
  }

  /** Opens an actor over what is committed; resolves when it has recovered. */
  async open(): Promise<RecoveredActor> {
    const { client, make, onEvent } = this.#parts;
    this.#failure = undefined;
    const epoch = ++this.#epoch;
    const spec: ActorSpec = { ...this.#parts.spec, epoch };
    const uplink = new DirectUplink(client, spec, (event) => {
      if (event.type === 'failed') this.#failure ??= event.error;
      onEvent(this.partition, event);
    });
    const actor = make(spec, uplink);
    const positions = new Map<string, number>();
    this.#running = { actor, uplink, epoch, positions };
    await actor.open();
    const recovered = await actor.recover();
    for (const { topic, offset } of recovered.positions) positions.set(topic, offset);
    return recovered;
  }

  /**
   * Processes everything that the inputs hold; rejects with what made the actor fail. A fetch of each input per round:
   * with several inputs the actor waits for the empty ones too.
   */
  async drain(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    const underWay: Promise<ChunkDone>[] = [];
    try {
      for (let round = 0, moved = true; moved && round < ROUNDS_MAX; round++) {
        this.#throwFailure();
        moved = false;
        for (const { topic } of this.#parts.spec.inputs) {
          const { bytes, from, next, aborted, bounds } = await this.#read(running, topic);
          if (next > from) moved = true;
          running.positions.set(topic, next);
          const chunk = { topic, epoch: running.epoch, bytes, from, next, aborted, ...seen(bounds) };
          const done = running.actor.process({ ...chunk, fetch: ++this.#fetch });
          // A failure is heard below, by all of them at once; until then it is not an unhandled one.
          done.catch(() => undefined);
          underWay.push(done);
        }
      }
      const done = await Promise.all(underWay);
      await this.#whenWindowsAreClosed(running);
      this.#throwFailure();
      if (done.some(({ accepted }) => !accepted)) throw this.#ended();
    } catch (error) {
      // The report of a failure comes when the actor has released its database.
      await turns();
      this.#throwFailure();
      throw error;
    }
  }

  /** Everything that is in memory and not committed is gone, without a word to the log. */
  async crash(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    running?.uplink.cut();
    await running?.actor.close({ commit: false, budgetMs: 0 });
    await running?.uplink.close();
  }

  /** Commits and closes. */
  async close(budgetMs: number): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.actor.close({ commit: true, budgetMs });
    await running?.uplink.close();
  }

  /** What the last record made due comes after it. Timers may go on for ever; windows end. */
  async #whenWindowsAreClosed({ actor }: Running): Promise<void> {
    await turns();
    while (this.#running?.actor === actor && this.#failure === undefined) {
      if (!(await actor.stats()).isClosingWindows) return;
      await turns();
    }
  }

  #read(running: Running, topic: string) {
    return this.#parts.client.read({
      topic,
      partition: this.partition,
      from: running.positions.get(topic) ?? 0,
      maxBytes: CHUNK_BYTES,
      isolation: 'read_committed',
    });
  }

  #ended(): PartitaError {
    return new PartitaError(
      'ACTOR_RESTARTED',
      `The actor of partition ${this.partition} ended before it had processed everything.`,
    );
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure as Error;
  }
}

function seen(bounds: PartitionBounds): { readonly lastStable: number; readonly highWatermark: number } {
  return { lastStable: bounds.lastStable, highWatermark: bounds.end };
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
}
