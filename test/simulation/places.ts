/**
 * The threads of a simulated process: real actors in this thread, every word to and from them a message of the scheduler.
 * The end of a thread is what it is to a real one: what was under way in its port is gone, calls reject THREAD_DIED.
 * Chunks of the past are kept, so that the world can send them again.
 */
import { PartitionActor } from '../../src/actor/partition-actor.js';
import { PartitaError } from '../../src/core/errors.js';
import type { AnyDefinition } from '../../src/processor/define-processor.js';
import { silentLogger } from '../../src/core/logger.js';
import type { ActorPlaces, PlacedActor } from '../../src/threads/actor-places.js';
import type { ActorApi, ActorSpec, ActorUplink, Chunk } from '../../src/threads/protocol.js';
import type { Disks } from './disks.js';
import { Owner, OwnedClock, type Scheduler } from './scheduler.js';

export interface PlacesParts {
  readonly scheduler: Scheduler;
  readonly disks: Disks;
  readonly process: Owner;
  readonly definition: AnyDefinition;
  readonly cacheBytes: number;
  /** Chunks of earlier incarnations reach an actor as soon as it serves. */
  readonly ghosts: boolean;
  /** One was taken. */
  readonly onTaken: (text: string) => void;
}

/** A chunk that was sent before. */
interface Sent {
  readonly chunk: Chunk;
  readonly partition: number;
}

interface Resident {
  readonly thread: Owner;
  readonly spec: ActorSpec;
  readonly api: ActorApi;
  /** The wrapped one, for chunks that are sent again. */
  readonly name: string;
  readonly died: (error: Error) => void;
}

const SENT_MAX = 40;

export class SimulatedPlaces implements ActorPlaces {
  readonly #parts: PlacesParts;
  readonly #residents: Set<Resident>[];
  readonly #threads: Owner[];
  /** Calls that are under way, by thread: also those of an actor that has closed meanwhile settle. */
  readonly #calls = new Map<Owner, Set<(error: Error) => void>>();
  readonly #sent: Sent[] = [];
  #made = 0;

  constructor(size: number, parts: PlacesParts) {
    this.#parts = parts;
    this.#residents = Array.from({ length: size }, () => new Set());
    this.#threads = Array.from({ length: size }, () => new Owner('none'));
    for (let place = 0; place < size; place++) this.#threads[place] = this.#newThread(place);
  }

  get size(): number {
    return this.#residents.length;
  }

  async prepare(): Promise<void> {
    return Promise.resolve();
  }

  async resize(size: number): Promise<void> {
    for (let place = this.size; place < size; place++) {
      this.#residents.push(new Set());
      this.#threads.push(this.#newThread(place));
    }
    for (let place = this.size - 1; place >= size; place--) {
      await this.end(place, 'there are fewer places now');
      this.#residents.length = this.#threads.length = place;
    }
  }

  utilisations(): readonly undefined[] {
    return this.#residents.map(() => undefined);
  }

  async create(place: number, spec: ActorSpec, uplink: ActorUplink): Promise<PlacedActor> {
    const { scheduler, disks, definition, cacheBytes } = this.#parts;
    const thread = this.#threads[place]!;
    const name = `${thread.name}/p${spec.id.partition}`;
    const line = `${name}#${++this.#made}`;
    const clock = new OwnedClock(scheduler.clock, thread);
    const actor = new PartitionActor({ ...spec, cacheBytes }, this.#uplink(uplink, name, line, thread), {
      clock,
      logger: silentLogger,
      engines: () => disks.of(thread),
      importProcessor: async () => definition,
    });
    let died: (error: Error) => void = () => undefined;
    const death = new Promise<Error>((resolve) => (died = resolve));
    const resident: Resident = { thread, spec, api: actor, name, died };
    this.#residents[place]!.add(resident);
    return { api: this.#api(resident, line, this.#residents[place]!), died: death };
  }

  async end(place: number, reason: string): Promise<void> {
    const residents = [...this.#residents[place]!];
    const thread = this.#threads[place]!;
    this.#residents[place]!.clear();
    thread.die();
    this.#parts.scheduler.cut();
    this.#parts.disks.cut();
    this.#threads[place] = this.#newThread(place);
    const error = new PartitaError('THREAD_DIED', `The place ${place} was ended: ${reason}.`, {
      details: { place },
    });
    for (const reject of this.#calls.get(thread) ?? []) reject(error);
    this.#calls.delete(thread);
    for (const { died } of residents) died(error);
  }

  states(): readonly { readonly place: number; readonly state: string; readonly actors: number }[] {
    return this.#residents.map((residents, place) => ({ place, state: 'ready', actors: residents.size }));
  }

  async close(): Promise<void> {
    for (let place = 0; place < this.size; place++) await this.end(place, 'the manager stopped');
  }

  get residents(): number {
    return this.#residents.reduce((sum, { size }) => sum + size, 0);
  }

  /** Sends an old chunk to an actor that serves its partition now. What it was, and the answer. */
  sendAgain(
    pick: <T>(of: readonly T[]) => T,
  ): { readonly text: string; readonly stale: boolean; readonly accepted: Promise<boolean> } | undefined {
    const residents = this.#residents.flatMap((there) => [...there]);
    const fitting = this.#sent.filter(({ partition }) =>
      residents.some(({ spec }) => spec.id.partition === partition),
    );
    if (fitting.length === 0) return undefined;
    const { chunk, partition } = pick(fitting);
    const { api, spec, name } = residents.find((resident) => resident.spec.id.partition === partition)!;
    const accepted = api.process(copyOf(chunk)).then(
      ({ accepted: taken }) => taken,
      () => false,
    );
    const text = `${name} is sent the chunk from ${chunk.from} of epoch ${chunk.epoch} again`;
    return { text, stale: chunk.epoch < spec.epoch, accepted };
  }

  /** What an earlier incarnation was sent from the same position arrives late. */
  #haunt({ api, spec, name }: Resident, position: number): void {
    const stale = this.#sent.find(
      ({ chunk, partition }) =>
        partition === spec.id.partition &&
        chunk.from === position &&
        chunk.next > position &&
        chunk.epoch < spec.epoch,
    );
    if (stale === undefined) return;
    const text = `${name} is sent the chunk from ${position} of epoch ${stale.chunk.epoch} late`;
    this.#parts.scheduler.tell(text);
    api.process(copyOf(stale.chunk)).then(
      ({ accepted }) => {
        if (accepted) this.#parts.onTaken(text);
      },
      () => undefined,
    );
  }

  #newThread(place: number): Owner {
    const { process } = this.#parts;
    return new Owner(`${process.name}/thread${place}`, process);
  }

  #api(resident: Resident, line: string, residents: Set<Resident>): ActorApi {
    const { scheduler } = this.#parts;
    const { api, name, thread } = resident;
    const rejects = this.#calls.get(thread) ?? new Set();
    this.#calls.set(thread, rejects);
    const call = <T>(what: string, run: () => Promise<T>): Promise<T> =>
      new Promise<T>((resolve, reject) => {
        if (thread.dead) {
          reject(new PartitaError('THREAD_DIED', `The thread of ${name} has ended.`));
          return;
        }
        rejects.add(reject);
        const answer = async (): Promise<void> => {
          await scheduler.hold(`${line} down`, `${name} is told to ${what}`, thread);
          let settle: () => void;
          try {
            const result = structuredClone(await run());
            settle = () => {
              resolve(result);
            };
          } catch (error) {
            settle = () => {
              reject(error instanceof Error ? error : new Error(String(error)));
            };
          }
          await scheduler.hold(`${line} up`, `${name} answers ${what}`, thread);
          rejects.delete(reject);
          settle();
        };
        void answer();
      });
    return {
      open: () => call('open', () => api.open()),
      recover: () =>
        call('recover', async () => {
          const recovered = await api.recover();
          if (this.#parts.ghosts) this.#haunt(resident, recovered.positions[0]!.offset);
          return recovered;
        }),
      process: (chunk) => {
        this.#sent.push({ chunk: copyOf(chunk), partition: resident.spec.id.partition });
        if (this.#sent.length > SENT_MAX) this.#sent.shift();
        return call(`process the chunk ${chunk.from}–${chunk.next}`, () => api.process(chunk));
      },
      checkpoint: (reason) => call('checkpoint', () => api.checkpoint(reason)),
      command: (command) =>
        call(`run ${command.name}(${String(command.key)})`, () => api.command(structuredClone(command))),
      query: (query) => call(`answer ${query.name}`, () => api.query(structuredClone(query))),
      // The world's caches stay as small as they are.
      setCacheBytes: () => Promise.resolve(),
      stats: () => api.stats(),
      park: (options) => call('park', () => api.park(options)),
      resume: (options) => call(`resume${options.verify ? ' and verify' : ''}`, () => api.resume(options)),
      close: (options) => call('close', () => api.close(options)).finally(() => residents.delete(resident)),
    };
  }

  #uplink(uplink: ActorUplink, name: string, line: string, thread: Owner): ActorUplink {
    const { scheduler } = this.#parts;
    const ask = async <T>(what: string, run: () => Promise<T>): Promise<T> => {
      await scheduler.hold(`${line} up`, `${name} asks for ${what}`, thread);
      let settle: () => T;
      try {
        const answer = await run();
        settle = () => answer;
      } catch (error) {
        settle = () => {
          throw error;
        };
      }
      await scheduler.hold(`${line} down`, `${name} is given ${what}`, thread);
      return settle();
    };
    return {
      init: () => ask('its producer', () => uplink.init()),
      committed: () => ask('the committed offsets', () => uplink.committed()),
      inputBounds: () => ask('the bounds of its inputs', () => uplink.inputBounds()),
      changelogBounds: () => ask('the bounds of its changelog', () => uplink.changelogBounds()),
      readChangelog: (request) =>
        ask(`the changelog from ${request.from}`, () => uplink.readChangelog(request)),
      commit: (request) =>
        ask(`a commit at ${request.offsets.map(({ offset }) => offset).join(', ')}`, () =>
          uplink.commit(request),
        ),
      describeTopic: (topic) => ask(`the topic ${topic}`, () => uplink.describeTopic(topic)),
      produce: (batches) =>
        ask(`${batches.length} batches of outputs to be sent`, () => uplink.produce(batches)),
      event: (event) => {
        void scheduler
          .hold(
            `${line} up`,
            `${name} reports ${event.type}${event.type === 'failed' ? `: ${String(event.error)}` : ''}`,
            thread,
          )
          .then(() => {
            uplink.event(event);
          });
      },
    };
  }
}

function copyOf(chunk: Chunk): Chunk {
  return { ...chunk, bytes: chunk.bytes.slice(0) };
}
